//! How long to wait: the only place that names the `backoff` crate, from which
//! it takes exponential growth and jitter.

use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

use crate::error::Retry;

/// How the pauses between tries grow (law 10). Each has jitter of up to half
/// of it either way, so that many reporters do not come back in step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// First pause after a passing fault. Default 500 ms.
    pub initial: Duration,
    /// Longest pause after passing faults. Default 30 s.
    pub max: Duration,
    /// First pause after a conflict. Default 20 ms.
    pub conflict_initial: Duration,
    /// Longest pause after conflicts in a row. Default 1 s.
    pub conflict_max: Duration,
    /// Longest pause while rights or the object are missing. Default 60 s.
    pub blocked_max: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        BackoffPolicy {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            conflict_initial: Duration::from_millis(20),
            conflict_max: Duration::from_secs(1),
            blocked_max: Duration::from_secs(60),
        }
    }
}

/// Jitter of pauses, as a part of the pause.
const JITTER: f64 = 0.5;
/// Jitter of a periodic refresh, as a part of its interval.
const REFRESH_JITTER: f64 = 0.1;
const GROWTH: f64 = 2.0;
/// No pause is longer, whatever a setting or a server says: a clock cannot
/// count to the end of time.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The pauses of one reporter.
#[derive(Debug)]
pub(crate) struct Pauses {
    passing: Growing,
    conflict: Growing,
    blocked: Growing,
    /// The least after a pause that the store asked for: a server can ask for
    /// none, or for one that its clock has behind it.
    asked: Growing,
}

impl Pauses {
    pub(crate) fn new(policy: &BackoffPolicy) -> Self {
        Pauses {
            passing: Growing::new(policy.initial, policy.max),
            conflict: Growing::new(policy.conflict_initial, policy.conflict_max),
            blocked: Growing::new(policy.initial, policy.blocked_max),
            asked: Growing::new(policy.conflict_initial, policy.conflict_max),
        }
    }

    /// How long to wait after this failure, the latest of a row.
    pub(crate) fn next(&mut self, retry: Retry) -> Duration {
        match retry {
            // Too large is tried again soon too; growing, in case the sink does
            // not lower its limit.
            Retry::Conflict | Retry::TooLarge => self.conflict.next(),
            Retry::After(pause) => pause.min(LONGEST).max(self.asked.next()),
            Retry::Transient => self.passing.next(),
            Retry::Blocked => self.blocked.next(),
            Retry::Refused => Duration::ZERO,
        }
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.passing.reset();
        self.conflict.reset();
        self.blocked.reset();
        self.asked.reset();
    }
}

#[derive(Debug)]
struct Growing {
    inner: ExponentialBackoff,
    max: Duration,
}

impl Growing {
    fn new(initial: Duration, max: Duration) -> Self {
        let max = max.min(LONGEST);
        // Jitter comes after the crate's cap. A lower cap leaves it room: cut
        // off at `max`, half of all reporters would come back at the same time.
        let mean = max.div_f64(1.0 + JITTER);
        Growing { inner: exponential(initial.min(mean), mean, GROWTH, JITTER), max }
    }

    fn next(&mut self) -> Duration {
        // The crate never ends and overshoots by a nanosecond at most.
        self.inner.next_backoff().map_or(self.max, |pause| pause.min(self.max))
    }

    fn reset(&mut self) {
        self.inner.reset();
    }
}

/// The interval, somewhat shorter or longer each time.
pub(crate) fn jittered(interval: Duration) -> Duration {
    let interval = interval.min(LONGEST);
    exponential(interval, interval, 1.0, REFRESH_JITTER).next_backoff().unwrap_or(interval)
}

/// Half of the interval to one and a half, each as likely: what starts together
/// is spread over the interval.
#[cfg(feature = "probe")]
pub(crate) fn spread(interval: Duration) -> Duration {
    let interval = interval.min(LONGEST);
    exponential(interval, interval, 1.0, 0.5).next_backoff().unwrap_or(interval)
}

/// With no limit on the time that retries may take: the crate's default ends
/// them after 15 minutes.
fn exponential(initial: Duration, max: Duration, growth: f64, jitter: f64) -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(initial)
        .with_max_interval(max)
        .with_multiplier(growth)
        .with_randomization_factor(jitter)
        .with_max_elapsed_time(None)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_with_jitter_and_never_end() {
        let policy = BackoffPolicy::default();
        let mut pauses = Pauses::new(&policy);
        let mut mean = policy.initial;
        for _ in 0..10_000 {
            let pause = pauses.next(Retry::Transient);
            let slack = Duration::from_micros(1);
            assert!(pause + slack >= mean / 2 && pause <= mean * 3 / 2 + slack, "{pause:?} of {mean:?}");
            mean = (mean * 2).min(policy.max * 2 / 3);
        }
        pauses.reset();
        assert!(pauses.next(Retry::Transient) <= policy.initial * 3 / 2);
    }

    #[test]
    fn pauses_of_two_reporters_differ() {
        let draw = || {
            let mut pauses = Pauses::new(&BackoffPolicy::default());
            [(); 8].map(|()| pauses.next(Retry::Transient))
        };
        assert_ne!(draw(), draw());
    }

    #[test]
    fn each_kind_of_failure_has_its_own_cap() {
        let policy = BackoffPolicy::default();
        let mut pauses = Pauses::new(&policy);
        for (retry, cap) in [
            (Retry::Conflict, policy.conflict_max),
            (Retry::Transient, policy.max),
            (Retry::Blocked, policy.blocked_max),
        ] {
            let longest = (0..1000).map(|_| pauses.next(retry)).max().expect("a thousand draws");
            assert!(longest <= cap && longest > cap * 9 / 10, "{retry:?}: {longest:?}");
        }
        assert_eq!(pauses.next(Retry::After(Duration::from_secs(7))), Duration::from_secs(7));
    }

    #[test]
    fn pause_of_nothing_that_a_store_asks_for_still_grows() {
        let mut pauses = Pauses::new(&BackoffPolicy::default());
        let asked: Duration = (0..100).map(|_| pauses.next(Retry::After(Duration::ZERO))).sum();
        assert!(asked > Duration::from_secs(20), "{asked:?} for a hundred tries");
    }

    #[test]
    fn absurd_durations_do_no_harm() {
        let policy = BackoffPolicy { initial: Duration::MAX, max: Duration::MAX, ..BackoffPolicy::default() };
        assert!(Pauses::new(&policy).next(Retry::Transient) <= LONGEST);
        assert!(Pauses::new(&policy).next(Retry::After(Duration::MAX)) <= LONGEST);
        let zero = BackoffPolicy { initial: Duration::ZERO, max: Duration::ZERO, ..BackoffPolicy::default() };
        assert_eq!(Pauses::new(&zero).next(Retry::Transient), Duration::ZERO);
        assert!(jittered(Duration::MAX) <= LONGEST * 2);
    }

    #[test]
    fn refreshes_stay_near_their_interval_and_out_of_step() {
        let interval = Duration::from_secs(30);
        let draws: Vec<Duration> = (0..1000).map(|_| jittered(interval)).collect();
        assert!(draws.iter().all(|d| *d >= interval * 9 / 10 && *d <= interval * 11 / 10 + Duration::from_nanos(1)));
        let (first, last) = (draws.iter().min().expect("a thousand"), draws.iter().max().expect("a thousand"));
        assert!(*last > *first + interval / 10, "{first:?} to {last:?}");
    }
}
