//! What the benches share.

pub mod callers;
pub mod counted;
pub mod increments;
pub mod memory;
pub mod ratio;
pub mod show;
pub mod states;
