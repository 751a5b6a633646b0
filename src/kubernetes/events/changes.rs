//! The Events about what a write has changed. Pure.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::notes::{cut, name, one_line};
use crate::listener::StoredChange;
use crate::status::{BackendStatus, DiscoveredBackend, Phase, Status, reason};

/// More backends than this with one reason become one Event.
const MOST_SINGLE: usize = 5;
/// The API server refuses a longer note.
pub(super) const MAX_NOTE: usize = 1024;
/// Maximum size of a backend's name in a note, in bytes, to leave room for the rest.
const MAX_NAME: usize = 253;

/// The action of Events about the phase.
pub(super) const REPORT_PHASE: &str = "ReportPhase";

/// The reason of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    Phase(Phase),
    Added,
    Removed,
    Failed,
    Degraded,
    Recovered,
}

impl Reason {
    /// The reasons of Events about backends, in the order of sending.
    const OF_BACKENDS: [Reason; 5] =
        [Reason::Added, Reason::Failed, Reason::Degraded, Reason::Recovered, Reason::Removed];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Reason::Phase(Phase::Pending) => reason::SERVER_STARTING,
            Reason::Phase(Phase::Ready) => reason::SERVER_READY,
            Reason::Phase(Phase::Degraded) => reason::SERVER_DEGRADED,
            Reason::Phase(Phase::Failed) => reason::SERVER_FAILED,
            Reason::Added => "BackendAdded",
            Reason::Removed => "BackendRemoved",
            Reason::Failed => "BackendFailed",
            Reason::Degraded => "BackendDegraded",
            Reason::Recovered => "BackendRecovered",
        }
    }

    /// Returns the action of the Event: what the reporter was doing.
    pub(super) fn action(self) -> &'static str {
        match self {
            Reason::Phase(_) => REPORT_PHASE,
            Reason::Added | Reason::Removed => "DiscoverBackends",
            Reason::Failed | Reason::Degraded | Reason::Recovered => "CheckBackends",
        }
    }

    pub(super) fn is_warning(self) -> bool {
        matches!(self, Reason::Phase(Phase::Degraded | Phase::Failed) | Reason::Failed | Reason::Degraded)
    }

    /// Returns the predicate of a note about several backends.
    fn plural_predicate(self) -> &'static str {
        match self {
            Reason::Phase(_) => "changed the phase",
            Reason::Added => "were added",
            Reason::Removed => "were removed",
            Reason::Failed => "are unavailable",
            Reason::Degraded => "are degraded",
            Reason::Recovered => "can be routed to again",
        }
    }
}

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Phase,
    /// The backend of this name.
    Backend(String),
    /// All backends of these names, in one Event.
    Backends(Vec<String>),
}

/// The content of an Event that is not sent yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventContent {
    pub(super) subject: Subject,
    pub(super) reason: Reason,
    pub(super) note: String,
}

/// The last known status of backends that are being checked again. A process that
/// starts reports all backends as unknown, which is not a change of any.
#[derive(Debug, Default)]
pub(super) struct LastKnown(HashMap<String, BackendStatus>);

impl LastKnown {
    /// Returns the Events about the difference between two statuses. If nothing was
    /// stored before, these are one about the phase and one about all backends.
    pub(super) fn changes(&mut self, StoredChange { before, after, complete }: StoredChange<'_>) -> Vec<EventContent> {
        let mut changes = Vec::new();
        if before.is_none_or(|before| before.phase != after.phase) {
            changes.push(phase(after));
        }
        let Some(before) = before else {
            self.0.clear();
            let names: Vec<_> = after.discovered_backends.iter().map(|backend| &*backend.name).collect();
            changes.extend((!names.is_empty()).then(|| summary(Reason::Added, &names)));
            return changes;
        };
        let found = self.backend_changes(before, after, complete);
        for reason in Reason::OF_BACKENDS {
            let having = || found.iter().filter(move |(of, _)| *of == reason).map(|(_, backend)| *backend);
            if having().count() > MOST_SINGLE {
                let names: Vec<_> = having().map(|backend| &*backend.name).collect();
                changes.push(summary(reason, &names));
            } else {
                changes.extend(having().map(|backend| single(reason, backend)));
            }
        }
        changes
    }

    /// If the lists are not complete, compares only backends that both have.
    fn backend_changes<'a>(
        &mut self,
        before: &'a Status,
        after: &'a Status,
        complete: bool,
    ) -> Vec<(Reason, &'a DiscoveredBackend)> {
        let mut was: HashMap<&str, &DiscoveredBackend> =
            before.discovered_backends.iter().map(|backend| (&*backend.name, &**backend)).collect();
        let last_known = std::mem::take(&mut self.0);
        let mut found = Vec::new();
        for backend in &after.discovered_backends {
            let old = was.remove(&*backend.name);
            if old.is_none() && complete {
                found.push((Reason::Added, &**backend));
            }
            let remembered = || last_known.get(&backend.name).copied();
            let status = old.map_or(BackendStatus::Unknown, |old| old.status);
            let status = if status == BackendStatus::Unknown { remembered().unwrap_or(status) } else { status };
            if backend.status == BackendStatus::Unknown && status != BackendStatus::Unknown {
                self.0.insert(backend.name.clone(), status);
            }
            if old.is_some() || complete {
                found.extend(turned(status, backend.status).map(|reason| (reason, &**backend)));
            }
        }
        if complete {
            let gone = before.discovered_backends.iter().filter(|backend| was.contains_key(&*backend.name));
            found.extend(gone.map(|backend| (Reason::Removed, &**backend)));
        }
        found
    }
}

/// Returns the reason for an Event when a backend's status changes like this.
fn turned(was: BackendStatus, is: BackendStatus) -> Option<Reason> {
    use BackendStatus::{Degraded, Ready, Unauthenticated, Unavailable, Unknown};
    match (was, is) {
        (_, Unknown) => None,
        (Unavailable, Unavailable) | (Degraded, Degraded) => None,
        (_, Unavailable) => Some(Reason::Failed),
        (_, Degraded) => Some(Reason::Degraded),
        (Unavailable | Degraded, Ready | Unauthenticated) => Some(Reason::Recovered),
        (Ready | Unauthenticated | Unknown, Ready | Unauthenticated) => None,
    }
}

pub(super) fn phase(after: &Status) -> EventContent {
    let note = match one_line(&after.message, MAX_NOTE) {
        said if said.is_empty() => format!("The phase is {}", after.phase),
        said => said,
    };
    EventContent { subject: Subject::Phase, reason: Reason::Phase(after.phase), note }
}

fn single(reason: Reason, backend: &DiscoveredBackend) -> EventContent {
    let mut note = shown(&backend.name);
    note.push_str(match reason {
        Reason::Added => " was added",
        Reason::Removed => " was removed",
        _ => " is ",
    });
    if !matches!(reason, Reason::Added | Reason::Removed) {
        note.push_str(backend.status.as_str());
        let why = one_line(&backend.message, MAX_NOTE);
        if !why.is_empty() {
            note.push_str(": ");
            note.push_str(&why);
        }
    }
    EventContent { subject: Subject::Backend(backend.name.clone()), reason, note: cut(note, MAX_NOTE) }
}

fn summary(reason: Reason, names: &[&str]) -> EventContent {
    const ROOM_FOR_REST: usize = 32;
    let count = names.len();
    let mut note = match count {
        1 => "1 backend was added: ".to_owned(),
        _ => format!("{count} backends {}: ", reason.plural_predicate()),
    };
    for (index, &backend) in names.iter().enumerate() {
        let separator = if index > 0 { ", " } else { "" };
        let backend = shown(backend);
        if note.len() + separator.len() + backend.len() > MAX_NOTE - ROOM_FOR_REST {
            // Writing to a `String` cannot fail.
            let _ = write!(note, " and {} more", count - index);
            break;
        }
        note.push_str(separator);
        note.push_str(&backend);
    }
    EventContent { subject: Subject::Backends(names.iter().map(|&backend| backend.to_owned()).collect()), reason, note }
}

/// The name of a backend for a person.
pub(super) fn shown(backend: &str) -> String {
    name(backend, MAX_NAME)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use BackendStatus::{Degraded, Ready, Unauthenticated, Unavailable, Unknown};

    fn is(name: &str, status: BackendStatus) -> DiscoveredBackend {
        DiscoveredBackend { status, ..DiscoveredBackend::named(name) }
    }

    fn compare(known: &mut LastKnown, before: &Status, after: &Status) -> Vec<EventContent> {
        known.changes(StoredChange { before: Some(before), after, complete: true })
    }

    fn changes(before: &Status, after: &Status) -> Vec<EventContent> {
        compare(&mut LastKnown::default(), before, after)
    }

    /// The reasons of Events about the only backend.
    fn reasons(before: Option<BackendStatus>, after: Option<BackendStatus>) -> Vec<Reason> {
        let status = |of: Option<BackendStatus>| Status::from_backends(of.map(|status| is("a", status)));
        changes(&status(before), &status(after)).iter().map(|change| change.reason).collect()
    }

    #[test]
    fn each_change_of_a_backend_has_its_reason_or_none() {
        for (was, at_ready, at_degraded, at_unavailable) in [
            (Ready, None, Some(Reason::Degraded), Some(Reason::Failed)),
            (Unauthenticated, None, Some(Reason::Degraded), Some(Reason::Failed)),
            (Degraded, Some(Reason::Recovered), None, Some(Reason::Failed)),
            (Unavailable, Some(Reason::Recovered), Some(Reason::Degraded), None),
            (Unknown, None, Some(Reason::Degraded), Some(Reason::Failed)),
        ] {
            for (is, expected) in [
                (Ready, at_ready),
                (Unauthenticated, at_ready),
                (Degraded, at_degraded),
                (Unavailable, at_unavailable),
                (Unknown, None),
            ] {
                assert_eq!(reasons(Some(was), Some(is)), Vec::from_iter(expected), "{was} to {is}");
            }
            assert_eq!(reasons(Some(was), None), [Reason::Removed], "{was}");
        }
        for (new, expected) in [(Ready, None), (Degraded, Some(Reason::Degraded)), (Unavailable, Some(Reason::Failed))]
        {
            assert_eq!(reasons(None, Some(new)), Vec::from_iter([Reason::Added].into_iter().chain(expected)), "{new}");
        }
    }

    #[test]
    fn each_change_of_the_phase_has_the_reason_of_its_condition() {
        for was in Phase::ALL {
            for is in Phase::ALL {
                let of = |phase| Status { phase, message: "why".into(), ..Status::default() };
                let events = changes(&of(was), &of(is));
                assert_eq!(events.len(), usize::from(was != is));
                if let Some(change) = events.first() {
                    assert_eq!((&change.subject, change.note.as_str()), (&Subject::Phase, "why"));
                }
            }
        }
        let names = Phase::ALL.map(|phase| Reason::Phase(phase).as_str());
        assert_eq!(names, ["ServerStarting", "ServerReady", "ServerDegraded", "ServerFailed"]);
        let warnings = Phase::ALL.map(|phase| Reason::Phase(phase).is_warning());
        assert_eq!(warnings, [false, false, true, true]);
        assert_eq!(phase(&Status::default()).note, "The phase is Pending");
    }

    #[test]
    fn backend_checked_again_is_compared_with_its_last_known_status() {
        for (was, then, expected) in [
            (Ready, Ready, None),
            (Ready, Unavailable, Some(Reason::Failed)),
            (Unavailable, Unavailable, None),
            (Unavailable, Ready, Some(Reason::Recovered)),
            (Degraded, Degraded, None),
        ] {
            let mut known = LastKnown::default();
            let [before, between, after] = [was, Unknown, then].map(|status| Status::from_backends([is("a", status)]));
            assert_eq!(compare(&mut known, &before, &between), []);
            assert_eq!(compare(&mut known, &between, &between), [], "however often it is written");
            let events: Vec<_> = compare(&mut known, &between, &after).iter().map(|change| change.reason).collect();
            assert_eq!(events, Vec::from_iter(expected), "{was} to {then}");
            assert!(known.0.is_empty(), "not remembered any longer");
        }
        let mut known = LastKnown(HashMap::from([("gone".into(), Ready)]));
        compare(&mut known, &Status::default(), &Status::default());
        assert!(known.0.is_empty());
    }

    #[test]
    fn five_backends_get_an_event_each_and_six_share_one() {
        let all = |count: usize, status| Status::from_backends((0..count).map(|i| is(&format!("b{i}"), status)));
        assert_eq!(changes(&all(5, Ready), &all(5, Unavailable)).len(), 5);
        let events = changes(&all(6, Ready), &all(6, Unavailable));
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].note, "6 backends are unavailable: b0, b1, b2, b3, b4, b5");
        let events = changes(&all(5000, Unavailable), &all(5000, Ready));
        assert!(events[0].note.len() <= MAX_NOTE && events[0].note.ends_with(" more"), "{}", events[0].note);
        assert!(matches!(&events[0].subject, Subject::Backends(names) if names.len() == 5000));
    }

    #[test]
    fn incomplete_list_makes_no_event_of_a_missing_backend() {
        let whole = Status::from_backends([is("a", Ready), is("b", Ready)]);
        let part = Status::from_backends([is("a", Unavailable), is("c", Unavailable)]);
        let events = |before, after| {
            let changes = LastKnown::default().changes(StoredChange { before: Some(before), after, complete: false });
            changes.into_iter().map(|change| (change.reason, change.subject)).collect::<Vec<_>>()
        };
        assert_eq!(events(&whole, &part), [(Reason::Failed, Subject::Backend("a".into()))]);
        assert_eq!(events(&part, &whole), [(Reason::Recovered, Subject::Backend("a".into()))]);
    }

    fn statuses() -> impl Strategy<Value = Status> {
        let backend = ("[a-h]|\\PC{1,9}", 0..BackendStatus::ALL.len(), "\\PC{0,9}");
        let phase = 0..Phase::ALL.len();
        (phase, proptest::collection::btree_map(backend.0, (backend.1, backend.2), 0..12)).prop_map(
            |(phase, backends)| {
                let backends = backends.into_iter().map(|(name, (status, message))| DiscoveredBackend {
                    message,
                    ..is(&name, BackendStatus::ALL[status])
                });
                Status { phase: Phase::ALL[phase], ..Status::from_backends(backends) }
            },
        )
    }

    proptest! {
        #[test]
        fn equal_statuses_make_no_event(status in statuses()) {
            prop_assert_eq!(changes(&status, &status), []);
        }

        #[test]
        fn each_backend_that_becomes_routable_or_unroutable_makes_an_event(
            before in statuses(), after in statuses(),
        ) {
            let events = changes(&before, &after);
            let mut names = BTreeSet::new();
            for change in &events {
                prop_assert!(change.note.len() <= MAX_NOTE && !change.note.is_empty());
                match &change.subject {
                    Subject::Phase => {}
                    Subject::Backend(name) => drop(names.insert(name.clone())),
                    Subject::Backends(several) => names.extend(several.iter().cloned()),
                }
            }
            for backend in &after.discovered_backends {
                let differs = match before.backend(&backend.name) {
                    None => true,
                    Some(old) if old.status == Unknown || backend.status == Unknown => false,
                    Some(old) => old.is_routable() != backend.is_routable(),
                };
                prop_assert!(!differs || names.contains(&backend.name), "{}: {events:?}", backend.name);
            }
            for backend in &before.discovered_backends {
                prop_assert!(after.backend(&backend.name).is_some() || names.contains(&backend.name));
            }
        }
    }
}
