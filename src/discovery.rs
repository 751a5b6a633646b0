//! Where backends come from, and how they are: each room reports what it finds
//! through a handle of its own.

mod checks;
#[cfg(feature = "group")]
pub mod group;
pub mod probe;

pub use checks::{CheckLimit, CheckedBackend, Checks, TokenSource};
