//! ToolHive's vMCP.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use vmcp_status_testkit::cluster::VmcpProcess;

use super::gateway::{Auth, Backend, BackendLook, Gateway, Look, Settings, in_words};
use super::seen::{Aspect, Sight};

pub struct ToolHive {
    process: VmcpProcess,
    backends: Vec<String>,
    /// When each backend was checked last, and how often.
    checks: HashMap<String, (String, usize)>,
}

impl Gateway for ToolHive {
    fn start(settings: &Settings, backends: &[Backend], dir: &Path) -> Self {
        let file = dir.join("toolhive.yaml");
        // JSON is YAML too.
        std::fs::write(&file, config(settings, backends).to_string()).expect("it can be written");
        ToolHive {
            process: VmcpProcess::start(&file, dir),
            backends: backends.iter().map(|backend| backend.name.clone()).collect(),
            checks: HashMap::new(),
        }
    }

    async fn look(&mut self) -> Look {
        let whole = self.process.new_log_lines().iter().flat_map(|line| reported(line)).collect();
        let Some(health) = self.process.health().await else { return Look { whole, ..Look::default() } };
        let states = &health["backends"];
        for (name, state) in states.as_object().into_iter().flatten() {
            let at = text(&state["LastCheckTime"]);
            let (last, count) = self.checks.entry(name.clone()).or_default();
            if *last != at {
                (*last, *count) = (at, *count + 1);
            }
        }
        let backends = self.backends.iter().map(|name| backend(name, &states[name])).collect();
        Look { backends, whole }
    }

    fn checks(&self, backend: &str) -> usize {
        self.checks.get(backend).map_or(0, |(_, count)| *count)
    }

    async fn stop(&mut self) {
        self.process.stop().await;
    }

    fn start_again(&mut self) {
        self.process.start_again();
    }
}

fn config(settings: &Settings, backends: &[Backend]) -> Value {
    let auth = |backend: &Backend| {
        Some(match backend.auth {
            Auth::None => return None,
            Auth::OfUsers => {
                json!({"type": "token_exchange", "tokenExchange": {"tokenUrl": "http://127.0.0.1:9/token"}})
            }
            Auth::Token(token) => json!({
                "type": "header_injection",
                "headerInjection": {"headerName": "Authorization", "headerValue": format!("Bearer {token}")},
            }),
        })
    };
    let auth: Map<_, _> = backends.iter().filter_map(|b| Some((b.name.clone(), auth(b)?))).collect();
    let listed: Vec<_> =
        backends.iter().map(|b| json!({"name": b.name, "url": b.url, "transport": b.transport})).collect();
    let mut failures = json!({
        "healthCheckInterval": in_words(settings.interval),
        "healthCheckTimeout": in_words(settings.timeout),
        "unhealthyThreshold": 3,
        "statusReportingInterval": in_words(settings.reporting),
        "partialFailureMode": "best_effort",
    });
    if let Some((threshold, timeout)) = settings.breaker {
        failures["circuitBreaker"] =
            json!({"enabled": true, "failureThreshold": threshold, "timeout": in_words(timeout)});
    }
    json!({
        "name": "oracle",
        "groupRef": "oracle",
        "incomingAuth": {"type": "anonymous"},
        "outgoingAuth": {"source": "inline", "backends": auth},
        "aggregation": {
            "conflictResolution": "prefix",
            "conflictResolutionConfig": {"prefixFormat": "{workload}_"},
        },
        "operational": {"timeouts": {"default": "30s"}, "failureHandling": failures},
        "backends": listed,
    })
}

/// What is said of one backend; it has no state before its first check.
fn backend(name: &str, state: &Value) -> BackendLook {
    // As it becomes the word of the CRD.
    let status = match state["Status"].as_str() {
        Some("healthy") => "ready",
        Some("unhealthy") => "unavailable",
        Some(other) => other,
        None => "unknown",
    };
    let sights = vec![
        (Aspect::Status, status.to_owned()),
        (Aspect::Cause, text(&state["LastErrorCategory"])),
        (Aspect::Revision, text(&state["MCPRevision"])),
        (Aspect::Circuit, text(&state["CircuitState"])),
    ];
    BackendLook { name: name.to_owned(), sights }
}

/// The whole, where this line of the log is about a report of it.
fn reported(line: &str) -> Vec<Sight> {
    if !line.contains(r#""msg":"reporting status""#) {
        return Vec::new();
    }
    let entry: Value = serde_json::from_str(line).unwrap_or_default();
    vec![(Aspect::Phase, text(&entry["phase"])), (Aspect::Routable, entry["backend_count"].to_string())]
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
