//! Finds the backends of an `MCPGroup` in a cluster, keeps up with them, and
//! checks them.
//!
//! In Kubernetes the backends of a vMCP are the workloads that name its group:
//! each `MCPServer`, `MCPRemoteProxy` and `MCPServerEntry` of the namespace
//! whose `spec.groupRef.name` is that of the group. [`GroupDiscovery`] watches
//! them and reports them, each kind through a source-bound handle of its own
//! (`mcpservers`, `mcpremoteproxies`, `mcpserverentries`).
//!
//! # What is shown of a workload
//!
//! | kind | phase | shown as | checked |
//! |---|---|---|---|
//! | `MCPServer`, `MCPRemoteProxy` | `Ready` | ready until the first check, then what checks find | yes |
//! | | `Failed`, `Terminating`, `Stopped` | unavailable | no |
//! | | `Pending` and any other | unknown until the first check, then what checks find | yes |
//! | `MCPServerEntry` | `Valid` | unknown until the first check, then what checks find | yes |
//! | | `Failed` | unavailable | no |
//! | | `Pending` and any other | unknown | no: ToolHive has not validated its address yet |
//!
//! The URL is `status.url`, or `spec.remoteUrl` of an entry. A workload without
//! one is unknown and not checked: no address is ever guessed. One that speaks
//! HTTP+SSE is shown by its phase and says that it was not probed. Where a
//! server is behind a proxy (`stdio`), `spec.proxyMode` says what it speaks.
//!
//! `spec.externalAuthConfigRef` gives `authConfigRef`, and the `spec.type` of
//! the `MCPExternalAuthConfig` that it names gives `authType`. A reference that
//! leads nowhere shows in the message of that backend. Secrets are not read:
//! a backend that asks for credentials is `ready` where the way of authentication is
//! configured ("Credentials are checked at use"), else `unauthenticated`.
//!
//! # Names
//!
//! A workload keeps its name. Where kinds share one, the first of `MCPServer`,
//! `MCPRemoteProxy`, `MCPServerEntry` keeps it, and the others are called
//! `mcpremoteproxy/NAME` and `mcpserverentry/NAME`, which no object can be
//! called. Names follow from what there is, not from when it was seen: at the
//! start nothing of a kind is reported before those ahead of it are known.
//!
//! # Guarantees
//!
//! - Objects are watched, not polled. What changes is reported as soon as the
//!   watch tells.
//! - A list that cannot be had for 5 s sets the condition `BackendsDiscovered`
//!   to False with the reason `BackendDiscoveryFailed`; the backends known last
//!   stay, and are checked on. A watch that breaks and resumes shows nowhere.
//! - A kind that the cluster does not serve or show is left out, said once in
//!   the log, and looked for again, up to a minute apart. That is no failure
//!   unless it holds for all three kinds of backend.
//! - A group that does not exist is `Pending` and says so; its workloads are
//!   listed all the same. A group whose own phase is bad hides nothing.
//! - One lost check is not a failure: see [`GroupOptions::unhealthy_threshold`].
//! - Each backend is checked once per interval, all of them spread over it, and
//!   never more at once than the limit allows.
//! - An object with nonsense in it costs itself alone.
//!
//! Until each backend has been checked once the phase is `Pending`; from then
//! on phase, message and conditions are derived from the backends.
//!
//! # Required rights
//!
//! | resource of `toolhive.stacklok.dev` | verbs | without |
//! |---|---|---|
//! | `mcpservers`, `mcpremoteproxies`, `mcpserverentries` | `list`, `watch` | the kind is left out |
//! | `mcpexternalauthconfigs` | `list`, `watch` | `authType` is empty, and the backend says why |
//! | `mcpgroups` | `list`, `watch` | the group is taken to exist |

mod cluster_state;
mod coordinator;
mod members;
mod object;
mod plan;
mod resource;
mod watch_task;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::cluster_state::ClusterState;
use self::coordinator::{Coordinator, Kind, Said, Settings};
use self::members::Timing;
use self::resource::Resource;
use self::watch_task::Watcher;
use super::health_checker::{CheckLimit, CircuitBreaker, HealthChecker, Thresholds};
use super::probe::Prober;
use vmcp_status::custom_resource::{GROUP, VERSION};
use vmcp_status::{NameError, StatusHandle, check_name};

pub use object::group_of;

/// Settings of a [`GroupDiscovery`].
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// Time from one check of a backend to the next, with a jitter of a tenth.
    /// 30 s by default.
    pub interval: Duration,
    /// Time that one check may take. 10 s by default.
    pub timeout: Duration,
    /// A backend that answers more slowly is degraded. 2 s by default.
    pub degraded_above: Duration,
    /// Failed checks in a row that make a backend unavailable. 3 by default.
    pub unhealthy_threshold: u32,
    /// Answered checks in a row that end a backend's being unavailable. 1 by default.
    pub healthy_threshold: u32,
    /// Pauses the checks of a backend that keeps failing. None by default: it is checked on.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// How many checks run at once. 16 by default; a clone of a limit shares it.
    pub limit: CheckLimit,
    /// API group of the kinds. [`GROUP`] by default.
    pub api_group: String,
    /// Version of the kinds. [`VERSION`] by default.
    pub api_version: String,
    /// Names of backends that others report: a workload of such a name is
    /// called `mcpserver/NAME`, and so on. None by default.
    pub reserved: BTreeSet<String>,
}

impl Default for GroupOptions {
    fn default() -> Self {
        GroupOptions {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            degraded_above: Duration::from_secs(2),
            unhealthy_threshold: Thresholds::DEFAULT.unhealthy,
            healthy_threshold: Thresholds::DEFAULT.healthy,
            circuit_breaker: None,
            limit: CheckLimit::new(16),
            api_group: GROUP.into(),
            api_version: VERSION.into(),
            reserved: BTreeSet::new(),
        }
    }
}

/// Tasks that find and check the backends of one group.
///
/// ```no_run
/// use vmcp_status_discovery::group::{GroupDiscovery, GroupOptions};
/// use vmcp_status_discovery::probe::{Prober, ProberOptions};
/// use vmcp_status::{KubernetesSink, Reporter, connect};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = connect(None, None).await?;
/// let sink = KubernetesSink::new(client.clone(), "my-namespace", "my-vmcp")?;
/// let (handle, reporter) = Reporter::builder(sink).start();
/// let prober = Prober::new(ProberOptions::default())?;
/// let options = GroupOptions::default();
/// let discovery = GroupDiscovery::start(client, "my-namespace", "my-group", &handle, prober, options)?;
/// // … until the gateway ends.
/// discovery.shutdown().await;
/// reporter.shutdown().await;
/// # Ok(())
/// # }
/// ```
///
/// Dropping it ends the tasks; what they have reported stays.
#[derive(Debug)]
pub struct GroupDiscovery {
    cluster_state: watch::Sender<ClusterState>,
    settings: watch::Sender<Settings>,
    settled: watch::Receiver<bool>,
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl GroupDiscovery {
    /// Starts on the current tokio runtime, inside the current tracing span.
    ///
    /// The client should not repeat requests by itself, as kube's does unless
    /// `Config::default_retry` is off; [`connect`](vmcp_status::connect()) makes one
    /// that is right. Where the same backends are reported in another way too,
    /// name them in [`GroupOptions::reserved`].
    ///
    /// # Errors
    ///
    /// When one of the names cannot be that of an object.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(
        client: Client,
        namespace: &str,
        group: &str,
        handle: &StatusHandle,
        prober: Prober,
        options: GroupOptions,
    ) -> Result<Self, NameError> {
        let thresholds = Thresholds { unhealthy: options.unhealthy_threshold, healthy: options.healthy_threshold };
        let GroupOptions { interval, timeout, degraded_above, circuit_breaker, limit, .. } = options;
        let GroupOptions { api_group, api_version, reserved, .. } = options;
        for (what, name) in
            [("namespace", namespace), ("group", group), ("API group", &api_group), ("API version", &api_version)]
        {
            check_name(what, name)?;
        }
        let cluster_state = watch::Sender::new(ClusterState::new(reserved));
        let mut watchers = JoinSet::new();
        for resource in Resource::ALL {
            let api = Api::namespaced_with(client.clone(), namespace, &resource.api(&api_group, &api_version));
            let only = (resource == Resource::Group).then(|| group.to_owned());
            watchers
                .spawn(Watcher { resource, api, only, cluster_state: cluster_state.clone() }.run().in_current_span());
        }
        let timing = Timing { interval, timeout, degraded_above, thresholds, circuit_breaker };
        let settings = watch::Sender::new(Settings { timing, prober: prober.clone(), earlier_probers: 0 });
        let kinds = Resource::BACKENDS.map(|resource| {
            let handle = handle.source(resource.plural());
            let health_checker = HealthChecker::new(prober.clone(), handle.clone(), limit.clone());
            Kind { resource, handle, health_checker, shown: BTreeMap::new() }
        });
        let (settled, seen) = watch::channel(false);
        let end = CancellationToken::new();
        let coordinator = Coordinator {
            namespace: namespace.to_owned(),
            group: group.to_owned(),
            settings: settings.subscribe(),
            earlier_probers: 0,
            cluster_state: cluster_state.subscribe(),
            watchers,
            handle: handle.clone(),
            kinds: kinds.into(),
            said: Said::default(),
            settled,
            end: end.clone(),
        };
        let task = tokio::spawn(coordinator.run().in_current_span());
        Ok(GroupDiscovery { cluster_state, settings, settled: seen, end, task })
    }

    /// From now on these names are those of other backends: see
    /// [`GroupOptions::reserved`].
    pub fn reserve(&self, names: impl IntoIterator<Item = String>) {
        let names: BTreeSet<String> = names.into_iter().collect();
        self.cluster_state
            .send_if_modified(|cluster_state| std::mem::replace(&mut cluster_state.reserved, names.clone()) != names);
    }

    /// From now on each backend is checked in this rhythm: see
    /// [`GroupOptions`].
    pub fn set_timing(&self, interval: Duration, timeout: Duration, degraded_above: Duration) {
        self.change_timing(|timing| Timing { interval, timeout, degraded_above, ..timing });
    }

    /// From now on so many failed or answered checks in a row change what is
    /// reported of a backend: see [`GroupOptions`].
    pub fn set_thresholds(&self, unhealthy: u32, healthy: u32) {
        self.change_timing(|timing| Timing { thresholds: Thresholds { unhealthy, healthy }, ..timing });
    }

    /// From now on the checks of a backend that keeps failing pause like this, or not
    /// at all: see [`GroupOptions::circuit_breaker`].
    pub fn set_circuit_breaker(&self, circuit_breaker: Option<CircuitBreaker>) {
        self.change_timing(|timing| Timing { circuit_breaker, ..timing });
    }

    fn change_timing(&self, change: impl FnOnce(Timing) -> Timing) {
        self.settings.send_if_modified(|settings| {
            let timing = change(settings.timing.clone());
            std::mem::replace(&mut settings.timing, timing.clone()) != timing
        });
    }

    /// Checks every backend anew, and from now on with this prober; each keeps
    /// its last finding till then.
    pub fn set_prober(&self, prober: Prober) {
        self.settings.send_modify(|settings| {
            settings.prober = prober;
            settings.earlier_probers += 1;
        });
    }

    /// Waits until every kind was listed, or is known to be out of reach, and
    /// every backend that there was then has been checked once.
    pub fn first_round(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut settled = self.settled.clone();
        // An error says that the task has ended; then nothing is to be waited for.
        async move { drop(settled.wait_for(|settled| *settled).await) }
    }

    /// Ends all tasks. When this returns they report nothing any more; what
    /// they have reported stays.
    ///
    /// # Cancellation safety
    ///
    /// Once polled, the end comes even if the future is dropped.
    pub async fn shutdown(mut self) {
        self.end.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for GroupDiscovery {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use kube::client::Body;
    use serde_json::json;
    use vmcp_status::{NoOpSink, Reporter};

    use super::object::Object;
    use super::*;
    use crate::probe::ProberOptions;

    /// The discovery of a group whose only backend is checked seldom and fails at
    /// once, and the handle that it reports through.
    async fn discovered() -> (GroupDiscovery, StatusHandle) {
        let never = tower::service_fn(|_: http::Request<Body>| pending::<Result<http::Response<Body>, kube::Error>>());
        let (handle, _) = Reporter::builder(NoOpSink::silent()).write_interval(Duration::ZERO).start();
        let interval = Duration::from_secs(3600);
        let options = GroupOptions { interval, unhealthy_threshold: 1, ..GroupOptions::default() };
        let client = Client::new(never, "default");
        let discovery = GroupDiscovery::start(client, "default", "g", &handle, prober(), options).expect("good names");
        let spec = json!({"groupRef": {"name": "g"}});
        let backend = json!({"spec": spec, "status": {"phase": "Ready", "url": "http://127.0.0.1:1/mcp"}});
        discovery.cluster_state.send_modify(|cluster_state| {
            for resource in Resource::ALL {
                let objects = cluster_state.of_mut(resource).objects.insert(BTreeMap::new());
                if resource == Resource::Server {
                    objects.insert("a".into(), Object::of(&backend, false));
                }
            }
            cluster_state.of_mut(Resource::Group).objects = None;
        });
        discovery.first_round().await;
        failures(&handle, 1).await;
        (discovery, handle)
    }

    fn prober() -> Prober {
        Prober::new(ProberOptions::default()).expect("options are usable")
    }

    /// Waits for so many failed checks in a row, and not for the next news of the
    /// cluster: that its lists cannot be had, after 15 s. A count alone is not worth a
    /// write, so it is asked for.
    async fn failures(handle: &StatusHandle, count: u32) {
        let counted = async {
            loop {
                let status = handle.current().await.expect("the reporter lives");
                if status.backend("a").is_some_and(|backend| backend.consecutive_failures >= count) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), counted).await.expect("it is checked");
    }

    #[tokio::test]
    async fn timing_that_changes_holds_for_the_backends_there_are() {
        let (discovery, handle) = discovered().await;
        discovery.set_timing(Duration::from_millis(10), Duration::from_secs(10), Duration::from_secs(2));
        failures(&handle, 5).await;
        discovery.shutdown().await;
    }

    #[tokio::test]
    async fn backend_is_checked_at_once_with_another_prober() {
        let (discovery, handle) = discovered().await;
        discovery.set_prober(prober());
        failures(&handle, 2).await;
        discovery.shutdown().await;
    }
}
