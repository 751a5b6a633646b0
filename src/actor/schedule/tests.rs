use super::*;

const INTERVAL: Duration = Duration::from_secs(1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A schedule whose desired state and store agree, with its first write at `t0`.
fn settled() -> (Schedule, Instant) {
    let t0 = Instant::now();
    let mut schedule = Schedule::new(INTERVAL);
    schedule.changed();
    assert_eq!(schedule.decide(t0), Step::Read);
    schedule.begin(t0, Call::Read);
    schedule.read_done();
    write(&mut schedule, t0);
    (schedule, t0)
}

fn write(schedule: &mut Schedule, now: Instant) {
    assert_eq!(schedule.decide(now), Step::Write);
    schedule.begin(now, Call::Write);
    schedule.write_done();
}

fn fail(schedule: &mut Schedule, now: Instant, retry: Retry, pause: Duration) {
    let step = schedule.decide(now);
    assert!(matches!(step, Step::Read | Step::Write), "{step:?}");
    schedule.begin(now, if step == Step::Write { Call::Write } else { Call::Read });
    schedule.failed(now, retry, pause);
}

#[test]
fn nothing_to_say_waits_for_ever() {
    let mut fresh = Schedule::new(INTERVAL);
    assert_eq!(fresh.decide(Instant::now()), Step::Wait(None));
    let (mut schedule, t0) = settled();
    assert_eq!(schedule.decide(t0 + INTERVAL), Step::Wait(None));
}

#[test]
fn first_change_after_a_quiet_time_is_written_at_once_and_the_next_waits_for_the_interval() {
    let (mut schedule, t0) = settled();
    let quiet = t0 + INTERVAL * 5;
    schedule.changed();
    write(&mut schedule, quiet);
    schedule.changed();
    assert_eq!(schedule.decide(quiet + ms(1)), Step::Wait(Some(quiet + INTERVAL)));
    assert_eq!(schedule.decide(quiet + INTERVAL), Step::Write);
}

#[test]
fn write_in_flight_waits_without_a_timer() {
    let (mut schedule, t0) = settled();
    schedule.changed();
    let later = t0 + INTERVAL;
    schedule.begin(later, Call::Write);
    schedule.changed();
    assert_eq!(schedule.decide(later + INTERVAL), Step::Wait(None));
    schedule.write_done();
    assert!(!schedule.is_clean(), "what came during the write is still to be written");
}

#[test]
fn conflict_reads_again_after_its_pause_whatever_the_pace() {
    let (mut schedule, t0) = settled();
    let now = t0 + INTERVAL;
    schedule.changed();
    fail(&mut schedule, now, Retry::Conflict, ms(20));
    assert_eq!(schedule.decide(now), Step::Wait(Some(now + ms(20))));
    assert_eq!(schedule.decide(now + ms(20)), Step::Read);
    schedule.begin(now + ms(20), Call::Read);
    schedule.read_done();
    assert_eq!(schedule.decide(now + ms(20)), Step::Write);
}

#[test]
fn passing_fault_reads_again_after_back_off_and_pace() {
    let (mut schedule, t0) = settled();
    let now = t0 + INTERVAL;
    schedule.changed();
    fail(&mut schedule, now, Retry::Transient, ms(300));
    assert_eq!(schedule.decide(now), Step::Wait(Some(now + INTERVAL)));
    assert_eq!(schedule.decide(now + INTERVAL), Step::Read, "it is in doubt what is stored");
}

#[test]
fn refused_content_is_not_repeated_until_it_changes() {
    let (mut schedule, t0) = settled();
    let now = t0 + INTERVAL;
    schedule.changed();
    fail(&mut schedule, now, Retry::Refused, Duration::ZERO);
    schedule.refresh_at = Some(now + INTERVAL);
    assert!(schedule.is_refused());
    assert_eq!(schedule.decide(now + INTERVAL * 9), Step::Wait(None));
    schedule.changed();
    assert_eq!(schedule.decide(now + INTERVAL * 9), Step::Write);
}

#[test]
fn content_that_a_refresh_finds_refused_is_not_repeated_by_the_next() {
    let (mut schedule, t0) = settled();
    schedule.refresh_at = Some(t0 + INTERVAL);
    assert_eq!(schedule.decide(t0 + INTERVAL), Step::Refresh);
    schedule.begin(t0 + INTERVAL, Call::Refresh);
    schedule.refresh_done(None);
    fail(&mut schedule, t0 + INTERVAL, Retry::Refused, Duration::ZERO);
    schedule.refresh_at = Some(t0 + INTERVAL * 2);
    assert_eq!(schedule.decide(t0 + INTERVAL * 2), Step::Wait(None));
    schedule.changed();
    assert_eq!(schedule.decide(t0 + INTERVAL * 2), Step::Write);
}

#[test]
fn refresh_asks_the_sink_and_compares_though_nothing_changed() {
    for (outcome, times_count) in
        [(None, true), (Some(WriteOutcome::Written), false), (Some(WriteOutcome::Unchanged), false)]
    {
        let (mut schedule, t0) = settled();
        let due = t0 + ms(30_000);
        schedule.refresh_at = Some(due);
        assert_eq!(schedule.decide(t0), Step::Wait(Some(due)));
        assert_eq!(schedule.decide(due), Step::Refresh);
        assert!(schedule.is_refreshing());
        schedule.begin(due, Call::Refresh);
        schedule.refresh_done(outcome);
        assert_eq!(schedule.is_refreshing(), times_count, "times are a difference only if the sink left them");
        let paced = outcome == Some(WriteOutcome::Written);
        assert_eq!(schedule.decide(due), if paced { Step::Wait(Some(due + INTERVAL)) } else { Step::Write });
        assert_eq!(schedule.decide(due + INTERVAL), Step::Write);
        schedule.verified();
        assert_eq!(schedule.decide(due + INTERVAL), Step::Wait(None));
    }
}

#[test]
fn refresh_that_fails_is_made_up_for_by_a_read_and_a_write() {
    let (mut schedule, t0) = settled();
    let due = t0 + ms(30_000);
    schedule.refresh_at = Some(due);
    assert_eq!(schedule.decide(due), Step::Refresh);
    schedule.begin(due, Call::Refresh);
    schedule.failed(due, Retry::Conflict, ms(20));
    assert_eq!(schedule.decide(due + ms(20)), Step::Read);
    schedule.begin(due + ms(20), Call::Read);
    schedule.read_done();
    assert!(schedule.is_refreshing());
    assert_eq!(schedule.decide(due + ms(20)), Step::Write);
}

#[test]
fn refresh_while_a_change_waits_is_a_read_and_a_write() {
    let (mut schedule, t0) = settled();
    schedule.changed();
    fail(&mut schedule, t0 + INTERVAL, Retry::After(INTERVAL), INTERVAL);
    schedule.refresh_at = Some(t0 + INTERVAL);
    assert_eq!(schedule.decide(t0 + INTERVAL * 3), Step::Read);
}

#[test]
fn expedite_skips_pace_and_back_off_once() {
    let (mut schedule, t0) = settled();
    let by = t0 + ms(5000);
    schedule.changed();
    schedule.flush(t0, by);
    assert_eq!(schedule.decide(t0), Step::Write, "the pace is skipped");
    fail(&mut schedule, t0, Retry::Transient, ms(2000));
    assert_eq!(schedule.decide(t0), Step::Wait(Some(t0 + ms(2000))), "but only once");
    schedule.flush(t0, by);
    assert_eq!(schedule.decide(t0), Step::Read, "the back-off is skipped");
}

#[test]
fn expedite_during_a_write_is_not_used_up_by_that_write() {
    let (mut schedule, t0) = settled();
    let now = t0 + INTERVAL;
    schedule.changed();
    schedule.begin(now, Call::Write);
    schedule.flush(now, now + ms(5000));
    schedule.failed(now, Retry::Transient, ms(2000));
    assert_eq!(schedule.decide(now), Step::Read);
}

#[test]
fn expedite_during_an_expedited_write_is_for_the_next_try() {
    let (mut schedule, t0) = settled();
    let by = t0 + ms(5000);
    schedule.changed();
    schedule.flush(t0, by);
    schedule.begin(t0, Call::Write);
    schedule.changed();
    schedule.flush(t0, by);
    schedule.failed(t0, Retry::Transient, ms(2000));
    assert_eq!(schedule.decide(t0), Step::Read);
}

#[test]
fn expedite_is_used_up_by_its_write_though_more_came_meanwhile() {
    let (mut schedule, t0) = settled();
    schedule.changed();
    schedule.flush(t0, t0 + ms(5000));
    schedule.begin(t0, Call::Write);
    schedule.changed();
    schedule.write_done();
    assert!(matches!(schedule.decide(t0), Step::Answer(_, FlushAnswer::Stored)));
    assert_eq!(schedule.decide(t0), Step::Wait(Some(t0 + INTERVAL)));
}

#[test]
fn expedite_covers_the_read_and_its_write() {
    let (mut schedule, t0) = settled();
    schedule.changed();
    fail(&mut schedule, t0 + INTERVAL, Retry::Transient, ms(20));
    let now = t0 + INTERVAL + ms(10);
    schedule.flush(now, now + ms(5000));
    assert_eq!(schedule.decide(now), Step::Read);
    schedule.begin(now, Call::Read);
    schedule.read_done();
    assert_eq!(schedule.decide(now), Step::Write, "the pace is skipped too");
}

#[test]
fn pause_that_the_store_asked_for_is_kept_until_just_before_the_deadline() {
    let (mut schedule, t0) = settled();
    let now = t0 + INTERVAL;
    schedule.changed();
    fail(&mut schedule, now, Retry::After(ms(60_000)), ms(60_000));
    schedule.stop(now, now + ms(5000));
    assert_eq!(schedule.decide(now), Step::Wait(Some(now + ms(4000))));
    assert_eq!(schedule.decide(now + ms(4000)), Step::Write);
    fail(&mut schedule, now + ms(4000), Retry::After(ms(60_000)), ms(60_000));
    assert_eq!(schedule.decide(now + ms(4000)), Step::Wait(Some(now + ms(5000))), "it was the last chance");
    assert_eq!(schedule.decide(now + ms(5000)), Step::Stop);
}

#[test]
fn stop_ends_at_once_when_all_is_stored_or_refused() {
    let (mut schedule, t0) = settled();
    schedule.stop(t0, t0 + ms(5000));
    assert_eq!(schedule.decide(t0), Step::Stop);

    let (mut schedule, t0) = settled();
    schedule.changed();
    fail(&mut schedule, t0 + INTERVAL, Retry::Refused, Duration::ZERO);
    schedule.stop(t0 + INTERVAL, t0 + ms(9000));
    assert_eq!(schedule.decide(t0 + INTERVAL), Step::Stop);
}

#[test]
fn stop_during_a_hanging_write_ends_at_the_deadline() {
    let (mut schedule, t0) = settled();
    schedule.changed();
    let now = t0 + INTERVAL;
    schedule.begin(now, Call::Write);
    schedule.stop(now, now + ms(5000));
    assert_eq!(schedule.decide(now), Step::Wait(Some(now + ms(5000))));
    assert_eq!(schedule.decide(now + ms(5000)), Step::Stop);
}

/// A schedule that holds writes back for ten intervals, with one change.
fn held() -> (Schedule, Instant) {
    let t0 = Instant::now();
    let mut schedule = Schedule::new(INTERVAL);
    schedule.hold(t0 + INTERVAL * 10);
    schedule.changed();
    assert_eq!(schedule.decide(t0), Step::Read, "what is stored is found out meanwhile");
    schedule.begin(t0, Call::Read);
    schedule.read_done();
    (schedule, t0)
}

#[test]
fn hold_writes_nothing_until_it_is_released_or_over() {
    let (mut schedule, t0) = held();
    assert_eq!(schedule.decide(t0), Step::Wait(Some(t0 + INTERVAL * 10)));
    schedule.changed();
    assert_eq!(schedule.decide(t0 + INTERVAL), Step::Wait(Some(t0 + INTERVAL * 10)));
    assert!(schedule.release());
    assert_eq!(schedule.decide(t0 + INTERVAL), Step::Write);

    let (mut schedule, t0) = held();
    assert_eq!(schedule.decide(t0 + INTERVAL * 10), Step::EndStart);
    assert!(schedule.release());
    assert_eq!(schedule.decide(t0 + INTERVAL * 10), Step::Write);
}

#[test]
fn hold_lets_one_announcement_through() {
    let (mut schedule, t0) = held();
    schedule.announce();
    write(&mut schedule, t0);
    schedule.changed();
    assert_eq!(schedule.decide(t0 + INTERVAL), Step::Wait(Some(t0 + INTERVAL * 10)));
}

#[test]
fn hold_ends_at_once_when_told_to_stop() {
    let (mut schedule, t0) = held();
    schedule.stop(t0, t0 + INTERVAL);
    assert_eq!(schedule.decide(t0), Step::Stop);
    assert!(!schedule.is_clean(), "what was held back is not stored");
}

#[test]
fn look_reads_and_compares_once() {
    let (mut schedule, t0) = settled();
    schedule.look_at(t0 + INTERVAL * 10);
    assert_eq!(schedule.decide(t0 + INTERVAL), Step::Wait(Some(t0 + INTERVAL * 10)));
    let now = t0 + INTERVAL * 10;
    assert_eq!(schedule.decide(now), Step::Read);
    schedule.begin(now, Call::Read);
    schedule.read_done();
    assert_eq!(schedule.decide(now), Step::Write);
    assert!(!schedule.is_refreshing(), "times are no difference");
    schedule.verified();
    assert_eq!(schedule.decide(now), Step::Wait(None));
}

#[test]
fn standby_starts_nothing_and_ends_at_once_when_told_to() {
    let (mut schedule, t0) = settled();
    schedule.set_leadership_state(LeadershipState::Standby);
    schedule.refresh_at = Some(t0);
    schedule.changed();
    assert_eq!(schedule.decide(t0 + INTERVAL * 9), Step::Wait(None));
    schedule.stop(t0, t0 + INTERVAL);
    assert_eq!(schedule.decide(t0), Step::Stop);
}

#[test]
fn undecided_starts_nothing_and_ends_when_its_time_is_over() {
    let (mut schedule, t0) = settled();
    schedule.set_leadership_state(LeadershipState::Undecided);
    schedule.changed();
    schedule.stop(t0, t0 + INTERVAL);
    assert_eq!(schedule.decide(t0), Step::Wait(Some(t0 + INTERVAL)));
    assert_eq!(schedule.decide(t0 + INTERVAL), Step::Stop);
}

#[test]
fn undecided_ends_at_once_where_nothing_is_to_be_stored() {
    let nothing_said = Schedule::new(INTERVAL);
    let (all_stored, _) = settled();
    let (mut refused, t0) = settled();
    refused.changed();
    fail(&mut refused, t0 + INTERVAL, Retry::Refused, INTERVAL);
    let mut held = Schedule::new(INTERVAL);
    held.hold(t0 + INTERVAL * 100);
    held.changed();
    for mut schedule in [nothing_said, all_stored, refused, held] {
        schedule.set_leadership_state(LeadershipState::Undecided);
        let now = t0 + INTERVAL * 2;
        schedule.stop(now, now + INTERVAL * 5);
        assert_eq!(schedule.decide(now), Step::Stop, "{schedule:?}");
    }
}

#[test]
fn winner_reads_and_compares_though_nothing_changed_and_whatever_the_pause() {
    let (mut schedule, t0) = settled();
    schedule.changed();
    fail(&mut schedule, t0 + INTERVAL, Retry::Blocked, ms(60_000));
    schedule.set_leadership_state(LeadershipState::Standby);
    let now = t0 + INTERVAL * 2;
    schedule.set_leadership_state(LeadershipState::Leading);
    assert_eq!(schedule.decide(now), Step::Read);
    schedule.begin(now, Call::Read);
    schedule.read_done();
    assert!(schedule.is_refreshing());
    write(&mut schedule, now);
    assert_eq!(schedule.decide(now), Step::Wait(None));
}

#[test]
fn delayed_start_reads_nothing_before_its_time_unless_a_flush_asks_for_it() {
    let t0 = Instant::now();
    let mut schedule = Schedule::new(INTERVAL);
    schedule.delay(t0 + INTERVAL * 3);
    schedule.changed();
    assert_eq!(schedule.decide(t0), Step::Wait(Some(t0 + INTERVAL * 3)));
    assert_eq!(schedule.decide(t0 + INTERVAL * 3), Step::Read);
    schedule.flush(t0, t0 + INTERVAL * 9);
    assert_eq!(schedule.decide(t0), Step::Read);
}

#[test]
fn flush_is_answered_when_its_revision_is_stored_or_its_time_is_over() {
    let (mut schedule, t0) = settled();
    let now = t0 + INTERVAL;
    let clean = schedule.flush(now, now + ms(5000));
    assert_eq!(schedule.decide(now), Step::Answer(clean, FlushAnswer::Stored));
    schedule.changed();
    let first = schedule.flush(now, now + ms(100));
    let second = schedule.flush(now, now + ms(5000));
    schedule.begin(now, Call::Write);
    schedule.changed();
    let third = schedule.flush(now, now + ms(5000));
    assert_eq!(schedule.decide(now), Step::Wait(Some(now + ms(100))), "the loop waits for the time of a flush");
    assert_eq!(schedule.decide(now + ms(100)), Step::Answer(first, FlushAnswer::TimedOut));
    schedule.write_done();
    assert_eq!(schedule.decide(now + ms(200)), Step::Answer(second, FlushAnswer::Stored));
    fail(&mut schedule, now + ms(200), Retry::Refused, INTERVAL);
    assert_eq!(schedule.decide(now + ms(200)), Step::Answer(third, FlushAnswer::Refused));
}

#[test]
fn flush_on_standby_is_answered_at_once() {
    let (mut schedule, t0) = settled();
    schedule.changed();
    schedule.set_leadership_state(LeadershipState::Undecided);
    let flush = schedule.flush(t0, t0 + ms(5000));
    assert_eq!(schedule.decide(t0), Step::Wait(Some(t0 + ms(5000))), "this replica may still win");
    schedule.set_leadership_state(LeadershipState::Standby);
    assert_eq!(schedule.decide(t0), Step::Answer(flush, FlushAnswer::Standby));
}

#[test]
fn progress_is_shown_at_once_and_then_once_in_an_interval_whatever_the_store_does() {
    let (mut schedule, t0) = settled();
    let now = t0 + INTERVAL * 5;
    schedule.begin(now, Call::Write);
    schedule.publish_soon(now);
    assert_eq!(schedule.decide(now), Step::Publish);
    schedule.published(now);
    assert_eq!(schedule.decide(now), Step::Wait(None));
    for _ in 0..3 {
        schedule.publish_soon(now + ms(100));
    }
    assert_eq!(schedule.decide(now + ms(100)), Step::Wait(Some(now + INTERVAL)));
    assert_eq!(schedule.decide(now + INTERVAL), Step::Publish);
}

#[test]
fn refresh_comes_at_the_shorter_interval_while_no_election_is_held() {
    let (mut schedule, t0) = settled();
    schedule.refresh_every(INTERVAL * 3600, |interval| interval);
    schedule.refresh_without_election_every(INTERVAL * 300);
    schedule.set_leadership_state(LeadershipState::Leading);
    let hourly = t0 + INTERVAL * 3600;
    assert_eq!(schedule.decide(t0), Step::Wait(Some(hourly)));
    let given_up = t0 + INTERVAL * 10;
    schedule.set_leadership_state(LeadershipState::Alone);
    let due = given_up + INTERVAL * 300;
    assert_eq!(schedule.decide(given_up), Step::Wait(Some(due)), "brought forward");
    assert_eq!(schedule.decide(given_up + INTERVAL * 60), Step::Wait(Some(due)), "and not put off");
    schedule.set_leadership_state(LeadershipState::Leading);
    assert_eq!(schedule.decide(given_up + INTERVAL * 90), Step::Wait(Some(due)), "what is planned stays");
    assert_eq!(schedule.decide(due), Step::Refresh);
    schedule.begin(due, Call::Refresh);
    schedule.refresh_done(None);
    schedule.verified();
    assert_eq!(schedule.decide(due), Step::Wait(Some(due + INTERVAL * 3600)), "there is an election again");
}

#[test]
fn periodic_refresh_is_planned_once_something_was_reported() {
    let t0 = Instant::now();
    let mut schedule = Schedule::new(INTERVAL);
    schedule.refresh_every(INTERVAL * 30, |interval| interval + ms(1));
    assert_eq!(schedule.decide(t0), Step::Wait(None));
    schedule.changed();
    assert_eq!(schedule.decide(t0), Step::Read);
    schedule.begin(t0, Call::Read);
    schedule.read_done();
    write(&mut schedule, t0);
    let due = t0 + INTERVAL * 30 + ms(1);
    assert_eq!(schedule.decide(t0 + INTERVAL), Step::Wait(Some(due)), "with its jitter");
    assert_eq!(schedule.decide(due), Step::Refresh);
    schedule.begin(due, Call::Refresh);
    schedule.refresh_done(None);
    assert!(schedule.is_refreshing());
    schedule.verified();
    assert_eq!(schedule.decide(due), Step::Wait(Some(due + INTERVAL * 30 + ms(1))));
}
