//! The budgets that are times, quickly: `cargo bench --bench budgets
//!`. Ends with 1 when one is missed.
//!
//! What disturbs a measurement makes it longer, never shorter; so each is taken
//! several times and the best counts. What is a ratio has both sides measured in
//! turn in the same round.

use vmcp_status_testkit::bench::callers;
use vmcp_status_testkit::bench::increments;
use vmcp_status_testkit::bench::memory;
use vmcp_status_testkit::bench::states;

use std::process::ExitCode;
use std::time::Duration;

use callers::{Bare, Reporting};
use increments::Increments;
use states::{NAME, NAMESPACE, Whole, status, with_one_changed};
use tokio::time::Instant;
use vmcp_status::{BackendStatus, KubernetesSink, Sink as _};

const ROUNDS: usize = 7;
const SIZES: [usize; 3] = [3, 100, 3_000];

fn main() -> ExitCode {
    let missed = [callers(), diff(), throughput()].into_iter().flatten().filter(|budget| !budget.print()).count();
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Budget {
    what: String,
    measured: f64,
    unit: &'static str,
    /// Held up to this; of a throughput, from this on.
    limit: f64,
    at_least: bool,
}

impl Budget {
    /// Whether it is held.
    fn print(&self) -> bool {
        let Budget { what, measured, unit, limit, at_least } = self;
        let held = if *at_least { measured >= limit } else { measured <= limit };
        let (verdict, bound) = (if held { "held  " } else { "MISSED" }, if *at_least { "at least" } else { "at most" });
        println!("{verdict} {what}: {measured:.2}{unit}, {bound} {limit}{unit}");
        held
    }
}

/// The median of an odd number of takes.
fn median(takes: usize, mut take: impl FnMut() -> Duration) -> Duration {
    let mut sorted: Vec<Duration> = (0..takes).map(|_| take()).collect();
    sorted.sort();
    sorted[takes / 2]
}

fn best(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::INFINITY, f64::min)
}

/// `report` beside a bare send, and beside itself at another size.
fn callers() -> Vec<Budget> {
    const BURSTS: usize = 31;
    let mut sides = SIZES.map(|backends| (Bare::new(status(backends)), Reporting::new(status(backends))));
    let rounds: Vec<Vec<(Duration, Duration)>> = (0..ROUNDS)
        .map(|_| {
            let both = sides
                .iter_mut()
                .map(|(bare, reporting)| (median(BURSTS, || bare.time(256)), median(BURSTS, || reporting.time(256))));
            both.collect()
        })
        .collect();
    let beside = SIZES.iter().enumerate().map(|(size, backends)| Budget {
        what: format!("report of {backends} backends beside a bare send"),
        measured: best(rounds.iter().map(|round| round[size].1.div_duration_f64(round[size].0))),
        unit: " times",
        limit: 3.0,
        at_least: false,
    });
    let growth = Budget {
        what: "report of 3,000 backends beside one of 3".into(),
        measured: best(rounds.iter().map(|round| round[2].1.div_duration_f64(round[0].1))),
        unit: " times",
        limit: 3.0,
        at_least: false,
    };
    beside.chain([growth]).collect()
}

/// One backend of 10,000 in a write of the Kubernetes sink, with a server that
/// answers at once; the others are the same objects, as the reporter gives them
/// to a sink.
fn diff() -> Vec<Budget> {
    const BACKENDS: usize = 10_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let ready = status(BACKENDS);
        let broken = with_one_changed(&ready, BACKENDS / 2, BackendStatus::Unavailable);
        let client = memory::client(Whole::of(&ready).bytes());
        let mut sink = KubernetesSink::new(client, NAMESPACE, NAME).expect("good names");
        sink.read().await.expect("answered");
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let mut takes = Vec::new();
            for _ in 0..21 {
                sink.write(&ready).await.expect("answered");
                let start = Instant::now();
                sink.write(&broken).await.expect("answered");
                takes.push(start.elapsed());
            }
            takes.sort();
            rounds.push(takes[takes.len() / 2].as_secs_f64() * 1e3);
        }
        vec![Budget {
            what: "diff of 1 in 10,000 backends, with its request".into(),
            measured: best(rounds.into_iter()),
            unit: " ms",
            limit: 1.0,
            at_least: false,
        }]
    })
}

fn throughput() -> Vec<Budget> {
    const COUNT: u32 = 300_000;
    let increments = Increments::new();
    let of = |tasks| {
        let spent = (0..ROUNDS).map(|_| increments.through_the_actor(tasks, COUNT.into())).min().expect("some rounds");
        Budget {
            what: format!("increments from {tasks} tasks through the actor"),
            measured: f64::from(COUNT) / spent.as_secs_f64() / 1e6,
            unit: " million a second",
            limit: 1.0,
            at_least: true,
        }
    };
    vec![of(1), of(8)]
}
