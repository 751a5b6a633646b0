//! When a refusal is a verdict on rights, and when the server may just have started.
//! Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A refusal counts as lasting after this time.
const LASTING: Duration = Duration::from_secs(30);
/// And after this many refusals in a row: the first after a long pause is no verdict.
const REFUSALS: u32 = 3;

/// The refusals of one right in a row.
///
/// An API server that has just started refuses everything to everyone, with 403, until
/// it has loaded its roles. So nothing is concluded from a refusal until it has lasted
/// for 30 s over three answers (law 10).
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::kubernetes) struct RefusalStreak {
    since: Option<Instant>,
    refusals: u32,
}

impl RefusalStreak {
    /// Counts a refusal; returns whether it lasts.
    pub(in crate::kubernetes) fn refused(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.refusals = self.refusals.saturating_add(1);
        self.refusals >= REFUSALS && now >= since + LASTING
    }

    /// The server allowed the request, so that later refusals begin a streak of their
    /// own.
    pub(in crate::kubernetes) fn allowed(&mut self) {
        *self = RefusalStreak::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn refusal_lasts_after_thirty_seconds_and_three_answers() {
        let start = Instant::now();
        let mut often = RefusalStreak::default();
        assert!((0..30).all(|second| !often.refused(start + SECOND * second)));
        assert!(often.refused(start + LASTING));

        let mut seldom = RefusalStreak::default();
        assert!(!seldom.refused(start) && !seldom.refused(start + 60 * SECOND));
        assert!(seldom.refused(start + 120 * SECOND));
    }

    #[test]
    fn streak_begins_anew_after_an_answer() {
        let start = Instant::now();
        let mut streak = RefusalStreak::default();
        assert!((0..30).all(|second| !streak.refused(start + SECOND * second)));
        streak.allowed();
        assert!((30..60).all(|second| !streak.refused(start + SECOND * second)));
        assert!(streak.refused(start + 60 * SECOND));
    }
}
