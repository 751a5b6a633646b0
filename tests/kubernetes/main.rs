//! The Kubernetes sink: one contract on the double and on a real API server,
//! then faults on each.

use vmcp_status_testkit::api;
use vmcp_status_testkit::client as cluster;

mod contract;
mod definition;
mod faults;
mod outages;
mod overwritten;
mod refusals;
mod status_location;

use std::time::Duration;

use api::{Api, Role};
use cluster::{RealCluster, client};
use serde_json::{Value, json};
use vmcp_status::{
    BackendStatus, DiscoveredBackend, KubernetesSink, Phase, Reporter, ReporterBuilder, Status, StatusHandle,
};
use vmcp_status_testkit::cluster::{Definitions, Denial};

const NAME: &str = "demo";
const NAMESPACE: &str = "default";

fn ready(name: impl Into<String>) -> DiscoveredBackend {
    let name = name.into();
    DiscoveredBackend {
        url: format!("http://{name}.default.svc:8080/mcp"),
        status: BackendStatus::Ready,
        auth_type: "oauth2".into(),
        ..DiscoveredBackend::named(name)
    }
}

fn said(message: impl Into<String>) -> Status {
    Status { phase: Phase::Ready, message: message.into(), ..Status::from_backends([ready("a"), ready("b")]) }
}

fn reporter(client: kube::Client, set: impl FnOnce(ReporterBuilder) -> ReporterBuilder) -> (StatusHandle, Reporter) {
    let sink = KubernetesSink::new(client, NAMESPACE, NAME).expect("good names");
    set(Reporter::builder(sink)).start()
}

/// The double with one object.
fn double() -> Api {
    let api = Api::with_old_crd();
    api.create(NAMESPACE, NAME, json!({"groupRef": {"name": "g"}}));
    api
}

fn status(api: &Api) -> Value {
    api.object(NAMESPACE, NAME).map(|object| object["status"].clone()).unwrap_or_default()
}

fn names(status: &Value) -> Vec<&str> {
    let backends = status["discoveredBackends"].as_array();
    backends.into_iter().flatten().filter_map(|backend| backend["name"].as_str()).collect()
}

/// The user of the real server that has this role.
fn user(role: Role) -> &'static str {
    match role {
        Role::Seed => "seed",
        Role::Operator => "operator",
        Role::Least => "least",
        Role::Admin => "admin",
        Role::None => "nobody",
    }
}

/// Both servers under one roof, for the contract.
enum Cluster {
    Double(Api),
    Real(Box<RealCluster>),
}

impl Cluster {
    fn double() -> Self {
        Cluster::Double(double())
    }

    async fn real() -> Self {
        let server = cluster::start().await;
        server.create(NAME).await;
        Cluster::Real(Box::new(server))
    }

    /// As today's ToolHive defines the object, with `status.runtime`.
    fn double_of_today() -> Self {
        let api = Api::new();
        api.create(NAMESPACE, NAME, json!({"groupRef": {"name": "g"}}));
        Cluster::Double(api)
    }

    async fn real_of_today() -> Self {
        let server = RealCluster::start_with(Definitions::ToolHive).await;
        server.create(NAME).await;
        Cluster::Real(Box::new(server))
    }

    async fn client(&self, role: Role) -> kube::Client {
        match self {
            Cluster::Double(api) => api.client(role),
            Cluster::Real(server) => client(server, user(role)).await,
        }
    }

    async fn object(&self) -> Value {
        match self {
            Cluster::Double(api) => api.object(NAMESPACE, NAME),
            Cluster::Real(server) => server.object(NAME).await,
        }
        .expect("the object is there")
    }

    async fn status(&self) -> Value {
        self.object().await["status"].clone()
    }

    /// Merges this into the status as another client.
    async fn merge_status(&self, patch: Value) {
        match self {
            Cluster::Double(api) => api.edit(NAMESPACE, NAME, |object| {
                if object["status"].is_null() {
                    object["status"] = json!({});
                }
                for (member, value) in patch.as_object().expect("an object") {
                    object["status"][member] = value.clone();
                }
            }),
            Cluster::Real(server) => server.merge_status(NAME, &patch).await,
        }
    }

    /// Another writer merges this into the metadata.
    async fn merge_metadata(&self, patch: Value) {
        match self {
            Cluster::Double(api) => api.edit(NAMESPACE, NAME, |object| {
                for (member, value) in patch.as_object().expect("an object") {
                    object["metadata"][member] = value.clone();
                }
            }),
            Cluster::Real(server) => server.merge(NAME, &json!({"metadata": patch})).await,
        }
    }

    /// How many requests a role has made, where that is known: on a real server
    /// its audit log tells, and a cluster that others run shows us none.
    fn requests(&self, role: Role) -> Option<usize> {
        match self {
            Cluster::Double(api) => Some(api.requests().len()),
            Cluster::Real(server) => server.has_audit_log().then(|| server.audit(user(role)).len()),
        }
    }

    async fn recreate(&self) {
        match self {
            Cluster::Double(api) => {
                api.delete(NAMESPACE, NAME);
                api.create(NAMESPACE, NAME, json!({}));
            }
            Cluster::Real(server) => {
                server.delete(NAME).await;
                server.create(NAME).await;
            }
        }
    }
}

/// Waits until `wanted` holds. On the double time is virtual; the real server does not
/// notify when another process is done.
async fn eventually<F: Future<Output = bool>>(wanted: impl Fn() -> F) {
    let look = async {
        while !wanted().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), look).await.expect("it comes about");
}
