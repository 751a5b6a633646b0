use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Update;
use crate::status::{
    Condition, ConditionStatus, Derived, DiscoveredBackend, Fault, Faults, OwnedTypes, Phase, Status, backend_is_sound,
    count_routable, derive, repair_backend, repair_condition, repair_message, repair_time, whole_seconds,
};

/// The latest state: every update so far, applied in order.
#[derive(Debug, Default)]
pub(crate) struct DesiredState {
    phase_source: PhaseSource,
    conditions: BTreeMap<String, Condition>,
    /// Sorted by name, so that two desired states with the same content build the same
    /// status, whatever the order of their updates.
    backends: BTreeMap<String, Entry>,
    observed_generation: Option<i64>,
    timestamp: Option<DateTime<Utc>>,
    /// Since when each condition has had its status, set and derived ones.
    transitions: BTreeMap<String, (ConditionStatus, DateTime<Utc>)>,
    owned: OwnedTypes,
    start: Start,
}

/// The progress of the first round of checks. Until the round is done, an unchecked
/// backend keeps the stored finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Start {
    /// Under way; the reporter holds back writes.
    Held,
    /// Under way, as far as is known; the reporter writes.
    Open,
    #[default]
    Done,
}

/// Where phase and message come from.
#[derive(Debug, PartialEq)]
enum PhaseSource {
    Given { phase: Phase, message: String },
    Derived,
}

impl Default for PhaseSource {
    fn default() -> Self {
        PhaseSource::Given { phase: Phase::default(), message: String::new() }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) backend: Arc<DiscoveredBackend>,
    pub(super) source: Option<Arc<str>>,
}

/// What an update did to the desired state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// Only times changed.
    Times,
    /// Something changed that may be worth a write, by a cheap comparison.
    Content,
}

impl Change {
    pub(super) fn content_if(changed: bool) -> Self {
        if changed { Change::Content } else { Change::Times }
    }
}

impl DesiredState {
    pub(crate) fn new(derived: bool) -> Self {
        let phase_source = if derived { PhaseSource::Derived } else { PhaseSource::default() };
        let start = if derived { Start::Open } else { Start::Done };
        DesiredState { phase_source, start, ..DesiredState::default() }
    }

    /// Marks the first round of checks as under way, with writes held back.
    pub(crate) fn hold(&mut self) {
        self.start = Start::Held;
    }

    /// Ends the first round, because it is done or its time is over: from now on an
    /// unchecked backend shows as unchecked. Returns whether it was still under way.
    pub(crate) fn end_start(&mut self) -> bool {
        std::mem::replace(&mut self.start, Start::Done) != Start::Done
    }

    /// Whether writes are held back.
    pub(crate) fn is_held(&self) -> bool {
        self.start == Start::Held
    }

    /// Applies one update. Repairs or leaves out what a store would refuse.
    pub(crate) fn apply(&mut self, update: Update, now: DateTime<Utc>, faults: &mut Faults) -> Change {
        self.touched(now);
        match update {
            Update::Snapshot(status) => self.replace_all(*status, now, faults),
            Update::UpsertBackend(backend) => self.upsert(backend, None, faults),
            Update::UpsertBackendOf { source, backend } => self.upsert(backend, Some(source), faults),
            Update::RemoveBackend(name) => Change::content_if(self.backends.remove(&name).is_some()),
            Update::ReplaceBackends { source, backends } => self.replace_source(&source, backends, faults),
            Update::SetCondition(condition) => self.set_condition(condition, now, faults),
            Update::RemoveCondition(type_) => Change::content_if(self.conditions.remove(&type_).is_some()),
            Update::SetPhase { phase, message } => self.set_phase_source(phase, message, faults),
            Update::DerivePhase {} => {
                let before = std::mem::replace(&mut self.phase_source, PhaseSource::Derived);
                Change::content_if(before != self.phase_source)
            }
            Update::SetObservedGeneration(generation) => self.set_generation(Some(generation), faults),
        }
    }

    /// Builds the status to store in place of `stored`, backends sorted by name.
    pub(crate) fn build_status(&mut self, stored: Option<&Status>, now: DateTime<Utc>) -> Status {
        let discovered_backends = self.listed(stored);
        let (phase, message, derived) = match &self.phase_source {
            PhaseSource::Given { phase, message } => (*phase, message.clone(), Vec::new()),
            PhaseSource::Derived if self.is_held() && discovered_backends.is_empty() => {
                (Phase::Pending, "Starting, no backends known yet".into(), Vec::new())
            }
            PhaseSource::Derived => {
                let Derived { phase, message, conditions, .. } = derive(discovered_backends.iter().map(AsRef::as_ref));
                (phase, message, conditions)
            }
        };
        let conditions = self.with_set_conditions(derived, now);
        // A condition that was removed and comes back has had a transition.
        self.transitions.retain(|type_, _| conditions.iter().any(|condition| condition.type_ == *type_));
        Status {
            phase,
            message,
            conditions,
            backend_count: count_routable(&discovered_backends),
            discovered_backends,
            observed_generation: self.observed_generation,
            timestamp: self.timestamp,
        }
    }

    /// Returns the types of condition that belong to this process, every one ever
    /// reported included.
    pub(crate) fn owned(&self) -> &OwnedTypes {
        &self.owned
    }

    fn listed(&self, stored: Option<&Status>) -> Vec<Arc<DiscoveredBackend>> {
        let entries = self.backends.values().map(|entry| Arc::clone(&entry.backend));
        let Some(stored) = stored.filter(|_| self.start != Start::Done) else { return entries.collect() };
        let earlier: HashMap<&str, &DiscoveredBackend> =
            stored.discovered_backends.iter().map(|backend| (backend.name.as_str(), backend.as_ref())).collect();
        let kept = |backend: Arc<DiscoveredBackend>| match earlier.get(backend.name.as_str()) {
            Some(earlier) if backend.is_unchecked() => Arc::new(backend.with_finding_of(earlier)),
            _ => backend,
        };
        entries.map(kept).collect()
    }

    fn with_set_conditions(&mut self, derived: Vec<Condition>, now: DateTime<Utc>) -> Vec<Condition> {
        let mut all = self.conditions.clone();
        for mut condition in derived {
            if !all.contains_key(&condition.type_) {
                condition.last_transition_time = Some(self.transition(&condition, now));
                all.insert(condition.type_.clone(), condition);
            }
        }
        all.into_values().collect()
    }

    /// Returns since when the condition has had its status.
    fn transition(&mut self, condition: &Condition, now: DateTime<Utc>) -> DateTime<Utc> {
        let since = condition.last_transition_time.unwrap_or(whole_seconds(now));
        match self.transitions.get(&condition.type_) {
            Some((status, since)) if *status == condition.status => *since,
            before => {
                // A clock that was put back does not undo the last transition.
                let since = before.map_or(since, |(_, before)| since.max(*before));
                self.transitions.insert(condition.type_.clone(), (condition.status, since));
                since
            }
        }
    }

    fn replace_all(&mut self, status: Status, now: DateTime<Utc>, faults: &mut Faults) -> Change {
        let Status { phase, message, conditions, discovered_backends, observed_generation, mut timestamp, .. } = status;
        repair_time(&mut timestamp, || "the status".into(), faults);
        // A snapshot is stored as it is, so it ends the first round.
        self.start = Start::Done;
        self.timestamp = timestamp.or(self.timestamp);
        self.set_phase_source(phase, message, faults);
        // A snapshot without a generation does not take back the one given.
        self.set_generation(observed_generation, faults);
        self.conditions.clear();
        for condition in conditions {
            if self.conditions.contains_key(&condition.type_) {
                faults.push(Fault::DuplicateCondition(condition.type_.clone()));
            }
            self.set_condition(condition, now, faults);
        }
        let before = std::mem::take(&mut self.backends);
        for backend in discovered_backends {
            if self.backends.contains_key(&backend.name) {
                faults.push(Fault::DuplicateBackend(backend.name.clone()));
            }
            self.upsert(backend, None, faults);
        }
        self.share_with(before);
        // Comparing with the store finds out whether anything is new.
        Change::Content
    }

    /// Keeps the old object of each backend that did not change, so that later
    /// comparisons of a rebuilt snapshot need only compare pointers.
    fn share_with(&mut self, before: BTreeMap<String, Entry>) {
        let mut before = before.into_iter().peekable();
        for (name, entry) in &mut self.backends {
            while before.next_if(|(old, _)| old < name).is_some() {}
            if let Some((_, old)) = before.next_if(|(old, _)| old == name)
                && old.backend == entry.backend
            {
                entry.backend = old.backend;
            }
        }
    }

    fn replace_source(
        &mut self,
        source: &Arc<str>,
        backends: Vec<Arc<DiscoveredBackend>>,
        faults: &mut Faults,
    ) -> Change {
        let mut listed = std::collections::HashSet::with_capacity(backends.len());
        let mut change = Change::Times;
        for backend in backends {
            if !listed.insert(backend.name.clone()) {
                faults.push(Fault::DuplicateBackend(backend.name.clone()));
            }
            change = change.max(self.upsert(backend, Some(Arc::clone(source)), faults));
        }
        let before = self.backends.len();
        self.backends.retain(|name, entry| entry.source.as_ref() != Some(source) || listed.contains(name));
        change.max(Change::content_if(self.backends.len() != before))
    }

    fn upsert(&mut self, mut backend: Arc<DiscoveredBackend>, source: Option<Arc<str>>, faults: &mut Faults) -> Change {
        if !backend_is_sound(&backend) && !repair_backend(Arc::make_mut(&mut backend), faults) {
            return Change::Times;
        }
        if let Some(entry) = self.backends.get_mut(&backend.name) {
            let change = Change::content_if(!entry.backend.eq_ignoring_times(&backend));
            entry.backend = backend;
            entry.source = source.or(entry.source.take());
            return change;
        }
        self.backends.insert(backend.name.clone(), Entry { backend, source });
        Change::Content
    }

    fn set_condition(&mut self, mut condition: Condition, now: DateTime<Utc>, faults: &mut Faults) -> Change {
        if !repair_condition(&mut condition, faults) {
            return Change::Times;
        }
        self.owned.add(&condition.type_);
        condition.last_transition_time = Some(self.transition(&condition, now));
        let old = self.conditions.get(&condition.type_);
        let change = Change::content_if(!old.is_some_and(|old| old.eq_ignoring_times(&condition)));
        self.conditions.insert(condition.type_.clone(), condition);
        change
    }

    fn set_phase_source(&mut self, phase: Phase, mut message: String, faults: &mut Faults) -> Change {
        repair_message(&mut message, || "the status".into(), faults);
        let phase_source = PhaseSource::Given { phase, message };
        let change = Change::content_if(self.phase_source != phase_source);
        self.phase_source = phase_source;
        change
    }

    fn set_generation(&mut self, generation: Option<i64>, faults: &mut Faults) -> Change {
        match generation {
            Some(negative) if negative < 0 => {
                faults.push(Fault::NegativeGeneration("the status".into()));
                Change::Times
            }
            generation => {
                let newest = self.observed_generation.max(generation);
                Change::content_if(std::mem::replace(&mut self.observed_generation, newest) != newest)
            }
        }
    }

    pub(super) fn touched(&mut self, now: DateTime<Utc>) {
        self.timestamp = Some(whole_seconds(now));
    }

    pub(super) fn own(&mut self, type_: &str) {
        self.owned.add(type_);
    }

    pub(super) fn backends(&mut self) -> &mut BTreeMap<String, Entry> {
        &mut self.backends
    }
}
