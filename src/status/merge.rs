//! Merges the status that we want into the stored one: item by item, in the stored
//! order, without touching what belongs to others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Condition, DiscoveredBackend, Status, condition_type};

/// The types of condition that belong to this process: the reporter's own and
/// every one it has reported (law 8).
#[derive(Clone, Debug)]
pub(crate) struct OwnedTypes(BTreeSet<String>);

impl Default for OwnedTypes {
    fn default() -> Self {
        OwnedTypes(condition_type::OWNED.map(String::from).into())
    }
}

impl OwnedTypes {
    pub(crate) fn add(&mut self, type_: &str) {
        if !self.0.contains(type_) {
            self.0.insert(type_.to_owned());
        }
    }

    pub(super) fn contains(&self, type_: &str) -> bool {
        self.0.contains(type_)
    }
}

/// Returns the status to store: `wanted`, whose backends must be sorted by name, merged
/// with `stored`.
pub(crate) fn merge(stored: Option<&Status>, wanted: Status, owned: &OwnedTypes, now: DateTime<Utc>) -> Status {
    let nothing = Status::default();
    let stored = stored.unwrap_or(&nothing);
    Status {
        conditions: merge_conditions(&stored.conditions, wanted.conditions, wanted.observed_generation, owned, now),
        discovered_backends: merge_backends(&stored.discovered_backends, wanted.discovered_backends),
        // None is less than any generation.
        observed_generation: stored.observed_generation.max(wanted.observed_generation),
        ..wanted
    }
}

fn merge_conditions(
    stored: &[Condition],
    wanted: Vec<Condition>,
    generation: Option<i64>,
    owned: &OwnedTypes,
    now: DateTime<Utc>,
) -> Vec<Condition> {
    let of_generation = |condition: Condition| Condition {
        // The generation never goes back, as in the status as a whole.
        observed_generation: condition.observed_generation.max(generation),
        ..condition
    };
    let mut wanted: BTreeMap<String, Condition> =
        wanted.into_iter().map(|condition| (condition.type_.clone(), of_generation(condition))).collect();
    let mut merged = Vec::with_capacity(stored.len() + wanted.len());
    for old in stored {
        match wanted.remove(&old.type_) {
            Some(mut new) => {
                new.observed_generation = new.observed_generation.max(old.observed_generation);
                new.last_transition_time = match old.last_transition_time {
                    Some(since) if new.status == old.status => Some(since),
                    // A clock that was put back does not undo the last transition.
                    Some(since) => Some(new.last_transition_time.unwrap_or(now).max(since)),
                    None => new.last_transition_time,
                };
                merged.push(new);
            }
            None if owned.contains(&old.type_) => {}
            None => merged.push(old.clone()),
        }
    }
    merged.extend(wanted.into_values());
    for condition in merged.iter_mut().filter(|c| owned.contains(&c.type_)) {
        condition.last_transition_time.get_or_insert(now);
    }
    merged
}

/// Both lists mostly have the same order, so the loop tries the item after the last
/// match first, and searches only if that fails.
fn merge_backends(
    stored: &[Arc<DiscoveredBackend>],
    wanted: Vec<Arc<DiscoveredBackend>>,
) -> Vec<Arc<DiscoveredBackend>> {
    let same_name = |a: &Arc<DiscoveredBackend>, b: &Arc<DiscoveredBackend>| Arc::ptr_eq(a, b) || a.name == b.name;
    if stored.len() == wanted.len() && stored.iter().zip(&wanted).all(|(a, b)| same_name(a, b)) {
        return wanted;
    }
    let mut merged = Vec::with_capacity(wanted.len());
    let mut placed = vec![false; wanted.len()];
    let mut next = 0;
    for old in stored {
        let found = match wanted.get(next) {
            Some(new) if same_name(old, new) => Some(next),
            _ => wanted.binary_search_by(|new| new.name.cmp(&old.name)).ok(),
        };
        if let Some(index) = found
            && !std::mem::replace(&mut placed[index], true)
        {
            merged.push(Arc::clone(&wanted[index]));
            next = index + 1;
        }
    }
    merged.extend(wanted.into_iter().zip(placed).filter_map(|(new, placed)| (!placed).then_some(new)));
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{BackendStatus, ConditionStatus};

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("in range")
    }

    fn condition(type_: &str, status: bool, since: Option<i64>) -> Condition {
        Condition {
            last_transition_time: since.map(at),
            ..Condition::unchecked(type_, ConditionStatus::from(status), "Because", "")
        }
    }

    fn with_conditions(conditions: Vec<Condition>) -> Status {
        Status { conditions, ..Status::default() }
    }

    #[test]
    fn transition_time_from_the_caller_is_ignored_while_the_status_stays() {
        let stored = with_conditions(vec![condition("Ready", true, Some(10))]);
        let mut wanted = condition("Ready", true, Some(99));
        wanted.reason = "Another".into();
        let merged = merge(Some(&stored), with_conditions(vec![wanted]), &OwnedTypes::default(), at(100));
        assert_eq!(merged.conditions[0].last_transition_time, Some(at(10)));
        assert_eq!(merged.conditions[0].reason, "Another");
    }

    #[test]
    fn transition_time_moves_when_the_status_moves() {
        let stored = with_conditions(vec![condition("Ready", true, Some(10))]);
        let flipped = |since| with_conditions(vec![condition("Ready", false, since)]);
        let merged = merge(Some(&stored), flipped(None), &OwnedTypes::default(), at(100));
        assert_eq!(merged.conditions[0].last_transition_time, Some(at(100)));
        let merged = merge(Some(&stored), flipped(Some(50)), &OwnedTypes::default(), at(100));
        assert_eq!(merged.conditions[0].last_transition_time, Some(at(50)), "the caller knows better");
    }

    #[test]
    fn transition_time_stays_when_the_clock_goes_back() {
        let stored = with_conditions(vec![condition("Ready", true, Some(3_600))]);
        for earlier in [Some(1), None] {
            let flipped = with_conditions(vec![condition("Ready", false, earlier)]);
            let merged = merge(Some(&stored), flipped, &OwnedTypes::default(), at(2));
            assert_eq!(merged.conditions, [condition("Ready", false, Some(3_600))]);
        }
    }

    #[test]
    fn missing_condition_is_removed_if_ours_and_kept_if_foreign() {
        let foreign = condition("AuthConfigured", true, None);
        let stored = with_conditions(vec![
            condition("Degraded", true, Some(1)),
            foreign.clone(),
            condition("Mine", true, Some(1)),
            condition("Ready", true, Some(1)),
        ]);
        let mut owned = OwnedTypes::default();
        owned.add("Mine");
        let merged = merge(Some(&stored), with_conditions(vec![condition("Ready", true, None)]), &owned, at(5));
        assert_eq!(merged.conditions, [foreign, condition("Ready", true, Some(1))]);
    }

    #[test]
    fn observed_generation_never_goes_back_and_none_leaves_it_alone() {
        let of = |observed_generation| Status { observed_generation, ..Status::default() };
        for (stored, wanted, merged) in [
            (Some(3), None, Some(3)),
            (Some(3), Some(2), Some(3)),
            (Some(3), Some(4), Some(4)),
            (None, Some(1), Some(1)),
            (None, None, None),
        ] {
            let got = merge(Some(&of(stored)), of(wanted), &OwnedTypes::default(), at(0));
            assert_eq!(got.observed_generation, merged);
        }
    }

    #[test]
    fn own_conditions_carry_the_generation_which_never_goes_back() {
        let of = |generation| Condition { observed_generation: generation, ..condition("Ready", true, Some(1)) };
        let foreign = condition("AuthConfigured", true, None);
        let stored = with_conditions(vec![of(Some(3)), foreign.clone()]);
        for (wanted, own, merged) in [(None, None, Some(3)), (Some(2), None, Some(3)), (Some(4), Some(1), Some(4))] {
            let wanted = Status { observed_generation: wanted, ..with_conditions(vec![of(own)]) };
            let got = merge(Some(&stored), wanted, &OwnedTypes::default(), at(5));
            assert_eq!(got.conditions, [of(merged), foreign.clone()]);
        }
    }

    #[test]
    fn backends_keep_the_stored_order_and_new_ones_are_appended() {
        let names =
            |status: &Status| -> Vec<String> { status.discovered_backends.iter().map(|b| b.name.clone()).collect() };
        let stored = Status::from_backends(["c", "gone", "a", "c", "x"].map(DiscoveredBackend::named));
        let wanted = Status::from_backends(
            ["a", "b", "c", "d", "x"]
                .map(|name| DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named(name) }),
        );
        let merged = merge(Some(&stored), wanted, &OwnedTypes::default(), at(0));
        assert_eq!(names(&merged), ["c", "a", "x", "b", "d"]);
        assert!(merged.discovered_backends.iter().all(|b| b.status == BackendStatus::Ready));
    }
}
