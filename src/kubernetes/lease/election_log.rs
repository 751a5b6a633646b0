//! What an election writes to the log.

use tokio::time::Instant;
use tracing::{info, warn};

use super::elector::LeadershipChange;
use crate::human_duration::human_duration;
use crate::log_throttle::LogThrottle;

/// Logs each change once, and an election that stays undecided at growing gaps.
pub(super) struct ElectionLog {
    lease: String,
    identity: String,
    logged: LoggedState,
    /// Since when it is not known which replica leads, once that was logged.
    unknown: Option<(Instant, LogThrottle)>,
}

#[derive(Debug, PartialEq, Eq)]
enum LoggedState {
    Nothing,
    Alone,
    Leading,
    Standby(String),
    Undecided,
}

impl ElectionLog {
    pub(super) fn new(lease: String, identity: String) -> Self {
        ElectionLog { lease, identity, logged: LoggedState::Nothing, unknown: None }
    }

    pub(super) fn record(&mut self, now: Instant, leadership: LeadershipChange<'_>, error: Option<&str>) {
        let ElectionLog { lease, identity, logged, unknown } = self;
        let new = match leadership {
            LeadershipChange::Alone => LoggedState::Alone,
            LeadershipChange::Leading(_) => LoggedState::Leading,
            LeadershipChange::Standby(holder) => LoggedState::Standby(holder.to_owned()),
            // Between two leaders this is not a fault yet.
            LeadershipChange::Undecided if error.is_none() && *logged != LoggedState::Leading => return,
            LeadershipChange::Undecided => LoggedState::Undecided,
        };
        let due =
            new == LoggedState::Undecided && unknown.get_or_insert_with(|| (now, LogThrottle::from(now))).1.is_due(now);
        if *logged == new {
            if let Some((since, _)) = unknown.as_ref().filter(|_| due) {
                warn!(lease, error, lasting = %human_duration(now - *since), "still not known which replica leads");
            }
            return;
        }
        let took = if new == LoggedState::Undecided { None } else { unknown.take() };
        let took = took.map(|(since, _)| tracing::field::debug(now - since));
        if *logged == LoggedState::Leading {
            warn!(lease, error, "not leading any more: the lease was not renewed in time");
        }
        match &new {
            LoggedState::Alone => warn!(
                lease,
                error,
                "leader election is off and every replica writes: give the service account the verbs get, create and \
                 update on leases in coordination.k8s.io, see RBAC.md"
            ),
            LoggedState::Leading => info!(lease, holder = identity, took, "leading"),
            LoggedState::Standby(holder) => info!(lease, holder, took, "another replica leads"),
            LoggedState::Undecided if *logged != LoggedState::Leading => {
                warn!(lease, error, "not known which replica leads: nothing is written until it is");
            }
            LoggedState::Undecided | LoggedState::Nothing => {}
        }
        *logged = new;
    }
}
