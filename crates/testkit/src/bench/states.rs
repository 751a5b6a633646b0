//! Statuses as a gateway reports them.

#![allow(dead_code, reason = "each bench takes the part it needs")]

use std::sync::Arc;

use chrono::DateTime;
use serde::Serialize;
use serde_json::{Value, json};
use vmcp_status::{BackendStatus, DiscoveredBackend, Status};

pub const NAMESPACE: &str = "default";
pub const NAME: &str = "bench";

/// A backend with everything that a check finds: about 200 bytes of JSON.
pub fn backend(i: usize, status: BackendStatus) -> Arc<DiscoveredBackend> {
    Arc::new(DiscoveredBackend {
        url: format!("http://backend-{i:05}.default.svc:8080/mcp"),
        status,
        auth_type: "oauth2".into(),
        last_health_check: DateTime::from_timestamp(1_700_000_000, 0),
        mcp_revision: "2025-11-25".into(),
        ..DiscoveredBackend::named(format!("backend-{i:05}"))
    })
}

/// This many backends, all ready, with phase, message and conditions.
pub fn status(backends: usize) -> Status {
    let mut status = Status::derived_from((0..backends).map(|i| backend(i, BackendStatus::Ready)));
    // Who writes the whole has to say it; the reporter would.
    for condition in &mut status.conditions {
        condition.last_transition_time = DateTime::from_timestamp(1_700_000_000, 0);
    }
    status
}

/// The same with another state of one backend; shares all the others with it.
pub fn with_one_changed(status: &Status, at: usize, to: BackendStatus) -> Status {
    let mut changed = status.clone();
    changed.discovered_backends[at] = backend(at, to);
    changed
}

/// The same content, nothing shared: what a gateway sends that builds its whole
/// status anew each time.
pub fn rebuilt(status: &Status) -> Status {
    let backends = status.discovered_backends.iter().map(|backend| Arc::new(DiscoveredBackend::clone(backend)));
    Status { discovered_backends: backends.collect(), ..status.clone() }
}

/// The whole object, as a GET answers and a PUT sends it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Whole<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Value,
    spec: Value,
    status: &'a Status,
}

impl<'a> Whole<'a> {
    pub fn of(status: &'a Status) -> Self {
        Whole {
            api_version: "toolhive.stacklok.dev/v1beta1",
            kind: "VirtualMCPServer",
            metadata: json!({"name": NAME, "namespace": NAMESPACE, "resourceVersion": "1", "generation": 1}),
            spec: json!({"groupRef": {"name": "group"}}),
            status,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the model serialises")
    }
}
