//! What the runs say, as plain text.

use std::time::Duration;

use crate::Run;
use crate::sim::{BACKENDS, Capacity, Design, Load, Staleness};

/// Nobody stays stale for longer once the outage is over.
const STALE_AT_MOST: Duration = Duration::from_secs(60);
/// The busiest second of the recovery, as a part of the writes that the server
/// bears in one.
const PEAK_AT_MOST: f64 = 3.0;
/// The requests of the busiest five seconds of the minute after the outage, as
/// a part of all in it.
const BURST_AT_MOST: f64 = 0.4;
const BURST: usize = 5;

pub fn name(design: Design) -> String {
    match design {
        Design::Reporter { refresh: None } => "reporter".into(),
        Design::Reporter { refresh: Some(refresh) } => format!("reporter, refresh {}", time(refresh)),
        Design::GetPut { in_step: true } => "GET+PUT, in step".into(),
        Design::GetPut { in_step: false } => "GET+PUT, spread".into(),
    }
}

fn time(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..10_000 => format!("{:.1} s", time.as_secs_f64()),
        10_000..120_000 => format!("{:.0} s", time.as_secs_f64()),
        120_000..7_200_000 => format!("{:.0} min", time.as_secs_f64() / 60.0),
        _ => format!("{:.0} h", time.as_secs_f64() / 3600.0),
    }
}

fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.2}") } else { format!("{per_second:.0}") }
}

/// A part of a run with what it did to those who look at the status.
struct Seen {
    load: Load,
    stale: Staleness,
}

impl Run {
    fn start(&self) -> Seen {
        let time = Duration::ZERO..self.timeline.started;
        Seen { load: self.ledger.load(time.clone()), stale: self.ledger.staleness(time) }
    }

    fn quiet(&self) -> Seen {
        let (from, until) = (self.timeline.started, self.timeline.outage);
        // What changes just before the outage has to wait until it is over.
        let stale = self.ledger.staleness(from..until - Duration::from_secs(60));
        Seen { load: self.ledger.load(from..until), stale }
    }

    fn recovery(&self) -> Seen {
        let load = self.ledger.load(self.timeline.back..self.timeline.end);
        Seen { load, stale: self.ledger.staleness_after_outage() }
    }

    fn longest_after_outage(&self) -> String {
        let stale = self.ledger.staleness_after_outage();
        if stale.never > 0 { "never".into() } else { time(stale.max) }
    }
}

pub fn print(runs: &[Run], capacity: &Capacity) {
    print_assumptions(capacity);
    print_ratios(runs);
    print_part("All start at once: the first five minutes", runs, Run::start);
    let quiet: Vec<String> = sizes(runs).map(|run| format!("{} for {}", length(run), run.size)).collect();
    print_part(&format!("Quiet, a tenth flaps ({})", quiet.join(", ")), runs, Run::quiet);
    print_part("After an outage of ten minutes: ten minutes, staleness from its end", runs, Run::recovery);
}

fn length(run: &Run) -> String {
    time(run.timeline.outage - run.timeline.started)
}

/// One run of each size.
fn sizes(runs: &[Run]) -> impl Iterator<Item = &Run> {
    runs.iter().filter(|run| run.design == runs[0].design)
}

fn print_assumptions(capacity: &Capacity) {
    let Capacity { writes_per_second, reads_per_second, write_time, read_time, .. } = capacity;
    println!("Assumed of the API server: {writes_per_second} writes and {reads_per_second} reads a second;");
    println!("an idle one answers in {} and {};", time(*write_time), time(*read_time));
    println!("what comes faster waits, up to {}, and is refused with 429 and", time(capacity.longest_wait));
    println!(
        "Retry-After: {} beyond; its operator writes to each object every {},",
        time(capacity.retry_after),
        time(capacity.operator)
    );
    println!("out of the same capacity; in the outage {:.0} % of the attempts get no answer", capacity.silent * 100.0);
    println!("within the client's 10 s, the others are refused at once.");
    println!("Assumed of the fleet: {BACKENDS} backends each, checked every 30 s; a minute into the");
    println!("outage one of everybody's backends changes, in the same moment.");
    println!("GET+PUT reports changes at once, repeats them every 30 s, tries 5 times on 409");
    println!("and 10 times on 429, and takes its time-outs from us; in step: all started at");
    println!("once and tick together; spread: started evenly over 30 s, its best case.");
}

fn print_ratios(runs: &[Run]) {
    println!(
        "\n{:>7} {:<24} {:>12} {:>14} {:>14}  {:>13}",
        "servers", "design", "quiet day", "busiest second", "busiest second", "longest stale"
    );
    println!(
        "{:>7} {:<24} {:>12} {:>14} {:>14}  {:>13}",
        "", "", "requests/s", "at the start", "after outage", "after outage"
    );
    for run in runs {
        println!(
            "{:>7} {:<24} {:>12} {:>14} {:>14}  {:>13}",
            run.size,
            name(run.design),
            rate(run.quiet().load.requests()),
            run.start().load.peak_requests,
            run.recovery().load.peak_requests,
            run.longest_after_outage(),
        );
    }
    println!();
    for ours in sizes(runs) {
        let theirs =
            |in_step| runs.iter().find(|run| run.size == ours.size && run.design == Design::GetPut { in_step });
        let (Some(spread), Some(in_step)) = (theirs(false), theirs(true)) else { continue };
        let quiet = spread.quiet().load.requests() / ours.quiet().load.requests();
        let peak = |run: &Run| f64::from(run.recovery().load.peak_requests.max(1));
        println!(
            "{:>7} servers: GET+PUT makes {quiet:.0} times the requests of the reporter on a quiet day, and after an\n\
             {:>16} outage its busiest second is {:.1} times ours if spread, {:.1} times if in step",
            ours.size,
            "",
            peak(spread) / peak(ours),
            peak(in_step) / peak(ours),
        );
    }
}

fn print_part(title: &str, runs: &[Run], part: impl Fn(&Run) -> Seen) {
    println!("\n{title}");
    println!(
        "{:>7} {:<24} {:>13} {:>13} {:>9} {:>9} {:>7}  {:>24}",
        "", "", "requests/s", "writes/s", "", "", "given", "stale"
    );
    println!(
        "{:>7} {:<24} {:>6} {:>6} {:>6} {:>6} {:>9} {:>9} {:>7}  {:>7} {:>7} {:>8} {:>6}",
        "servers", "design", "mean", "peak", "mean", "peak", "409", "429", "up", "median", "p99", "max", "never"
    );
    for run in runs {
        let Seen { load, stale } = part(run);
        println!(
            "{:>7} {:<24} {:>6} {:>6} {:>6} {:>6} {:>9} {:>9} {:>7}  {:>7} {:>7} {:>8} {:>6}",
            run.size,
            name(run.design),
            rate(load.requests()),
            load.peak_requests,
            rate(load.writes()),
            load.peak_writes,
            load.total.conflicts,
            load.total.too_many,
            load.total.given_up,
            time(stale.median),
            time(stale.p99),
            time(stale.max),
            stale.never,
        );
    }
}

/// Says for each fleet of ours whether it holds to what is promised after an
/// outage; answers whether one does not.
pub fn print_promises(runs: &[Run], capacity: &Capacity) -> bool {
    println!("\nPromised after an outage: nobody is stale for more than {};", time(STALE_AT_MOST));
    println!("the busiest second has at most {PEAK_AT_MOST} times the writes that the server bears;");
    println!("the busiest {BURST} seconds have at most {:.0} % of the first minute's requests", BURST_AT_MOST * 100.0);
    let mut broken = false;
    for run in runs.iter().filter(|run| matches!(run.design, Design::Reporter { .. })) {
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
    let free = capacity.writes_per_second - run.size as f64 / capacity.operator.as_secs_f64();
    run.size as f64 / free.max(1.0) > 30.0
}

fn broken_promise(run: &Run, capacity: &Capacity) -> Option<String> {
    let stale = run.ledger.staleness_after_outage();
    let peak = f64::from(run.recovery().load.peak_requests);
    let burst = run.ledger.burst(run.timeline.back, BURST);
    if stale.never > 0 || stale.max > STALE_AT_MOST {
        Some(format!("{} never stored, the longest after {}", stale.never, time(stale.max)))
    } else if peak > PEAK_AT_MOST * capacity.writes_per_second {
        Some(format!("{peak} requests in one second"))
    } else if burst > BURST_AT_MOST {
        Some(format!("{:.0} % of the requests in {BURST} seconds", burst * 100.0))
    } else {
        None
    }
}
