//! In which of its two homes the status lives. Only this file knows the rules.
//!
//! Until September 2026 a vMCP wrote the top level of `status`. Since then ToolHive's
//! operator computes the top level from `status.runtime`, which only the vMCP writes.
//! The reporter finds out which of them a cluster follows by asking the server, and by
//! checking whether what it wrote stays: beside a CRD that knows `runtime`, an operator
//! that does not know it erases it.

use std::time::Duration;

use tokio::time::Instant;

use crate::sink::Location;

/// Where in the object the sink writes the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StatusLocation {
    /// The home that the cluster follows: `status.runtime` if its CRD has it and a write
    /// there stays, else the top level of `status`.
    #[default]
    Auto,
    /// `status.runtime`, whatever the cluster supports.
    Runtime,
    /// The top level of `status`. The sink removes a `runtime` that it finds, once,
    /// because the operator would overwrite the top level from it.
    TopLevel,
}

/// One of the two homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    Runtime,
    TopLevel,
}

impl Home {
    /// Returns where our fields are in the object, as a JSON pointer.
    pub(super) fn pointer(self) -> &'static str {
        match self {
            Home::Runtime => "/status/runtime",
            Home::TopLevel => "/status",
        }
    }

    /// Returns the objects that must exist before a patch can add a field, the outermost
    /// first.
    pub(super) fn parents(self) -> &'static [&'static str] {
        match self {
            Home::Runtime => &["/status", "/status/runtime"],
            Home::TopLevel => &["/status"],
        }
    }

    /// Whether the home has an `observedGeneration` of its own. In `runtime`
    /// the conditions carry it.
    pub(super) fn has_generation(self) -> bool {
        self == Home::TopLevel
    }

    /// Whether to remove a condition of this type that is no longer reported. From
    /// `runtime` the operator copies conditions, and never removes a copy except of three
    /// types. A condition of another type there has to become `Unknown` instead.
    pub(super) fn removes(self, condition_type: &str) -> bool {
        self == Home::TopLevel || crate::status::condition_type::OWNED.contains(&condition_type)
    }

    /// Whether a condition of this type must not be written here.
    pub(super) fn forbids(self, condition_type: &str) -> bool {
        self == Home::Runtime && OPERATORS_CONDITIONS.iter().any(|prefix| condition_type.starts_with(prefix))
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Home::Runtime => "status.runtime",
            Home::TopLevel => "status",
        }
    }
}

/// The operator itself manages conditions of types with these prefixes. If it finds one
/// in `runtime`, it adds and removes it without end.
const OPERATORS_CONDITIONS: [&str; 9] = [
    "AuthServerConfigValidated",
    "AuthzConfigRefValidated",
    "AuthzUpstreamSelectionWarning",
    "BackendAuthConfig-",
    "DefaultAuthConfig",
    "DeprecatedInboundGrantConfiguration",
    "DiscoveredAuthConfig-",
    "IdentitySynthesized",
    "TelemetryConfigRefValidated",
];

/// How soon after the first write, or the first after a loss, to check whether
/// `runtime` still exists.
const LOOK: Duration = Duration::from_secs(10);
/// A `runtime` that exists this long after a write has stayed.
const STAYED: Duration = Duration::from_secs(5);
/// How long to write the top level before asking again.
const ASK_AGAIN: Duration = Duration::from_secs(60 * 60);
/// After this many losses in a row, another writer keeps erasing `runtime`.
const LOSSES: u32 = 2;

/// The server's answer about `status.runtime`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RuntimeSupport {
    Known,
    Unknown,
    /// The server does not answer that question, for this reason.
    Refused(String),
}

/// Chooses the home. Pure: it takes what was observed, and when.
#[derive(Debug)]
pub(super) struct Locator {
    setting: StatusLocation,
    home: Home,
    reason: String,
    /// Whether the server's answer, or an observed `runtime`, confirms the choice.
    certain: bool,
    /// Since when the top level is the choice, to ask again after an hour.
    settled_at: Option<Instant>,
    /// Until when to ignore a `runtime` that shows up, because another writer has erased
    /// ours.
    distrusted_until: Option<Instant>,
    /// When this process last wrote `runtime`; `None` once it was found erased.
    wrote_at: Option<Instant>,
    losses: u32,
    /// Whether the next write is the first, or the first after a loss.
    look_after_write: bool,
    /// Whether the choice has changed since it was last taken for the log.
    news: bool,
}

impl Locator {
    pub(super) fn new(setting: StatusLocation) -> Self {
        let (home, reason) = match setting {
            StatusLocation::Auto => (Home::Runtime, "not known yet: the server has not been asked"),
            StatusLocation::Runtime => (Home::Runtime, "chosen by hand"),
            StatusLocation::TopLevel => (Home::TopLevel, "chosen by hand"),
        };
        Locator {
            setting,
            home,
            reason: reason.into(),
            certain: setting != StatusLocation::Auto,
            settled_at: None,
            distrusted_until: None,
            wrote_at: None,
            losses: 0,
            look_after_write: true,
            news: setting != StatusLocation::Auto,
        }
    }

    pub(super) fn home(&self) -> Home {
        self.home
    }

    pub(super) fn setting(&self) -> StatusLocation {
        self.setting
    }

    /// Whether the reporter may write `Pending` on a first start. It may not in
    /// `runtime`, where the operator would turn it into `Degraded`, nor before the home
    /// is certain.
    pub(super) fn may_announce(&self) -> bool {
        self.certain && self.home == Home::TopLevel
    }

    /// Whether to ask the server, given whether the object has a `runtime`.
    pub(super) fn has_to_ask(&self, runtime_seen: bool, now: Instant) -> bool {
        self.setting == StatusLocation::Auto
            && match self.home {
                Home::Runtime => !self.certain && !runtime_seen,
                Home::TopLevel => self.settled_at.is_none_or(|at| now >= at + ASK_AGAIN),
            }
    }

    /// Takes the server's answer.
    pub(super) fn answered(&mut self, answer: RuntimeSupport, now: Instant) {
        match answer {
            RuntimeSupport::Known => self.settle(Home::Runtime, "the CRD has status.runtime", now),
            RuntimeSupport::Unknown if self.setting == StatusLocation::Auto => {
                self.settle(Home::TopLevel, "the CRD has no status.runtime", now);
            }
            RuntimeSupport::Unknown => {}
            RuntimeSupport::Refused(why) if self.certain => {
                // At the top level, an hour later: the choice stays.
                self.settled_at = Some(now);
                tracing::debug!(why, "the server does not say whether it knows status.runtime");
            }
            RuntimeSupport::Refused(why) => {
                self.reason = format!("not known yet: the server refuses to be asked ({why})");
            }
        }
    }

    /// Takes whether the object that was read has a `runtime`; `writer` wrote the status
    /// last, if that is known.
    pub(super) fn observed(&mut self, runtime_seen: bool, writer: Option<&str>, now: Instant) {
        match (self.home, runtime_seen) {
            (Home::TopLevel, true) if self.setting == StatusLocation::Auto && self.trusts(now) => {
                self.settle(Home::Runtime, "the object has a status.runtime", now);
            }
            (Home::Runtime, true) if !self.certain => {
                self.settle(Home::Runtime, "the object has a status.runtime", now);
            }
            (Home::Runtime, true) if self.wrote_at.is_some_and(|at| now >= at + STAYED) => self.losses = 0,
            (Home::Runtime, false) if self.wrote_at.take().is_some() => self.lost(writer, now),
            _ => {}
        }
    }

    fn trusts(&self, now: Instant) -> bool {
        self.distrusted_until.is_none_or(|until| now >= until)
    }

    fn lost(&mut self, writer: Option<&str>, now: Instant) {
        let writer = writer.unwrap_or("another writer");
        self.losses += 1;
        self.look_after_write = true;
        if self.setting == StatusLocation::Auto && self.losses >= LOSSES {
            self.losses = 0;
            self.distrusted_until = Some(now + ASK_AGAIN);
            let reason = format!(
                "{writer} has erased status.runtime {LOSSES} times in a row: \
                 an operator from before September 2026, or another vMCP with the same name?"
            );
            self.settle(Home::TopLevel, reason, now);
        } else {
            tracing::warn!(writer, "status.runtime was erased, restoring it");
        }
    }

    /// Records that our status was stored.
    pub(super) fn wrote(&mut self, now: Instant) {
        if self.home == Home::Runtime {
            self.wrote_at = Some(now);
            self.certain = true;
        }
    }

    /// Forgets what was observed, because the object was replaced by another one of the
    /// same name.
    pub(super) fn object_replaced(&mut self) {
        self.wrote_at = None;
        self.losses = 0;
        self.look_after_write = true;
    }

    /// Returns how soon to check whether the last write has stayed. Call it once after
    /// each write.
    pub(super) fn take_look(&mut self) -> Option<Duration> {
        let look = self.home == Home::Runtime && self.setting == StatusLocation::Auto;
        (look && std::mem::take(&mut self.look_after_write)).then_some(LOOK)
    }

    /// Returns the location if it has changed since the last call.
    pub(super) fn take_news(&mut self) -> Option<Location> {
        std::mem::take(&mut self.news).then(|| self.location())
    }

    pub(super) fn location(&self) -> Location {
        Location::new(self.home.as_str(), self.reason.as_str())
    }

    fn settle(&mut self, home: Home, reason: impl Into<String>, now: Instant) {
        let moved = self.home != home;
        self.news |= moved || !self.certain;
        if moved {
            self.look_after_write = true;
            self.wrote_at = None;
        }
        if self.news {
            self.reason = reason.into();
        }
        self.home = home;
        self.certain = true;
        self.settled_at = (home == Home::TopLevel).then_some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn auto() -> (Locator, Instant) {
        (Locator::new(StatusLocation::Auto), Instant::now())
    }

    #[test]
    fn auto_asks_before_the_first_write_and_goes_where_the_crd_allows() {
        let (mut locator, now) = auto();
        assert!(locator.has_to_ask(false, now) && !locator.may_announce());
        locator.answered(RuntimeSupport::Known, now);
        assert_eq!((locator.home(), locator.may_announce()), (Home::Runtime, false));
        assert!(!locator.has_to_ask(false, now + HOUR * 9));

        let (mut locator, now) = auto();
        locator.answered(RuntimeSupport::Unknown, now);
        assert_eq!((locator.home(), locator.may_announce()), (Home::TopLevel, true));
    }

    #[test]
    fn observed_runtime_needs_no_question() {
        let (mut locator, now) = auto();
        assert!(!locator.has_to_ask(true, now));
        locator.observed(true, None, now);
        assert_eq!(locator.home(), Home::Runtime);
        assert!(locator.take_news().is_some() && locator.take_news().is_none());
    }

    #[test]
    fn refused_question_leaves_the_choice_to_the_first_write() {
        let (mut locator, now) = auto();
        locator.answered(RuntimeSupport::Refused("400".into()), now);
        assert_eq!((locator.home(), locator.may_announce()), (Home::Runtime, false));
        assert_eq!(locator.take_news(), None, "the choice is open");
        locator.answered(RuntimeSupport::Unknown, now);
        assert_eq!(locator.home(), Home::TopLevel);
    }

    #[test]
    fn top_level_is_left_when_a_runtime_shows_up_and_the_server_is_asked_each_hour() {
        let (mut locator, now) = auto();
        locator.answered(RuntimeSupport::Unknown, now);
        assert!(!locator.has_to_ask(false, now + HOUR / 2));
        assert!(locator.has_to_ask(false, now + HOUR));
        locator.answered(RuntimeSupport::Unknown, now + HOUR);
        assert!(!locator.has_to_ask(false, now + HOUR));
        locator.observed(true, None, now + HOUR);
        assert_eq!(locator.home(), Home::Runtime);
    }

    #[test]
    fn first_write_and_each_after_a_loss_are_checked_once() {
        let (mut locator, now) = auto();
        locator.observed(true, None, now);
        locator.wrote(now);
        assert_eq!(locator.take_look(), Some(LOOK));
        locator.wrote(now + LOOK / 2);
        assert_eq!(locator.take_look(), None);
        locator.observed(false, Some("old"), now + LOOK);
        assert_eq!(locator.home(), Home::Runtime, "once may be an accident");
        locator.wrote(now + LOOK);
        assert_eq!(locator.take_look(), Some(LOOK));
    }

    #[test]
    fn runtime_that_is_erased_twice_in_a_row_means_the_top_level_for_an_hour() {
        let (mut locator, now) = auto();
        locator.observed(true, None, now);
        for _ in 0..2 {
            locator.wrote(now);
            locator.observed(false, Some("old-operator"), now + LOOK);
        }
        assert_eq!(locator.home(), Home::TopLevel);
        assert!(locator.location().reason.contains("old-operator"), "{:?}", locator.location());
        locator.observed(true, None, now + HOUR / 2);
        assert_eq!(locator.home(), Home::TopLevel, "what shows up meanwhile is erased again");
        locator.observed(true, None, now + HOUR + LOOK);
        assert_eq!(locator.home(), Home::Runtime);
    }

    #[test]
    fn losses_far_apart_do_not_count_as_a_row() {
        let (mut locator, now) = auto();
        locator.observed(true, None, now);
        for hour in 0..5 {
            let now = now + HOUR * hour;
            locator.wrote(now);
            locator.observed(true, None, now + LOOK);
            locator.observed(false, None, now + LOOK * 2);
            locator.wrote(now + LOOK * 2);
            locator.observed(true, None, now + LOOK * 3);
        }
        assert_eq!(locator.home(), Home::Runtime);
    }

    #[test]
    fn location_chosen_by_hand_stays() {
        for (setting, home) in [(StatusLocation::Runtime, Home::Runtime), (StatusLocation::TopLevel, Home::TopLevel)] {
            let (mut locator, now) = (Locator::new(setting), Instant::now());
            assert!(!locator.has_to_ask(false, now + HOUR * 2));
            for _ in 0..9 {
                locator.wrote(now);
                locator.observed(false, None, now + LOOK);
                locator.answered(RuntimeSupport::Unknown, now);
                locator.observed(true, None, now);
            }
            assert_eq!(locator.home(), home);
        }
    }

    #[test]
    fn replaced_object_counts_no_losses() {
        let (mut locator, now) = auto();
        locator.observed(true, None, now);
        for _ in 0..9 {
            locator.wrote(now);
            locator.object_replaced();
            locator.observed(false, None, now + LOOK);
        }
        assert_eq!(locator.home(), Home::Runtime);
    }
}
