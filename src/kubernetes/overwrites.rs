//! Whether another writer keeps overwriting what this process writes. Pure.
//!
//! One overwritten field is everyday: a predecessor ends, an operator is updated. A
//! writer that keeps at it fights with us, and users see the status flip. So nothing is
//! concluded until it has happened three times.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::api::{FieldManager, listed_fields};
use crate::log_throttle::LogThrottle;
use crate::sink::Overwriter;

/// So many times within `WINDOW`, or at so many looks in a row.
const TIMES: usize = 3;
const WINDOW: Duration = Duration::from_secs(10 * 60);

#[derive(Debug, Default)]
pub(super) struct Overwrites {
    /// The newest, at most `TIMES` of them.
    recent: VecDeque<Instant>,
    in_a_row: usize,
    times: u64,
    overwriter: Overwriter,
    /// Set since the warning, as long as it lasts.
    log_throttle: Option<LogThrottle>,
}

impl Overwrites {
    /// Takes that a look found our fields as we had left them.
    pub(super) fn intact(&mut self, now: Instant) {
        self.in_a_row = 0;
        if !self.lasts(now) {
            self.log_throttle = None;
        }
    }

    /// Takes that a look found these fields overwritten.
    pub(super) fn found(&mut self, overwriter: Overwriter, us: &str, now: Instant) {
        self.times += 1;
        self.in_a_row += 1;
        self.recent.push_back(now);
        if self.recent.len() > TIMES {
            self.recent.pop_front();
        }
        self.overwriter = overwriter;
        if !self.lasts(now) {
            self.log_throttle = None;
        } else if self.log_throttle.get_or_insert_with(|| LogThrottle::from(now)).is_due(now) {
            self.warn(us);
        }
    }

    /// How many times our fields were found overwritten.
    pub(super) fn times(&self) -> u64 {
        self.times
    }

    /// Who keeps overwriting our fields, while it lasts.
    pub(super) fn overwriter(&self, now: Instant) -> Option<&Overwriter> {
        self.lasts(now).then_some(&self.overwriter)
    }

    fn lasts(&self, now: Instant) -> bool {
        let is_often = self.recent.len() == TIMES && self.recent.front().is_some_and(|first| now <= *first + WINDOW);
        is_often || self.in_a_row >= TIMES
    }

    fn warn(&self, us: &str) {
        let Overwriter { manager, fields } = &self.overwriter;
        let (times, fields) = (self.times, listed_fields(fields));
        match manager.as_deref() {
            Some(manager) if manager == us => tracing::warn!(
                manager,
                fields,
                times,
                "another process with the field manager of this one keeps overwriting what this one reports: end it, \
                 or let the replicas elect a leader"
            ),
            manager => tracing::warn!(
                manager = manager.unwrap_or("unknown"),
                fields,
                times,
                "another writer keeps overwriting what this process reports: end it, or let it write elsewhere, \
                 because each overwrites what the other reports"
            ),
        }
    }
}

/// Returns the manager that was the last to change one of these fields. If it shares
/// our name, it is another process nevertheless: these fields are not as we left them.
pub(super) fn overwriter(managers: Vec<FieldManager>, fields: Vec<String>, us: &str) -> Overwriter {
    let owners = managers.into_iter().filter(|manager| manager.fields.iter().any(|field| fields.contains(field)));
    // Times are whole seconds: in one second, the other one was the last.
    let manager = owners.max_by_key(|manager| (manager.at, manager.name != us)).map(|manager| manager.name);
    Overwriter { manager, fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn by(manager: &str) -> Overwriter {
        Overwriter { manager: Some(manager.into()), fields: vec!["phase".into()] }
    }

    fn is_told(overwrites: &Overwrites, now: Instant) -> bool {
        overwrites.overwriter(now).is_some()
    }

    #[test]
    fn third_overwrite_within_ten_minutes_lasts_until_they_are_over() {
        let t0 = Instant::now();
        let mut overwrites = Overwrites::default();
        for minute in [0, 5, 10] {
            assert!(!is_told(&overwrites, t0 + MINUTE * minute));
            overwrites.found(by("other"), "us", t0 + MINUTE * minute);
            overwrites.intact(t0 + MINUTE * minute);
        }
        assert!(is_told(&overwrites, t0 + MINUTE * 10) && overwrites.log_throttle.is_some());
        overwrites.intact(t0 + MINUTE * 11);
        assert!(!is_told(&overwrites, t0 + MINUTE * 11) && overwrites.log_throttle.is_none());
        assert_eq!(overwrites.times(), 3);
    }

    #[test]
    fn overwrites_at_three_rare_looks_in_a_row_last_until_a_look_finds_none() {
        let t0 = Instant::now();
        let mut overwrites = Overwrites::default();
        for hour in 1..=3 {
            assert!(!is_told(&overwrites, t0 + MINUTE * 60 * hour));
            overwrites.found(by("other"), "us", t0 + MINUTE * 60 * hour);
        }
        let now = t0 + MINUTE * 300;
        assert_eq!(overwrites.overwriter(now), Some(&by("other")));
        overwrites.intact(now);
        assert!(!is_told(&overwrites, now));
    }

    #[test]
    fn overwriter_is_the_last_owner_of_what_was_overwritten() {
        let manager = |name: &str, second: u32, fields: &[&str]| {
            let mut manager = FieldManager::new(name, fields.iter().map(ToString::to_string).collect());
            manager.at = chrono::DateTime::from_timestamp(second.into(), 0);
            manager
        };
        let found = |managers: &[FieldManager]| overwriter(managers.to_vec(), vec!["phase".into()], "us").manager;
        let (old, new) = (manager("old", 1, &["phase"]), manager("new", 2, &["phase", "message"]));
        assert_eq!(found(&[new.clone(), old.clone(), manager("elsewhere", 9, &["message"])]).as_deref(), Some("new"));
        assert_eq!(found(&[old, manager("us", 5, &["phase"])]).as_deref(), Some("us"), "of the same name");
        assert_eq!(found(&[new, manager("us", 2, &["phase"])]).as_deref(), Some("new"));
        assert_eq!(found(&[]), None);
    }
}
