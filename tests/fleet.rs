//! What a small fleet does to a small API server. `cargo bench --bench fleet`
//! shows the same for large ones.

use vmcp_status_testkit::fleet as sim;

use std::time::Duration;

use sim::{Capacity, Design, Timeline};

/// As large for the server as 10,000 are for one of the size that
/// [`Capacity::default`] assumes.
const SIZE: usize = 100;

fn capacity() -> Capacity {
    Capacity { writes_per_second: 4.0, reads_per_second: 30.0, ..Capacity::default() }
}

fn live(capacity: Capacity) -> (sim::Ledger, Timeline) {
    let timeline = Timeline::new(Duration::from_secs(10 * 60));
    (sim::run(Design::Reporter { refresh: None }, SIZE, capacity, timeline), timeline)
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
    // A conflict adds a read and a write.
    let changes = u32::try_from(stale.changes).expect("few");
    assert!(changes > 0 && load.total.stored <= changes, "{load:?}, {stale:?}");
    assert!(load.total.requests() <= changes * 3, "{load:?}, {stale:?}");
    assert!(stale.max < Duration::from_secs(5), "{stale:?}");
}

#[test]
fn refresh_of_a_fleet_that_started_at_once_is_spread_within_the_day() {
    // Each refresh spreads them a little further: after three hours there are
    // enough behind them that chance does not decide.
    let timeline = Timeline::new(Duration::from_secs(3 * 60 * 60));
    let refresh = Duration::from_secs(5 * 60);
    let ledger = sim::run(Design::Reporter { refresh: Some(refresh) }, SIZE, Capacity::default(), timeline);
    let last = timeline.started + Duration::from_secs(170 * 60)..timeline.started + Duration::from_secs(175 * 60);
    let minutes = ledger.seconds(last).map(|second| second.reads).collect::<Vec<_>>();
    let busiest = minutes.chunks(60).map(|minute| minute.iter().sum::<u32>()).max().expect("five minutes");
    assert!(busiest < 45, "{busiest} of {SIZE} in one of five minutes");
}
