//! `VirtualMCPServer.status` on a Kubernetes API server, and what belongs to it:
//! Events about what changes, and the election of one writer among replicas.
//!
//! `api` is the ground floor; `operation`, `location` and `observed` stand on it,
//! and the sink on all of them.

pub mod api;
mod budget;
mod connect;
mod crd;
#[cfg(feature = "events")]
mod events;
mod identity;
mod json_patch;
mod lease;
mod location;
mod name;
mod object_client;
mod observed;
mod operation;
mod overwrites;
#[cfg(test)]
mod properties;
mod sink;
mod takeover;
mod write_history;

pub use connect::{ConnectError, connect};
pub use crd::crd;
#[cfg(feature = "events")]
pub use events::{EventOptions, KubernetesEvents};
pub use identity::ObjectIdentity;
pub use lease::{ElectionOptions, LeaseElection};
pub use location::StatusLocation;
pub use name::{NameError, check_name};
pub use sink::KubernetesSink;
