//! What the tests and benches of `vmcp-status` stand on. Not published.
//!
//! [`cluster`] starts a whole Kubernetes control plane, with ToolHive's own
//! operator and reporter if a test asks for them. [`manifests`] reads what users
//! apply to theirs.

#![allow(clippy::missing_panics_doc, reason = "whatever goes wrong here ends the test by a panic")]

pub mod cluster;
pub mod manifests;
