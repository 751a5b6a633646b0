//! Whether the reporter of an object in a cluster is alive. Pure: the time is
//! passed in.
//!
//! A leader renews its Lease every few seconds, whatever changes, so the Lease is
//! the better sign of life. Without one there is the newest check of a backend,
//! which is as old as the last write.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;

use super::super::format::age;

/// What a Lease that does not say so grants its holder, in seconds: what an
/// election grants unless told otherwise.
const USUAL_DURATION: i64 = 15;

/// The signs of life that an object's reporter gives.
#[derive(Clone, Debug, Default)]
pub(super) struct Liveness {
    /// `None` where there is no election, or where it may not be read.
    pub(super) lease: Option<SeenLease>,
    /// When the newest check of a backend was made.
    pub(super) checked: Option<DateTime<Utc>>,
}

/// A Lease, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeenLease {
    /// Empty after a leader that ended well.
    holder: String,
    renewed: DateTime<Utc>,
    is_expired: bool,
}

impl SeenLease {
    /// What a Lease said at that time; `None` where it was never held.
    ///
    /// It is judged by the time at which it was read. Judged by a later one, a
    /// holder that goes on to renew would look gone while the API server does not
    /// answer.
    pub(super) fn new(lease: &Value, read_at: DateTime<Utc>) -> Option<Self> {
        let spec = lease.get("spec")?;
        let renewed = DateTime::parse_from_rfc3339(spec.get("renewTime")?.as_str()?).ok()?.to_utc();
        let seconds = spec.get("leaseDurationSeconds").and_then(Value::as_i64).filter(|seconds| *seconds > 0);
        let duration = TimeDelta::try_seconds(seconds.unwrap_or(USUAL_DURATION)).unwrap_or(TimeDelta::MAX);
        let holder = spec.get("holderIdentity").and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(SeenLease { holder, renewed, is_expired: read_at - renewed > duration })
    }

    /// Whether it had no holder when it was read.
    pub(super) fn is_gone(&self) -> bool {
        self.is_expired || self.holder.is_empty()
    }

    /// The holder without what makes its identity unique: a candidate adds `_` and
    /// something random to the name of its pod.
    pub(super) fn holder(&self) -> &str {
        self.holder.rsplit_once('_').map_or(&self.holder, |(pod, _)| pod)
    }

    /// A word and how long ago the last renewal was, for a column.
    pub(super) fn short(&self, now: DateTime<Utc>) -> String {
        format!("{} ({})", if self.is_gone() { "gone" } else { "alive" }, since(self.renewed, now))
    }

    fn line(&self, now: DateTime<Utc>) -> String {
        let renewed = since(self.renewed, now);
        let by = if self.holder.is_empty() { "released".into() } else { format!("holder {}", self.holder()) };
        if self.is_gone() {
            let time = self.renewed.to_rfc3339_opts(SecondsFormat::Secs, true);
            format!("gone since {time} ({renewed} ago, {by})")
        } else {
            format!("alive {renewed} ago ({by})")
        }
    }
}

impl Liveness {
    /// Whether the reporter is known to be gone.
    pub(super) fn is_gone(&self) -> bool {
        self.lease.as_ref().is_some_and(SeenLease::is_gone)
    }

    /// How long ago the newest check was made, for a column; empty without one.
    pub(super) fn checked_for(&self, now: DateTime<Utc>) -> String {
        self.checked.map(|at| since(at, now)).unwrap_or_default()
    }

    /// All that can be told, such as `alive 3s ago (holder pod-1), backends checked
    /// 41m ago`; `None` where that is nothing.
    pub(super) fn line(&self, now: DateTime<Utc>) -> Option<String> {
        let lease = self.lease.as_ref().map(|lease| lease.line(now));
        let checked = self.checked.map(|at| format!("backends checked {} ago", since(at, now)));
        let parts: Vec<_> = lease.into_iter().chain(checked).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// How long ago. The clock of another machine may be ahead of ours, by more than
/// [`age`] lets pass.
fn since(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    age(Some(at.min(now)), now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

    fn line(lease: &Value, checked: Option<i64>) -> Option<String> {
        Liveness { lease: SeenLease::new(lease, now()), checked: checked.map(ago) }.line(now())
    }

    const POD: &str = "pod-1_0123456789abcdef";

    #[test]
    fn holder_that_renews_is_alive_whatever_the_age_of_the_checks() {
        let line = line(&lease(POD, 15, 3), Some(41 * 60));
        assert_eq!(line.as_deref(), Some("alive 3s ago (holder pod-1), backends checked 41m ago"));
    }

    #[test]
    fn lease_that_was_not_renewed_for_its_duration_says_since_when_the_reporter_is_gone() {
        assert_eq!(line(&lease(POD, 15, 15), None).as_deref(), Some("alive 15s ago (holder pod-1)"));
        assert_eq!(
            line(&lease(POD, 15, 16), Some(3600)).as_deref(),
            Some("gone since 2024-10-03T23:59:44Z (16s ago, holder pod-1), backends checked 60m ago")
        );
    }

    #[test]
    fn lease_that_was_released_is_gone_before_its_duration_ends() {
        assert_eq!(
            line(&lease("", 15, 0), None).as_deref(),
            Some("gone since 2024-10-04T00:00:00Z (0s ago, released)")
        );
    }

    #[test]
    fn object_without_a_lease_says_when_backends_were_checked_and_nothing_without_checks() {
        for none in [json!(null), json!({}), json!({"spec": {}}), json!({"spec": {"renewTime": "soon"}})] {
            assert_eq!(line(&none, Some(41 * 60)).as_deref(), Some("backends checked 41m ago"), "{none}");
            assert_eq!(line(&none, None), None, "{none}");
        }
    }

    #[test]
    fn clock_of_another_machine_that_is_ahead_counts_as_now() {
        let line = line(&lease(POD, 15, -3600), Some(-90));
        assert_eq!(line.as_deref(), Some("alive 0s ago (holder pod-1), backends checked 0s ago"));
    }

    #[test]
    fn duration_that_makes_no_sense_is_the_usual_one_or_endless() {
        for (duration, gone) in [(0, true), (-1, true), (i64::MAX, false)] {
            let seen = SeenLease::new(&lease(POD, duration, 16), now()).expect("it was renewed");
            assert_eq!(seen.is_gone(), gone, "{duration}");
        }
        let bare = json!({"spec": {"holderIdentity": "other", "renewTime": ago(3).to_rfc3339()}});
        assert_eq!(line(&bare, None).as_deref(), Some("alive 3s ago (holder other)"));
    }

    #[test]
    fn lease_is_judged_by_the_time_at_which_it_was_read() {
        let seen = SeenLease::new(&lease(POD, 15, 100), ago(99)).expect("it was renewed");
        assert_eq!(seen.short(now()), "alive (100s)", "it has not been read since");
        let seen = SeenLease::new(&lease(POD, 15, 100), now()).expect("it was renewed");
        assert_eq!(seen.short(now()), "gone (100s)");
    }
}
