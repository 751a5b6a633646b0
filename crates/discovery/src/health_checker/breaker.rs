//! A backend that fails again and again is left alone for a while.

use std::time::Duration;

/// When checks of a failing backend pause, and for how long.
///
/// After so many failed checks in a row the circuit opens: the backend is not
/// checked for the time-out. Then the circuit is half-open, and one check decides: a
/// success closes it, a failure opens it again. ToolHive's
/// `operational.failureHandling.circuitBreaker` has the same keys and defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Failed checks in a row that open the circuit. 5 by default; 0 counts as 1.
    pub failure_threshold: u32,
    /// How long an open circuit lets no check through. 60 s by default.
    pub timeout: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        CircuitBreaker { failure_threshold: 5, timeout: Duration::from_secs(60) }
    }
}
