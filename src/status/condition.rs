use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::fault::Faults;
use super::repair;
use super::wire::{null_is_default, time};

/// The rules of `metav1.Condition`, as the CRD has them.
#[cfg(feature = "kubernetes")]
const TYPE_PATTERN: &str =
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";
#[cfg(feature = "kubernetes")]
const REASON_PATTERN: &str = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$";

/// One aspect of the state, in the form of Kubernetes' `metav1.Condition`.
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The key, such as `Ready`: see [`condition_type`] for the usual types.
    // `type` is a keyword of Rust.
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    #[cfg_attr(feature = "kubernetes", schemars(length(max = 316), regex(pattern = TYPE_PATTERN)))]
    pub type_: String,
    /// Whether the condition holds.
    pub status: ConditionStatus,
    /// Why, in one CamelCase word for programs: see [`reason`].
    #[serde(default, deserialize_with = "null_is_default")]
    #[cfg_attr(feature = "kubernetes", schemars(length(min = 1, max = 1024), regex(pattern = REASON_PATTERN)))]
    pub reason: String,
    /// Why, for a person.
    #[serde(default, deserialize_with = "null_is_default")]
    #[cfg_attr(feature = "kubernetes", schemars(length(max = 32768)))]
    pub message: String,
    /// When `status` last changed. The reporter fills in `None`, and moves the time only
    /// when `status` moves.
    #[serde(default, with = "time", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "kubernetes", schemars(with = "DateTime<Utc>"))]
    pub last_transition_time: Option<DateTime<Utc>>,
    /// The generation of the spec that this condition was found for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Condition {
    /// Makes a condition whose transition time the reporter fills in.
    ///
    /// # Errors
    ///
    /// Lists every rule of `metav1.Condition` that the arguments break: the form and
    /// length of type and reason, the length of the message.
    ///
    /// ```
    /// use vmcp_status::{Condition, ConditionStatus, condition_type, reason};
    ///
    /// let ready = Condition::new(condition_type::READY, ConditionStatus::True, reason::SERVER_READY, "")?;
    /// assert!(Condition::new("Ready", ConditionStatus::True, "not one word", "").is_err());
    /// # Ok::<(), vmcp_status::Faults>(())
    /// ```
    pub fn new(
        type_: impl Into<String>,
        status: ConditionStatus,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Result<Self, Faults> {
        let condition = Condition::unchecked(type_, status, reason, message);
        condition.validate().map(|()| condition)
    }

    /// Makes a condition without checking the rules. The reporter repairs it or leaves
    /// it out if it breaks them.
    pub fn unchecked(
        type_: impl Into<String>,
        status: ConditionStatus,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Condition {
            type_: type_.into(),
            status,
            reason: reason.into(),
            message: message.into(),
            last_transition_time: None,
            observed_generation: None,
        }
    }

    /// Checks the rules of `metav1.Condition`.
    ///
    /// # Errors
    ///
    /// Lists every fault. The reporter repairs the condition, or leaves it out.
    pub fn validate(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        repair::condition(&mut self.clone(), &mut faults);
        faults.into_result()
    }

    /// Whether the two are equal in all but the time of their transition.
    pub(crate) fn eq_ignoring_times(&self, other: &Self) -> bool {
        let Condition { type_, status, reason, message, last_transition_time: _, observed_generation } = self;
        *type_ == other.type_
            && *status == other.status
            && *reason == other.reason
            && *message == other.message
            && *observed_generation == other.observed_generation
    }
}

/// Whether a condition holds.
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// Whether the condition holds is not known.
    Unknown,
}

impl ConditionStatus {
    /// Returns the status as `metav1.Condition` spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        }
    }
}

impl std::fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { ConditionStatus::True } else { ConditionStatus::False }
    }
}

/// The types of condition that a virtual MCP server reports.
pub mod condition_type {
    /// Every checked backend is routable.
    pub const READY: &str = "Ready";
    /// Discovery could list the backends.
    pub const BACKENDS_DISCOVERED: &str = "BackendsDiscovered";
    /// Some backends answer, but slowly or with faults.
    pub const DEGRADED: &str = "Degraded";
    /// Authentication of incoming requests is configured. ToolHive's operator
    /// sets it; a gateway may.
    pub const AUTH_CONFIGURED: &str = "AuthConfigured";

    /// The types that always belong to the reporter, even if this process has not
    /// reported them: the reporter removes a condition of such a type that an earlier
    /// process left behind (law 8).
    pub const OWNED: [&str; 3] = [READY, DEGRADED, BACKENDS_DISCOVERED];
}

/// The reasons that conditions of a virtual MCP server give.
///
/// [`derive()`](crate::derive()) gives those of ToolHive's own runtime. The `SERVER_…`
/// reasons and `BACKEND_DISCOVERY_SUCCEEDED` are
/// for callers that set conditions themselves, and those of phases in Events.
pub mod reason {
    /// `Ready`: every checked backend is routable, or none is configured.
    pub const ALL_BACKENDS_ROUTABLE: &str = "AllBackendsRoutable";
    /// `Ready`: no backend has been checked yet.
    pub const BACKENDS_PENDING: &str = "BackendsPending";
    /// `Ready`: some backends are not routable.
    pub const SOME_BACKENDS_UNHEALTHY: &str = "SomeBackendsUnhealthy";
    /// `Ready`: no backend is routable.
    pub const NO_ROUTABLE_BACKENDS: &str = "NoRoutableBackends";
    /// `BackendsDiscovered`: the list of backends is complete.
    pub const BACKENDS_DISCOVERED: &str = "BackendsDiscovered";
    /// `Degraded`: some backends answer, but slowly or with faults.
    pub const BACKENDS_DEGRADED: &str = "BackendsDegraded";
    /// The list of backends is complete.
    pub const BACKEND_DISCOVERY_SUCCEEDED: &str = "BackendDiscoverySucceeded";
    /// `BackendsDiscovered`: discovery could not list the backends.
    pub const BACKEND_DISCOVERY_FAILED: &str = "BackendDiscoveryFailed";
    /// Every checked backend is routable.
    pub const SERVER_READY: &str = "ServerReady";
    /// No backend has been checked yet.
    pub const SERVER_STARTING: &str = "ServerStarting";
    /// Some backends are not routable.
    pub const SERVER_DEGRADED: &str = "ServerDegraded";
    /// No backend is routable.
    pub const SERVER_FAILED: &str = "ServerFailed";
}
