//! Beside ToolHive's own programs: its operator, which shows what we report, and
//! its reporter, which we replace. What users see is what is asserted.

use vmcp_status_testkit::api;
mod lifecycle;
mod other_writers;
mod program;
mod projection;
mod status_location;
use vmcp_status_testkit::projection as projection_table;
mod size;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use program::Ours;
use serde_json::{Value, json};
use tokio::time::sleep;
use vmcp_status_testkit::cluster::{Definitions, OperatorProcess, RealCluster};

const NAME: &str = "demo";
/// The operator answers within this time, or has nothing to answer.
const QUIET: Duration = Duration::from_secs(3);

/// What a user sees of a vMCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    phase: String,
    ready: String,
    count: u64,
    backends: Vec<String>,
}

impl Seen {
    fn of(object: &Value) -> Self {
        let status = &object["status"];
        let list = |list: &Value| list.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let ready = list(&status["conditions"]).into_iter().find(|it| it["type"] == "Ready").unwrap_or_default();
        Seen {
            phase: text(&status["phase"]),
            ready: text(&ready["status"]),
            count: status["backendCount"].as_u64().unwrap_or_default(),
            backends: list(&status["discoveredBackends"])
                .iter()
                .map(|backend| format!("{}={}", text(&backend["name"]), text(&backend["status"])))
                .collect(),
        }
    }

    fn new(phase: &str, ready: &str, count: u64, backends: &[&str]) -> Self {
        let backends = backends.iter().map(|backend| (*backend).to_owned()).collect();
        Seen { phase: phase.into(), ready: ready.into(), count, backends }
    }
}

/// Two backends that route.
fn all_ready() -> Seen {
    Seen::new("Ready", "True", 2, &["a=ready", "b=ready"])
}

fn one_down() -> Seen {
    Seen::new("Degraded", "False", 1, &["a=ready", "b=unavailable"])
}

/// A cluster as ToolHive makes it, with a vMCP whose pod is ready.
async fn toolhive() -> (RealCluster, OperatorProcess) {
    let cluster = RealCluster::start_with(Definitions::ToolHive).await;
    let operator = cluster.operator().await;
    cluster.create_managed(NAME).await;
    cluster.until_object(NAME, "shown by the operator", |object| object["status"]["phase"] == "Ready").await;
    (cluster, operator)
}

/// Waits until users see this.
async fn until_seen(cluster: &RealCluster, wanted: &Seen) {
    cluster.until_object(NAME, &format!("seen as {wanted:?}"), |object| Seen::of(object) == *wanted).await;
}

/// Every state from now on.
#[derive(Clone, Default)]
struct Recording(Arc<Mutex<Vec<Value>>>);

impl Recording {
    async fn start(cluster: &RealCluster) -> Self {
        let recording = Recording::default();
        cluster.record(NAME, Arc::clone(&recording.0)).await;
        recording
    }

    fn states(&self) -> Vec<Value> {
        self.0.lock().expect("no holder panics").clone()
    }

    fn count(&self) -> usize {
        self.states().len()
    }

    /// What users saw, one after the other, each once.
    fn seen(&self) -> Vec<Seen> {
        let mut seen: Vec<Seen> = self.states().iter().map(Seen::of).collect();
        seen.dedup();
        seen
    }

    /// One aspect of it, one after the other, each once.
    fn aspect<T: PartialEq>(&self, of: impl Fn(&Seen) -> T) -> Vec<T> {
        let mut aspect: Vec<T> = self.seen().iter().map(of).collect();
        aspect.dedup();
        aspect
    }
}

/// Waits until nothing has been written to the object for a while.
async fn until_quiet(recording: &Recording) {
    for _ in 0..20 {
        let before = recording.count();
        sleep(QUIET).await;
        if recording.count() == before {
            return;
        }
    }
    panic!("somebody writes without end: {} states", recording.count());
}

fn backend(name: &str, status: &str) -> Value {
    json!({"name": name, "url": format!("http://{name}:8080/mcp"), "status": status})
}

fn status_of(phase: &str, backends: &[Value]) -> Value {
    let ready = if phase == "Ready" { "True" } else { "False" };
    let condition = json!({
        "type": "Ready", "status": ready, "reason": "AllBackendsRoutable", "message": "",
        "lastTransitionTime": "2026-09-01T00:00:00Z",
    });
    json!({"phase": phase, "message": "by the peer", "discoveredBackends": backends, "backendCount": 0,
           "conditions": [condition]})
}
