//! From what checks find to what is reported: one lost check is not a failure
//! (law 14). Pure.

use std::time::Duration;

use vmcp_status::BackendStatus;

/// The least time between a failed check and the next one, and the time to the
/// second check of a backend that has no verdict yet.
pub(super) const SOON: Duration = Duration::from_secs(1);
/// A backend that never had a verdict gets it from its second failure: nothing
/// good is known of it that more checks could confirm.
const FAILURES_AT_FIRST: u32 = 2;

/// How many checks in a row change a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) unhealthy: u32,
    pub(crate) healthy: u32,
}

impl Thresholds {
    /// ToolHive's defaults.
    pub(crate) const DEFAULT: Self = Thresholds { unhealthy: 3, healthy: 1 };
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Observation {
    /// The backend answered; the status says how.
    Answered { status: BackendStatus, message: String, revision: String },
    /// The backend is unavailable, as far as this check can tell.
    Failed { message: String },
    /// The backend refuses to be asked so often, which tells nothing of how it is.
    Deferred { message: String },
}

/// What is reported of one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Unknown until there is a verdict.
    pub(super) status: BackendStatus,
    pub(super) message: String,
    /// The revision spoken last: a failed check does not make it unknown.
    pub(super) revision: String,
    /// Whether the status was found by others, or elsewhere: it stands until checks
    /// have told anew, as for a backend without a verdict.
    is_inherited: bool,
    /// Failed checks in a row.
    pub(super) failures: u32,
    /// Answered checks in a row.
    answers: u32,
    /// Why the first of the failures in a row failed.
    reason: String,
    /// Another reason, and how many checks in a row have found it since.
    other_reason: (String, u32),
}

impl Verdict {
    /// A finding that stands until there is a verdict.
    pub(super) fn inherited(status: BackendStatus, message: String, revision: String) -> Self {
        Verdict { status, message, revision, is_inherited: true, ..Verdict::default() }
    }

    /// The same, after a change of how the backend is checked: it stands until there
    /// is a new verdict, with a reason of its own.
    pub(super) fn in_question(self) -> Self {
        Verdict { is_inherited: true, answers: 0, reason: String::new(), other_reason: Default::default(), ..self }
    }

    /// The verdict after one more check.
    pub(super) fn after(self, observation: Observation, thresholds: Thresholds) -> Self {
        match observation {
            Observation::Answered { status, message, revision } => {
                let answers = self.answers.saturating_add(1);
                let next = Verdict { answers, failures: 0, ..self };
                if next.is_unavailable() && answers < thresholds.healthy {
                    return next;
                }
                let revision = if revision.is_empty() { next.revision } else { revision };
                Verdict { status, message, revision, is_inherited: false, ..next }
            }
            Observation::Failed { message } => self.failed(message, thresholds),
            Observation::Deferred { message } => Verdict { message, ..self },
        }
    }

    fn failed(self, message: String, thresholds: Thresholds) -> Self {
        let failures = self.failures.saturating_add(1);
        let mut next = Verdict { failures, answers: 0, ..self };
        if next.reason.is_empty() || failures == 1 && !next.is_unavailable() {
            next.reason = message;
            next.other_reason = Default::default();
        } else if next.reason == message {
            next.other_reason = Default::default();
        } else {
            // A reason changes as a verdict does: not by a single check.
            let times = if next.other_reason.0 == message { next.other_reason.1 } else { 0 };
            next.other_reason = (message, times.saturating_add(1));
            if next.other_reason.1 >= thresholds.unhealthy {
                (next.reason, _) = std::mem::take(&mut next.other_reason);
            }
        }
        let at_first = if next.is_given() { u32::MAX } else { FAILURES_AT_FIRST };
        if next.is_unavailable() || failures >= thresholds.unhealthy.min(at_first) {
            next.status = BackendStatus::Unavailable;
            next.is_inherited = false;
            next.message.clone_from(&next.reason);
        }
        next
    }

    /// Whether checks have told how the backend is.
    pub(super) fn is_given(&self) -> bool {
        self.status != BackendStatus::Unknown && !self.is_inherited
    }

    fn is_unavailable(&self) -> bool {
        self.is_given() && self.status == BackendStatus::Unavailable
    }

    /// The time to the next check, before jitter, where the next one should come
    /// sooner than usual: a real outage shows within about one interval.
    pub(super) fn sooner(&self, interval: Duration) -> Option<Duration> {
        if self.failures == 0 || self.is_unavailable() {
            None
        } else if self.is_given() {
            Some((interval / 3).max(SOON).min(interval))
        } else {
            Some(SOON.min(interval))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Observation {
        let revision = "2025-11-25".into();
        Observation::Answered { status: BackendStatus::Ready, message: String::new(), revision }
    }

    fn failed(message: &str) -> Observation {
        Observation::Failed { message: message.into() }
    }

    fn after(observations: impl IntoIterator<Item = Observation>) -> Verdict {
        let fold = |verdict: Verdict, observation| verdict.after(observation, Thresholds::DEFAULT);
        observations.into_iter().fold(Verdict::default(), fold)
    }

    fn shown(verdict: &Verdict) -> (BackendStatus, &str, u32) {
        (verdict.status, &verdict.message, verdict.failures)
    }

    #[test]
    fn backend_without_a_verdict_gets_it_from_its_first_answer_or_its_second_failure() {
        assert_eq!(shown(&after([ready()])), (BackendStatus::Ready, "", 0));
        let once = after([failed("a")]);
        assert_eq!((shown(&once), once.is_given()), ((BackendStatus::Unknown, "", 1), false));
        assert_eq!(shown(&after([failed("a"), ready()])), (BackendStatus::Ready, "", 0));
        assert_eq!(shown(&after([failed("a"), failed("b")])), (BackendStatus::Unavailable, "a", 2));
    }

    #[test]
    fn verdict_stays_below_the_threshold_and_failures_alone_are_counted() {
        let twice = after([ready(), failed("a"), failed("a")]);
        assert_eq!((shown(&twice), &*twice.revision), ((BackendStatus::Ready, "", 2), "2025-11-25"));
        assert_eq!(shown(&after([ready(), failed("a"), failed("a"), ready()])), (BackendStatus::Ready, "", 0));
        let down = after([ready(), failed("a"), failed("b"), failed("c")]);
        assert_eq!((shown(&down), &*down.revision), ((BackendStatus::Unavailable, "a", 3), "2025-11-25"));
    }

    #[test]
    fn blip_amid_answers_never_shows() {
        let blips = (0..30).map(|check| if check % 3 == 1 { failed("a") } else { ready() });
        let mut verdict = Verdict::default();
        for observation in blips {
            verdict = verdict.after(observation, Thresholds::DEFAULT);
            assert_eq!((verdict.status, &*verdict.message), (BackendStatus::Ready, ""));
        }
    }

    #[test]
    fn recovery_takes_as_many_answers_as_the_healthy_threshold() {
        let thresholds = Thresholds { unhealthy: 1, healthy: 2 };
        let down = Verdict::default().after(failed("a"), thresholds);
        assert_eq!(shown(&down), (BackendStatus::Unavailable, "a", 1));
        let once = down.after(ready(), thresholds);
        assert_eq!(shown(&once), (BackendStatus::Unavailable, "a", 0));
        let relapsed = once.clone().after(failed("a"), thresholds).after(ready(), thresholds);
        assert_eq!(relapsed.status, BackendStatus::Unavailable, "not in a row");
        assert_eq!(shown(&once.after(ready(), thresholds)), (BackendStatus::Ready, "", 0));
    }

    #[test]
    fn reason_of_the_first_failure_stays_until_another_has_lasted() {
        let down = || vec![failed("a"), failed("a")];
        let wavering = (0..20).map(|check| failed(if check % 2 == 0 { "b" } else { "a" }));
        assert_eq!(after(down().into_iter().chain(wavering)).message, "a");
        let with = |times| after(down().into_iter().chain((0..times).map(|_| failed("b")))).message;
        assert_eq!((&*with(2), &*with(3)), ("a", "b"));
    }

    #[test]
    fn inherited_finding_stands_until_the_first_answer_or_the_second_failure() {
        for status in [BackendStatus::Ready, BackendStatus::Unavailable] {
            let inherited = Verdict::inherited(status, "before".into(), String::new());
            let once = inherited.clone().after(failed("a"), Thresholds::DEFAULT);
            assert_eq!((shown(&once), once.is_given()), ((status, "before", 1), false));
            assert_eq!(once.sooner(Duration::from_secs(30)), Some(SOON));
            let twice = once.after(failed("b"), Thresholds::DEFAULT);
            assert_eq!((shown(&twice), twice.is_given()), ((BackendStatus::Unavailable, "a", 2), true));
            let strict = Thresholds { healthy: 2, ..Thresholds::DEFAULT };
            assert_eq!(shown(&inherited.after(ready(), strict)), (BackendStatus::Ready, "", 0));
        }
    }

    #[test]
    fn verdict_in_question_changes_by_the_second_failure_and_for_a_reason_of_its_own() {
        let good = after([ready()]).in_question();
        assert_eq!(shown(&good), (BackendStatus::Ready, "", 0));
        let bad = [failed("a"), failed("a")].into_iter().fold(good, |v, o| v.after(o, Thresholds::DEFAULT));
        assert_eq!(shown(&bad), (BackendStatus::Unavailable, "a", 2));
        let again = bad.in_question().after(failed("b"), Thresholds::DEFAULT);
        assert_eq!(shown(&again), (BackendStatus::Unavailable, "b", 3));
    }

    #[test]
    fn refusal_to_be_asked_so_often_keeps_the_verdict() {
        let limited = Observation::Deferred { message: "Rate limited".into() };
        assert_eq!(shown(&after([ready(), limited.clone()])), (BackendStatus::Ready, "Rate limited", 0));
        let between = after([ready(), failed("a"), failed("a"), limited.clone()]);
        assert_eq!(shown(&between), (BackendStatus::Ready, "Rate limited", 2));
        assert_eq!(shown(&after([failed("a"), failed("a"), limited])), (BackendStatus::Unavailable, "Rate limited", 2));
    }

    #[test]
    fn next_check_comes_sooner_after_a_failure_that_changed_nothing_yet() {
        let interval = Duration::from_secs(30);
        assert_eq!(after([ready()]).sooner(interval), None);
        assert_eq!(after([failed("a")]).sooner(interval), Some(SOON));
        assert_eq!(after([failed("a"), failed("a")]).sooner(interval), None);
        for failures in [1, 2] {
            let verdict = after([ready()].into_iter().chain((0..failures).map(|_| failed("a"))));
            assert_eq!(verdict.sooner(interval), Some(interval / 3));
            assert_eq!(verdict.sooner(Duration::from_secs(2)), Some(SOON));
            assert_eq!(verdict.sooner(Duration::from_millis(20)), Some(Duration::from_millis(20)));
        }
        assert_eq!(after([ready(), failed("a"), failed("a"), failed("a")]).sooner(interval), None);
    }
}
