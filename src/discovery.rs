//! Where backends come from, and how they are: each room reports what it finds
//! through a handle of its own.

mod checks;
pub mod probe;

pub use checks::{CheckedBackend, Checks, TokenSource};
