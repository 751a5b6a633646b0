//! Where backends come from, and how they are: each room reports what it finds
//! through a [handle](vmcp_status::SourceHandle) of its own.

#![deny(unreachable_pub)]

mod checks;
pub mod group;
pub mod probe;
mod timing;

pub use checks::{CheckLimit, CheckedBackend, Checks, TokenSource};

// The crate whose type is in signatures here, in the version that fits them.
pub use url;
