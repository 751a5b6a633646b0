//! What the runs say, as plain text.

use std::time::Duration;

use crate::MINUTES;
use crate::Run;
use crate::sim::{BACKENDS, Capacity, Design, Load, Precondition, Staleness};

pub fn name(design: Design) -> String {
    match design {
        Design::Reporter { precondition, refresh } => {
            let what = match precondition {
                Precondition::Replaced => "reporter",
                Precondition::Version => "by version",
            };
            refresh.map_or(what.into(), |refresh| format!("{what}, refresh {}", time(refresh)))
        }
        Design::GetPut { in_step: true } => "GET+PUT, in step".into(),
        Design::GetPut { in_step: false } => "GET+PUT, spread".into(),
    }
}

pub fn time(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..10_000 => format!("{:.1} s", time.as_secs_f64()),
        10_000..120_000 => format!("{:.0} s", time.as_secs_f64()),
        120_000..3_600_000 => format!("{:.0} min", time.as_secs_f64() / 60.0),
        _ => format!("{:.0} h", time.as_secs_f64() / 3600.0),
    }
}

pub fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.2}") } else { format!("{per_second:.0}") }
}

/// A part of a run with what it did to those who look at the status.
pub struct Seen {
    pub load: Load,
    pub stale: Staleness,
}

impl Run {
    pub fn start(&self) -> Seen {
        let time = Duration::ZERO..self.timeline.started;
        Seen { load: self.ledger.load(time.clone()), stale: self.ledger.staleness(time) }
    }

    pub fn quiet(&self) -> Seen {
        let (from, until) = (self.timeline.started, self.timeline.outage);
        // What changes just before the outage has to wait until it is over.
        let stale = self.ledger.staleness(from..until - Duration::from_secs(60));
        Seen { load: self.ledger.load(from..until), stale }
    }

    pub fn recovery(&self) -> Seen {
        let load = self.ledger.load(self.timeline.back..self.timeline.end);
        Seen { load, stale: self.ledger.staleness_after_outage() }
    }

    fn longest_after_outage(&self) -> String {
        let stale = self.ledger.staleness_after_outage();
        if stale.never > 0 { "never".into() } else { time(stale.max) }
    }
}

pub fn print(runs: &[Run], restarts: &[Run], capacity: &Capacity) {
    print_assumptions(capacity);
    print_ratios(runs);
    print_part("All start at once: the first five minutes", runs, Run::start);
    print_part("All restart at once and find what is stored: the first five minutes", restarts, Run::start);
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
        "Retry-After: {} beyond; in the outage {:.0} % of the attempts get no answer",
        time(capacity.retry_after),
        capacity.silent * 100.0
    );
    println!("within the client's 10 s, the others are refused at once.");
    println!("Its operator answers each write by one of its own, one object after the other, out");
    println!("of the same capacity; what changes again before its turn has come is answered once.");
    println!("Assumed of the fleet: {BACKENDS} backends each, checked every 30 s; one server in ten has one");
    println!("that turns every five minutes, one in five one that is down and stays so; a minute");
    println!("into the outage one of everybody's backends changes, in the same moment.");
    println!("By version: the same reporter with writes that are conditional on the version of the");
    println!("object and a refresh that reads and writes, as it was.");
    println!("GET+PUT reports changes at once, repeats them every 30 s, tries 5 times on 409");
    println!("and 10 times on 429, and takes its time-outs from us; in step: all started at");
    println!("once and tick together; spread: started evenly over 30 s, its best case.");
}

fn print_ratios(runs: &[Run]) {
    println!(
        "\n{:>7} {:<27} {:>12} {:>10} {:>14} {:>14}  {:>13}",
        "servers", "design", "quiet day", "operator's", "busiest second", "busiest second", "longest stale"
    );
    println!(
        "{:>7} {:<27} {:>12} {:>10} {:>14} {:>14}  {:>13}",
        "", "", "requests/s", "writes/s", "at the start", "after outage", "after outage"
    );
    for run in runs {
        println!(
            "{:>7} {:<27} {:>12} {:>10} {:>14} {:>14}  {:>13}",
            run.size,
            name(run.design),
            rate(run.quiet().load.requests()),
            rate(run.quiet().load.operator()),
            run.start().load.peak_requests,
            run.recovery().load.peak_requests,
            run.longest_after_outage(),
        );
    }
    println!();
    for ours in sizes(runs) {
        let of = |design| runs.iter().find(|run| run.size == ours.size && run.design == design);
        for refresh in [None, Some(MINUTES)] {
            let by = |precondition| of(Design::Reporter { precondition, refresh });
            let (Some(now), Some(before)) = (by(Precondition::Replaced), by(Precondition::Version)) else { continue };
            let [now, before] = [now, before].map(|run| run.quiet().load.requests());
            println!(
                "{:>7} servers: a quiet day {} costs {:.2} of what it costs by version",
                ours.size,
                refresh.map_or("without refresh".into(), |refresh| format!("with a refresh every {}", time(refresh))),
                now / before
            );
        }
        let theirs = |in_step| of(Design::GetPut { in_step });
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
        "{:>7} {:<27} {:>13} {:>13} {:>10} {:>9} {:>9} {:>7}  {:>24}",
        "", "", "requests/s", "writes/s", "operator's", "", "", "given", "stale"
    );
    println!(
        "{:>7} {:<27} {:>6} {:>6} {:>6} {:>6} {:>10} {:>9} {:>9} {:>7}  {:>7} {:>7} {:>8} {:>6}",
        "servers",
        "design",
        "mean",
        "peak",
        "mean",
        "peak",
        "writes/s",
        "409",
        "429",
        "up",
        "median",
        "p99",
        "max",
        "never"
    );
    for run in runs {
        let Seen { load, stale } = part(run);
        println!(
            "{:>7} {:<27} {:>6} {:>6} {:>6} {:>6} {:>10} {:>9} {:>9} {:>7}  {:>7} {:>7} {:>8} {:>6}",
            run.size,
            name(run.design),
            rate(load.requests()),
            load.peak_requests,
            rate(load.writes()),
            load.peak_writes,
            rate(load.operator()),
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
