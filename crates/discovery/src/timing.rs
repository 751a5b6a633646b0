//! When to check again, and waiting until then.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// No interval is longer: a clock cannot count to the end of time.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Jitter of an interval, as a part of it.
const JITTER: f64 = 0.1;

/// Waits until this time; for ever without one.
pub(crate) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// The interval, somewhat shorter or longer each time.
pub(crate) fn jittered(interval: Duration) -> Duration {
    around(interval, JITTER)
}

/// Half of the interval to one and a half, each as likely: what starts together
/// is spread over the interval.
pub(crate) fn spread(interval: Duration) -> Duration {
    around(interval, 0.5)
}

/// The pause that a server asks for, as long as a clock can count.
pub(crate) fn bounded(pause: Duration) -> Duration {
    pause.min(LONGEST)
}

/// A time that is on average this one.
fn around(mean: Duration, jitter: f64) -> Duration {
    mean.min(LONGEST).mul_f64(1.0 - jitter + 2.0 * jitter * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_stay_within_their_jitter_and_are_not_all_alike() {
        let minute = Duration::from_secs(60);
        let all: Vec<_> = (0..200).map(|_| (jittered(minute), spread(minute))).collect();
        assert!(all.iter().all(|(time, _)| (54.0..=66.0).contains(&time.as_secs_f64())));
        assert!(all.iter().all(|(_, time)| (30.0..=90.0).contains(&time.as_secs_f64())));
        assert!(all.windows(2).any(|pair| pair[0] != pair[1]));
        assert!(jittered(Duration::MAX) <= LONGEST * 2);
    }
}
