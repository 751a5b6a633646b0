//! Many updates merged into one, which a full mailbox keeps instead of a queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Update;
use super::desired_state::{Change, DesiredState, Entry};
use crate::status::{Condition, DiscoveredBackend, Faults, is_condition_type};

/// The net effect of updates on a desired state that the sender does not know. Its
/// size depends on the number of names in it, not on the number of updates.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// Replaces everything before it.
    snapshot: Option<Update>,
    /// Sources whose list was replaced: their backends in the desired state are
    /// removed, unless `backends` names them.
    replaced: BTreeSet<Arc<str>>,
    backends: BTreeMap<String, Edit>,
    conditions: BTreeMap<String, Option<Condition>>,
    /// The last `SetPhase` or `DerivePhase`.
    phase_source: Option<Update>,
    observed_generation: Option<i64>,
    /// The types of condition that were reported, even if removed again: from then on
    /// they belong to this process.
    reported: BTreeSet<String>,
    /// The number of merged updates.
    count: u64,
}

/// The net effect on one name.
#[derive(Debug)]
enum Edit {
    Removed,
    /// Listed by a known source, or by none.
    Put {
        backend: Arc<DiscoveredBackend>,
        source: Option<Arc<str>>,
    },
    /// Upserted without a source: the backend keeps the source that it has in the
    /// desired state, which is not known here. If that source is one of these, then
    /// replacing its list removed the name: `true` where the backend was upserted
    /// again after that, and so belongs to no source.
    Touched {
        backend: Arc<DiscoveredBackend>,
        lost: BTreeMap<Arc<str>, bool>,
    },
}

impl Delta {
    /// The number of merged updates.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Merges one update, after all earlier ones.
    pub(crate) fn push(&mut self, update: Update) {
        self.count += 1;
        match update {
            Update::Snapshot(mut status) => {
                // Generations only grow, whatever is replaced.
                status.observed_generation = status.observed_generation.max(self.observed_generation);
                self.reported.extend(status.conditions.iter().map(|condition| condition.type_.clone()));
                *self = Delta {
                    observed_generation: status.observed_generation,
                    snapshot: Some(Update::Snapshot(status)),
                    reported: std::mem::take(&mut self.reported),
                    count: self.count,
                    ..Delta::default()
                };
            }
            Update::UpsertBackend(backend) => self.touch(backend),
            Update::UpsertBackendOf { source, backend } => {
                self.backends.insert(backend.name.clone(), Edit::Put { backend, source: Some(source) });
            }
            Update::RemoveBackend(name) => {
                self.backends.insert(name, Edit::Removed);
            }
            Update::ReplaceBackends { source, backends } => self.replace_source(&source, backends),
            Update::SetCondition(condition) => {
                self.reported.insert(condition.type_.clone());
                self.conditions.insert(condition.type_.clone(), Some(condition));
            }
            Update::RemoveCondition(type_) => {
                self.conditions.insert(type_, None);
            }
            phase_source @ (Update::SetPhase { .. } | Update::DerivePhase {}) => {
                self.phase_source = Some(phase_source);
            }
            Update::SetObservedGeneration(generation) => {
                self.observed_generation = self.observed_generation.max(Some(generation));
            }
        }
    }

    fn touch(&mut self, backend: Arc<DiscoveredBackend>) {
        let name = backend.name.clone();
        let edit = match self.backends.remove(&name) {
            Some(Edit::Removed) => Edit::Put { source: None, backend },
            Some(Edit::Put { source, .. }) => Edit::Put { source, backend },
            Some(Edit::Touched { mut lost, .. }) => {
                for put_again in lost.values_mut() {
                    *put_again = true;
                }
                Edit::Touched { lost, backend }
            }
            None => {
                let lost = self.replaced.iter().map(|source| (Arc::clone(source), true)).collect();
                Edit::Touched { lost, backend }
            }
        };
        self.backends.insert(name, edit);
    }

    fn replace_source(&mut self, source: &Arc<str>, backends: Vec<Arc<DiscoveredBackend>>) {
        self.replaced.insert(Arc::clone(source));
        for edit in self.backends.values_mut() {
            match edit {
                Edit::Put { source: Some(owner), .. } if owner == source => *edit = Edit::Removed,
                Edit::Touched { lost, .. } => {
                    lost.entry(Arc::clone(source)).or_insert(false);
                }
                Edit::Put { .. } | Edit::Removed => {}
            }
        }
        for backend in backends {
            let edit = Edit::Put { source: Some(Arc::clone(source)), backend: Arc::clone(&backend) };
            self.backends.insert(backend.name.clone(), edit);
        }
    }
}

impl DesiredState {
    /// Applies all updates of a delta at once.
    pub(crate) fn absorb(&mut self, delta: Delta, now: DateTime<Utc>, faults: &mut Faults) -> Change {
        let Delta { snapshot, replaced, backends, conditions, phase_source, observed_generation, reported, count: _ } =
            delta;
        self.touched(now);
        // A condition whose type is malformed is never stored, so nothing owns it.
        for type_ in reported.iter().filter(|type_| is_condition_type(type_)) {
            self.own(type_);
        }
        let mut change = Change::Times;
        let mut apply =
            |desired_state: &mut DesiredState, update| change = change.max(desired_state.apply(update, now, faults));

        if let Some(snapshot) = snapshot {
            apply(self, snapshot);
        }
        let before = self.backends().len();
        self.backends().retain(|name, Entry { source, .. }| {
            backends.contains_key(name) || !source.as_ref().is_some_and(|source| replaced.contains(source))
        });
        let some_went = before != self.backends().len();
        for (name, edit) in backends {
            match edit {
                Edit::Removed => apply(self, Update::RemoveBackend(name)),
                Edit::Put { backend, source } => {
                    if source.is_none() {
                        self.disown(&name);
                    }
                    apply(
                        self,
                        match source {
                            Some(source) => Update::UpsertBackendOf { source, backend },
                            None => Update::UpsertBackend(backend),
                        },
                    );
                }
                Edit::Touched { backend, lost } => {
                    let owner = self.backends().get(&name).and_then(|entry| entry.source.clone());
                    match owner.and_then(|owner| lost.get(&owner).copied()) {
                        Some(false) => apply(self, Update::RemoveBackend(name)),
                        Some(true) => {
                            self.disown(&name);
                            apply(self, Update::UpsertBackend(backend));
                        }
                        None => apply(self, Update::UpsertBackend(backend)),
                    }
                }
            }
        }
        for (type_, condition) in conditions {
            apply(
                self,
                match condition {
                    Some(condition) => Update::SetCondition(condition),
                    None => Update::RemoveCondition(type_),
                },
            );
        }
        if let Some(phase_source) = phase_source {
            apply(self, phase_source);
        }
        if let Some(generation) = observed_generation {
            apply(self, Update::SetObservedGeneration(generation));
        }
        change.max(Change::content_if(some_went))
    }

    fn disown(&mut self, name: &str) {
        if let Some(entry) = self.backends().get_mut(name) {
            entry.source = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::status::{BackendStatus, ConditionStatus, Phase, Status};

    fn backend() -> impl Strategy<Value = Arc<DiscoveredBackend>> {
        ("[abcd]?", 0u32..4).prop_map(|(name, consecutive_failures)| {
            let status = BackendStatus::ALL[consecutive_failures as usize];
            Arc::new(DiscoveredBackend { status, consecutive_failures, ..DiscoveredBackend::named(name) })
        })
    }

    fn condition() -> impl Strategy<Value = Condition> {
        ("Ready|Mine|Yours|no type", any::<bool>())
            .prop_map(|(type_, holds)| Condition::unchecked(type_, ConditionStatus::from(holds), "Why", ""))
    }

    fn update() -> impl Strategy<Value = Update> {
        let source = || "[st]".prop_map(Arc::from);
        let snapshot =
            (prop::collection::vec(backend(), 0..4), prop::collection::vec(condition(), 0..2), any::<Option<i8>>());
        prop_oneof![
            1 => snapshot.prop_map(|(backends, conditions, generation)| Update::Snapshot(Box::new(Status {
                conditions,
                observed_generation: generation.map(i64::from),
                ..Status::from_backends(backends)
            }))),
            6 => backend().prop_map(Update::UpsertBackend),
            3 => (source(), backend()).prop_map(|(source, backend)| Update::UpsertBackendOf { source, backend }),
            3 => "[abcd]".prop_map(Update::RemoveBackend),
            5 => (source(), prop::collection::vec(backend(), 0..4))
                .prop_map(|(source, backends)| Update::ReplaceBackends { source, backends }),
            1 => condition().prop_map(Update::SetCondition),
            1 => "Ready|Mine".prop_map(Update::RemoveCondition),
            1 => "[mn]".prop_map(|message| Update::SetPhase { phase: Phase::Ready, message }),
            1 => Just(Update::DerivePhase {}),
            1 => any::<i8>().prop_map(|generation| Update::SetObservedGeneration(i64::from(generation))),
        ]
    }

    type Owners = Vec<(String, Option<Arc<str>>)>;

    /// Everything but the times of transitions: a desired state that skips the states
    /// in between cannot know them.
    fn rendered(desired_state: &mut DesiredState) -> (Status, Owners, String) {
        let mut status = desired_state.build_status(None, DateTime::UNIX_EPOCH);
        status.conditions.iter_mut().for_each(|c| c.last_transition_time = None);
        let owners =
            desired_state.backends().iter().map(|(name, entry)| (name.clone(), entry.source.clone())).collect();
        (status, owners, format!("{:?}", desired_state.owned()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn delta_equals_its_updates_one_by_one(
            before in prop::collection::vec(update(), 0..8),
            merged in prop::collection::vec(update(), 1..12),
            derived in any::<bool>(),
        ) {
            let now = DateTime::UNIX_EPOCH;
            let mut faults = Faults::default();
            let mut one_by_one = DesiredState::new(derived);
            let mut at_once = DesiredState::new(derived);
            for update in before {
                one_by_one.apply(update.clone(), now, &mut faults);
                at_once.apply(update, now, &mut faults);
            }
            let mut delta = Delta::default();
            let count = merged.len() as u64;
            for update in merged {
                one_by_one.apply(update.clone(), now, &mut faults);
                delta.push(update);
            }
            prop_assert_eq!(delta.count(), count);
            at_once.absorb(delta, now, &mut faults);
            prop_assert_eq!(rendered(&mut one_by_one), rendered(&mut at_once));
        }
    }

    #[test]
    fn delta_does_not_grow_with_the_number_of_updates() {
        let mut delta = Delta::default();
        for i in 0..10_000u32 {
            let backend = Arc::new(DiscoveredBackend {
                consecutive_failures: i,
                ..DiscoveredBackend::named(format!("b{}", i % 3))
            });
            delta.push(Update::ReplaceBackends { source: "s".into(), backends: vec![Arc::clone(&backend)] });
            delta.push(Update::UpsertBackend(backend));
        }
        assert_eq!((delta.backends.len(), delta.replaced.len(), delta.count()), (3, 1, 20_000));
    }
}
