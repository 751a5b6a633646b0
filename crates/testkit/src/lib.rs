//! What the tests and benches of `vmcp-status` stand on. Not published.
//!
//! [`cluster`] starts a whole Kubernetes control plane, with ToolHive's own
//! operator and reporter if a test asks for them.

pub mod cluster;
