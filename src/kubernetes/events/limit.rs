//! How many Events may be sent. Pure: the caller passes the time.
//!
//! Each backend has a token bucket of its own, so that a backend that flaps does not
//! use up the share of others. All backends together share a second bucket, and the
//! phase has its own. When a bucket is empty, the limit holds the newest Event for each
//! backend and for the phase. It releases that Event once a token comes, unless the
//! Event has become untrue: whatever flaps, the last Event says how it ended.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::changes::{EventContent, Reason, Subject};

/// The rate of the phase, which can change with every backend.
const PHASE: Rate = Rate { burst: 25, period: Duration::from_secs(2 * 60) };
/// The rate of one backend, and of summaries of backends.
const BACKEND: Rate = Rate { burst: 10, period: Duration::from_secs(5 * 60) };
/// The rate of all backends together.
const ALL: Rate = Rate { burst: 30, period: Duration::from_secs(10) };
/// Maximum number of tracked backends; idle ones are evicted.
const MOST_BACKENDS: usize = 1024;

/// A token comes every `period`; a bucket holds at most `burst`.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    period: Duration,
}

/// A token bucket, as the time when it will be full again.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    full_at: Option<Instant>,
}

impl Bucket {
    const fn full(rate: Rate) -> Self {
        Bucket { rate, full_at: None }
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }

    /// Returns how long until the bucket has a token.
    fn wait(&self, now: Instant) -> Duration {
        let missing = self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        missing.saturating_sub(self.rate.period * (self.rate.burst - 1))
    }

    fn take(&mut self, now: Instant) {
        self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + self.rate.period);
    }
}

/// One backend, or the phase.
#[derive(Debug)]
struct Topic {
    bucket: Bucket,
    /// The reason of the last Event sent.
    sent: Option<Reason>,
    /// The newest Event not sent, and since when one waits.
    held: Option<(Instant, EventContent)>,
}

impl Topic {
    const fn new(rate: Rate) -> Self {
        Topic { bucket: Bucket::full(rate), sent: None, held: None }
    }

    /// Returns the change if it may be sent now; otherwise holds it.
    fn offer(&mut self, change: EventContent, whole: Option<&mut Bucket>, now: Instant) -> Option<EventContent> {
        let held = self.held.take();
        if held.is_some() && self.sent == Some(change.reason) {
            // The last Event sent is true again.
            return None;
        }
        let wait = self.bucket.wait(now).max(whole.as_ref().map_or(Duration::ZERO, |whole| whole.wait(now)));
        if !wait.is_zero() {
            self.held = Some((held.map_or(now, |(since, _)| since), change));
            return None;
        }
        self.bucket.take(now);
        if let Some(whole) = whole {
            whole.take(now);
        }
        self.sent = Some(change.reason);
        Some(change)
    }

    /// Returns when this bucket lets the held Event pass, and since when it waits.
    fn due(&self, now: Instant) -> Option<(Instant, Instant)> {
        self.held.as_ref().map(|(since, _)| (now + self.bucket.wait(now), *since))
    }
}

#[derive(Debug)]
pub(super) struct Limit {
    phase: Topic,
    backends: HashMap<String, Topic>,
    summaries: Bucket,
    all_backends: Bucket,
}

impl Limit {
    pub(super) fn new() -> Self {
        Limit {
            phase: Topic::new(PHASE),
            backends: HashMap::new(),
            summaries: Bucket::full(BACKEND),
            all_backends: Bucket::full(ALL),
        }
    }

    /// Returns the change if it may be sent now. Offer changes in their order.
    pub(super) fn offer(&mut self, change: EventContent, now: Instant) -> Option<EventContent> {
        match &change.subject {
            Subject::Phase => self.phase.offer(change, None, now),
            Subject::Backend(name) => {
                if !self.backends.contains_key(name) {
                    self.forget(now);
                    if self.backends.len() >= MOST_BACKENDS {
                        return None;
                    }
                }
                let topic = self.backends.entry(name.clone()).or_insert(Topic::new(BACKEND));
                topic.offer(change, Some(&mut self.all_backends), now)
            }
            Subject::Backends(names) => {
                // A summary is never held, because it would be outdated later. The
                // held Events of its backends are outdated already.
                let may = self.summaries.wait(now).is_zero() && self.all_backends.wait(now).is_zero();
                for name in names {
                    if let Some(topic) = self.backends.get_mut(name) {
                        topic.held = None;
                        topic.sent = topic.sent.filter(|_| !may).or(may.then_some(change.reason));
                    }
                }
                if !may {
                    return None;
                }
                self.summaries.take(now);
                self.all_backends.take(now);
                Some(change)
            }
        }
    }

    /// Returns the held Event that has waited longest, of those that may be sent now.
    pub(super) fn due(&mut self, now: Instant) -> Option<EventContent> {
        let phase = self.phase.due(now).map(|due| (due, None));
        let backends = self.backends.iter().filter_map(|(name, topic)| Some((topic.due(now)?, Some(name))));
        let backends = backends.filter(|_| self.all_backends.wait(now).is_zero());
        let ready = phase.into_iter().chain(backends).filter(|((at, _), _)| *at <= now);
        let (_, name) = ready.min_by_key(|((_, since), _)| *since)?;
        match name.cloned() {
            None => {
                let (_, change) = self.phase.held.take()?;
                self.phase.offer(change, None, now)
            }
            Some(name) => {
                let topic = self.backends.get_mut(&name)?;
                let (_, change) = topic.held.take()?;
                topic.offer(change, Some(&mut self.all_backends), now)
            }
        }
    }

    /// Returns when a held Event is due next; `None` if none is held.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let all = now + self.all_backends.wait(now);
        let backends = self.backends.values().filter_map(|topic| topic.due(now)).map(|(at, _)| at.max(all));
        backends.chain(self.phase.due(now).map(|(at, _)| at)).min()
    }

    /// Drops all held Events.
    pub(super) fn forget_held(&mut self) {
        self.phase.held = None;
        self.backends.values_mut().for_each(|topic| topic.held = None);
    }

    fn forget(&mut self, now: Instant) {
        self.backends.retain(|_, topic| topic.held.is_some() || !topic.bucket.is_full(now));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::status::Phase;

    const SECOND: Duration = Duration::from_secs(1);

    fn change(subject: Subject, reason: Reason) -> EventContent {
        EventContent { subject, reason, note: String::new() }
    }

    fn of(name: &str, reason: Reason) -> EventContent {
        change(Subject::Backend(name.into()), reason)
    }

    fn flip(step: u64) -> Reason {
        if step.is_multiple_of(2) { Reason::Failed } else { Reason::Recovered }
    }

    /// Offers a change as the publisher does: held Events that are due go first.
    struct Run {
        limit: Limit,
        now: Instant,
        sent: Vec<EventContent>,
    }

    impl Run {
        fn new() -> Self {
            Run { limit: Limit::new(), now: Instant::now(), sent: Vec::new() }
        }

        fn wait(&mut self, time: Duration) {
            let until = self.now + time;
            while let Some(due) = self.limit.next_due(self.now).filter(|due| *due <= until) {
                self.now = self.now.max(due);
                let change = self.limit.due(self.now).expect("an Event is due at the time that next_due returned");
                self.sent.push(change);
            }
            self.now = until;
        }

        fn offer(&mut self, change: EventContent) -> bool {
            let sent = self.limit.offer(change, self.now);
            let is_sent = sent.is_some();
            self.sent.extend(sent);
            is_sent
        }
    }

    #[test]
    fn backend_that_flaps_each_second_for_an_hour_makes_22_and_others_lose_nothing() {
        let mut run = Run::new();
        for second in 0..3600 {
            run.offer(of("flaps", flip(second)));
            run.wait(SECOND);
        }
        let about_it = run.sent.iter().filter(|sent| sent.subject == Subject::Backend("flaps".into())).count();
        assert!((10..=22).contains(&about_it), "{about_it}");
        for step in 0..10 {
            assert!(run.offer(of("other", flip(step))));
            assert!(run.offer(change(Subject::Phase, Reason::Phase(Phase::ALL[usize::from(step % 2 == 0)]))));
        }
    }

    #[test]
    fn ten_thousand_backends_that_flap_share_one_allowance_and_the_phase_has_its_own() {
        let mut run = Run::new();
        for second in 0..3600 {
            for i in 0..5 {
                run.offer(of(&format!("b{}", (second * 5 + i) % 10_000), flip(second / 2000)));
            }
            run.wait(SECOND);
            assert!(run.limit.backends.len() <= MOST_BACKENDS);
        }
        assert!((300..=30 + 360).contains(&run.sent.len()), "{}", run.sent.len());
        assert!(run.offer(change(Subject::Phase, Reason::Phase(Phase::Failed))));
    }

    #[test]
    fn idle_backends_are_evicted() {
        let mut run = Run::new();
        for i in 0..20 {
            assert!(run.offer(of(&format!("pod-{i}"), Reason::Removed)));
        }
        run.wait(BACKEND.period);
        assert!(run.offer(of("another", Reason::Added)));
        assert_eq!(run.limit.backends.len(), 1);
    }

    #[test]
    fn summary_drops_held_events_of_its_backends_and_is_never_held() {
        let mut run = Run::new();
        for step in 0..11 {
            run.offer(of("a", flip(step)));
        }
        assert!(run.limit.next_due(run.now).is_some(), "the eleventh waits");
        let all = |reason| change(Subject::Backends(vec!["a".into(), "b".into()]), reason);
        assert!(run.offer(all(Reason::Recovered)));
        assert_eq!(run.limit.next_due(run.now), None);
        assert_eq!((0..100).filter(|_| run.offer(all(Reason::Failed))).count(), 9, "ten with the one before");
        assert_eq!(run.limit.next_due(run.now), None);
    }

    #[test]
    fn phase_that_flaps_ends_with_an_event_of_its_last_state() {
        let mut run = Run::new();
        for step in 0..=600 {
            run.offer(change(Subject::Phase, Reason::Phase(Phase::ALL[usize::from(step % 2 == 0)])));
            run.wait(SECOND);
        }
        run.wait(SECOND * 3600);
        assert!(run.sent.len() <= 25 + 6, "{}", run.sent.len());
        assert_eq!(run.sent.last().map(|sent| sent.reason), Some(Reason::Phase(Phase::Ready)));
    }

    proptest! {
        #[test]
        fn last_event_of_each_backend_is_its_last_finding(
            steps in proptest::collection::vec((0..4usize, any::<bool>(), 0..90u64), 1..300),
        ) {
            let mut run = Run::new();
            let mut found: [Option<bool>; 4] = [None; 4];
            for (backend, fails, pause) in steps {
                // Only what differs is a change.
                if found[backend].replace(fails) != Some(fails) {
                    run.offer(of(&backend.to_string(), flip(u64::from(!fails))));
                }
                run.wait(SECOND * u32::try_from(pause).expect("small"));
            }
            run.wait(SECOND * 36_000);
            prop_assert_eq!(run.limit.next_due(run.now), None);
            for (backend, fails) in found.iter().enumerate().filter_map(|(backend, fails)| Some((backend, (*fails)?))) {
                let about_it = |sent: &&EventContent| sent.subject == Subject::Backend(backend.to_string());
                let sent: Vec<_> = run.sent.iter().filter(about_it).map(|sent| sent.reason).collect();
                prop_assert_eq!(sent.last(), Some(&flip(u64::from(!fails))));
                prop_assert!(sent.windows(2).all(|pair| pair[0] != pair[1]), "nothing twice: {sent:?}");
            }
        }
    }
}
