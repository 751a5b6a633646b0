//! ToolHive's own status reporter beside ours, with ToolHive's genuine operator
//! answering each change, in one run on a whole API server:
//!
//! ```sh
//! export $(crates/testkit/cluster/build.sh)
//! cargo bench --bench peer
//! ```
//!
//! `-- --quick` takes 10 backends alone and makes fewer changes, `-- --foreign`
//! measures only what foreign writers make of it, and `--backends 1000` after it only
//! for so many backends, `--changes 5` with so many changes. Ends with 1 where a report of ours
//! is lost or is not in `status.runtime`, where the operator looks, or where a change
//! beside foreign writers costs more than it may.
//!
//! Both are service accounts with the role that ToolHive gives its vMCPs. The
//! server's audit log counts their requests, a proxy in front of it counts bytes
//! before TLS, and a watch of the object says when a change was stored and when
//! the operator's own top level showed it.

mod changes;
mod crowd;
mod foreign;
mod naive;
use vmcp_status_testkit::bench::show;
use vmcp_status_testkit::bench::states;
mod table;
mod watcher;
mod writer;

use std::process::ExitCode;

use futures::future::join_all;
use serde_json::json;
use tokio::runtime::Runtime;
use vmcp_status_testkit::cluster::{Definitions, RealCluster};

use changes::Changes;
use crowd::Crowd;
use writer::{Kind, Stage};

/// How much is done with one number of backends.
#[derive(Clone, Copy)]
struct Extent {
    backends: usize,
    /// Changes of each kind of reporter.
    changes: usize,
    /// Reports of each of the eight writers. The more backends, the longer each
    /// takes.
    reports: usize,
}

const FULL: &[Extent] = &[
    Extent { backends: 10, changes: 20, reports: 20 },
    Extent { backends: 1_000, changes: 20, reports: 4 },
    Extent { backends: 3_000, changes: 20, reports: 2 },
];
const QUICK: &[Extent] = &[Extent { backends: 10, changes: 6, reports: 3 }];

/// What one kind of reporter did with one number of backends.
struct Figures {
    changes: Changes,
    crowd: Crowd,
}

fn main() -> ExitCode {
    let missing: Vec<_> = ["KUBEBUILDER_ASSETS", "TOOLHIVE_ASSETS"]
        .into_iter()
        .filter(|variable| std::env::var_os(variable).is_none_or(|value| value.is_empty()))
        .collect();
    if !missing.is_empty() {
        println!(
            "MISSED: {} not set. This bench starts an API server and ToolHive's programs of its own: \
             export $(crates/testkit/cluster/build.sh)",
            missing.join(" and ")
        );
        return ExitCode::FAILURE;
    }
    let is_asked = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let quick = is_asked("--quick");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut extents = if quick { foreign::QUICK.to_vec() } else { foreign::FULL.to_vec() };
    let number = |option: &str| -> Option<usize> {
        std::env::args().skip_while(|argument| argument != option).nth(1)?.parse().ok()
    };
    if let Some(backends) = number("--backends") {
        extents.retain(|extent| extent.backends == backends);
    }
    if let Some(changes) = number("--changes") {
        for extent in &mut extents {
            extent.changes = changes;
            extent.changes_of_others = extent.changes_of_others.min(changes);
        }
    }
    let mut missed = foreign_writers(&runtime, &extents);
    if !is_asked("--foreign") {
        missed.extend(both_reporters(&runtime, if quick { QUICK } else { FULL }));
    }
    for what in &missed {
        println!("MISSED: {what}");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A change beside others who write to the same object: what does not hold.
fn foreign_writers(runtime: &Runtime, extents: &[foreign::Extent]) -> Vec<String> {
    let mut missed = Vec::new();
    for &extent in extents {
        let lines = runtime.block_on(foreign::measure(extent));
        missed.extend(foreign::missed(extent, &lines));
    }
    foreign::explain();
    if missed.is_empty() {
        println!("held: a change of ours is one small request without a conflict, whoever else writes");
    }
    missed
}

/// ToolHive's reporter beside ours: what does not hold.
fn both_reporters(runtime: &Runtime, extents: &[Extent]) -> Option<String> {
    let mut lost = 0;
    for &extent in extents {
        let figures = runtime.block_on(measure(extent));
        table::print(extent, &figures);
        let ours = Kind::ALL.iter().zip(&figures).filter(|(kind, _)| kind.is_ours());
        lost += ours.map(|(_, figures)| figures.crowd.lost).sum::<usize>();
    }
    table::explain();
    if lost == 0 {
        println!("held: no report of ours was lost, and each was in status.runtime");
        None
    } else {
        Some(format!("{lost} reports of ours were lost"))
    }
}

/// Measures every kind of reporter, in the order of [`Kind::ALL`].
async fn measure(Extent { backends, changes, reports }: Extent) -> [Figures; 4] {
    let cluster = RealCluster::start_with(Definitions::ToolHive).await;
    let _operator = cluster.operator().await;
    join_all(Kind::ALL.map(|kind| cluster.add_user(kind.user(), rules_of_a_vmcp()))).await;
    let [peer, ours, unlimited, unpaced] = changes::measure(&cluster, backends, changes).await;
    let mut crowds = Vec::new();
    for kind in Kind::ALL {
        let stage = Stage::set(&cluster, kind, "crowd").await;
        crowds.push(crowd::measure(&stage, backends, reports).await);
    }
    let crowds: [Crowd; 4] = crowds.try_into().unwrap_or_else(|_| unreachable!("one for each kind"));
    let mut crowds = crowds.into_iter();
    [peer, ours, unlimited, unpaced].map(|changes| {
        let crowd = crowds.next().expect("as many as changes");
        Figures { changes, crowd }
    })
}

/// What ToolHive's operator grants the service account of each vMCP, as far as
/// reporting goes.
fn rules_of_a_vmcp() -> serde_json::Value {
    json!([
        {"verbs": ["get"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers"]},
        {"verbs": ["update", "patch"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers/status"]},
    ])
}
