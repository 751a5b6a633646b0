use std::fmt::Write as _;

use super::{BackendStatus, Condition, DiscoveredBackend, Phase, condition_type, reason};

/// What [`derive()`] computes from the backends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Derived {
    /// The state of the vMCP as a whole.
    pub phase: Phase,
    /// The phase explained, with counts.
    pub message: String,
    /// How many backends are routable.
    pub backend_count: u32,
    /// `Ready`, `BackendsDiscovered` and, where it holds, `Degraded`, without
    /// transition times.
    pub conditions: Vec<Condition>,
}

/// Computes phase, message, count and conditions from the backends, so that gateways
/// agree on what they mean.
///
/// | backends | phase | `Ready` | its reason |
/// |---|---|---|---|
/// | none configured | `Ready` | True | `AllBackendsRoutable` |
/// | none checked yet | `Pending` | False | `BackendsPending` |
/// | all routable | `Ready` | True | `AllBackendsRoutable` |
/// | some routable | `Degraded` | False | `SomeBackendsUnhealthy` |
/// | none routable | `Failed` | False | `NoRoutableBackends` |
///
/// These are the words of ToolHive's own runtime, which its operator and its users'
/// alerts read. A backend is routable if it is ready or unauthenticated. Unknown
/// backends have not been checked, and count only in the first two rows. The condition
/// `Degraded` is True while a backend is `degraded`, and absent otherwise. Messages
/// contain counts only, never the text of a backend, and the counts add up to the total.
///
/// ```
/// use vmcp_status::{BackendStatus, DiscoveredBackend, Phase, derive};
///
/// let up = DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named("up") };
/// let down = DiscoveredBackend { status: BackendStatus::Unavailable, ..DiscoveredBackend::named("down") };
/// let derived = derive([&up, &down]);
/// assert_eq!(derived.phase, Phase::Degraded);
/// assert_eq!(derived.message, "1 of 2 backends routable, 1 unavailable");
/// ```
pub fn derive<'a>(backends: impl IntoIterator<Item = &'a DiscoveredBackend>) -> Derived {
    let tally = Tally::of(backends);
    let phase = tally.phase();
    let message = tally.message();
    let (ready, why) = match phase {
        Phase::Pending => (false, reason::BACKENDS_PENDING),
        Phase::Ready => (true, reason::ALL_BACKENDS_ROUTABLE),
        Phase::Degraded => (false, reason::SOME_BACKENDS_UNHEALTHY),
        Phase::Failed => (false, reason::NO_ROUTABLE_BACKENDS),
    };
    let mut conditions = vec![
        Condition::unchecked(condition_type::READY, ready.into(), why, message.clone()),
        Condition::unchecked(
            condition_type::BACKENDS_DISCOVERED,
            true.into(),
            reason::BACKENDS_DISCOVERED,
            format!("Discovered {}", backends_in_words(tally.total())),
        ),
    ];
    let degraded = tally.count(BackendStatus::Degraded);
    if degraded > 0 {
        conditions.push(Condition::unchecked(
            condition_type::DEGRADED,
            true.into(),
            reason::BACKENDS_DEGRADED,
            format!("{} degraded", backends_in_words(degraded)),
        ));
    }
    Derived { phase, message, backend_count: u32::try_from(tally.routable()).unwrap_or(u32::MAX), conditions }
}

fn backends_in_words(count: usize) -> String {
    format!("{count} backend{}", if count == 1 { "" } else { "s" })
}

/// How many backends are in each status.
#[derive(Default)]
struct Tally([usize; BackendStatus::ALL.len()]);

impl Tally {
    fn of<'a>(backends: impl IntoIterator<Item = &'a DiscoveredBackend>) -> Self {
        let mut tally = Tally::default();
        for backend in backends {
            tally.0[backend.status as usize] += 1;
        }
        tally
    }

    fn count(&self, status: BackendStatus) -> usize {
        self.0[status as usize]
    }

    fn total(&self) -> usize {
        self.0.iter().sum()
    }

    fn routable(&self) -> usize {
        self.count(BackendStatus::Ready) + self.count(BackendStatus::Unauthenticated)
    }

    fn phase(&self) -> Phase {
        let total = self.total();
        // An unchecked backend says nothing about the whole.
        let checked = total - self.count(BackendStatus::Unknown);
        match self.routable() {
            _ if total == 0 => Phase::Ready,
            _ if checked == 0 => Phase::Pending,
            0 => Phase::Failed,
            routable if routable == checked => Phase::Ready,
            _ => Phase::Degraded,
        }
    }

    fn message(&self) -> String {
        let total = self.total();
        if total == 0 {
            return "Ready, no backends configured".into();
        }
        if self.phase() == Phase::Pending {
            return format!("Starting, {} not checked yet", backends_in_words(total));
        }
        let mut message = format!("{} of {} routable", self.routable(), backends_in_words(total));
        // An unauthenticated backend is one of the routable ones, so it stands in
        // parentheses: the numbers outside of them add up to the total.
        let unauthenticated = self.count(BackendStatus::Unauthenticated);
        if unauthenticated > 0 {
            // Writing to a String cannot fail.
            let _ = write!(message, " ({unauthenticated} unauthenticated)");
        }
        for (status, words) in [
            (BackendStatus::Degraded, "degraded"),
            (BackendStatus::Unavailable, "unavailable"),
            (BackendStatus::Unknown, "not checked yet"),
        ] {
            let count = self.count(status);
            if count > 0 {
                let _ = write!(message, ", {count} {words}");
            }
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ConditionStatus;

    fn backends(statuses: &[BackendStatus]) -> Vec<DiscoveredBackend> {
        let named = |(i, status): (usize, &BackendStatus)| DiscoveredBackend {
            status: *status,
            ..DiscoveredBackend::named(format!("b{i}"))
        };
        statuses.iter().enumerate().map(named).collect()
    }

    #[test]
    fn every_row_of_the_table_derives_its_phase_message_and_count() {
        use BackendStatus::{Degraded, Ready, Unauthenticated, Unavailable, Unknown};
        let rows: [(&[BackendStatus], Phase, &str, u32); 10] = [
            (&[], Phase::Ready, "Ready, no backends configured", 0),
            (&[Unknown, Unknown], Phase::Pending, "Starting, 2 backends not checked yet", 0),
            (&[Unknown], Phase::Pending, "Starting, 1 backend not checked yet", 0),
            (&[Ready, Ready], Phase::Ready, "2 of 2 backends routable", 2),
            (&[Ready, Unauthenticated], Phase::Ready, "2 of 2 backends routable (1 unauthenticated)", 2),
            (
                &[Ready, Unauthenticated, Unavailable, Unavailable],
                Phase::Degraded,
                "2 of 4 backends routable (1 unauthenticated), 2 unavailable",
                2,
            ),
            (&[Unavailable], Phase::Failed, "0 of 1 backend routable, 1 unavailable", 0),
            (
                &[Degraded, Unavailable, Unknown],
                Phase::Failed,
                "0 of 3 backends routable, 1 degraded, 1 unavailable, 1 not checked yet",
                0,
            ),
            (&[Ready, Degraded], Phase::Degraded, "1 of 2 backends routable, 1 degraded", 1),
            (&[Ready, Unknown], Phase::Ready, "1 of 2 backends routable, 1 not checked yet", 1),
        ];
        for (statuses, phase, message, count) in rows {
            let derived = derive(&backends(statuses));
            assert_eq!(
                (derived.phase, derived.message.as_str(), derived.backend_count),
                (phase, message, count),
                "{statuses:?}"
            );
        }
    }

    #[test]
    fn derived_conditions_use_the_words_of_toolhive_and_pass_their_own_validation() {
        use BackendStatus::{Degraded, Ready, Unavailable, Unknown};
        let rows: [(&[BackendStatus], ConditionStatus, &str, Option<&str>); 7] = [
            (&[], ConditionStatus::True, "AllBackendsRoutable", None),
            (&[Unknown], ConditionStatus::False, "BackendsPending", None),
            (&[Ready], ConditionStatus::True, "AllBackendsRoutable", None),
            (&[Ready, Unavailable], ConditionStatus::False, "SomeBackendsUnhealthy", None),
            (&[Unavailable], ConditionStatus::False, "NoRoutableBackends", None),
            (&[Ready, Degraded], ConditionStatus::False, "SomeBackendsUnhealthy", Some("1 backend degraded")),
            (&[Degraded, Degraded], ConditionStatus::False, "NoRoutableBackends", Some("2 backends degraded")),
        ];
        for (statuses, ready, why, degraded) in rows {
            let conditions = derive(&backends(statuses)).conditions;
            assert_eq!((conditions[0].status, conditions[0].reason.as_str()), (ready, why), "{statuses:?}");
            assert_eq!(
                (conditions[1].type_.as_str(), conditions[1].status, conditions[1].reason.as_str()),
                ("BackendsDiscovered", ConditionStatus::True, "BackendsDiscovered")
            );
            let of_degraded = conditions.iter().find(|condition| condition.type_ == "Degraded");
            assert_eq!(of_degraded.map(|condition| condition.message.as_str()), degraded, "{statuses:?}");
            assert!(of_degraded.is_none_or(|condition| condition.reason == "BackendsDegraded"));
            for condition in conditions {
                assert_eq!(condition.validate(), Ok(()));
            }
        }
    }
}
