use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};

use super::fault::Faults;
use super::repair;
use super::wire::{null_is_default, time};

/// One backend as the gateway sees it: an item of `status.discoveredBackends`.
///
/// `name` is the key of the list. Every other field may keep its default, which the
/// JSON form leaves out:
///
/// ```
/// use vmcp_status::{BackendStatus, DiscoveredBackend};
///
/// let backend = DiscoveredBackend {
///     url: "http://weather:8080/mcp".into(),
///     status: BackendStatus::Ready,
///     ..DiscoveredBackend::named("weather")
/// };
/// assert!(backend.validate().is_ok());
/// ```
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveredBackend {
    /// The key: unique among the backends, never empty.
    // Defaulted, so that a backend without a name does not make a whole snapshot
    // unreadable: the reporter leaves out that backend and logs it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Where to reach the backend. The reporter cuts off user names, passwords, queries
    /// and fragments before it stores anything.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// What the last check found.
    #[serde(default)]
    pub status: BackendStatus,
    /// How the gateway authenticates to the backend, in the gateway's words: `oauth2`,
    /// `header_injection`, `unauthenticated`, …
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub auth_type: String,
    /// The name of the object that configures the authentication.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub auth_config_ref: String,
    /// When the backend was last checked. A change of this time alone causes no write.
    #[serde(default, with = "time", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "kubernetes", schemars(with = "Option<DateTime<Utc>>"))]
    pub last_health_check: Option<DateTime<Utc>>,
    /// Why the backend is not ready, for a person.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The state of the gateway's circuit breaker for the backend, if it has one. A
    /// state that this version does not know reads as `None`.
    #[serde(default, deserialize_with = "known_circuit_state", skip_serializing_if = "Option::is_none")]
    pub circuit_breaker_state: Option<CircuitBreakerState>,
    /// When the circuit breaker last changed its state.
    #[serde(default, with = "time", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "kubernetes", schemars(with = "Option<DateTime<Utc>>"))]
    pub circuit_last_changed: Option<DateTime<Utc>>,
    /// How many checks failed in a row, up to the last one.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub consecutive_failures: u32,
    /// The negotiated MCP protocol revision, such as `2025-11-25`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub mcp_revision: String,
}

/// Reads an unknown state as `None`, so that the rest of the status stays readable.
fn known_circuit_state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CircuitBreakerState>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| CircuitBreakerState::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(&text))))
}

// serde asks for a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl DiscoveredBackend {
    /// Makes a backend of which only the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        DiscoveredBackend { name: name.into(), ..DiscoveredBackend::default() }
    }

    /// Whether requests are routed to the backend: it is ready, or it answers and asks
    /// the caller for credentials.
    pub fn is_routable(&self) -> bool {
        matches!(self.status, BackendStatus::Ready | BackendStatus::Unauthenticated)
    }

    /// Whether no check of the backend has ended yet.
    pub(crate) fn is_unchecked(&self) -> bool {
        self.status == BackendStatus::Unknown && self.last_health_check.is_none()
    }

    /// Returns this backend with the finding of an earlier check.
    pub(crate) fn with_finding_of(&self, earlier: &Self) -> Self {
        let own = self.clone();
        DiscoveredBackend {
            name: own.name,
            url: own.url,
            auth_type: own.auth_type,
            auth_config_ref: own.auth_config_ref,
            ..earlier.clone()
        }
    }

    /// Checks for everything that a store would refuse.
    ///
    /// # Errors
    ///
    /// Lists every fault. The reporter repairs the backend, or leaves it out.
    pub fn validate(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        repair::backend(&mut self.clone(), &mut faults);
        faults.into_result()
    }

    /// Whether the two are equal in all but times and the count of failures, which
    /// move with each check (law 6).
    pub(crate) fn eq_ignoring_times(&self, other: &Self) -> bool {
        let DiscoveredBackend {
            name,
            url,
            status,
            auth_type,
            auth_config_ref,
            last_health_check: _,
            message,
            circuit_breaker_state,
            circuit_last_changed: _,
            consecutive_failures: _,
            mcp_revision,
        } = self;
        *name == other.name
            && *status == other.status
            && *message == other.message
            && *url == other.url
            && *auth_type == other.auth_type
            && *auth_config_ref == other.auth_config_ref
            && *circuit_breaker_state == other.circuit_breaker_state
            && *mcp_revision == other.mcp_revision
    }
}

/// What a check of a backend found (`discoveredBackends[].status`). JSON has it in
/// lower case, and reading accepts any case. A status that this version does not know
/// reads as [`Unknown`](BackendStatus::Unknown).
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendStatus {
    /// The backend answers as an MCP server, in time.
    Ready,
    /// The backend answers, but slowly or with faults.
    Degraded,
    /// The backend does not answer, or not as an MCP server.
    Unavailable,
    /// The backend answers, and wants credentials that the gateway does not have.
    Unauthenticated,
    /// The backend has not been checked yet.
    #[default]
    Unknown,
}

impl BackendStatus {
    /// Every status, in the order of the CRD's enumeration.
    pub const ALL: [BackendStatus; 5] = [
        BackendStatus::Ready,
        BackendStatus::Degraded,
        BackendStatus::Unavailable,
        BackendStatus::Unauthenticated,
        BackendStatus::Unknown,
    ];

    /// Returns the status as the CRD spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            BackendStatus::Ready => "ready",
            BackendStatus::Degraded => "degraded",
            BackendStatus::Unavailable => "unavailable",
            BackendStatus::Unauthenticated => "unauthenticated",
            BackendStatus::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for BackendStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl<'de> Deserialize<'de> for BackendStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        Ok(BackendStatus::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(&text)).unwrap_or_default())
    }
}

/// The state of a gateway's circuit breaker for one backend.
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CircuitBreakerState {
    /// Requests pass.
    Closed,
    /// Requests fail at once, without reaching the backend.
    Open,
    /// Some requests pass, to find out whether the backend has recovered.
    HalfOpen,
}

impl CircuitBreakerState {
    /// Every state, in the order of the CRD's enumeration.
    pub const ALL: [CircuitBreakerState; 3] =
        [CircuitBreakerState::Closed, CircuitBreakerState::Open, CircuitBreakerState::HalfOpen];

    /// Returns the state as the CRD spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            CircuitBreakerState::Closed => "closed",
            CircuitBreakerState::Open => "open",
            CircuitBreakerState::HalfOpen => "half-open",
        }
    }
}
