//! How the members of a group are checked, as far as that has been set.

use std::time::Duration;

use super::members::Timing;
use crate::health_checker::{CircuitBreaker, Thresholds};

/// How the members of a group are checked. What is `None` is as the spec of the
/// vMCP says, where that is followed ([`GroupOptions::vmcp`](super::GroupOptions::vmcp)),
/// else the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Time from one check of a backend to the next, with a jitter of a tenth.
    /// 30 s by default.
    pub interval: Option<Duration>,
    /// Time that one check may take. 10 s by default.
    pub timeout: Option<Duration>,
    /// A backend that answers more slowly is degraded. 2 s by default.
    pub degraded_above: Option<Duration>,
    /// Failed checks in a row that make a backend unavailable. 3 by default.
    pub unhealthy_threshold: Option<u32>,
    /// Answered checks in a row that end a backend's being unavailable. 1 by default.
    pub healthy_threshold: Option<u32>,
    /// Pauses the checks of a backend that keeps failing; `Some(None)` does not,
    /// whatever the spec says. Off by default.
    // Whether it is set, and whether it is on, are two things.
    #[allow(clippy::option_option)]
    pub circuit_breaker: Option<Option<CircuitBreaker>>,
}

impl CheckOptions {
    /// The time-out where none is set.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

    /// What is set here, and what is set in `other` where nothing is set here.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        CheckOptions {
            interval: self.interval.or(other.interval),
            timeout: self.timeout.or(other.timeout),
            degraded_above: self.degraded_above.or(other.degraded_above),
            unhealthy_threshold: self.unhealthy_threshold.or(other.unhealthy_threshold),
            healthy_threshold: self.healthy_threshold.or(other.healthy_threshold),
            circuit_breaker: self.circuit_breaker.or(other.circuit_breaker),
        }
    }

    /// The same with the defaults.
    pub(super) fn timing(&self) -> Timing {
        Timing {
            interval: self.interval.unwrap_or(Duration::from_secs(30)),
            timeout: self.timeout.unwrap_or(Self::DEFAULT_TIMEOUT),
            degraded_above: self.degraded_above.unwrap_or(Duration::from_secs(2)),
            thresholds: Thresholds {
                unhealthy: self.unhealthy_threshold.unwrap_or(Thresholds::DEFAULT.unhealthy),
                healthy: self.healthy_threshold.unwrap_or(Thresholds::DEFAULT.healthy),
            },
            circuit_breaker: self.circuit_breaker.flatten(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_wins_key_by_key_and_the_default_comes_last() {
        let second = Duration::from_secs(1);
        let breaker = CircuitBreaker::default();
        let set = CheckOptions { interval: Some(second), circuit_breaker: Some(None), ..CheckOptions::default() };
        let spec = CheckOptions {
            interval: Some(5 * second),
            timeout: Some(3 * second),
            unhealthy_threshold: Some(7),
            circuit_breaker: Some(Some(breaker)),
            ..CheckOptions::default()
        };
        let timing = set.or(&spec).timing();
        let expected = Timing {
            interval: second,
            timeout: 3 * second,
            degraded_above: 2 * second,
            thresholds: Thresholds { unhealthy: 7, healthy: 1 },
            circuit_breaker: None,
        };
        assert_eq!(timing, expected);
        assert_eq!(CheckOptions::default().or(&spec).timing().circuit_breaker, Some(breaker));
    }
}
