//! The watch tasks of one namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::cluster_state::{ClusterState, Listing};
use super::resource::Resource;
use super::watch_task::Watcher;

/// Dropping it ends the tasks.
pub(super) struct Watchers {
    client: Client,
    namespace: String,
    api_group: String,
    api_version: String,
    cluster_state: watch::Sender<ClusterState>,
    /// All but that of the group.
    tasks: JoinSet<Infallible>,
    group: JoinSet<Infallible>,
    /// Those of the `ConfigMap`s that members name, each by itself.
    config_maps: BTreeMap<String, JoinSet<Infallible>>,
}

impl Watchers {
    /// Starts all of them inside the current tracing span; the vMCP is watched
    /// where the cluster state names one.
    pub(super) fn start(
        client: Client,
        [namespace, api_group, api_version]: [&str; 3],
        group: &str,
        cluster_state: watch::Sender<ClusterState>,
    ) -> Self {
        let [namespace, api_group, api_version] = [namespace, api_group, api_version].map(String::from);
        let (tasks, of_group) = (JoinSet::new(), JoinSet::new());
        let vmcp = cluster_state.borrow().vmcp.clone();
        let mut watchers = Watchers {
            client,
            namespace,
            api_group,
            api_version,
            cluster_state,
            tasks,
            group: of_group,
            config_maps: BTreeMap::new(),
        };
        for resource in [Resource::Server, Resource::RemoteProxy, Resource::Entry, Resource::AuthConfig] {
            let watcher = watchers.watcher(resource, None);
            watchers.tasks.spawn(watcher.run().in_current_span());
        }
        if let Some(vmcp) = vmcp {
            let watcher = watchers.watcher(Resource::Vmcp, Some(vmcp));
            watchers.tasks.spawn(watcher.run().in_current_span());
        }
        watchers.watch_group(group);
        watchers
    }

    /// Watches another group in place of the one before.
    ///
    /// # Cancellation safety
    ///
    /// Dropped, it may leave no group watched: call it again.
    pub(super) async fn change_group(&mut self, group: &str) {
        // Once it has ended it cannot write what it saw of the group before.
        self.group.shutdown().await;
        self.cluster_state.send_if_modified(|cluster_state| {
            *cluster_state.of_mut(Resource::Group) = Listing::default();
            false
        });
        self.watch_group(group);
    }

    /// Watches these `ConfigMap`s, and no others. Each is watched by its name, so that the
    /// role can be limited to these, and what else is in the namespace stays unread. The
    /// API server allows 1 MiB in one, of which only certificates are kept.
    ///
    /// # Cancellation safety
    ///
    /// Call it again if it was dropped.
    pub(super) async fn set_config_maps(&mut self, names: BTreeSet<String>) {
        let unnamed: Vec<String> = self.config_maps.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in unnamed {
            if let Some(mut task) = self.config_maps.remove(&name) {
                // Once it has ended it cannot write what it saw.
                task.shutdown().await;
            }
            self.cluster_state.send_if_modified(|cluster_state| {
                cluster_state.config_maps.remove(&name);
                false
            });
        }
        for name in names {
            if !self.config_maps.contains_key(&name) {
                let watcher = self.watcher(Resource::ConfigMap, Some(name.clone()));
                self.config_maps.entry(name).or_default().spawn(watcher.run().in_current_span());
            }
        }
    }

    pub(super) async fn shutdown(mut self) {
        self.set_config_maps(BTreeSet::new()).await;
        self.group.shutdown().await;
        self.tasks.shutdown().await;
    }

    fn watch_group(&mut self, group: &str) {
        let watcher = self.watcher(Resource::Group, Some(group.to_owned()));
        self.group.spawn(watcher.run().in_current_span());
    }

    fn watcher(&self, resource: Resource, only: Option<String>) -> Watcher {
        let kind = resource.api(&self.api_group, &self.api_version);
        let api = Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let metadata = Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        Watcher { resource, api, metadata, only, cluster_state: self.cluster_state.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use kube::client::Body;
    use serde_json::{Value, json};
    use vmcp_status::{BackendStatus, DiscoveredBackend, NoOpSink, Reporter, StatusHandle};
    use vmcp_status_testkit::mcp::{Behaviour, McpServer};

    use super::super::object::Object;
    use super::super::{GroupDiscovery, GroupOptions};
    use super::*;
    use crate::probe::{Prober, ProberOptions};

    async fn until(handle: &StatusHandle, name: &str, wanted: impl Fn(&DiscoveredBackend) -> bool) {
        let look = async {
            while !handle.current().await.expect("the reporter lives").backend(name).is_some_and(&wanted) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), look).await.expect("it comes about");
    }

    #[tokio::test]
    async fn entry_is_checked_with_the_certificates_of_its_config_map_as_they_are_and_not_without() {
        let server = McpServer::start_tls(Behaviour::Modern).await;
        let root = server.certificate().expect("a TLS server");
        let never = tower::service_fn(|_: http::Request<Body>| pending::<Result<http::Response<Body>, kube::Error>>());
        let (handle, _reporter) = Reporter::builder(NoOpSink::silent()).start();
        let prober = Prober::new(ProberOptions::default()).expect("options are usable");
        let client = Client::new(never, "default");
        let discovery = GroupDiscovery::start(client, "default", "g", &handle, prober, GroupOptions::default())
            .expect("good names");
        let mine = json!({"name": "g"});
        let bare = json!({"spec": {"groupRef": mine}});
        let entry = json!({
            "spec": {"groupRef": mine, "remoteUrl": server.url(), "caBundleRef": {"configMapRef": {"name": "roots"}}},
            "status": {"phase": "Valid"},
        });
        discovery.cluster_state.send_modify(|cluster_state| {
            for resource in Resource::ALL {
                cluster_state.of_mut(resource).objects = Some(BTreeMap::new());
            }
            let objects = |data: &Value, name: &str| Some([(name.to_owned(), Object::of(data, false))].into());
            cluster_state.of_mut(Resource::Group).objects = objects(&json!({}), "g");
            cluster_state.of_mut(Resource::Entry).objects = objects(&entry, "a");
            cluster_state.of_mut(Resource::Server).objects = objects(&bare, "b");
        });
        until(&handle, "b", |_| true).await;
        let status = handle.current().await.expect("the reporter lives");
        assert!(status.backend("a").is_none() && server.requests() == 0, "its certificates are not known yet");

        let set = |data: Value| {
            discovery.cluster_state.send_modify(|cluster_state| {
                let object = Object::of(&json!({"data": data}), false);
                let listing = cluster_state.config_maps.entry("roots".into()).or_default();
                listing.objects = Some([("roots".to_owned(), object)].into());
            });
        };
        set(json!({}));
        let said = "CA bundle: ConfigMap \"roots\" has no key \"ca.crt\"";
        until(&handle, "a", |a| a.status == BackendStatus::Unavailable && a.message == said).await;
        assert_eq!(server.requests(), 0, "no other roots are tried");
        set(json!({"ca.crt": root}));
        until(&handle, "a", |a| a.status == BackendStatus::Ready && a.message.is_empty()).await;
        let other = McpServer::start_tls(Behaviour::Modern).await;
        set(json!({"ca.crt": other.certificate().expect("a TLS server")}));
        until(&handle, "a", |a| a.status == BackendStatus::Unavailable && a.message == "TLS verification failed").await;
        discovery.shutdown().await;
    }
}
