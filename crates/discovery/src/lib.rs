//! Where backends come from, and how they are: each room reports what it finds
//! through a [handle](vmcp_status::SourceHandle) of its own.

#![deny(unreachable_pub)]

pub mod group;
mod health_checker;
pub mod probe;
mod timing;

pub use health_checker::{CheckLimit, CheckedBackend, CircuitBreaker, HealthChecker, TokenSource};

// Crates whose types are in signatures here, in the version that fits them.
pub use kube;
pub use url;
