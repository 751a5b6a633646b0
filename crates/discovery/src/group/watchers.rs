//! The watch tasks of one namespace.

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
        let mut watchers =
            Watchers { client, namespace, api_group, api_version, cluster_state, tasks, group: of_group };
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

    pub(super) async fn shutdown(mut self) {
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
