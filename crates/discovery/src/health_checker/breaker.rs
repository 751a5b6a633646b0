//! A backend that fails again and again is left alone for a while. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use vmcp_status::{BackendStatus, CircuitBreakerState, DiscoveredBackend};

use crate::timing::bounded;

/// When checks of a failing backend pause, and for how long.
///
/// After so many failed checks in a row the circuit opens: the backend is unavailable,
/// and not checked for the time-out. Then the circuit is half-open, and one check
/// decides: an answer closes it, a failure opens it again. A check that is refused with
/// 429 counts as neither. ToolHive's `operational.failureHandling.circuitBreaker` has the
/// same keys and defaults.
///
/// Of the trials of one outage only the first is shown as half-open. The others change
/// nothing that is shown unless they succeed, so that a backend that stays down causes
/// no writes (law 6).
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

impl CircuitBreaker {
    pub(super) fn failure_threshold(&self) -> u32 {
        self.failure_threshold.max(1)
    }
}

/// What a check means for the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    /// So many checks in a row have failed, this one included.
    Failed(u32),
    Deferred,
}

/// The circuit of one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Circuit {
    state: State,
    changed: Option<DateTime<Utc>>,
    /// Whether a trial has failed since the circuit opened.
    trial_failed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    HalfOpen,
}

impl Circuit {
    /// The circuit of a backend whose finding was reported by the discovery before this
    /// one. Only that of a backend that is unavailable can be other than closed.
    pub(super) fn reported(backend: &DiscoveredBackend, breaker: &CircuitBreaker, now: Instant) -> Self {
        let changed = backend.circuit_last_changed;
        let state = match backend.circuit_breaker_state {
            _ if backend.status != BackendStatus::Unavailable => State::Closed,
            Some(CircuitBreakerState::Open) => {
                // A change in the future is one that a clock has dated which was put back.
                let passed = changed.and_then(|changed| (Utc::now() - changed).to_std().ok()).unwrap_or_default();
                State::Open { until: now + bounded(breaker.timeout.saturating_sub(passed)) }
            }
            Some(CircuitBreakerState::HalfOpen) => State::HalfOpen,
            Some(CircuitBreakerState::Closed) | None => State::Closed,
        };
        Circuit { state, changed, trial_failed: false }
    }

    /// The circuit while a check is under way.
    pub(super) fn during_check(self, at: DateTime<Utc>) -> Self {
        match self.state {
            State::Open { .. } => Circuit { state: State::HalfOpen, changed: Some(at), ..self },
            State::Closed | State::HalfOpen => self,
        }
    }

    /// The circuit after a check that ended now.
    pub(super) fn after(self, outcome: Outcome, breaker: &CircuitBreaker, now: Instant, at: DateTime<Utc>) -> Self {
        let is_trial = self.state != State::Closed;
        let opens = |failures: u32| is_trial || failures >= breaker.failure_threshold();
        match outcome {
            Outcome::Answered if is_trial => Circuit { state: State::Closed, changed: Some(at), trial_failed: false },
            Outcome::Failed(failures) if opens(failures) => {
                let state = State::Open { until: now + bounded(breaker.timeout) };
                Circuit { state, changed: Some(at), trial_failed: is_trial }
            }
            Outcome::Answered | Outcome::Failed(_) | Outcome::Deferred => self,
        }
    }

    /// When the pause of an open circuit ends. A time-out that has become shorter also
    /// shortens a pause that has begun.
    pub(super) fn pauses_until(&self, breaker: &CircuitBreaker, now: Instant) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until.min(now + bounded(breaker.timeout))),
            State::Closed | State::HalfOpen => None,
        }
    }

    /// Whether this is the first trial of an outage, the one that is shown.
    pub(super) fn is_first_trial(&self) -> bool {
        self.state == State::HalfOpen && !self.trial_failed
    }

    pub(super) fn state(&self) -> CircuitBreakerState {
        match self.state {
            State::Closed => CircuitBreakerState::Closed,
            State::Open { .. } => CircuitBreakerState::Open,
            State::HalfOpen => CircuitBreakerState::HalfOpen,
        }
    }

    /// When the state last changed.
    pub(super) fn changed(&self) -> Option<DateTime<Utc>> {
        self.changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKER: CircuitBreaker = CircuitBreaker { failure_threshold: 3, timeout: Duration::from_secs(60) };

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("in range")
    }

    /// The circuit after these outcomes of checks that each end at once, one a second.
    fn after(circuit: Circuit, outcomes: &[Outcome], start: Instant) -> Circuit {
        outcomes.iter().zip(1..).fold(circuit, |circuit, (outcome, second)| {
            let now = start + Duration::from_secs(second);
            let second = i64::try_from(second).expect("small");
            circuit.during_check(at(second)).after(*outcome, &BREAKER, now, at(second))
        })
    }

    fn opened(start: Instant) -> Circuit {
        after(Circuit::default(), &[Outcome::Failed(1), Outcome::Failed(2), Outcome::Failed(3)], start)
    }

    #[test]
    fn circuit_opens_after_as_many_failures_in_a_row_as_the_threshold() {
        let start = Instant::now();
        let failed = |counts: &[u32]| {
            let outcomes: Vec<_> = counts.iter().map(|count| Outcome::Failed(*count)).collect();
            after(Circuit::default(), &outcomes, start)
        };
        let below = failed(&[1, 2]);
        assert_eq!((below.state(), below.changed()), (CircuitBreakerState::Closed, None));
        assert_eq!(below.pauses_until(&BREAKER, start), None);
        let open = failed(&[1, 2, 3]);
        assert_eq!((open.state(), open.changed()), (CircuitBreakerState::Open, Some(at(3))));
        let opened = start + Duration::from_secs(3);
        assert_eq!(open.pauses_until(&BREAKER, opened), Some(opened + BREAKER.timeout));
        let again = after(failed(&[1, 2]), &[Outcome::Answered, Outcome::Failed(1), Outcome::Failed(2)], start);
        assert_eq!(again.state(), CircuitBreakerState::Closed, "not in a row");
        let limited = after(failed(&[1, 2]), &[Outcome::Deferred; 5], start);
        assert_eq!(limited.state(), CircuitBreakerState::Closed, "a refusal to be asked so often does not count");
    }

    #[test]
    fn one_check_decides_whether_a_half_open_circuit_closes_or_opens_again() {
        let start = Instant::now();
        let trial = opened(start).during_check(at(70));
        assert_eq!((trial.state(), trial.changed()), (CircuitBreakerState::HalfOpen, Some(at(70))));
        let later = start + Duration::from_secs(71);
        let closed = trial.after(Outcome::Answered, &BREAKER, later, at(71));
        assert_eq!((closed.state(), closed.changed()), (CircuitBreakerState::Closed, Some(at(71))));
        let open = trial.after(Outcome::Failed(4), &BREAKER, later, at(71));
        assert_eq!((open.state(), open.changed()), (CircuitBreakerState::Open, Some(at(71))));
        assert_eq!(open.pauses_until(&BREAKER, later), Some(later + BREAKER.timeout));
        let undecided = trial.after(Outcome::Deferred, &BREAKER, later, at(71));
        assert_eq!((undecided.state(), undecided.pauses_until(&BREAKER, later)), (CircuitBreakerState::HalfOpen, None));
    }

    #[test]
    fn only_the_first_trial_of_an_outage_is_shown() {
        let start = Instant::now();
        let first = opened(start).during_check(at(70));
        let second = first.after(Outcome::Failed(4), &BREAKER, start, at(70)).during_check(at(140));
        assert_eq!((first.is_first_trial(), second.is_first_trial()), (true, false));
        let closed = second.after(Outcome::Answered, &BREAKER, start, at(140));
        let next_outage = closed.after(Outcome::Failed(3), &BREAKER, start, at(200)).during_check(at(270));
        assert!(next_outage.is_first_trial());
    }

    #[test]
    fn pause_that_has_begun_ends_sooner_with_a_shorter_timeout() {
        let start = Instant::now();
        let hasty = CircuitBreaker { timeout: Duration::from_secs(5), ..BREAKER };
        let now = start + Duration::from_secs(10);
        assert_eq!(opened(start).pauses_until(&hasty, now), Some(now + hasty.timeout));
        let endless = CircuitBreaker { timeout: Duration::MAX, ..BREAKER };
        let open = Circuit::default().after(Outcome::Failed(3), &endless, start, at(0));
        assert!(open.pauses_until(&endless, start).is_some(), "a clock can count to it");
    }

    #[test]
    fn open_circuit_of_an_earlier_discovery_pauses_for_what_is_left_of_its_timeout() {
        let now = Instant::now();
        let backend = |status, state, changed| DiscoveredBackend {
            status,
            circuit_breaker_state: Some(state),
            circuit_last_changed: Some(changed),
            ..DiscoveredBackend::named("a")
        };
        let (open, half) = (CircuitBreakerState::Open, CircuitBreakerState::HalfOpen);
        let down = BackendStatus::Unavailable;
        let left = |backend: &DiscoveredBackend| {
            let until = Circuit::reported(backend, &BREAKER, now).pauses_until(&BREAKER, now)?;
            Some(until.saturating_duration_since(now).as_secs_f64().round())
        };
        let ago = |seconds| Utc::now() - chrono::TimeDelta::seconds(seconds);
        assert_eq!(left(&backend(down, open, ago(20))), Some(40.0));
        assert_eq!(left(&backend(down, open, ago(100))), Some(0.0));
        assert_eq!(left(&backend(down, open, ago(-3600))), Some(60.0), "a clock that was put back");
        assert_eq!(left(&backend(down, half, ago(20))), None);
        assert_eq!(left(&backend(BackendStatus::Ready, open, ago(20))), None, "a circuit that is ready is not open");
        assert_eq!(Circuit::reported(&backend(down, half, ago(20)), &BREAKER, now).state(), half);
    }
}
