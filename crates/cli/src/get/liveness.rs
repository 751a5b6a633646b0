//! Whether what an object says is still so: signs of life of its reporter, and the
//! newest check of a backend. Pure: the time is passed in.
//!
//! A leader renews its Lease every few seconds, whatever changes, and the writer of a
//! state file says how often it writes: such a sign of life decides. Where there is
//! none, a status is as old as its newest check.

mod lease;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::super::format::age;

pub(super) use self::lease::SeenLease;

/// The signs of life that an object gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Liveness {
    /// `None` where nothing tells of the reporter itself.
    pub(super) reporter: Option<Reporter>,
    /// When the newest check of a backend was made.
    pub(super) checked: Option<DateTime<Utc>>,
    /// When the status was reported, where it says so.
    pub(super) reported: Option<DateTime<Utc>>,
}

/// A reporter, as it was when its sign of life was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reporter {
    pub(super) state: ReporterState,
    /// When it last gave a sign of life.
    pub(super) seen: Option<DateTime<Utc>>,
    /// What identifies it, for a person.
    pub(super) who: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReporterState {
    /// It runs.
    Alive {
        /// Whether it has promised to give signs of life, and does. Then what it wrote
        /// last is still so, however long ago that was.
        vouches: bool,
    },
    /// It runs, and has not written for much longer than it promised.
    Silent {
        /// How often it promised to write, in seconds.
        every: u64,
    },
    /// It has ended.
    Gone,
}

/// How old the newest check may be where no reporter vouches for it; `None`: any age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StaleAfter(Option<TimeDelta>);

impl StaleAfter {
    /// Reads the value of an option.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the text.
    pub(super) fn parse(text: &str) -> Result<Self, humantime::DurationError> {
        if matches!(text, "off" | "0") {
            return Ok(StaleAfter(None));
        }
        let limit = humantime::parse_duration(text)?;
        // What does not fit is longer than anything can be old.
        Ok(StaleAfter(TimeDelta::from_std(limit).ok().filter(|limit| !limit.is_zero())))
    }
}

impl ReporterState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            ReporterState::Alive { .. } => "alive",
            ReporterState::Silent { .. } => "silent",
            ReporterState::Gone => "gone",
        }
    }

    pub(super) fn is_alive(self) -> bool {
        matches!(self, ReporterState::Alive { .. })
    }
}

impl Reporter {
    /// A word, how long ago the last sign of life was, and who it is, for a column.
    pub(super) fn short(&self, now: DateTime<Utc>) -> String {
        let seen = self.seen.map(|at| format!(" {}", since(at, now))).unwrap_or_default();
        format!("{}{seen} ({})", self.state.as_str(), self.who)
    }

    fn line(&self, now: DateTime<Utc>) -> String {
        let (state, who) = (self.state.as_str(), &self.who);
        match self.seen {
            None => format!("{state} ({who})"),
            Some(at) if self.state.is_alive() => format!("{state} {} ago ({who})", since(at, now)),
            Some(at) => format!("{state} since {} ({} ago, {who})", time(at), since(at, now)),
        }
    }

    fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("state".into(), json!(self.state.as_str()));
        members.extend(self.seen.map(|at| ("lastSeen".into(), json!(time(at)))));
        members.insert("identity".into(), json!(self.who));
        members.into()
    }
}

impl Liveness {
    /// Why the status may be a thing of the past, if so. The words stay the same while
    /// time passes.
    pub(super) fn why_stale(&self, limit: StaleAfter, now: DateTime<Utc>) -> Option<String> {
        match self.state() {
            Some(ReporterState::Gone) => Some("the reporter is gone; this is its last word".into()),
            Some(ReporterState::Silent { every }) => {
                Some(format!("the reporter is silent and should write every {every}s; does it hang?"))
            }
            Some(ReporterState::Alive { .. }) | None => {
                self.stale_from(limit).filter(|from| *from <= now)?;
                let newest = self.newest()?;
                let what = if self.checked == Some(newest) { "no backend was checked" } else { "nothing was reported" };
                Some(format!("{what} since {}: is a reporter running?", time(newest)))
            }
        }
    }

    /// When the status becomes stale unless something newer is seen until then.
    pub(super) fn stale_from(&self, StaleAfter(limit): StaleAfter) -> Option<DateTime<Utc>> {
        if self.state() == Some(ReporterState::Alive { vouches: true }) {
            return None;
        }
        self.newest()?.checked_add_signed(limit?)
    }

    fn newest(&self) -> Option<DateTime<Utc>> {
        self.checked.max(self.reported)
    }

    /// What the reporter is doing, where something tells.
    pub(super) fn state(&self) -> Option<ReporterState> {
        self.reporter.as_ref().map(|reporter| reporter.state)
    }

    /// How long ago the newest check was made, for a column; empty without one.
    pub(super) fn checked_for(&self, now: DateTime<Utc>) -> String {
        self.checked.map(|at| since(at, now)).unwrap_or_default()
    }

    /// All that can be told, such as `alive 3s ago (holder pod-1), backends checked
    /// 41m ago`; `None` where that is nothing.
    pub(super) fn line(&self, now: DateTime<Utc>) -> Option<String> {
        let reporter = self.reporter.as_ref().map(|reporter| reporter.line(now));
        let checked = self.checked.map(|at| format!("backends checked {} ago", since(at, now)));
        let parts: Vec<_> = reporter.into_iter().chain(checked).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// The same for programs: times where a person gets ages, and the reason where the
    /// status is stale.
    pub(super) fn to_json(&self, stale: Option<&str>) -> Value {
        let mut members = Map::new();
        members.insert("stale".into(), json!(stale.is_some()));
        members.extend(stale.map(|why| ("staleReason".into(), json!(why))));
        members.extend(self.reporter.as_ref().map(|reporter| ("reporter".into(), reporter.to_json())));
        members.extend(self.checked.map(|at| ("lastCheck".into(), json!(time(at)))));
        members.into()
    }
}

/// How long ago. The clock of another machine may be ahead of ours, by more than
/// [`age`] lets pass.
fn since(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    age(Some(at.min(now)), now)
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
    }

    fn ago(seconds: i64) -> DateTime<Utc> {
        now() - TimeDelta::seconds(seconds)
    }

    fn reporter(state: ReporterState, seen: Option<i64>) -> Reporter {
        Reporter { state, seen: seen.map(ago), who: "pid 7".into() }
    }

    fn liveness(reporter: impl Into<Option<Reporter>>, checked: Option<i64>) -> Liveness {
        Liveness { reporter: reporter.into(), checked: checked.map(ago), reported: None }
    }

    const ALIVE: ReporterState = ReporterState::Alive { vouches: true };
    const UNPROMISED: ReporterState = ReporterState::Alive { vouches: false };
    const TEN_MINUTES: StaleAfter = StaleAfter(Some(TimeDelta::minutes(10)));

    #[test]
    fn line_has_both_ages_as_far_as_they_are_known() {
        for (reporter, checked, line) in [
            (Some(reporter(ALIVE, Some(3))), Some(41 * 60), Some("alive 3s ago (pid 7), backends checked 41m ago")),
            (
                Some(reporter(ReporterState::Gone, Some(16))),
                Some(3600),
                Some("gone since 2024-10-03T23:59:44Z (16s ago, pid 7), backends checked 60m ago"),
            ),
            (
                Some(reporter(ReporterState::Silent { every: 1 }, Some(16))),
                None,
                Some("silent since 2024-10-03T23:59:44Z (16s ago, pid 7)"),
            ),
            (Some(reporter(UNPROMISED, None)), None, Some("alive (pid 7)")),
            (None, Some(41 * 60), Some("backends checked 41m ago")),
            (None, None, None),
            // The clock of another machine is ahead.
            (Some(reporter(ALIVE, Some(-3600))), Some(-90), Some("alive 0s ago (pid 7), backends checked 0s ago")),
        ] {
            assert_eq!(liveness(reporter, checked).line(now()).as_deref(), line);
        }
    }

    #[test]
    fn reporter_that_is_gone_or_silent_makes_any_status_stale() {
        for state in [ReporterState::Gone, ReporterState::Silent { every: 30 }] {
            for limit in [TEN_MINUTES, StaleAfter(None)] {
                assert!(liveness(reporter(state, None), Some(0)).why_stale(limit, now()).is_some(), "{state:?}");
            }
        }
    }

    #[test]
    fn old_checks_are_stale_unless_a_reporter_vouches_for_them() {
        let stale = |reporter, checked| liveness(reporter, checked).why_stale(TEN_MINUTES, now());
        assert_eq!(stale(None, Some(599)), None);
        assert_eq!(
            stale(None, Some(600)).as_deref(),
            Some("no backend was checked since 2024-10-03T23:50:00Z: is a reporter running?")
        );
        assert!(stale(Some(reporter(UNPROMISED, Some(0))), Some(600)).is_some());
        assert_eq!(stale(Some(reporter(ALIVE, Some(0))), Some(600_000)), None);
        assert_eq!(stale(None, None), None, "nothing tells");
        assert_eq!(liveness(None, Some(600_000)).why_stale(StaleAfter(None), now()), None);
    }

    #[test]
    fn time_of_the_report_counts_where_it_is_newer_than_any_check() {
        let stale = |checked, reported| {
            let liveness = Liveness { reported: Some(ago(reported)), ..liveness(None, checked) };
            liveness.why_stale(TEN_MINUTES, now())
        };
        assert_eq!(stale(Some(3600), 60), None);
        assert!(stale(None, 600).is_some_and(|why| why.starts_with("nothing was reported since ")));
        assert!(stale(Some(700), 700).is_some_and(|why| why.starts_with("no backend was checked since ")));
    }

    #[test]
    fn limit_is_a_time_or_off() {
        for (text, limit) in [
            ("10m", TEN_MINUTES),
            ("0", StaleAfter(None)),
            ("0s", StaleAfter(None)),
            ("off", StaleAfter(None)),
            ("500000000000years", StaleAfter(None)),
        ] {
            assert_eq!(StaleAfter::parse(text), Ok(limit), "{text}");
        }
        for text in ["", "soon", "-1s"] {
            assert!(StaleAfter::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn programs_get_times_and_only_what_is_known() {
        assert_eq!(Liveness::default().to_json(None), json!({"stale": false}));
        assert_eq!(
            liveness(reporter(ReporterState::Gone, Some(16)), Some(3600)).to_json(Some("why")),
            json!({
                "stale": true, "staleReason": "why", "lastCheck": "2024-10-03T23:00:00Z",
                "reporter": {"state": "gone", "lastSeen": "2024-10-03T23:59:44Z", "identity": "pid 7"},
            })
        );
    }
}
