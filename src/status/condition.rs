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
    /// The key, such as `Ready`: see [`condition_type`] for the usual ones.
    // `type` is a keyword of Rust.
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    #[cfg_attr(feature = "kubernetes", schemars(length(max = 316), regex(pattern = TYPE_PATTERN)))]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one CamelCase word for programs: see [`reason`].
    #[serde(default, deserialize_with = "null_is_default")]
    #[cfg_attr(feature = "kubernetes", schemars(length(min = 1, max = 1024), regex(pattern = REASON_PATTERN)))]
    pub reason: String,
    /// Why, for a person.
    #[serde(default, deserialize_with = "null_is_default")]
    #[cfg_attr(feature = "kubernetes", schemars(length(max = 32768)))]
    pub message: String,
    /// When `status` last changed. May be left out: the reporter fills it in,
    /// and moves it only when `status` moves.
    #[serde(default, with = "time", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "kubernetes", schemars(with = "DateTime<Utc>"))]
    pub last_transition_time: Option<DateTime<Utc>>,
    /// The generation of the spec that this condition speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Condition {
    /// A condition whose transition time the reporter fills in.
    ///
    /// # Errors
    ///
    /// Lists every rule of `metav1.Condition` that the words break: the form
    /// and length of type and reason, the length of the message.
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

    /// As [`new`](Condition::new), for words that are known to be right or
    /// for the reporter to repair.
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
    /// Lists every fault. The reporter would repair the condition or leave it out.
    pub fn validate(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        repair::condition(&mut self.clone(), &mut faults);
        faults.into_result()
    }

    /// Whether the two differ in nothing but the time of their transition.
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
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told.
    Unknown,
}

impl ConditionStatus {
    /// The status as it stands in `metav1.Condition`.
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
    /// Requests are served, by all backends or by some.
    pub const READY: &str = "Ready";
    /// The list of backends could be had.
    pub const BACKENDS_DISCOVERED: &str = "BackendsDiscovered";
    /// Some backends cannot be routed to.
    pub const DEGRADED: &str = "Degraded";
    /// Authentication of incoming requests is configured. ToolHive's operator
    /// sets it; a gateway may.
    pub const AUTH_CONFIGURED: &str = "AuthConfigured";

    /// The types that belong to the reporter whether this process has reported
    /// them or not: one that an earlier process left behind goes away (law 8).
    pub const OWNED: [&str; 3] = [READY, DEGRADED, BACKENDS_DISCOVERED];
}

/// The reasons that conditions of a virtual MCP server give.
pub mod reason {
    /// The list of backends is complete.
    pub const BACKEND_DISCOVERY_SUCCEEDED: &str = "BackendDiscoverySucceeded";
    /// The list of backends could not be had.
    pub const BACKEND_DISCOVERY_FAILED: &str = "BackendDiscoveryFailed";
    /// Every backend can be routed to.
    pub const SERVER_READY: &str = "ServerReady";
    /// No backend has been checked yet.
    pub const SERVER_STARTING: &str = "ServerStarting";
    /// Some backends cannot be routed to.
    pub const SERVER_DEGRADED: &str = "ServerDegraded";
    /// No backend can be routed to.
    pub const SERVER_FAILED: &str = "ServerFailed";
}
