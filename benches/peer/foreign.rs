//! Changes while others write to other fields of the same object: an annotation, a
//! field of the operator's, and a condition at the top level.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::{interval, sleep};
use vmcp_status::{BackendStatus, Status};
use vmcp_status_testkit::cluster::{Definitions, RealCluster};

use crate::changes::{Changes, Run};
use crate::states;
use crate::writer::{Form, Kind};

/// Before each change, so that others have had time to write since the one before.
const BETWEEN: Duration = Duration::from_millis(250);

/// After a report that was given up, until others and the operator have finished
/// what they were at.
const CALM: Duration = Duration::from_secs(20);

/// How much is measured with one number of backends.
#[derive(Clone, Copy)]
pub struct Extent {
    pub backends: usize,
    pub changes: usize,
    /// Changes of each way that is neither ours nor a bare PATCH: with large lists
    /// each takes seconds, and what it costs in requests and bytes hardly varies.
    pub changes_of_others: usize,
    /// Foreign writes a second, one after the other.
    pub rates: &'static [u32],
}

pub const FULL: &[Extent] = &[
    Extent { backends: 10, changes: 100, changes_of_others: 100, rates: &[0, 1, 10] },
    Extent { backends: 1_000, changes: 40, changes_of_others: 4, rates: &[0, 1, 10] },
    Extent { backends: 3_000, changes: 30, changes_of_others: 2, rates: &[0, 1, 10] },
];
pub const QUICK: &[Extent] = &[Extent { backends: 10, changes: 40, changes_of_others: 40, rates: &[0, 10] }];

/// What each way has cost at one rate, in the order of [`Kind::BESIDE_OTHERS`].
pub struct Line {
    pub rate: u32,
    pub ways: Vec<Changes>,
}

/// Measures all ways in turn, the others writing to the object whose turn it is, and
/// prints what each rate has cost.
pub async fn measure(extent: Extent) -> Vec<Line> {
    let cluster = Arc::new(RealCluster::start_with(Definitions::ToolHive).await);
    let _operator = cluster.operator().await;
    join_all(Kind::BESIDE_OTHERS.map(|kind| cluster.add_user(kind.user(), crate::rules_of_a_vmcp()))).await;
    let forms = [BackendStatus::Unavailable, BackendStatus::Ready].map(|first| {
        let rest = (1..extent.backends).map(|i| states::backend(i, BackendStatus::Ready));
        let mut status = Status::derived_from(std::iter::once(states::backend(0, first)).chain(rest));
        for condition in &mut status.conditions {
            condition.last_transition_time = chrono::DateTime::from_timestamp(1_700_000_000, 0);
        }
        Form::new(status)
    });
    let mut runs = join_all(Kind::BESIDE_OTHERS.map(|kind| Run::start(&cluster, kind, "foreign", &forms[1]))).await;
    let mut lines = Vec::new();
    print_head(extent);
    for &rate in extent.rates {
        // Whose turn it is.
        let turn = Arc::new(Mutex::new(runs[0].name().to_owned()));
        let others = (rate > 0).then(|| tokio::spawn(write(Arc::clone(&cluster), Arc::clone(&turn), rate)));
        runs.iter_mut().for_each(Run::begin);
        for change in 0..extent.changes {
            for (kind, run) in Kind::BESIDE_OTHERS.iter().zip(&mut runs) {
                let is_compared = kind.is_ours() || *kind == Kind::Bare;
                if !is_compared && change >= extent.changes_of_others {
                    continue;
                }
                run.name().clone_into(&mut turn.lock().expect("nothing panics with it"));
                sleep(BETWEEN).await;
                if !run.change(&forms[change % 2]).await {
                    // Again, and nobody is in its way.
                    turn.lock().expect("nothing panics with it").clear();
                    sleep(CALM).await;
                    assert!(run.change(&forms[change % 2]).await, "nobody else writes");
                }
            }
        }
        if let Some(others) = others {
            others.abort();
        }
        runs.iter_mut().for_each(Run::count);
        let line = Line { rate, ways: runs.iter_mut().map(Run::take).collect() };
        print(&line);
        lines.push(line);
    }
    join_all(runs.into_iter().map(Run::end)).await;
    lines
}

/// Writes for ever, each time to another field.
async fn write(cluster: Arc<RealCluster>, turn: Arc<Mutex<String>>, rate: u32) {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    for number in 0_u64.. {
        ticks.tick().await;
        let name = turn.lock().expect("nothing panics with it").clone();
        if name.is_empty() {
            continue;
        }
        match number % 3 {
            0 => cluster.merge(&name, &json!({"metadata": {"annotations": {"foreign": number.to_string()}}})).await,
            1 => cluster.merge_status(&name, &json!({"url": format!("http://foreign-{number}")})).await,
            _ => {
                let Some(object) = cluster.object(&name).await else { continue };
                let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
                conditions.retain(|condition| condition["type"] != "Foreign");
                conditions.push(foreign_condition(number));
                cluster.merge_status(&name, &json!({"conditions": conditions})).await;
            }
        }
    }
}

fn foreign_condition(number: u64) -> Value {
    json!({"type": "Foreign", "status": "True", "reason": "Written", "message": number.to_string(),
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

/// What ours may cost at most for a change, whoever else writes: bytes of heads and
/// bodies without the token, and from `report` to stored by a bare PATCH.
const MOST_UP: f64 = 1536.0;
const MOST_DOWN: f64 = 2048.0;
const MOST_TIMES_BARE: f64 = 1.2;

fn print_head(extent: Extent) {
    println!(
        "\n| {} backends, foreign writes a second | way | requests | bytes up | bytes down | conflicts | given up \
         | report to stored, median | p99 | by bare PATCH | report to top level, median | operator's writes |",
        extent.backends
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
}

fn print(line: &Line) {
    for (kind, way) in Kind::BESIDE_OTHERS.iter().zip(&line.ways) {
        let Figures { requests, up, down, conflicts, answers } = Figures::of(way);
        println!(
            "| {} | {} | {requests:.2} | {up:.0} | {down:.0} | {conflicts:.2} | {} | {} | {} | {:.2} | {} | {answers:.1} |",
            line.rate,
            kind.user(),
            way.given_up,
            time(way.stored.median()),
            time(way.stored.p99()),
            times_bare(line, way),
            time(way.shown.median()),
        );
    }
}

fn time(time: Duration) -> String {
    crate::show::time(time.as_secs_f64() * 1e9)
}

/// For one change.
struct Figures {
    requests: f64,
    up: f64,
    down: f64,
    conflicts: f64,
    answers: f64,
}

impl Figures {
    #[allow(clippy::cast_precision_loss, reason = "far below what a double holds")]
    fn of(way: &Changes) -> Self {
        let each = |count: u64| count as f64 / way.count as f64;
        Figures {
            requests: each(way.requests as u64),
            up: each(way.traffic.up - way.tokens),
            down: each(way.traffic.down),
            conflicts: each(way.conflicts as u64),
            answers: each(way.answers as u64),
        }
    }
}

fn times_bare(line: &Line, way: &Changes) -> f64 {
    let bare = Kind::BESIDE_OTHERS.iter().position(|kind| *kind == Kind::Bare).expect("it is one of them");
    way.stored.median().div_duration_f64(line.ways[bare].stored.median())
}

/// What of ours does not hold; nothing if all does.
pub fn missed(extent: Extent, lines: &[Line]) -> Vec<String> {
    let mut missed = Vec::new();
    for line in lines {
        let ours = Kind::BESIDE_OTHERS.iter().zip(&line.ways).find(|(kind, _)| kind.is_ours());
        let (_, ours) = ours.expect("it is one of them");
        let Figures { requests, up, down, conflicts, .. } = Figures::of(ours);
        for (what, figure, most) in [
            ("requests", requests, 1.0),
            ("bytes up", up, MOST_UP),
            ("bytes down", down, MOST_DOWN),
            ("conflicts", conflicts, 0.0),
            ("times a bare PATCH", times_bare(line, ours), MOST_TIMES_BARE),
        ] {
            if figure > most {
                let Extent { backends, .. } = extent;
                missed.push(format!(
                    "{backends} backends, {} foreign writes/s: {figure:.2} {what}, not {most}",
                    line.rate
                ));
            }
        }
    }
    missed
}

/// Says what the columns mean.
pub fn explain() {
    println!(
        "
All of them in turn, each on an object of its own, with the operator answering; the others write to the object whose
turn it is. Of one change: bytes are those of HTTP/1.1 before TLS, heads and bodies, less the token; conflicts are
answers with 409 or 422; given up are reports of all changes that their reporter did not store, and which were made
again without anybody in the way. By version: a patch conditional on the object's version, read again on 409. Bare: a patch of
one field without any condition. Stored and shown is what a watcher sees. Pace and client-go's limit are off.
"
    );
}
