//! What the actor logs, and how often. A fault that lasts for hours
//! is a handful of lines, not one for each try (law 10).

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::error::{Retry, SinkError};
use crate::human_duration::human_duration;
use crate::log_throttle::LogThrottle;
use crate::sink::WriteOutcome;
use crate::status::{Fault, Omitted, Phase, Status};

/// Conflicts are everyday; only so many in a row are worth a line.
const USUAL_CONFLICTS: u32 = 5;
/// Different faults of the callers that are remembered as said.
const MAX_SAID: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct StatusLog {
    trouble: Option<Trouble>,
    /// When a write was last stored.
    last_write: Option<Instant>,
    said: HashSet<Fault>,
    phase: Option<Phase>,
    /// Whether it is for another replica to tell of phases, or not yet known what
    /// users saw before this one began to lead.
    is_quiet: bool,
    omitted: Option<Omitted>,
}

/// A row of failures.
#[derive(Debug)]
struct Trouble {
    /// Since when something has waited to be stored; or when the first call began that
    /// failed, where nothing has.
    since: Instant,
    attempts: u32,
    conflicts: u32,
    /// Whether a line has been written; then its end is worth one too.
    told: bool,
    log_throttle: LogThrottle,
    /// The kinds that have had a line: each new one gets its own at once.
    kinds: HashSet<std::mem::Discriminant<Retry>>,
}

impl Trouble {
    fn new(now: Instant, since: Instant) -> Self {
        Trouble {
            since,
            attempts: 0,
            conflicts: 0,
            told: false,
            log_throttle: LogThrottle::from(now),
            kinds: HashSet::new(),
        }
    }

    /// Counts a failure; whether it is worth a line.
    fn count(&mut self, now: Instant, retry: Retry) -> bool {
        self.attempts += 1;
        if retry == Retry::Conflict {
            self.conflicts += 1;
            if self.conflicts <= USUAL_CONFLICTS {
                return false;
            }
        }
        let new_kind = self.kinds.insert(std::mem::discriminant(&retry));
        let worth_a_line = self.log_throttle.is_due(now) || new_kind;
        self.told |= worth_a_line;
        worth_a_line
    }
}

/// A read or write that ended with the right to write.
pub(super) fn cut_short(error: &SinkError) {
    debug!(error = error.chain(), "this replica does not lead");
}

/// The end of the election or of a listener took longer than it may.
pub(super) fn not_closed(grace: Duration) {
    warn!(
        "not all was handed over within {}: a Lease runs out by itself, and Events may be missing",
        human_duration(grace)
    );
}

impl StatusLog {
    /// The call in flight has had no answer for long. Logs it in a row of failures that
    /// has had no line yet.
    pub(super) fn slow(&mut self, now: Instant, began: Instant, since: Instant) {
        let trouble = self.trouble.get_or_insert_with(|| Trouble::new(now, since));
        if !std::mem::replace(&mut trouble.told, true) {
            warn!(waiting = %human_duration(now - began), "no answer from the store yet");
        }
    }

    pub(super) fn failed(&mut self, now: Instant, error: &SinkError, since: Instant, pause: Duration) {
        let trouble = self.trouble.get_or_insert_with(|| Trouble::new(now, since));
        let worth_a_line = trouble.count(now, error.retry());
        let (attempt, lasting) = (trouble.attempts, human_duration(now - trouble.since));
        let next_try_in = human_duration(pause);
        let asked = match error.retry() {
            Retry::After(asked) => Some(tracing::field::display(human_duration(asked))),
            _ => None,
        };
        let error = error.chain();
        if worth_a_line {
            warn!(attempt, %lasting, pause_asked_for = asked, %next_try_in, error, "status not stored");
        } else {
            debug!(attempt, %lasting, pause_asked_for = asked, %next_try_in, error, "status not stored");
        }
    }

    /// What was to be stored is stored.
    pub(super) fn stored(&mut self, now: Instant, outcome: WriteOutcome) {
        let last_write = self.last_write;
        if outcome == WriteOutcome::Written {
            self.last_write = Some(now);
        }
        if let Some(trouble) = self.trouble.take()
            && trouble.told
        {
            let last_write = last_write.map(|at| tracing::field::display(human_duration(now - at)));
            info!(
                attempts = trouble.attempts + 1,
                took = %human_duration(now - trouble.since),
                since_last_write = last_write,
                "status stored again"
            );
        }
    }

    /// Another replica writes, or it is not known which: no change of phase happens
    /// here.
    pub(super) fn quiet(&mut self) {
        self.is_quiet = true;
    }

    /// This process writes, and this phase is stored: what it changes is logged.
    pub(super) fn begins_to_write(&mut self, stored: Option<Phase>) {
        if std::mem::take(&mut self.is_quiet) {
            self.phase = stored;
        }
    }

    /// Logs each change of the phase once.
    pub(super) fn shown(&mut self, status: &Status) {
        if self.is_quiet {
            return;
        }
        let before = self.phase.replace(status.phase);
        if before != Some(status.phase) {
            info!(
                phase = %status.phase,
                before = before.map(Phase::as_str),
                summary = status.message,
                routable = status.backend_count,
                "phase changed"
            );
        }
    }

    /// Logs each fault once.
    pub(super) fn repaired(&mut self, fault: Fault) {
        if self.is_news(&fault) {
            warn!("reported status repaired: {fault}");
        }
    }

    fn is_news(&mut self, fault: &Fault) -> bool {
        self.said.len() < MAX_SAID && !self.said.contains(fault) && self.said.insert(fault.clone())
    }

    /// Logs when the reporter begins to leave backends out, and when that ends.
    pub(super) fn truncated(&mut self, omitted: Option<Omitted>) {
        match omitted {
            Some(Omitted { missing, total, .. }) if self.omitted.is_none() => {
                warn!(missing, total, "status too large for the store: healthy backends are left out first");
            }
            None if self.omitted.is_some() => info!("status fits the store again"),
            _ => {}
        }
        self.omitted = omitted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many lines an hour of failures makes, one each `every`.
    fn lines_in_an_hour(every: Duration, kind: impl Fn(u32) -> Retry) -> usize {
        let start = Instant::now();
        let mut trouble = Trouble::new(start, start);
        let tries = 3600 * 1000 / u32::try_from(every.as_millis()).expect("a short time");
        (0..tries).filter(|i| trouble.count(start + every * *i, kind(*i))).count()
    }

    #[test]
    fn an_hour_of_failures_is_a_handful_of_lines() {
        assert_eq!(lines_in_an_hour(Duration::from_millis(100), |_| Retry::Transient), 9);
        assert_eq!(lines_in_an_hour(Duration::from_secs(20), |_| Retry::Blocked), 9);
    }

    #[test]
    fn a_new_kind_of_failure_has_its_line_at_once_and_only_once() {
        let mixed = |i| {
            if i % 2 == 0 { Retry::Transient } else { Retry::Blocked }
        };
        assert_eq!(lines_in_an_hour(Duration::from_secs(1), mixed), 10);
    }

    #[test]
    fn a_fault_is_said_once_and_a_thousand_at_the_most() {
        let mut status_log = StatusLog::default();
        let fault = |i: usize| Fault::DuplicateBackend(i.to_string());
        assert!(status_log.is_news(&fault(0)));
        assert!(!status_log.is_news(&fault(0)));
        assert_eq!((1..2 * MAX_SAID).filter(|i| status_log.is_news(&fault(*i))).count(), MAX_SAID - 1);
    }

    #[test]
    fn a_few_conflicts_are_no_news() {
        let mut trouble = Trouble::new(Instant::now(), Instant::now());
        let told = (0..USUAL_CONFLICTS).any(|_| trouble.count(Instant::now(), Retry::Conflict));
        assert!(!told && !trouble.told);
        assert!(trouble.count(Instant::now(), Retry::Conflict));
    }
}
