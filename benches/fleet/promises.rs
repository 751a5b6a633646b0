//! What is promised, and whether it holds.

use std::time::Duration;

use crate::sim::{Capacity, Design, Precondition};
use crate::table::{name, rate, time};
use crate::{HOUR, Run};

/// Requests a second of 10,000 servers on a quiet day.
const QUIET_AT_MOST: f64 = 3.5;
/// With a refresh every hour, as where Leases are the sign of life.
const HOURLY_AT_MOST: f64 = 7.0;
const FIVE_MINUTES_AT_MOST: f64 = 40.0;
/// The busiest second of a start of all at once, as a part of what the server
/// bears in one.
const START_AT_MOST: f64 = 2.0;
/// Seconds of a server's life beyond which chance does not decide how often its
/// backends turn.
const LONG: f64 = 3e6;
/// Nobody stays stale for longer once the outage is over.
const STALE_AT_MOST: Duration = Duration::from_secs(40);
/// The busiest second of the recovery, as a part of the writes that the server
/// bears in one.
const PEAK_AT_MOST: f64 = 3.0;
/// The requests of the busiest five seconds of the minute after the outage, as
/// a part of all in it.
const BURST_AT_MOST: f64 = 0.4;
const BURST: usize = 5;

/// Says for each fleet of ours whether it holds to what is promised; answers
/// whether one does not.
pub fn print(runs: &[Run], capacity: &Capacity) -> bool {
    print_starts(runs, capacity);
    println!("\nPromised on a quiet day, for 10,000 servers: at most {QUIET_AT_MOST} requests/s without a refresh,");
    println!("{HOURLY_AT_MOST} with one every hour and {FIVE_MINUTES_AT_MOST} with one every 5 min, and no conflict;");
    println!("a start of all at once: at most {START_AT_MOST} times what the server bears in one second;");
    println!("after an outage: nobody is stale for more than {};", time(STALE_AT_MOST));
    println!("the busiest second has at most {PEAK_AT_MOST} times the writes that the server bears;");
    println!("the busiest {BURST} seconds have at most {:.0} % of the first minute's requests", BURST_AT_MOST * 100.0);
    let mut broken = false;
    let ours = |run: &&Run| matches!(run.design, Design::Reporter { precondition: Precondition::Replaced, .. });
    for run in runs.iter().filter(ours) {
        let verdict = match broken_promise(run, capacity) {
            _ if hopeless(run, capacity) => {
                "not asked: the server cannot take one write of each in half a minute".into()
            }
            None => "kept".into(),
            Some(why) => {
                broken = true;
                format!("BROKEN: {why}")
            }
        };
        println!("{:>7} {:<24} {verdict}", run.size, name(run.design));
    }
    broken
}

/// Whether the server could not take a write of each member in half a minute,
/// even if they came one after the other.
fn hopeless(run: &Run, capacity: &Capacity) -> bool {
    run.size as f64 / capacity.writes_per_second > 30.0
}

fn broken_promise(run: &Run, capacity: &Capacity) -> Option<String> {
    let quiet = run.quiet().load;
    let Design::Reporter { refresh, .. } = run.design else { return None };
    let most = match refresh {
        None => QUIET_AT_MOST,
        Some(refresh) if refresh >= HOUR => HOURLY_AT_MOST,
        Some(_) => FIVE_MINUTES_AT_MOST,
    };
    let most = most * run.size as f64 / 10_000.0;
    let is_long = quiet.seconds * run.size as f64 > LONG;
    let stale = run.ledger.staleness_after_outage();
    let peak = f64::from(run.recovery().load.peak_requests);
    let burst = run.ledger.burst(run.timeline.back, BURST);
    let start = f64::from(run.start().load.peak_requests) / (capacity.writes_per_second + capacity.reads_per_second);
    if start > START_AT_MOST {
        Some(format!("{start:.1} times what the server bears in one second of the start"))
    } else if (is_long && quiet.requests() > most) || quiet.total.conflicts > 0 {
        Some(format!("{} requests/s on a quiet day, {} conflicts", rate(quiet.requests()), quiet.total.conflicts))
    } else if stale.never > 0 || stale.max > STALE_AT_MOST {
        Some(format!("{} never stored, the longest after {}", stale.never, time(stale.max)))
    } else if peak > PEAK_AT_MOST * capacity.writes_per_second {
        Some(format!("{peak} requests in one second"))
    } else if burst > BURST_AT_MOST {
        Some(format!("{:.0} % of the requests in {BURST} seconds", burst * 100.0))
    } else {
        None
    }
}

/// How a start of all at once compares with what the server bears.
fn print_starts(runs: &[Run], capacity: &Capacity) {
    println!("\nThe busiest second of a start of all at once, as a part of what the server bears in one");
    for run in runs.iter().filter(|run| run.design == runs[0].design) {
        let load = run.start().load;
        let both = capacity.writes_per_second + capacity.reads_per_second;
        println!(
            "{:>7} servers: requests {:.1} times, writes {:.1} times",
            run.size,
            f64::from(load.peak_requests) / both,
            f64::from(load.peak_writes) / capacity.writes_per_second
        );
    }
}
