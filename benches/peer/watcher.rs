//! Sees every version of an object, and when.

use std::time::Duration;

use futures::StreamExt as _;
use http::Request;
use kube::core::WatchEvent;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use vmcp_status_testkit::cluster::RealCluster;

use crate::states::NAMESPACE;

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// As much of an object as is looked at: decoding all of it would take time from
/// those who are measured.
#[derive(Clone, Debug, Deserialize)]
pub struct Object {
    metadata: Metadata,
    #[serde(default)]
    status: Top,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

/// The operator's top level.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Top {
    discovered_backends: Vec<Backend>,
    runtime: Runtime,
}

/// What the vMCP has reported.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Runtime {
    message: String,
    discovered_backends: Vec<Backend>,
}

#[derive(Clone, Debug, Deserialize)]
struct Backend {
    #[serde(default)]
    status: String,
}

impl Object {
    /// The state of the first backend, as the vMCP has reported it.
    pub fn reported(&self) -> Option<&str> {
        self.status.runtime.discovered_backends.first().map(|backend| &*backend.status)
    }

    /// The state of the first backend, as the operator shows it.
    pub fn shown(&self) -> Option<&str> {
        self.status.discovered_backends.first().map(|backend| &*backend.status)
    }

    /// How many backends the operator lists.
    pub fn listed(&self) -> usize {
        self.status.discovered_backends.len()
    }

    /// The message that the vMCP has reported.
    pub fn message(&self) -> &str {
        &self.status.runtime.message
    }

    pub fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

/// The versions of one object from now on.
pub struct Watcher {
    versions: mpsc::UnboundedReceiver<(Instant, Object)>,
    /// The one that was seen last.
    last: Option<(Instant, Object)>,
    task: JoinHandle<()>,
}

impl Watcher {
    pub async fn start(cluster: &RealCluster, name: &str) -> Self {
        let version = version_of(cluster, name).await;
        // Without a time-out of our own: the server ends it after half an hour.
        let path = format!(
            "/apis/toolhive.stacklok.dev/v1beta1/namespaces/{NAMESPACE}/virtualmcpservers?watch=true\
             &fieldSelector=metadata.name%3D{name}&resourceVersion={version}"
        );
        let request = Request::get(path).body(Vec::new()).expect("a request");
        let events = cluster.client("admin").await.request_events::<Object>(request).await.expect("it can be watched");
        let (sender, versions) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                let event = event.expect("the watch goes on");
                let at = Instant::now();
                if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event
                    && sender.send((at, object)).is_err()
                {
                    return;
                }
            }
        });
        Watcher { versions, last: None, task }
    }

    /// The first version, from the one that was returned last on, that is as
    /// wanted, and when it was seen.
    pub async fn until(&mut self, what: &str, mut wanted: impl FnMut(&Object) -> bool) -> (Instant, Object) {
        if let Some((at, object)) = self.last.clone().filter(|(_, object)| wanted(object)) {
            return (at, object);
        }
        let found = async {
            loop {
                let (at, object) = self.versions.recv().await.expect("the watch goes on");
                if wanted(&object) {
                    self.last = Some((at, object.clone()));
                    return (at, object);
                }
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("not after {PATIENCE:?}: {what}"))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The version of an object as it is now.
pub async fn version_of(cluster: &RealCluster, name: &str) -> String {
    let object = cluster.object(name).await.expect("it is there");
    object["metadata"]["resourceVersion"].as_str().expect("it is stored").to_owned()
}
