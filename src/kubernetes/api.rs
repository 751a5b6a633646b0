//! Requests to a Kubernetes API server, bounded in size and time, and what its
//! responses mean.
//!
//! | item | concern |
//! |---|---|
//! | [`ObjectPath`] | the path of an object on the server |
//! | [`ApiRequest`] | one request, sent through a [`kube::Client`] |
//! | [`ApiResponse`] | one whole response |
//! | [`Refusal`], [`RefusalKind`] | what a refusal means |
//! | [`is_followed`] | whether readers see what was reported |
//! | [`FieldManager`] | who writes what is reported |
//!
//! [`KubernetesSink`](crate::KubernetesSink) and
//! [`LeaseElection`](crate::LeaseElection) send their requests through this module,
//! and Events read refusals with it. It is public for programs that check beforehand
//! whether a sink would work, as `vmcp-status check` does, so that they read the same
//! response in the same way.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use vmcp_status::api_server::{ApiRequest, ObjectPath, RefusalKind};
//! use vmcp_status::connect;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = connect(None, None).await?;
//! let object = ObjectPath::new("my-namespace", "my-vmcp")?;
//! let request = ApiRequest::get(object.uri("/status", ""));
//! let response = request.send(&client, Some(Duration::from_secs(5))).await?;
//! match response.refusal() {
//!     None => println!("the object can be read"),
//!     Some(refusal) if refusal.kind() == RefusalKind::MissingRight => println!("grant the verb get"),
//!     Some(refusal) => println!("{}", refusal.summary()),
//! }
//! # Ok(())
//! # }
//! ```

mod field_managers;
#[cfg(test)]
pub(super) mod fixtures;
mod followed;
mod object_path;
mod refusal;
mod refusal_streak;
mod request;
mod response;

use tracing::Span;

pub(super) use field_managers::item_field;
pub use field_managers::{FieldManager, listed_fields};
pub use followed::{RECONCILE, is_followed};
pub use object_path::ObjectPath;
pub use refusal::{Refusal, RefusalKind};
pub(super) use refusal_streak::RefusalStreak;
pub use request::{ApiRequest, RequestError};
pub use response::ApiResponse;

/// The media type of an object in full.
pub const JSON: &str = "application/json";
/// The media type of a JSON Patch (RFC 6902).
pub const JSON_PATCH: &str = "application/json-patch+json";
/// The media type of a JSON Merge Patch (RFC 7396).
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// The media type of an object's metadata alone: the object may be large.
pub const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json";
/// A response without the object: a small table whose metadata has the version.
pub(super) const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1, application/json";

/// Maximum number of bytes read of a response's body. No object comes near this; a
/// server that sends more is not an API server.
pub const MAX_RESPONSE_BYTES: usize = 16 << 20;

/// The span for log lines about a vMCP: at the highest level, so that a filter for
/// warnings keeps its fields. `role` is that of this process among its replicas.
pub(super) fn vmcp_span(namespace: &str, name: &str, role: Option<&str>) -> Span {
    tracing::error_span!("vmcp", vmcp = name, namespace, role)
}
