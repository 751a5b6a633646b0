//! ToolHive's definitions and objects, and the Pods that stand for its vMCPs.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{NAMESPACE, RealCluster, TOOLHIVE_GROUP, source};

/// The definitions of `TOOLHIVE_ASSETS`.
pub fn definitions() -> Vec<Value> {
    let folder = source::toolhive("crds");
    let files = std::fs::read_dir(&folder).expect("it is a folder");
    let mut paths: Vec<_> = files.map(|file| file.expect("it can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let crd: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        crd
    };
    let definitions: Vec<Value> = paths.into_iter().map(read).collect();
    assert!(!definitions.is_empty(), "there is no definition in {}", folder.display());
    definitions
}

/// How ToolHive's operator finds the Pods of a vMCP.
fn labels(name: &str) -> Value {
    json!({
        "app": "virtualmcpserver", "app.kubernetes.io/name": "virtualmcpserver",
        "app.kubernetes.io/instance": name, "toolhive": "true", "toolhive-name": name,
    })
}

/// The condition that makes a Pod count.
fn pod_status(ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}})
}

impl RealCluster {
    /// The definition of a `VirtualMCPServer` as ToolHive has it, for tests that
    /// cut something out of it.
    pub fn toolhive_vmcp_definition() -> Value {
        let name = format!("virtualmcpservers.{TOOLHIVE_GROUP}");
        let found = definitions().into_iter().find(|crd| crd["metadata"]["name"] == name);
        found.expect("ToolHive defines it")
    }

    /// Creates an `MCPGroup` with one `MCPServerEntry`, so that ToolHive's
    /// operator calls it ready.
    pub async fn create_group(&self, name: &str) {
        let api_version = format!("{TOOLHIVE_GROUP}/v1beta1");
        self.apply(json!({
            "apiVersion": api_version, "kind": "MCPGroup", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"description": "of a test"},
        }))
        .await;
        self.apply(json!({
            "apiVersion": api_version, "kind": "MCPServerEntry",
            "metadata": {"name": format!("{name}-entry"), "namespace": NAMESPACE},
            "spec": {
                "groupRef": {"name": name}, "transport": "streamable-http",
                "remoteUrl": "https://mcp.example.com/mcp",
            },
        }))
        .await;
    }

    /// Creates a `VirtualMCPServer` of the group `g`, that group, and a ready
    /// Pod: all that ToolHive's operator needs to call it ready.
    pub async fn create_managed(&self, name: &str) {
        self.create_group("g").await;
        self.create_pod(name, true).await;
        self.create_in_group(name, "g").await;
    }

    /// Creates the Pod of a vMCP, which is named like it.
    pub async fn create_pod(&self, name: &str, ready: bool) {
        self.apply(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels(name)},
            "spec": {"containers": [{"name": "vmcp", "image": "none.invalid/vmcp"}]},
        }))
        .await;
        self.set_pod_ready(name, ready).await;
    }

    /// Makes the Pod of a vMCP ready or not, as a kubelet does, and touches the
    /// vMCP, for ToolHive's operator does not watch Pods.
    pub async fn set_pod_ready(&self, name: &str, ready: bool) {
        let patch = Patch::Strategic(pod_status(ready));
        let pods = self.api("v1", "Pod");
        pods.patch_status(name, &PatchParams::default(), &patch).await.expect("the Pod is there");
        if self.object(name).await.is_some() {
            self.touch(name).await;
        }
    }

    /// Deletes the Pod of a vMCP, as scaling to zero does, and touches the vMCP.
    pub async fn delete_pod(&self, name: &str) {
        let pods = self.api("v1", "Pod");
        // No kubelet is there to confirm an end with grace.
        let at_once = kube::api::DeleteParams::default().grace_period(0);
        let _ = pods.delete(name, &at_once).await.expect("the Pod is there");
        if self.object(name).await.is_some() {
            self.touch(name).await;
        }
    }

    /// Changes an annotation of a vMCP, so that ToolHive's operator reconciles
    /// it.
    pub async fn touch(&self, name: &str) {
        let version = self.object(name).await.expect("it is there")["metadata"]["resourceVersion"].clone();
        self.merge(name, &json!({"metadata": {"annotations": {"testkit/touched": version}}})).await;
    }
}
