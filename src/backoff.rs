//! How long to wait between attempts. This is the only file that names the
//! `backoff` crate, which provides exponential growth and jitter.

use std::future::pending;
use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use tokio::time::{Instant, sleep_until};

use crate::error::Retry;

/// How the pauses between attempts grow (law 10).
///
/// Each pause has a jitter of up to half of it either way, so that many reporters do not
/// return in step. For the same reason the reporter adds some time to a pause that the
/// store asks for: about half of it at first, four times of it after refusals in a row,
/// at most `max`. That time comes on top of `retry_after_max` too.
///
/// ```
/// use std::time::Duration;
///
/// use vmcp_status::BackoffPolicy;
///
/// // A store nearby, which may be asked more often.
/// let policy = BackoffPolicy { initial: Duration::from_millis(50), max: Duration::from_secs(5), ..BackoffPolicy::default() };
/// assert_eq!(policy.blocked_max, Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// First pause after a fault that passes. Default 500 ms.
    pub initial: Duration,
    /// Longest pause after faults that pass. Default 30 s.
    pub max: Duration,
    /// First pause after a conflict. Default 20 ms.
    pub conflict_initial: Duration,
    /// Longest pause after conflicts in a row. Default 1 s.
    pub conflict_max: Duration,
    /// Longest pause while no connection to the store can be made. Default 10 s. Each pause
    /// is anything up to the present longest, so on average half of it.
    pub unreachable_max: Duration,
    /// Longest pause while rights or the object are missing. Default 60 s.
    pub blocked_max: Duration,
    /// Longest pause that the reporter keeps because the store asks for it; what is asked
    /// beyond it does not count. Default 60 s.
    pub retry_after_max: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        BackoffPolicy {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            conflict_initial: Duration::from_millis(20),
            conflict_max: Duration::from_secs(1),
            unreachable_max: Duration::from_secs(10),
            blocked_max: Duration::from_secs(60),
            retry_after_max: Duration::from_secs(60),
        }
    }
}

/// Jitter of pauses, as a part of the pause.
const JITTER: f64 = 0.5;
/// Jitter of a periodic refresh, as a part of its interval.
const REFRESH_JITTER: f64 = 0.1;
const GROWTH: f64 = 2.0;
/// The longest pause, whatever a setting or a server asks for: adding an absurd
/// duration to a clock overflows it.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The delays between the attempts of one caller. Each kind of failure has a delay
/// of its own, which grows while failures repeat.
#[derive(Debug)]
pub struct Backoffs {
    passing: Growing,
    unreachable: Spread,
    conflict: Growing,
    blocked: Growing,
    added: Added,
    retry_after_max: Duration,
}

impl Backoffs {
    /// Makes delays that start from the shortest.
    pub fn new(policy: &BackoffPolicy) -> Self {
        Backoffs {
            passing: Growing::new(policy.initial, policy.max),
            unreachable: Spread::new(policy.initial, policy.unreachable_max),
            conflict: Growing::new(policy.conflict_initial, policy.conflict_max),
            blocked: Growing::new(policy.initial, policy.blocked_max),
            added: Added::new(policy),
            retry_after_max: policy.retry_after_max.min(LONGEST),
        }
    }

    /// Returns how long to wait after this failure, the latest in a row.
    pub fn next(&mut self, retry: Retry) -> Duration {
        match retry {
            // A status that is too large is retried soon too. The delay grows, in
            // case the sink does not lower its limit.
            Retry::Conflict | Retry::TooLarge => self.conflict.next(),
            Retry::After(pause) => {
                // A proxy that asks for a day must not silence the reporter for a day.
                let pause = pause.min(self.retry_after_max);
                (pause + self.added.next(pause)).min(LONGEST)
            }
            Retry::Transient => self.passing.next(),
            Retry::Unreachable => self.unreachable.next(),
            Retry::Blocked => self.blocked.next(),
            Retry::Refused => Duration::ZERO,
        }
    }

    /// Starts again from the shortest delays, after an attempt that succeeded.
    pub fn reset(&mut self) {
        self.passing.reset();
        self.unreachable.reset();
        self.conflict.reset();
        self.blocked.reset();
        self.added.reset();
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
        // The crate adds jitter after its cap, so a lower cap leaves room for it.
        // Cut off at `max`, half of all reporters would return at the same time.
        let mean = max.div_f64(1.0 + JITTER);
        Growing { inner: exponential(initial.min(mean), mean, GROWTH, JITTER), max }
    }

    fn next(&mut self) -> Duration {
        // The crate's sequence never ends, and overshoots by a nanosecond at most.
        self.inner.next_backoff().map_or(self.max, |pause| pause.min(self.max))
    }

    fn reset(&mut self) {
        self.inner.reset();
    }
}

/// Pauses that are spread over their whole length, which doubles up to `max`. They
/// bring one reporter back soon, and many one after the other.
#[derive(Debug)]
struct Spread {
    initial: Duration,
    max: Duration,
    length: Duration,
}

impl Spread {
    fn new(initial: Duration, max: Duration) -> Self {
        let max = max.min(LONGEST);
        let initial = initial.min(max / 2) * 2;
        Spread { initial, max, length: initial }
    }

    fn next(&mut self) -> Duration {
        let pause = up_to(self.length);
        self.length = (self.length * 2).min(self.max);
        pause
    }

    fn reset(&mut self) {
        self.length = self.initial;
    }
}

/// The time added to a pause that the store asked for. The store asks all reporters
/// that it refuses at one time for the same pause. Without this they would return
/// together, be refused again, and stay in step.
#[derive(Debug)]
struct Added {
    /// Replaces a shorter pause that the store asks for: it can ask for none at all,
    /// or for a date in the past.
    least: Duration,
    most: Duration,
    /// Refusals in a row.
    refusals: u32,
}

impl Added {
    /// The mean starts at half of the pause asked for, and doubles this many times.
    const DOUBLINGS: u32 = 3;

    fn new(policy: &BackoffPolicy) -> Self {
        let most = |max: Duration| max.min(LONGEST).div_f64(1.0 + JITTER);
        let least = most(policy.conflict_max) * 2 / (1 << Added::DOUBLINGS);
        Added { least, most: most(policy.max), refusals: 0 }
    }

    fn next(&mut self, asked: Duration) -> Duration {
        let doubled = 1 << self.refusals.min(Added::DOUBLINGS);
        self.refusals = self.refusals.saturating_add(1);
        around((asked.max(self.least) * doubled / 2).min(self.most), JITTER)
    }

    fn reset(&mut self) {
        self.refusals = 0;
    }
}

/// Waits until this time, or for ever if there is none.
pub(crate) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// Returns the interval, slightly shorter or longer each time.
pub(crate) fn jittered(interval: Duration) -> Duration {
    around(interval.min(LONGEST), REFRESH_JITTER)
}

/// Returns a random time between zero and this one, all of them as likely.
pub(crate) fn up_to(longest: Duration) -> Duration {
    around(longest.min(LONGEST) / 2, 1.0)
}

/// Returns a random time whose average is `mean`.
fn around(mean: Duration, jitter: f64) -> Duration {
    exponential(mean, mean, 1.0, jitter).next_backoff().unwrap_or(mean)
}

/// Retries without a limit in time, because the crate's default ends them after 15
/// minutes.
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
        let mut pauses = Backoffs::new(&policy);
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
    fn pauses_while_no_connection_can_be_made_are_spread_over_their_whole_length() {
        let policy = BackoffPolicy::default();
        let mut pauses = Backoffs::new(&policy);
        let first = pauses.next(Retry::Unreachable);
        assert!(first <= policy.initial * 2, "{first:?}");
        let drawn: Vec<Duration> = (0..10_000).map(|_| pauses.next(Retry::Unreachable)).skip(10).collect();
        for tenth in 0..10 {
            let (from, until) = (policy.unreachable_max * tenth / 10, policy.unreachable_max * (tenth + 1) / 10);
            let count = drawn.iter().filter(|pause| (from..until).contains(pause)).count();
            assert!((800..1200).contains(&count), "{count} from {from:?} to {until:?}");
        }
        assert!(drawn.iter().all(|pause| *pause <= policy.unreachable_max + Duration::from_nanos(1)));
    }

    #[test]
    fn pauses_of_two_reporters_differ() {
        let draw = || {
            let mut pauses = Backoffs::new(&BackoffPolicy::default());
            [(); 8].map(|()| pauses.next(Retry::Transient))
        };
        assert_ne!(draw(), draw());
    }

    #[test]
    fn each_kind_of_failure_has_its_own_cap() {
        let policy = BackoffPolicy::default();
        let mut pauses = Backoffs::new(&policy);
        for (retry, cap) in [
            (Retry::Conflict, policy.conflict_max),
            (Retry::Transient, policy.max),
            (Retry::Blocked, policy.blocked_max),
        ] {
            let longest = (0..1000).map(|_| pauses.next(retry)).max().expect("a thousand draws");
            assert!(longest <= cap && longest > cap * 9 / 10, "{retry:?}: {longest:?}");
        }
    }

    #[test]
    fn pause_that_a_store_asks_for_is_exceeded_by_a_different_time_for_each_reporter() {
        let asked = Duration::from_secs(7);
        let first = || Backoffs::new(&BackoffPolicy::default()).next(Retry::After(asked));
        let draws: Vec<Duration> = (0..1000).map(|_| first()).collect();
        let (soonest, last) = (draws.iter().min().expect("a thousand"), draws.iter().max().expect("a thousand"));
        assert!(*soonest > asked && *last < asked * 2, "{soonest:?} to {last:?}");
        assert!(*last > *soonest + asked / 3, "{soonest:?} to {last:?}");
    }

    #[test]
    fn pauses_that_a_store_asks_for_again_and_again_grow_to_their_cap() {
        let policy = BackoffPolicy::default();
        let mut pauses = Backoffs::new(&policy);
        for (asked, most) in [(Duration::from_secs(1), Duration::from_secs(6)), (policy.max * 10, policy.max)] {
            pauses.reset();
            let kept = asked.min(policy.retry_after_max);
            let added: Vec<Duration> =
                (0..1000).map(|_| pauses.next(Retry::After(asked)).saturating_sub(kept)).collect();
            let longest = *added.iter().max().expect("a thousand");
            assert!(added[0] <= asked * 3 / 4, "{:?}", added[0]);
            assert!(longest <= most + Duration::from_micros(1) && longest > most * 9 / 10, "{longest:?} of {most:?}");
        }
    }

    #[test]
    fn pause_of_nothing_that_a_store_asks_for_still_grows() {
        let mut pauses = Backoffs::new(&BackoffPolicy::default());
        let asked: Duration = (0..100).map(|_| pauses.next(Retry::After(Duration::ZERO))).sum();
        assert!(asked > Duration::from_secs(20), "{asked:?} for a hundred tries");
    }

    #[test]
    fn absurd_durations_do_no_harm() {
        let policy = BackoffPolicy { initial: Duration::MAX, max: Duration::MAX, ..BackoffPolicy::default() };
        assert!(Backoffs::new(&policy).next(Retry::Transient) <= LONGEST);
        assert!(Backoffs::new(&policy).next(Retry::After(Duration::MAX)) <= LONGEST);
        assert!(Backoffs::new(&policy).next(Retry::Unreachable) <= LONGEST);
        let zero = BackoffPolicy { initial: Duration::ZERO, max: Duration::ZERO, ..BackoffPolicy::default() };
        assert_eq!(Backoffs::new(&zero).next(Retry::Transient), Duration::ZERO);
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
