use serde_json::{Value, json};

use super::*;

const ME: &str = "me";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One replica, its clock, and what a server would hold.
struct Stage {
    elector: LeaderElector,
    start: Instant,
    now: Instant,
    version: u64,
}

impl Stage {
    fn new() -> Self {
        let start = Instant::now();
        let elector = LeaderElector::new("lease".into(), ME.into(), ElectionTiming::of(secs(15)), |pause| pause, start);
        Stage { elector, start, now: start, version: 1 }
    }

    /// A replica that has just become the leader.
    fn leading() -> Self {
        let mut stage = Stage::new();
        stage.get(LeaseAnswer::Missing);
        stage.create();
        assert_eq!(stage.leadership_state(), "leading");
        stage
    }

    fn after(&mut self, pause: Duration) -> &mut Self {
        self.now += pause;
        self
    }

    fn next(&mut self) -> ElectionStep {
        self.elector.next(self.now, DateTime::from_timestamp(0, 0).expect("a time"))
    }

    fn answer(&mut self, answer: LeaseAnswer) {
        self.elector.answered(self.now, answer);
    }

    /// Asserts that the next step is a look, and answers it.
    fn get(&mut self, answer: LeaseAnswer) {
        let step = self.next();
        assert!(matches!(step, ElectionStep::Ask(Ask::Get)), "{step:?}");
        self.answer(answer);
    }

    fn written(&mut self, lease: Lease) -> Lease {
        self.version += 1;
        let mut object = Value::Object(lease.object().clone());
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        Lease::from_object(object).expect("a lease")
    }

    fn create(&mut self) -> Lease {
        let step = self.next();
        let ElectionStep::Ask(Ask::Create(lease)) = step else { panic!("{step:?}") };
        let lease = self.written(lease);
        self.answer(LeaseAnswer::Lease(lease.clone()));
        lease
    }

    /// Asserts that the next step is a write over this version, without answering it.
    fn updating(&mut self, version: u64) -> Lease {
        let step = self.next();
        let ElectionStep::Ask(Ask::Update(lease)) = step else { panic!("{step:?}") };
        assert_eq!(lease.object()["metadata"]["resourceVersion"], version.to_string());
        lease
    }

    fn update(&mut self, version: u64) -> Lease {
        let lease = self.updating(version);
        let lease = self.written(lease);
        self.answer(LeaseAnswer::Lease(lease.clone()));
        lease
    }

    fn waits(&mut self) -> Duration {
        match self.next() {
            ElectionStep::Wait(until) => until - self.now,
            step => panic!("{step:?}"),
        }
    }

    fn leadership_state(&self) -> String {
        match self.elector.leadership(self.now) {
            LeadershipChange::Alone => "alone".into(),
            LeadershipChange::Undecided => "undecided".into(),
            LeadershipChange::Leading(_) => "leading".into(),
            LeadershipChange::Standby(holder) => format!("standby of {holder}"),
        }
    }

    fn at(&self) -> Duration {
        self.now - self.start
    }
}

/// A lease as another replica has written it.
fn of(holder: &str, version: u64, renewed: &str) -> Lease {
    from_spec(version, json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed}))
}

fn from_spec(version: u64, spec: Value) -> Lease {
    let metadata = json!({"name": "lease", "resourceVersion": version.to_string()});
    Lease::from_object(json!({"metadata": metadata, "spec": spec})).expect("a lease")
}

#[test]
fn missing_lease_is_created_and_the_term_counts_from_before_the_request() {
    let mut stage = Stage::new();
    assert_eq!(stage.leadership_state(), "undecided");
    stage.get(LeaseAnswer::Missing);
    let ElectionStep::Ask(Ask::Create(lease)) = stage.next() else { panic!("no creation") };
    assert_eq!(lease.holder(), ME);
    stage.after(secs(4));
    let lease = stage.written(lease);
    stage.answer(LeaseAnswer::Lease(lease));
    assert_eq!(stage.elector.leadership(stage.now), LeadershipChange::Leading(stage.start + secs(10)));
    stage.after(secs(6));
    assert_eq!(stage.leadership_state(), "undecided");
}

#[test]
fn free_lease_is_taken_at_once_over_the_version_seen() {
    for spec in [json!({"holderIdentity": ""}), json!({}), json!(null)] {
        let mut stage = Stage::new();
        stage.get(LeaseAnswer::Lease(from_spec(7, spec)));
        assert_eq!(stage.update(7).holder(), ME);
        assert_eq!(stage.leadership_state(), "leading");
    }
}

#[test]
fn held_lease_is_taken_when_it_has_been_seen_unchanged_for_its_time_whatever_clock_it_was_written_by() {
    for renewed in ["1970-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "junk"] {
        let mut stage = Stage::new();
        stage.after(secs(100)).get(LeaseAnswer::Lease(of("other", 7, renewed)));
        assert_eq!(stage.leadership_state(), "standby of other");
        while stage.at() < secs(114) {
            assert_eq!(stage.waits(), secs(2));
            stage.after(secs(2)).get(LeaseAnswer::Lease(of("other", 7, renewed)));
        }
        assert_eq!((stage.waits(), stage.leadership_state().as_str()), (secs(1), "standby of other"));
        stage.after(secs(1));
        assert_eq!(stage.leadership_state(), "undecided");
        stage.get(LeaseAnswer::Lease(of("other", 8, renewed)));
        assert_eq!(stage.update(8).holder(), ME, "a change of other fields is not a sign of life");
    }
}

#[test]
fn every_renewal_that_is_seen_begins_the_wait_anew() {
    let mut stage = Stage::new();
    stage.get(LeaseAnswer::Lease(of("other", 1, "a")));
    stage.after(secs(14)).get(LeaseAnswer::Lease(of("other", 2, "b")));
    stage.after(secs(14));
    assert_eq!(stage.leadership_state(), "standby of other");
    stage.get(LeaseAnswer::Lease(of("other", 2, "b")));
    assert_eq!(stage.waits(), secs(1));
}

#[test]
fn lease_that_was_missed_while_stopped_is_looked_at_before_it_is_taken() {
    let mut stage = Stage::new();
    stage.get(LeaseAnswer::Lease(of("other", 1, "a")));
    stage.after(secs(1000)).get(LeaseAnswer::Lease(of("other", 300, "z")));
    assert_eq!(stage.leadership_state(), "standby of other");
    assert_eq!(stage.waits(), secs(2));
}

#[test]
fn record_without_a_sensible_duration_runs_out_all_the_same() {
    for (seconds, wait) in [(json!(0), 15), (json!(-1), 15), (json!(null), 15), (json!(i64::MAX), 3600), (json!(3), 3)]
    {
        let junk =
            || LeaseAnswer::Lease(from_spec(1, json!({"holderIdentity": "other", "leaseDurationSeconds": seconds})));
        let mut stage = Stage::new();
        stage.get(junk());
        stage.after(secs(wait - 1));
        assert_eq!(stage.leadership_state(), "standby of other", "{seconds}");
        stage.after(secs(1)).get(junk());
        assert_eq!(stage.update(1).holder(), ME);
    }
}

#[test]
fn lost_race_for_a_lease_is_looked_at_again_at_once_and_then_respected() {
    let mut stage = Stage::new();
    stage.get(LeaseAnswer::Lease(of("", 1, "a")));
    stage.updating(1);
    stage.answer(LeaseAnswer::Conflict);
    assert_eq!(stage.leadership_state(), "undecided");
    stage.get(LeaseAnswer::Lease(of("other", 2, "b")));
    assert_eq!(stage.leadership_state(), "standby of other");
}

#[test]
fn conflicts_in_a_row_are_paced() {
    let mut stage = Stage::new();
    for round in 0..10 {
        stage.get(LeaseAnswer::Lease(of("", round, "a")));
        stage.updating(round);
        stage.answer(LeaseAnswer::Conflict);
        if round > 0 {
            assert_eq!(stage.waits(), secs(2));
            stage.after(secs(2));
        }
    }
}

#[test]
fn leader_renews_each_fifth_and_leads_on() {
    let mut stage = Stage::leading();
    for version in 2..20 {
        assert_eq!(stage.waits(), secs(3));
        stage.after(secs(3)).update(version);
        assert_eq!(stage.elector.leadership(stage.now), LeadershipChange::Leading(stage.now + secs(10)));
    }
}

#[test]
fn renewal_whose_answer_was_lost_is_made_again_over_what_is_there() {
    let mut stage = Stage::leading();
    stage.after(secs(3));
    let lost = stage.updating(2);
    let lost = stage.written(lost);
    stage.after(secs(5)).answer(LeaseAnswer::Failed);
    stage.get(LeaseAnswer::Lease(lost));
    assert_eq!(
        stage.elector.leadership(stage.now),
        LeadershipChange::Leading(stage.start + secs(10)),
        "a look is not a renewal"
    );
    stage.update(3);
    assert_eq!(stage.elector.leadership(stage.now), LeadershipChange::Leading(stage.now + secs(10)));
}

#[test]
fn leader_that_cannot_renew_leads_to_the_end_of_its_term_and_goes_on_trying() {
    let mut stage = Stage::leading();
    stage.after(secs(3)).updating(2);
    stage.answer(LeaseAnswer::Failed);
    let mut tries = 0;
    while stage.at() < secs(30) {
        let wait = stage.waits();
        stage.after(wait);
        assert_eq!(stage.leadership_state(), if stage.at() < secs(10) { "leading" } else { "undecided" });
        if let ElectionStep::Ask(ask) = stage.next() {
            assert!(matches!(ask, Ask::Get));
            stage.answer(LeaseAnswer::Failed);
            tries += 1;
        }
    }
    assert!((12..15).contains(&tries), "{tries}");
    stage.after(secs(2)).get(LeaseAnswer::Lease(of("other", 9, "z")));
    assert_eq!(stage.leadership_state(), "standby of other");
}

#[test]
fn leader_that_was_stopped_finds_out_who_leads_before_it_leads_again() {
    let mut stage = Stage::leading();
    stage.after(secs(60));
    assert_eq!(stage.leadership_state(), "undecided");
    stage.updating(2);
    stage.answer(LeaseAnswer::Conflict);
    stage.get(LeaseAnswer::Lease(of("other", 9, "z")));
    assert_eq!(stage.leadership_state(), "standby of other");
}

#[test]
fn lease_taken_from_its_holder_ends_the_term_at_once() {
    let mut stage = Stage::leading();
    stage.after(secs(3)).updating(2);
    stage.answer(LeaseAnswer::Conflict);
    stage.get(LeaseAnswer::Lease(of("thief", 3, "b")));
    assert_eq!(stage.leadership_state(), "standby of thief");
}

#[test]
fn lease_deleted_under_its_holder_is_made_again_by_it_and_by_others_only_after_its_time() {
    let mut holder = Stage::leading();
    holder.after(secs(3)).updating(2);
    holder.answer(LeaseAnswer::Missing);
    holder.create();
    assert_eq!(holder.elector.leadership(holder.now), LeadershipChange::Leading(holder.now + secs(10)));

    let mut other = Stage::new();
    other.get(LeaseAnswer::Lease(of("other", 1, "a")));
    other.after(secs(2)).get(LeaseAnswer::Missing);
    assert_eq!(other.waits(), secs(13));
    other.after(secs(13)).create();
    assert_eq!(other.leadership_state(), "leading");
}

#[test]
fn written_lease_that_comes_back_without_a_holder_starts_neither_a_term_nor_a_race() {
    let mut stage = Stage::new();
    stage.get(LeaseAnswer::Lease(of("", 1, "a")));
    stage.updating(1);
    stage.answer(LeaseAnswer::Lease(of("", 2, "b")));
    assert_eq!((stage.leadership_state().as_str(), stage.waits()), ("undecided", secs(2)));
}

/// Refuses this verb once; the other requests are answered.
fn refuse(stage: &mut Stage, verb: Verb) {
    match verb {
        Verb::Get => stage.get(LeaseAnswer::Forbidden),
        Verb::Create => {
            stage.get(LeaseAnswer::Missing);
            assert!(matches!(stage.next(), ElectionStep::Ask(Ask::Create(_))));
            stage.answer(LeaseAnswer::Forbidden);
        }
        Verb::Update => {
            stage.get(LeaseAnswer::Lease(of("", 1, "a")));
            stage.updating(1);
            stage.answer(LeaseAnswer::Forbidden);
        }
    }
}

/// Refuses this verb for half a minute.
fn refuse_for_long(stage: &mut Stage, verb: Verb) {
    for _ in 0..15 {
        refuse(stage, verb);
        assert_eq!((stage.leadership_state().as_str(), stage.waits()), ("undecided", secs(2)), "{verb:?}");
        stage.after(secs(2));
    }
    refuse(stage, verb);
}

#[test]
fn server_that_refuses_everyone_for_a_moment_ends_no_election() {
    let mut stage = Stage::new();
    refuse(&mut stage, Verb::Get);
    assert_eq!(stage.leadership_state(), "undecided", "nothing is written");
    let pause = stage.waits();
    stage.after(pause).get(LeaseAnswer::Missing);
    stage.create();
    assert_eq!(stage.leadership_state(), "leading");
}

#[test]
fn every_replica_writes_once_the_refusal_of_a_right_lasts_and_looks_again_at_growing_gaps() {
    for verb in [Verb::Get, Verb::Create, Verb::Update] {
        let mut stage = Stage::new();
        refuse_for_long(&mut stage, verb);
        for pause in [5, 10, 20, 40, 60, 60] {
            assert_eq!((stage.leadership_state().as_str(), stage.waits()), ("alone", secs(pause)), "{verb:?}");
            stage.after(secs(pause));
            refuse(&mut stage, verb);
        }
        stage.after(secs(60)).get(LeaseAnswer::Failed);
        assert_eq!((stage.leadership_state().as_str(), stage.waits()), ("alone", secs(60)));
        stage.after(secs(60)).get(LeaseAnswer::Lease(of("", 5, "b")));
        stage.update(5);
        assert_eq!(stage.leadership_state(), "leading", "the rights were granted");
    }
}

#[test]
fn server_without_leases_counts_as_missing_rights() {
    let mut stage = Stage::new();
    for _ in 0..15 {
        stage.get(LeaseAnswer::Missing);
        assert!(matches!(stage.next(), ElectionStep::Ask(Ask::Create(_))));
        stage.answer(LeaseAnswer::Missing);
        assert_eq!(stage.leadership_state(), "undecided");
        stage.after(secs(2));
    }
    stage.get(LeaseAnswer::Missing);
    assert!(matches!(stage.next(), ElectionStep::Ask(Ask::Create(_))));
    stage.answer(LeaseAnswer::Missing);
    assert_eq!(stage.leadership_state(), "alone");
}

#[test]
fn replica_alone_stands_by_as_soon_as_it_sees_a_leader() {
    let mut stage = Stage::new();
    refuse_for_long(&mut stage, Verb::Get);
    assert_eq!(stage.leadership_state(), "alone");
    stage.after(secs(60)).get(LeaseAnswer::Lease(of("other", 1, "a")));
    assert_eq!(stage.leadership_state(), "standby of other");
}

#[test]
fn right_that_is_lost_later_is_a_failure_like_others() {
    let mut stage = Stage::leading();
    stage.after(secs(3)).update(2);
    stage.after(secs(3)).updating(3);
    stage.answer(LeaseAnswer::Forbidden);
    assert_eq!(stage.leadership_state(), "leading");
    stage.after(secs(7));
    assert_eq!(stage.leadership_state(), "undecided");
    stage.get(LeaseAnswer::Forbidden);
    assert_eq!(stage.leadership_state(), "undecided");
}

#[test]
fn leader_that_leaves_frees_the_lease_and_is_done() {
    let mut stage = Stage::leading();
    stage.elector.leave(stage.now);
    assert_eq!(stage.leadership_state(), "undecided", "it does not lead from that moment on");
    assert_eq!(stage.update(2).holder(), "");
    assert!(matches!(stage.next(), ElectionStep::Done));
}

#[test]
fn replica_on_standby_leaves_without_a_request() {
    let mut stage = Stage::new();
    stage.get(LeaseAnswer::Lease(of("other", 1, "a")));
    stage.elector.leave(stage.now);
    assert!(matches!(stage.next(), ElectionStep::Done));
    let mut fresh = Stage::new();
    fresh.elector.leave(fresh.now);
    assert!(matches!(fresh.next(), ElectionStep::Done));
}

#[test]
fn replica_that_may_have_won_looks_before_it_leaves() {
    for won in [true, false] {
        let mut stage = Stage::new();
        stage.get(LeaseAnswer::Lease(of("", 1, "a")));
        let lease = stage.updating(1);
        stage.answer(LeaseAnswer::Failed);
        stage.elector.leave(stage.now);
        if won {
            let lease = stage.written(lease);
            stage.get(LeaseAnswer::Lease(lease));
            assert_eq!(stage.update(2).holder(), "");
        } else {
            stage.get(LeaseAnswer::Lease(of("other", 2, "b")));
        }
        assert!(matches!(stage.next(), ElectionStep::Done));
    }
}

#[test]
fn release_that_fails_is_tried_again_soon_over_what_is_there() {
    let mut stage = Stage::leading();
    stage.elector.leave(stage.now);
    let lease = stage.updating(2);
    let before = stage.written(lease.held_by(ME, secs(15), DateTime::default()));
    stage.answer(LeaseAnswer::Failed);
    assert_eq!(stage.waits(), Duration::from_millis(200));
    stage.after(Duration::from_millis(200)).get(LeaseAnswer::Lease(before));
    assert_eq!(stage.update(3).holder(), "");
    assert!(matches!(stage.next(), ElectionStep::Done));
}

#[test]
fn leader_whose_renewal_is_under_way_frees_the_lease_after_the_answer() {
    let mut stage = Stage::leading();
    stage.after(secs(3));
    let lease = stage.updating(2);
    stage.elector.leave(stage.now);
    let lease = stage.written(lease);
    stage.answer(LeaseAnswer::Lease(lease));
    assert_eq!(stage.leadership_state(), "undecided");
    assert_eq!(stage.update(3).holder(), "");
}
