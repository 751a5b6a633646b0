//! A real cluster with the kinds of ToolHive from which a group is made, and one
//! vMCP whose status is watched.

pub mod crds;

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::Instant;
use vmcp_status::{KubernetesSink, Reporter, StatusHandle};

use crate::client::{self as cluster, client};
use crate::cluster::RealCluster;

pub const NAMESPACE: &str = "default";
/// Within this time after the server has taken a change, the status shows it.
pub const PROMPT: Duration = Duration::from_millis(1500);
/// Far longer than anything takes.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Waits until `wanted` holds: no event says when another process's clock has come
/// round.
pub async fn eventually<F: Future<Output = bool>>(wanted: impl Fn() -> F) {
    let look = async {
        while !wanted().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, look).await.expect("it comes about");
}

/// A server with the kinds of a group, and one vMCP.
pub struct GroupCluster {
    pub server: RealCluster,
    pub admin: Client,
    vmcp: &'static str,
}

impl GroupCluster {
    pub async fn start(vmcp: &'static str) -> Self {
        let server = cluster::start().await;
        let admin = client(&server, "admin").await;
        crds::apply(&admin, crds::GROUP, &crds::KINDS.map(|(kind, _)| kind)).await;
        server.create(vmcp).await;
        let cluster = GroupCluster { server, admin, vmcp };
        // What an earlier test has left, where the server outlives them.
        for (kind, _) in crds::KINDS {
            let all = (DeleteParams::default(), ListParams::default());
            let _ = cluster.api(kind).delete_collection(&all.0, &all.1).await.expect("deleted");
        }
        cluster
    }

    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.admin.clone(), NAMESPACE, &crds::resource(crds::GROUP, kind))
    }

    /// Creates an object of the group `tools`, unless the spec says otherwise.
    pub async fn create(&self, kind: &str, name: &str, mut spec: Value, status: Value) -> Instant {
        if spec.get("groupRef").is_none() {
            spec["groupRef"] = json!({"name": "tools"});
        }
        let object = json!({
            "apiVersion": format!("{}/v1beta1", crds::GROUP), "kind": kind, "metadata": {"name": name}, "spec": spec,
        });
        let object = serde_json::from_value(object).expect("an object");
        self.api(kind).create(&PostParams::default(), &object).await.expect("created");
        if status.is_null() { Instant::now() } else { self.set_status(kind, name, status).await }
    }

    /// As its controller does; when the server has taken it.
    pub async fn set_status(&self, kind: &str, name: &str, status: Value) -> Instant {
        let patch = Patch::Merge(json!({"status": status}));
        self.api(kind).patch_status(name, &PatchParams::default(), &patch).await.expect("patched");
        Instant::now()
    }

    pub async fn set_spec(&self, kind: &str, name: &str, spec: Value) -> Instant {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.api(kind).patch(name, &PatchParams::default(), &patch).await.expect("patched");
        Instant::now()
    }

    pub async fn delete(&self, kind: &str, name: &str) -> Instant {
        let _ = self.api(kind).delete(name, &DeleteParams::default()).await.expect("deleted");
        Instant::now()
    }

    /// Creates or replaces a `ConfigMap` with this data.
    pub async fn set_config_map(&self, name: &str, data: Value) -> Instant {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        let params = PatchParams::apply("test").force();
        self.config_maps().patch(name, &params, &Patch::Apply(object)).await.expect("applied");
        Instant::now()
    }

    pub async fn delete_config_map(&self, name: &str) -> Instant {
        let _ = self.config_maps().delete(name, &DeleteParams::default()).await.expect("deleted");
        Instant::now()
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.admin.clone(), NAMESPACE)
    }

    /// What is stored now.
    pub async fn status(&self) -> Stored {
        Stored(self.server.object(self.vmcp).await.expect("it is there")["status"].clone())
    }

    /// Waits until what is stored is as wanted; how long after the change.
    pub async fn stored(&self, since: Instant, step: &str, wanted: impl Fn(&Stored) -> bool) -> (Duration, Stored) {
        let look = async {
            loop {
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let Ok(status) = tokio::time::timeout(LIMIT, look).await else {
            panic!("{step}: {:#}", self.status().await.0);
        };
        let took = since.elapsed();
        println!("{:>5} ms  {step}", took.as_millis());
        (took, status)
    }

    /// As `stored`, and promptly.
    pub async fn promptly(&self, since: Instant, step: &str, wanted: impl Fn(&Stored) -> bool) -> Stored {
        let (took, status) = self.stored(since, step, wanted).await;
        assert!(took <= PROMPT, "{step}: {took:?}");
        status
    }

    /// A reporter of the vMCP, with the role of dynamic mode.
    pub async fn reporter(&self) -> (StatusHandle, Reporter) {
        let sink =
            KubernetesSink::new(client(&self.server, "dynamic").await, NAMESPACE, self.vmcp).expect("good names");
        Reporter::builder(sink).start()
    }
}

/// A stored status.
pub struct Stored(pub Value);

impl Stored {
    pub fn backend(&self, name: &str) -> Option<&Value> {
        self.0["discoveredBackends"].as_array()?.iter().find(|backend| backend["name"] == name)
    }

    pub fn names(&self) -> Vec<&str> {
        let backends = self.0["discoveredBackends"].as_array();
        let mut names: Vec<_> = backends.into_iter().flatten().filter_map(|backend| backend["name"].as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Status and message of a backend.
    pub fn is(&self, name: &str, status: &str, message: &str) -> bool {
        self.backend(name).is_some_and(|backend| {
            backend["status"] == status && backend["message"].as_str().unwrap_or_default() == message
        })
    }

    pub fn phase(&self) -> &str {
        self.0["phase"].as_str().unwrap_or_default()
    }

    pub fn message(&self) -> &str {
        self.0["message"].as_str().unwrap_or_default()
    }
}
