//! What a Lease tells of the reporter that holds it.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{Reporter, ReporterState};

/// What a Lease that does not say so grants its holder, in seconds: what an
/// election grants unless told otherwise.
const USUAL_DURATION: i64 = 15;

/// A Lease, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::get) struct SeenLease {
    /// Empty after a leader that ended well.
    holder: String,
    renewed: DateTime<Utc>,
    /// When it runs out unless it is renewed; `None`: never.
    ends: Option<DateTime<Utc>>,
    has_run_out: bool,
}

impl SeenLease {
    /// What a Lease said at that time; `None` where it was never held.
    ///
    /// It is judged by the time at which it was read. Judged by a later one, a
    /// holder that goes on to renew would look gone while the API server does not
    /// answer.
    pub(in crate::get) fn new(lease: &Value, read_at: DateTime<Utc>) -> Option<Self> {
        let spec = lease.get("spec")?;
        let renewed = DateTime::parse_from_rfc3339(spec.get("renewTime")?.as_str()?).ok()?.to_utc();
        let seconds = spec.get("leaseDurationSeconds").and_then(Value::as_i64).filter(|seconds| *seconds > 0);
        let duration = TimeDelta::try_seconds(seconds.unwrap_or(USUAL_DURATION));
        let ends = duration.and_then(|duration| renewed.checked_add_signed(duration));
        let holder = spec.get("holderIdentity").and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(SeenLease { holder, renewed, ends, has_run_out: ends.is_some_and(|ends| read_at > ends) })
    }

    /// The reporter that holds the Lease, or held it last. `None` where a backend was
    /// checked after the Lease had run out: its holder was not the last to report, and
    /// those that report now do not elect a leader.
    pub(in crate::get) fn reporter(&self, checked: Option<DateTime<Utc>>) -> Option<Reporter> {
        let is_gone = self.has_run_out || self.holder.is_empty();
        if is_gone && self.ends.zip(checked).is_some_and(|(ends, checked)| checked > ends) {
            return None;
        }
        let who = if self.holder.is_empty() { "released".into() } else { format!("holder {}", self.holder()) };
        let state = if is_gone { ReporterState::Gone } else { ReporterState::Alive { vouches: true } };
        Some(Reporter { state, seen: Some(self.renewed), who })
    }

    /// The holder without what makes its identity unique: a candidate adds `_` and
    /// something random to the name of its pod.
    pub(in crate::get) fn holder(&self) -> &str {
        self.holder.rsplit_once('_').map_or(&self.holder, |(pod, _)| pod)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
    }

    fn ago(seconds: i64) -> DateTime<Utc> {
        now() - TimeDelta::seconds(seconds)
    }

    fn lease(holder: &str, duration: i64, renewed: i64) -> Value {
        json!({"spec": {
            "holderIdentity": holder, "leaseDurationSeconds": duration, "renewTime": ago(renewed).to_rfc3339(),
        }})
    }

    /// Whether the holder is gone, and who it is.
    fn read(lease: &Value, read_at: DateTime<Utc>, checked: Option<i64>) -> Option<(bool, String)> {
        let reporter = SeenLease::new(lease, read_at)?.reporter(checked.map(ago))?;
        Some((reporter.state == ReporterState::Gone, reporter.who))
    }

    const POD: &str = "pod-1_0123456789abcdef";

    #[test]
    fn holder_is_alive_until_its_lease_was_not_renewed_for_its_duration() {
        for (renewed, gone) in [(3, false), (15, false), (16, true)] {
            assert_eq!(read(&lease(POD, 15, renewed), now(), None), Some((gone, "holder pod-1".into())), "{renewed}");
        }
        assert_eq!(read(&lease("other", 15, -3600), now(), None), Some((false, "holder other".into())));
    }

    #[test]
    fn lease_that_was_released_is_gone_before_its_duration_ends() {
        assert_eq!(read(&lease("", 15, 0), now(), None), Some((true, "released".into())));
    }

    #[test]
    fn lease_that_was_never_held_says_nothing() {
        for none in [json!(null), json!({}), json!({"spec": {}}), json!({"spec": {"renewTime": "soon"}})] {
            assert_eq!(read(&none, now(), None), None, "{none}");
        }
    }

    #[test]
    fn duration_that_makes_no_sense_is_the_usual_one_or_endless() {
        for (duration, gone) in [(0, true), (-1, true), (i64::MAX, false)] {
            assert_eq!(read(&lease(POD, duration, 16), now(), None).map(|it| it.0), Some(gone), "{duration}");
        }
        let bare = json!({"spec": {"holderIdentity": "other", "renewTime": ago(3).to_rfc3339()}});
        assert_eq!(read(&bare, now(), None), Some((false, "holder other".into())));
    }

    #[test]
    fn lease_is_judged_by_the_time_at_which_it_was_read() {
        assert_eq!(read(&lease(POD, 15, 100), ago(99), None).map(|it| it.0), Some(false), "it has not been read since");
        assert_eq!(read(&lease(POD, 15, 100), now(), None).map(|it| it.0), Some(true));
    }

    #[test]
    fn lease_that_ended_before_the_newest_check_says_nothing() {
        for holder in [POD, ""] {
            assert!(read(&lease(holder, 15, 100), now(), Some(85)).is_some(), "the check was within the term");
            assert_eq!(read(&lease(holder, 15, 100), now(), Some(84)), None);
        }
        assert!(read(&lease(POD, 15, 10), now(), Some(-60)).is_some(), "its holder is alive");
    }
}
