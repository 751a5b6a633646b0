//! The record in a Lease. It keeps the object as it came, so that fields of other
//! writers stay.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use crate::custom_resource::APP_NAME;

/// The bounds of a lease's duration. A record beyond them is invalid, and must neither
/// block the election for ever nor make replicas race for the Lease.
pub(super) const SHORTEST: Duration = Duration::from_secs(1);
pub(super) const LONGEST: Duration = Duration::from_secs(3600);

/// The whole object.
#[derive(Clone, Debug)]
pub(super) struct Lease(Map<String, Value>);

impl Lease {
    /// Makes a lease that does not exist yet.
    pub(super) fn named(name: &str) -> Self {
        let mut object = Map::new();
        object.insert("apiVersion".into(), json!("coordination.k8s.io/v1"));
        object.insert("kind".into(), json!("Lease"));
        object.insert("metadata".into(), json!({"name": name, "labels": {"app.kubernetes.io/name": APP_NAME}}));
        Lease(object)
    }

    /// Reads a lease that a server sent; `None` without a version, because no
    /// conditional write is possible then.
    pub(super) fn from_object(object: Value) -> Option<Self> {
        let Value::Object(object) = object else { return None };
        object.get("metadata")?.get("resourceVersion")?.as_str()?;
        Some(Lease(object))
    }

    pub(super) fn object(&self) -> &Map<String, Value> {
        &self.0
    }

    fn said(&self, field: &str) -> Option<&Value> {
        self.0.get("spec")?.get(field)
    }

    /// The identity of the holder; empty if the lease is free.
    pub(super) fn holder(&self) -> &str {
        self.said("holderIdentity").and_then(Value::as_str).unwrap_or_default()
    }

    /// For how long the lease is held without a renewal; `usual` if the record does not
    /// say.
    pub(super) fn duration(&self, usual: Duration) -> Duration {
        let seconds = self.said("leaseDurationSeconds").and_then(Value::as_i64);
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
        seconds.map_or(usual, Duration::from_secs).clamp(SHORTEST, LONGEST)
    }

    /// Whether no replica has renewed or taken the lease in between.
    pub(super) fn says_the_same_as(&self, other: &Lease) -> bool {
        self.0.get("spec") == other.0.get("spec")
    }

    /// Returns the lease taken, or renewed, by this holder.
    pub(super) fn held_by(&self, identity: &str, duration: Duration, now: DateTime<Utc>) -> Lease {
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        let same = self.holder() == identity;
        let now = micros(if same { self.renewed_at(now) } else { now });
        let transitions = self.said("leaseTransitions").and_then(Value::as_i64);
        let mut next = self.clone();
        let spec = next.spec();
        if !same {
            let changes = transitions.map_or(i64::from(!self.holder().is_empty()), |before| before.max(0) + 1);
            spec.insert("leaseTransitions".into(), json!(changes.min(i64::from(i32::MAX))));
            spec.insert("acquireTime".into(), json!(now));
        }
        spec.insert("holderIdentity".into(), json!(identity));
        spec.insert("leaseDurationSeconds".into(), json!(seconds));
        spec.insert("renewTime".into(), json!(now));
        next
    }

    /// Returns the lease without a holder, free for the next replica.
    pub(super) fn released(&self, now: DateTime<Utc>) -> Lease {
        let now = micros(now);
        let mut next = self.clone();
        let spec = next.spec();
        spec.insert("holderIdentity".into(), json!(""));
        spec.insert("leaseDurationSeconds".into(), json!(1));
        spec.insert("renewTime".into(), json!(now));
        next
    }

    /// Returns a renew time that is always later than the last one. Other replicas take
    /// a new time as the sign that the holder is alive, and a clock may stand still.
    fn renewed_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let before = self.said("renewTime").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let later = before.and_then(|before: DateTime<Utc>| before.checked_add_signed(TimeDelta::microseconds(1)));
        later.map_or(now, |later| later.max(now))
    }

    fn spec(&mut self) -> &mut Map<String, Value> {
        let spec = self.0.entry("spec").or_insert(Value::Null);
        if !spec.is_object() {
            *spec = json!({});
        }
        spec.as_object_mut().expect("it has just been made an object")
    }
}

/// The form of `metav1.MicroTime`.
fn micros(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_secs(15);

    fn lease(spec: Value) -> Lease {
        let metadata = json!({"name": "l", "resourceVersion": "7", "annotations": {"theirs": "kept"}});
        Lease::from_object(json!({"metadata": metadata, "spec": spec})).expect("a lease")
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    #[test]
    fn new_lease_names_its_holder_and_duration() {
        let new = Lease::named("l").held_by("me", Duration::from_millis(1500), at(0));
        let spec = json!({
            "holderIdentity": "me", "leaseDurationSeconds": 2, "leaseTransitions": 0,
            "acquireTime": "1970-01-01T00:00:00.000000Z", "renewTime": "1970-01-01T00:00:00.000000Z",
        });
        assert_eq!(new.0["spec"], spec, "a part of a second counts as a whole one");
    }

    #[test]
    fn renewal_keeps_when_it_was_acquired_and_a_new_holder_counts_as_a_transition() {
        let first = lease(json!({})).held_by("a", USUAL, at(0));
        let renewed = first.held_by("a", USUAL, at(3));
        assert_eq!(
            (renewed.said("acquireTime"), renewed.said("leaseTransitions")),
            (first.said("acquireTime"), Some(&json!(0)))
        );
        assert_ne!(renewed.said("renewTime"), first.said("renewTime"));
        let taken = renewed.held_by("b", USUAL, at(9));
        assert_eq!(taken.said("leaseTransitions"), Some(&json!(1)));
        assert_eq!(taken.said("acquireTime"), taken.said("renewTime"));
        let free = taken.released(at(10));
        assert_eq!((free.holder(), free.duration(USUAL)), ("", SHORTEST));
        assert_eq!(free.held_by("a", USUAL, at(11)).said("leaseTransitions"), Some(&json!(2)));
    }

    #[test]
    fn renewals_differ_when_the_clock_stands_still_or_goes_back() {
        let mut said: Vec<Lease> = vec![lease(json!({})).held_by("a", USUAL, at(9))];
        for second in [9, 9, 8, 9] {
            let next = said[said.len() - 1].held_by("a", USUAL, at(second));
            assert!(said.iter().all(|before| !before.says_the_same_as(&next)), "{next:?}");
            said.push(next);
        }
    }

    #[test]
    fn fields_of_others_in_the_lease_stay() {
        let taken = lease(json!({"holderIdentity": "x", "strategy": "theirs"})).held_by("me", USUAL, at(0));
        assert_eq!(taken.0["metadata"]["annotations"]["theirs"], "kept");
        assert_eq!(taken.said("strategy"), Some(&json!("theirs")));
    }

    #[test]
    fn invalid_record_reads_as_sensible_and_is_overwritten() {
        for (spec, holder, seconds) in [
            (json!(null), "", 15),
            (json!("junk"), "", 15),
            (json!({"holderIdentity": 7}), "", 15),
            (json!({"holderIdentity": "x", "leaseDurationSeconds": 0}), "x", 15),
            (json!({"holderIdentity": "x", "leaseDurationSeconds": -5}), "x", 15),
            (json!({"holderIdentity": "x", "leaseDurationSeconds": i64::MAX}), "x", 3600),
            (json!({"holderIdentity": "x", "leaseDurationSeconds": "soon", "leaseTransitions": i64::MAX - 1}), "x", 15),
            (json!({"holderIdentity": "x", "leaseTransitions": -3, "renewTime": [], "acquireTime": 1}), "x", 15),
        ] {
            let junk = lease(spec);
            assert_eq!((junk.holder(), junk.duration(USUAL).as_secs()), (holder, seconds), "{junk:?}");
            assert_eq!(junk.held_by("me", USUAL, DateTime::<Utc>::MAX_UTC).holder(), "me");
            assert_eq!(junk.released(at(0)).holder(), "");
        }
        for junk in [json!(null), json!([]), json!({}), json!({"metadata": {"resourceVersion": 7}})] {
            assert!(Lease::from_object(junk).is_none());
        }
    }
}
