//! When a refusal is a verdict on rights, and when the server may just have started.
//! Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A refusal counts as lasting after this time.
const LASTING: Duration = Duration::from_secs(30);
/// And after this many refusals in a row: the first after a long pause is no verdict.
const REFUSALS: u32 = 3;
/// A refusal this long after the one before begins a new row: what was asked in between
/// may have been allowed.
const LONGEST_GAP: Duration = Duration::from_secs(5 * 60);

/// The refusals of one right in a row.
///
/// An API server that has just started refuses everything to everyone, with 403, until
/// it has loaded its roles. So nothing is concluded from a refusal until it has lasted
/// for 30 s over three answers (law 10).
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::kubernetes) struct RefusalStreak {
    /// The first refusal and the last one.
    span: Option<(Instant, Instant)>,
    refusals: u32,
    lasts: bool,
}

impl RefusalStreak {
    /// Counts a refusal; returns whether it lasts.
    pub(in crate::kubernetes) fn refused(&mut self, now: Instant) -> bool {
        if self.span.is_some_and(|(_, last)| now > last + LONGEST_GAP) {
            self.allowed();
        }
        let (since, _) = self.span.unwrap_or((now, now));
        self.span = Some((since, now));
        self.refusals = self.refusals.saturating_add(1);
        self.lasts = self.refusals >= REFUSALS && now >= since + LASTING;
        self.lasts
    }

    /// Whether there is a refusal that may pass by itself.
    pub(in crate::kubernetes) fn may_pass(&self) -> bool {
        self.refusals > 0 && !self.lasts
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
        assert!(!often.may_pass(), "there is none");
        assert!((0..30).all(|second| !often.refused(start + SECOND * second) && often.may_pass()));
        assert!(often.refused(start + LASTING) && !often.may_pass());

        let mut seldom = RefusalStreak::default();
        assert!(!seldom.refused(start) && !seldom.refused(start + 60 * SECOND));
        assert!(seldom.refused(start + 120 * SECOND));
        assert!(!seldom.refused(start + 1000 * SECOND), "a new row");
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
