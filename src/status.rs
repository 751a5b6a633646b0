//! The model: what a virtual MCP server reports about itself and its backends.
//!
//! Everything here is pure: no clock, no I/O. The Rust names follow Rust's style; the
//! JSON names are those of ToolHive's `VirtualMCPServer` CRD.

mod backend;
mod condition;
mod derive;
mod fault;
mod merge;
pub(crate) mod odd_values;
mod phase;
mod repair;
mod truncate;
mod wire;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use backend::{BackendStatus, CircuitBreakerState, DiscoveredBackend};
pub use condition::{Condition, ConditionStatus, condition_type, reason};
pub use derive::{Derived, derive};
pub use fault::{Fault, Faults};
pub use phase::Phase;
pub use truncate::SizeLimit;

pub(crate) use merge::{OwnedTypes, merge};
pub(crate) use repair::{
    backend as repair_backend, backend_is_sound, condition as repair_condition, is_condition_type,
    message as repair_message, time as repair_time,
};
#[cfg(feature = "kubernetes")]
pub(crate) use truncate::json_bytes;
pub(crate) use truncate::{Omitted, size as json_size, truncate};
pub(crate) use wire::{time, whole_seconds};

/// What a virtual MCP server reports: the part of `VirtualMCPServer.status`
/// that belongs to the running process.
///
/// ```
/// use vmcp_status::{BackendStatus, DiscoveredBackend, Phase, Status};
///
/// let status = Status {
///     phase: Phase::Ready,
///     message: "1 of 1 backends routable".into(),
///     ..Status::from_backends([DiscoveredBackend {
///         status: BackendStatus::Ready,
///         ..DiscoveredBackend::named("weather")
///     }])
/// };
/// assert_eq!(status.backend_count, 1);
/// ```
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The state of the vMCP as a whole.
    #[serde(default)]
    pub phase: Phase,
    /// The phase explained, for a person.
    #[serde(default, deserialize_with = "wire::null_is_default", skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Single aspects of the state, one for each type.
    #[serde(default, deserialize_with = "wire::null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "kubernetes", schemars(extend(
        "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]
    )))]
    pub conditions: Vec<Condition>,
    /// The backends, one for each name. The reporter shares each and does not copy it
    /// on the way from the caller to the store, so an unchanged backend costs nothing.
    #[serde(default, deserialize_with = "wire::null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "kubernetes", schemars(extend(
        "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]
    )))]
    pub discovered_backends: Vec<Arc<DiscoveredBackend>>,
    /// How many backends are routable: ready or unauthenticated. The reporter counts
    /// them itself, including those that the size limit leaves out, and ignores a
    /// caller's value.
    #[serde(default, deserialize_with = "wire::null_is_default")]
    pub backend_count: u32,
    /// The generation of the spec that the process has loaded. `None` keeps the stored
    /// generation, which never goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When this state was found. The reporter fills in `None`. The CRD does not have
    /// this field; state files do.
    #[cfg_attr(feature = "kubernetes", schemars(skip))]
    #[serde(default, with = "wire::time", skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<DateTime<Utc>>,
}

impl Status {
    /// Makes a status with these backends and their count; the rest is default.
    pub fn from_backends<B: Into<Arc<DiscoveredBackend>>>(backends: impl IntoIterator<Item = B>) -> Self {
        let discovered_backends: Vec<Arc<DiscoveredBackend>> = backends.into_iter().map(Into::into).collect();
        let backend_count = count_routable(&discovered_backends);
        Status { discovered_backends, backend_count, ..Status::default() }
    }

    /// Makes a status whose phase, message, count and conditions follow from the
    /// backends: see [`derive()`].
    pub fn derived_from<B: Into<Arc<DiscoveredBackend>>>(backends: impl IntoIterator<Item = B>) -> Self {
        let status = Status::from_backends(backends);
        let Derived { phase, message, backend_count, conditions } =
            derive(status.discovered_backends.iter().map(AsRef::as_ref));
        Status { phase, message, conditions, backend_count, ..status }
    }

    /// Whether a reporter has written this status, and not only an operator that has
    /// filled in a phase: it lists backends, or has `BackendsDiscovered`.
    pub(crate) fn is_reported(&self) -> bool {
        !self.discovered_backends.is_empty() || self.condition(condition_type::BACKENDS_DISCOVERED).is_some()
    }

    /// Returns the condition of this type.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Returns the backend of this name.
    pub fn backend(&self, name: &str) -> Option<&DiscoveredBackend> {
        self.discovered_backends.iter().map(AsRef::as_ref).find(|backend| backend.name == name)
    }

    /// Checks for everything that a store would refuse.
    ///
    /// # Errors
    ///
    /// Lists every fault. The reporter repairs each of them, or leaves the item out.
    pub fn validate(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        repair::status(&mut self.clone(), &mut faults);
        faults.into_result()
    }

    /// Whether the two are equal in all but the times of checks, of transitions and of
    /// the report itself (law 6). The order of lists counts, because every write keeps
    /// it.
    pub fn eq_ignoring_times(&self, other: &Self) -> bool {
        let Status {
            phase,
            message,
            conditions,
            discovered_backends,
            backend_count,
            observed_generation,
            timestamp: _,
        } = self;
        *phase == other.phase
            && *backend_count == other.backend_count
            && *observed_generation == other.observed_generation
            && *message == other.message
            && same_lists(conditions, &other.conditions, Condition::eq_ignoring_times)
            && same_lists(discovered_backends, &other.discovered_backends, |a, b| {
                Arc::ptr_eq(a, b) || a.eq_ignoring_times(b)
            })
    }
}

fn same_lists<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

pub(crate) fn count_routable(backends: &[Arc<DiscoveredBackend>]) -> u32 {
    let routable = backends.iter().filter(|backend| backend.is_routable()).count();
    u32::try_from(routable).unwrap_or(u32::MAX)
}
