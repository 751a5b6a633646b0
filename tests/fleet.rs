//! What a small fleet does to a small API server. `cargo bench --bench fleet`
//! shows the same for large ones.

#![allow(clippy::cast_precision_loss, reason = "the numbers are small")]

use vmcp_status_testkit::fleet as sim;

use std::time::Duration;

use sim::{Capacity, Design, Precondition, Timeline};

/// As large for the server as 10,000 are for one of the size that
/// [`Capacity::default`] assumes.
const SIZE: usize = 100;

fn capacity() -> Capacity {
    Capacity { writes_per_second: 4.0, reads_per_second: 30.0, ..Capacity::default() }
}

fn live(capacity: Capacity) -> (sim::Ledger, Timeline) {
    let timeline = Timeline::new(Duration::from_secs(10 * 60));
    (sim::run(reporter(None), SIZE, capacity, timeline), timeline)
}

fn reporter(refresh: Option<Duration>) -> Design {
    Design::Reporter { precondition: Precondition::Replaced, refresh }
}

/// Three hours in which nothing happens but that a tenth flaps.
fn quiet(design: Design) -> (sim::Load, sim::Staleness) {
    let timeline = Timeline::new(Duration::from_secs(3 * 60 * 60));
    let ledger = sim::run(design, SIZE, Capacity::default(), timeline);
    let (from, until) = (timeline.started, timeline.outage);
    (ledger.load(from..until), ledger.staleness(from..until))
}

#[test]
fn fleet_after_an_outage_is_up_to_date_within_a_minute_and_does_not_come_back_at_once() {
    // With silence every try takes its time-out, without it only jitter tells
    // one member from the other.
    for silent in [0.0, 0.5, 1.0] {
        let (ledger, timeline) = live(Capacity { silent, ..capacity() });
        let stale = ledger.staleness_after_outage();
        assert_eq!((stale.changes, stale.never), (SIZE, 0), "everybody had something to say");
        assert!(stale.max <= Duration::from_secs(60), "silent {silent}: {stale:?}");
        let burst = ledger.burst(timeline.back, 5) * 100.0;
        assert!(burst < 45.0, "silent {silent}: {burst:.0} % of the first minute's requests came in five seconds");
    }
}

/// Prints what an outage costs: `cargo test --test fleet -- --nocapture`.
fn outage(size: usize, capacity: Capacity) -> (sim::Load, sim::Staleness) {
    let timeline = Timeline::new(Duration::from_secs(60));
    let ledger = sim::run(reporter(None), size, capacity, timeline);
    let (load, stale) = (ledger.load(timeline.back..timeline.end), ledger.staleness_after_outage());
    println!(
        "{size} reporters, {:.0} % silent: right again after {:?} at the median, {:?} at most; {} requests in the \
         busiest second, {} of {} refused with 429",
        capacity.silent * 100.0,
        stale.median,
        stale.max,
        load.peak_requests,
        load.total.too_many,
        load.total.requests(),
    );
    (load, stale)
}

#[test]
fn reporter_that_is_alone_is_right_again_within_ten_seconds_of_the_readiness_and_five_at_the_median() {
    // Few enough that none is in another's way.
    let (_, stale) = outage(SIZE, Capacity { silent: 0.0, ..Capacity::default() });
    assert_eq!((stale.changes, stale.never), (SIZE, 0));
    assert!(stale.max <= Duration::from_secs(10) && stale.median <= Duration::from_secs(5), "{stale:?}");
}

#[test]
fn fleet_after_an_outage_is_neither_stale_for_long_nor_in_the_servers_way() {
    // Of a hundred, chance would decide.
    let capacity = Capacity { writes_per_second: 40.0, reads_per_second: 300.0, ..Capacity::default() };
    let (load, stale) = outage(1000, capacity);
    assert_eq!(stale.never, 0);
    assert!(stale.max <= Duration::from_secs(40), "{stale:?}");
    // Three times of it for ten thousand; of a thousand, chance adds a few.
    assert!(f64::from(load.peak_requests) <= capacity.writes_per_second * 3.5, "{load:?}");
    assert!(load.total.too_many * 100 <= load.total.requests(), "{load:?}");
}

#[test]
fn fleet_that_is_refused_together_does_not_come_back_together() {
    let (ledger, timeline) = live(capacity());
    let start = ledger.load(Duration::ZERO..timeline.started);
    assert!(start.total.too_many > 0, "the server can bear it");
    // Told to come back in a second, and doing so together, there are 1,300 refusals.
    assert!(start.total.too_many < 800, "{}", start.total.too_many);
    assert_eq!(ledger.staleness(Duration::ZERO..timeline.started).never, 0);
}

#[test]
fn quiet_fleet_asks_for_next_to_nothing_though_a_tenth_flaps() {
    let (ledger, timeline) = live(capacity());
    let quiet = timeline.started..timeline.outage;
    let (load, stale) = (ledger.load(quiet.clone()), ledger.staleness(quiet));
    let changes = u32::try_from(stale.changes).expect("few");
    assert!(changes > 0 && load.total.stored <= changes, "{load:?}, {stale:?}");
    assert!(load.total.requests() <= changes, "{load:?}, {stale:?}");
    assert!(stale.max < Duration::from_secs(5), "{stale:?}");
}

#[test]
fn quiet_fleet_makes_one_request_for_each_change_and_each_refresh_whatever_the_operator_writes() {
    let seconds = 3.0 * 60.0 * 60.0;
    for refresh in [None, Some(Duration::from_secs(5 * 60)), Some(Duration::from_secs(60 * 60))] {
        let (load, stale) = quiet(reporter(refresh));
        let refreshes = refresh.map_or(0.0, |refresh| SIZE as f64 * seconds / refresh.as_secs_f64());
        let most = stale.changes as f64 + refreshes * 1.1;
        assert!(f64::from(load.total.requests()) <= most, "{refresh:?}: {load:?}, {stale:?}");
        assert_eq!(
            (load.total.conflicts, load.total.operator),
            (0, load.total.stored),
            "{refresh:?}: each is answered"
        );
    }
}

#[test]
fn quiet_fleet_costs_half_of_what_it_costs_with_versions() {
    for refresh in [None, Some(Duration::from_secs(5 * 60))] {
        let (now, _) = quiet(reporter(refresh));
        let (before, _) = quiet(Design::Reporter { precondition: Precondition::Version, refresh });
        assert!(before.total.conflicts > 0, "the operator's answer is a conflict: {before:?}");
        let (now, before) = (now.total.requests(), before.total.requests());
        assert!(now * 2 <= before, "{refresh:?}: {now} requests, and {before} with versions");
    }
}

#[test]
fn backend_that_stays_down_costs_no_request_but_the_refresh() {
    let (load, _) = quiet(reporter(None));
    assert!(load.total.requests() > 0 && load.total.of_dead == 0, "{load:?}");
    let (load, _) = quiet(reporter(Some(Duration::from_secs(60 * 60))));
    let dead = u32::try_from((0..SIZE).filter(|id| sim::has_dead_backend(*id)).count()).expect("few");
    assert!((dead..=dead * 4).contains(&load.total.of_dead), "{dead} with one that is down: {load:?}");
}

#[test]
fn fleet_that_restarts_at_once_and_finds_nothing_new_reads_once_and_writes_nothing() {
    let timeline = Timeline::restart();
    let ledger = sim::run(reporter(None), SIZE, Capacity::default(), timeline);
    let load = ledger.load(Duration::ZERO..timeline.started);
    let (reads, flaps) = (load.total.reads, ledger.staleness(Duration::ZERO..timeline.started).changes);
    assert!(reads as usize <= SIZE + flaps, "{load:?}");
    assert!(load.total.writes as usize <= flaps, "{load:?}");
}

#[test]
fn fleet_that_starts_at_once_asks_for_little_more_than_twice_what_the_server_bears() {
    const STARTING: usize = 1000;
    let capacity = Capacity { writes_per_second: 40.0, reads_per_second: 300.0, ..Capacity::default() };
    let both = capacity.writes_per_second + capacity.reads_per_second;
    for (timeline, most) in [(Timeline::new(Duration::from_secs(60)), 2.2), (Timeline::restart(), 1.0)] {
        let ledger = sim::run(reporter(None), STARTING, capacity, timeline);
        let start = ledger.load(Duration::ZERO..timeline.started);
        let peak = f64::from(start.peak_requests) / both;
        // The bench has the figure for ten thousand, in which chance decides less.
        assert!(peak < most, "{peak:.2} times");
        assert_eq!(ledger.staleness(Duration::ZERO..timeline.started).never, 0);
    }
}

#[test]
fn refresh_of_a_fleet_that_started_at_once_is_spread_within_the_day() {
    // Each refresh spreads them a little further: after three hours there are
    // enough behind them that chance does not decide.
    let timeline = Timeline::new(Duration::from_secs(3 * 60 * 60));
    let refresh = Duration::from_secs(5 * 60);
    let ledger = sim::run(reporter(Some(refresh)), SIZE, Capacity::default(), timeline);
    let last = timeline.started + Duration::from_secs(170 * 60)..timeline.started + Duration::from_secs(175 * 60);
    let minutes = ledger.seconds(last).map(|second| second.requests()).collect::<Vec<_>>();
    let busiest = minutes.chunks(60).map(|minute| minute.iter().sum::<u32>()).max().expect("five minutes");
    assert!(busiest < 45, "{busiest} of {SIZE} in one of five minutes");
}
