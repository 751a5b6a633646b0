//! The section `circuitBreaker`, with the keys of ToolHive's
//! `operational.failureHandling.circuitBreaker`.

use std::time::Duration;

use serde::Deserialize;
use vmcp_status_discovery::CircuitBreaker;

/// The section of the whole file, or that of one backend.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CircuitBreakerSection {
    enabled: Option<bool>,
    failure_threshold: Option<u32>,
    #[serde(default, with = "humantime_serde")]
    timeout: Option<Duration>,
}

impl CircuitBreakerSection {
    /// This section, with what it does not say from the other.
    pub(super) fn or(self, other: Self) -> Self {
        CircuitBreakerSection {
            enabled: self.enabled.or(other.enabled),
            failure_threshold: self.failure_threshold.or(other.failure_threshold),
            timeout: self.timeout.or(other.timeout),
        }
    }

    /// Whether the file has this section with anything in it.
    pub(super) fn is_set(self) -> bool {
        self.enabled.is_some() || self.failure_threshold.is_some() || self.timeout.is_some()
    }

    /// The breaker, if there is to be one. Without `enabled: true` there is none, as in
    /// the section that ToolHive's operator writes.
    ///
    /// # Errors
    ///
    /// Says what makes a breaker that is enabled useless.
    pub(super) fn breaker(self) -> Result<Option<CircuitBreaker>, &'static str> {
        let default = CircuitBreaker::default();
        let breaker = CircuitBreaker {
            failure_threshold: self.failure_threshold.unwrap_or(default.failure_threshold),
            timeout: self.timeout.unwrap_or(default.timeout),
        };
        match self.enabled {
            Some(true) if breaker.failure_threshold == 0 || breaker.timeout.is_zero() => {
                Err("circuitBreaker wants a failureThreshold of at least 1 and a timeout longer than 0s")
            }
            Some(true) => Ok(Some(breaker)),
            Some(false) | None => Ok(None),
        }
    }
}
