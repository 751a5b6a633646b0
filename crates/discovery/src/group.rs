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
//! | any | `Stopped`, `Terminating`, or being deleted | not listed: it is off on purpose | no |
//! | | `Failed` | unavailable | no |
//! | `MCPServer`, `MCPRemoteProxy` | `Ready`, `Pending` and any other | unknown until the first check, then what checks find | yes |
//! | `MCPServerEntry` | `Valid` | unknown until the first check, then what checks find | yes |
//! | | `Pending` and any other | unknown | no: ToolHive has not validated its address yet |
//!
//! A finding that is stored already stands until the check. ToolHive leaves out a
//! workload that is `Failed`; here it is listed, since somebody should mend it.
//!
//! The URL is `status.url`, or `spec.remoteUrl` of an entry. A workload without
//! one is unknown and not checked: no address is ever guessed. `spec.transport` says
//! in which way to ask, and of a server behind a proxy (`stdio`) `spec.proxyMode`; one
//! whose transport is not known here is unknown and not checked.
//!
//! An entry is checked as its gateway asks it: with the headers of
//! `spec.headerForward.addPlaintextHeaders`, save those that HTTP or MCP sets, and
//! trusting the certificates of the `ConfigMap` that `spec.caBundleRef.configMapRef`
//! names, beside those of the prober. Where these cannot be read the entry is
//! unavailable, says what is missing, and is not checked. Headers of
//! `addHeadersFromSecret` are not read: they count as credentials that are configured.
//!
//! # Credentials
//!
//! Which `MCPExternalAuthConfig` holds for a member is as ToolHive has it: with
//! `spec.outgoingAuth.source: discovered` in the vMCP the member's own
//! `spec.externalAuthConfigRef`, else `backends[name]`, else `default`; with another
//! source what the vMCP says comes first. Its name is shown as `authConfigRef`, its
//! `spec.type` as `authType` in ToolHive's spelling (`header_injection`). A member
//! for which that does not exist or has no type is unavailable, says so, and is not
//! probed as if it were open. Secrets are not read: a backend that asks for
//! credentials is `ready` where the way of authentication is configured ("Credentials
//! are checked at use"), else `unauthenticated`.
//!
//! # The spec of the vMCP
//!
//! With [`GroupOptions::vmcp`] the spec of that `VirtualMCPServer` is followed. What
//! [`GroupOptions::checks`] leaves open is as `spec.config.operational.failureHandling`
//! says there: `healthCheckInterval`, `healthCheckTimeout`, `unhealthyThreshold` and
//! `circuitBreaker`. A change holds from then on and costs no finding. A key that makes
//! no sense counts as not set, and is logged once.
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
//! - One lost check is not a failure: see [`CheckOptions::unhealthy_threshold`].
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
//! | `virtualmcpservers`, with [`GroupOptions::vmcp`] | `get`, `list`, `watch` | options and defaults hold |
//! | `configmaps` of Kubernetes itself, those that entries name | `list`, `watch` | backends with a CA bundle are unavailable |

mod check_options;
mod cluster_state;
mod coordinator;
mod go_duration;
mod members;
mod object;
mod outgoing_auth;
mod plan;
mod resource;
mod spec_watch;
mod trust;
mod vmcp_spec;
mod watch_task;
mod watchers;

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::cluster_state::ClusterState;
use self::coordinator::{Coordinator, Kind, Said, Settings};
use self::resource::Resource;
use self::watchers::Watchers;
use super::health_checker::{CheckLimit, HealthChecker};
use super::probe::Prober;
use vmcp_status::custom_resource::{GROUP, VERSION};
use vmcp_status::{NameError, StatusHandle, check_name};

pub use check_options::CheckOptions;
pub use vmcp_spec::{checks_of, group_of};

/// Settings of a [`GroupDiscovery`].
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// How the members are checked.
    pub checks: CheckOptions,
    /// The `VirtualMCPServer` of these members, whose spec is followed as it changes:
    /// `spec.config.operational.failureHandling` holds where [`GroupOptions::checks`] sets
    /// nothing, and `spec.outgoingAuth` says which credentials are configured for
    /// members. None by default.
    pub vmcp: Option<String>,
    /// Whether the group is the one that the spec of the vMCP names, so that another
    /// one named there takes its place. Off by default.
    pub follow_group: bool,
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
            checks: CheckOptions::default(),
            vmcp: None,
            follow_group: false,
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
        let GroupOptions { checks, vmcp, follow_group, limit, api_group, api_version, reserved } = options;
        let vmcp_name = vmcp.as_deref().map(|name| ("vMCP", name));
        for (what, name) in
            [("namespace", namespace), ("group", group), ("API group", &api_group), ("API version", &api_version)]
                .into_iter()
                .chain(vmcp_name)
        {
            check_name(what, name)?;
        }
        let cluster_state = watch::Sender::new(ClusterState::new(reserved, vmcp));
        let names = [namespace, &api_group, &api_version];
        let watchers = Watchers::start(client, names, group, cluster_state.clone());
        let settings = watch::Sender::new(Settings { checks, prober: prober.clone(), earlier_probers: 0 });
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
            follow_group,
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

    /// From now on the members are checked like this: see [`GroupOptions::checks`].
    pub fn set_checks(&self, checks: CheckOptions) {
        self.settings.send_if_modified(|settings| std::mem::replace(&mut settings.checks, checks.clone()) != checks);
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
    use std::time::Duration;

    use kube::client::Body;
    use serde_json::json;
    use vmcp_status::{NoOpSink, Reporter};

    use super::object::Object;
    use super::*;
    use crate::probe::ProberOptions;

    /// The discovery of a group whose only backend is checked seldom and fails at
    /// once, and the handle that it reports through.
    async fn discovered() -> (GroupDiscovery, StatusHandle) {
        let interval = Some(Duration::from_secs(3600));
        let checks = CheckOptions { interval, unhealthy_threshold: Some(1), ..CheckOptions::default() };
        discovered_with(GroupOptions { checks, ..GroupOptions::default() }, None).await
    }

    async fn discovered_with(
        options: GroupOptions,
        first: Option<serde_json::Value>,
    ) -> (GroupDiscovery, StatusHandle) {
        let never = tower::service_fn(|_: http::Request<Body>| pending::<Result<http::Response<Body>, kube::Error>>());
        let (handle, _) = Reporter::builder(NoOpSink::silent()).write_interval(Duration::ZERO).start();
        let client = Client::new(never, "default");
        let discovery = GroupDiscovery::start(client, "default", "g", &handle, prober(), options).expect("good names");
        let member = json!({"groupRef": {"name": "g"}});
        let backend = json!({"spec": member, "status": {"phase": "Ready", "url": "http://127.0.0.1:1/mcp"}});
        discovery.cluster_state.send_modify(|cluster_state| {
            for resource in Resource::ALL.into_iter().filter(|resource| *resource != Resource::Vmcp) {
                let objects = cluster_state.of_mut(resource).objects.insert(BTreeMap::new());
                if resource == Resource::Server {
                    objects.insert("a".into(), Object::of(&backend, false));
                }
            }
            cluster_state.of_mut(Resource::Group).objects = None;
        });
        if let Some(first) = first {
            spec(&discovery, first);
        }
        discovery.first_round().await;
        failures(&handle, 1).await;
        (discovery, handle)
    }

    /// This spec of the vMCP `v` is seen.
    fn spec(discovery: &GroupDiscovery, spec: serde_json::Value) {
        discovery.cluster_state.send_modify(|cluster_state| {
            let object = Object::of_vmcp(&json!({"spec": spec}));
            cluster_state.of_mut(Resource::Vmcp).objects = Some(BTreeMap::from([("v".into(), object)]));
        });
    }

    fn checked_every(interval: &str) -> serde_json::Value {
        json!({"config": {"operational": {"failureHandling": {"healthCheckInterval": interval}}}})
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
        discovery.set_checks(CheckOptions { interval: Some(Duration::from_millis(10)), ..CheckOptions::default() });
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

    fn following() -> GroupOptions {
        GroupOptions { vmcp: Some("v".into()), follow_group: true, ..GroupOptions::default() }
    }

    #[tokio::test]
    async fn spec_that_changes_holds_for_the_backends_there_are_and_costs_no_finding() {
        let (discovery, handle) = discovered_with(following(), Some(checked_every("1h"))).await;
        failures(&handle, 2).await;
        spec(&discovery, checked_every("10ms"));
        failures(&handle, 7).await;
        let kept = handle.current().await.expect("the reporter lives");
        assert_eq!(kept.backend("a").expect("it is reported").status, vmcp_status::BackendStatus::Unavailable);
        discovery.shutdown().await;
    }

    #[tokio::test]
    async fn what_is_set_by_hand_wins_over_the_spec() {
        let checks = CheckOptions { interval: Some(Duration::from_millis(10)), ..CheckOptions::default() };
        let options = GroupOptions { checks, ..following() };
        let (discovery, handle) = discovered_with(options, Some(checked_every("1h"))).await;
        failures(&handle, 5).await;
        discovery.shutdown().await;
    }

    #[tokio::test]
    async fn another_group_that_the_spec_names_takes_the_place_of_the_first() {
        let (discovery, handle) = discovered_with(following(), Some(json!({"groupRef": {"name": "g"}}))).await;
        spec(&discovery, json!({"groupRef": {"name": "other"}}));
        let gone = async {
            while !handle.current().await.expect("the reporter lives").discovered_backends.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it turns to the other group");
        discovery.shutdown().await;
    }

    #[tokio::test]
    async fn group_named_by_hand_stays_whatever_the_spec_names() {
        let options = GroupOptions { follow_group: false, ..following() };
        let (discovery, handle) = discovered_with(options, Some(json!({"groupRef": {"name": "g"}}))).await;
        let mut other = checked_every("10ms");
        other["groupRef"] = json!({"name": "other"});
        spec(&discovery, other);
        // Its rhythm shows that the spec was read.
        failures(&handle, 7).await;
        discovery.shutdown().await;
    }
}
