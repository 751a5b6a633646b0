//! Kubernetes Events: on a double in paused time, and on a real API server.

use vmcp_status_testkit::api;
use vmcp_status_testkit::client as cluster;
use vmcp_status_testkit::events as events_api;
use vmcp_status_testkit::logged;

mod faults;
mod leaders;
mod published;
mod real_server;

use std::time::Duration;

use api::{Api, Role};
use events_api::{Events, Mood, SentEvent};
use serde_json::{Value, json};
use tokio::time::sleep;
use vmcp_status::{
    BackendStatus, DiscoveredBackend, EventOptions, KubernetesEvents, KubernetesSink, Phase, Reporter, ReporterBuilder,
    Status, StatusHandle,
};

const NAME: &str = "demo";
const NAMESPACE: &str = "default";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The double, the Events beside it, and a reporter that derives.
struct Cluster {
    api: Api,
    events: Events,
}

impl Cluster {
    fn new() -> Self {
        let api = Api::with_old_crd();
        api.create(NAMESPACE, NAME, json!({"groupRef": {"name": "g"}}));
        Cluster { api, events: Events::default() }
    }

    /// One that writes to the object, and makes Events about it.
    fn builder(&self, role: Role) -> ReporterBuilder {
        builder(self.events.client(&self.api, role), EventOptions::default().instance("pod-0"))
    }

    fn start(&self) -> (StatusHandle, Reporter) {
        self.start_with(|builder| builder)
    }

    fn start_with(&self, set: impl FnOnce(ReporterBuilder) -> ReporterBuilder) -> (StatusHandle, Reporter) {
        set(self.builder(Role::Least).derive_phase(true)).start()
    }

    /// A reporter that has stored these backends, all ready, and sent the Events.
    async fn with_ready(&self, names: &[&str]) -> (StatusHandle, Reporter) {
        let (handle, reporter) = self.start();
        assert!(handle.report(Status::derived_from(names.iter().map(|name| is(*name, BackendStatus::Ready)))));
        assert!(handle.derive_phase());
        settle(&handle).await;
        self.events.forget_sent();
        (handle, reporter)
    }

    /// `reason note` of each Event that was made, in order.
    fn told(&self) -> Vec<String> {
        let line = |event: &Value| format!("{} {}", text(event, "reason"), text(event, "note"));
        self.events.stored().iter().map(line).collect()
    }

    fn status(&self) -> Value {
        self.api.object(NAMESPACE, NAME).map(|object| object["status"].clone()).unwrap_or_default()
    }
}

fn builder(client: kube::Client, options: EventOptions) -> ReporterBuilder {
    let sink = KubernetesSink::new(client.clone(), NAMESPACE, NAME).expect("good names");
    let events = KubernetesEvents::new(client, sink.identity(), options);
    Reporter::builder(sink).on_stored(events)
}

fn is(name: impl Into<String>, status: BackendStatus) -> DiscoveredBackend {
    DiscoveredBackend { status, ..DiscoveredBackend::named(name) }
}

fn text<'a>(event: &'a Value, member: &str) -> &'a str {
    event[member].as_str().unwrap_or_default()
}

fn reasons(sent: &[SentEvent]) -> Vec<&str> {
    sent.iter().map(|sent| text(&sent.event, "reason")).collect()
}

/// Everything is stored, and its Events had the time to be sent.
async fn settle(handle: &StatusHandle) {
    handle.flush().await.expect("stored");
    sleep(SECOND).await;
}
