//! The Leases by which reporters elect one writer: their renewals tell who is
//! alive.
//!
//! They are an extra: without them the newest checks tell how old a status is, and
//! a note says that it is so.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::future::pending;
use std::time::Duration;

use chrono::Utc;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt as _};
use tokio::time::{sleep, timeout};
use vmcp_status::api_server::Refusal;
use vmcp_status::custom_resource::APP_NAME;
use vmcp_status::{LeaseElection, error_chain};

use super::super::liveness::SeenLease;
use super::Object;

/// The objects are shown without Leases that take longer to come.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often they are read again while they are followed: about as often as a
/// leader renews.
const POLL: Duration = Duration::from_secs(5);
/// The same where there is none, or none may be read: a reporter that starts later, and
/// refreshes its status as seldom as its Lease permits, must not look dead.
const SEARCH: Duration = Duration::from_secs(60);

/// Which Leases are of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::get) enum LeaseQuery {
    /// None: what is printed has no place for them.
    None,
    /// The one of this name.
    Named(String),
    /// Those of all objects, found by their default names.
    All,
}

/// What was read, by namespace and name of the Lease.
type Seen = BTreeMap<(String, String), SeenLease>;

/// What was read, or why nothing could be.
type Answer = Result<Seen, String>;

pub(super) struct Leases {
    reader: Reader,
    seen: Seen,
    /// Why they are not known.
    unread: Option<String>,
    /// What is read from time to time, once there is something to follow.
    renewals: Option<BoxStream<'static, Seen>>,
}

impl Leases {
    /// Those of one namespace, or of all.
    pub(super) fn new(client: Client, namespace: Option<&str>, query: LeaseQuery) -> Self {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease"));
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        Leases { reader: Reader { api, query }, seen: Seen::new(), unread: None, renewals: None }
    }

    /// Asks once, for [`set`](Leases::set).
    pub(super) async fn fetch(&self) -> Answer {
        self.reader.read().await
    }

    pub(super) fn set(&mut self, answer: Answer) {
        match answer {
            Ok(seen) => (self.seen, self.unread) = (seen, None),
            Err(why) => (self.seen, self.unread) = (Seen::new(), Some(why)),
        }
    }

    /// What to say where they cannot be read.
    pub(super) fn note(&self) -> Option<String> {
        let why = self.unread.as_ref()?;
        Some(format!("note: no Leases are read, so the newest check alone tells whether a status is old: {why}"))
    }

    /// The Lease of this object's reporters.
    pub(super) fn of(&self, object: &Object) -> Option<&SeenLease> {
        let name = match &self.reader.query {
            LeaseQuery::None => return None,
            LeaseQuery::Named(name) => name.clone(),
            LeaseQuery::All => LeaseElection::lease_name(&object.name),
        };
        self.seen.get(&(object.namespace.clone(), name))
    }

    /// Waits until they have been read again. May be dropped and called again.
    pub(super) async fn changed(&mut self) {
        if self.reader.query == LeaseQuery::None {
            return pending().await;
        }
        let (reader, pause) = (&self.reader, pause(&self.seen));
        let renewals = self.renewals.get_or_insert_with(|| reader.clone().renewals(pause));
        match renewals.next().await {
            Some(seen) => self.set(Ok(seen)),
            None => pending().await,
        }
    }
}

#[derive(Clone)]
struct Reader {
    api: Api<DynamicObject>,
    query: LeaseQuery,
}

impl Reader {
    async fn read(&self) -> Answer {
        let request = async {
            match &self.query {
                LeaseQuery::None => Ok(Vec::new()),
                LeaseQuery::Named(name) => self.api.get_opt(name).await.map(|lease| lease.into_iter().collect()),
                LeaseQuery::All => {
                    // A cluster has thousands of Leases, one for each node among
                    // them.
                    let ours = ListParams::default().labels(&format!("app.kubernetes.io/name={APP_NAME}"));
                    self.api.list(&ours).await.map(|list| list.items)
                }
            }
        };
        let why = match timeout(PATIENCE, request).await {
            Ok(Ok(leases)) => return Ok(leases.into_iter().filter_map(entry).collect()),
            Ok(Err(kube::Error::Api(status))) => {
                let refusal = Refusal::from(&*status);
                match refusal.kind() {
                    // The server has none.
                    kind if kind.is_not_found() => return Ok(Seen::new()),
                    kind if kind.is_forbidden() => format!(
                        "grant the user the verb {} on leases of coordination.k8s.io, see RBAC.md",
                        if self.query == LeaseQuery::All { "list" } else { "get" }
                    ),
                    _ => refusal.summary(),
                }
            }
            Ok(Err(error)) => error.source().map_or_else(|| error.to_string(), error_chain),
            Err(_) => format!("no answer from the API server in {PATIENCE:?}"),
        };
        tracing::debug!(why, "Leases are not read");
        Err(why)
    }

    /// What is read from now on, first after this pause. What cannot be read stays as it
    /// was.
    fn renewals(self, first: Duration) -> BoxStream<'static, Seen> {
        let read = |(reader, wait): (Reader, Duration)| async move {
            loop {
                sleep(wait).await;
                if let Ok(seen) = reader.read().await {
                    let next = pause(&seen);
                    return Some((seen, (reader, next)));
                }
            }
        };
        stream::unfold((self, first), read).boxed()
    }
}

/// How long to wait after this was read.
fn pause(seen: &Seen) -> Duration {
    if seen.is_empty() { SEARCH } else { POLL }
}

fn entry(lease: DynamicObject) -> Option<((String, String), SeenLease)> {
    let seen = SeenLease::new(&lease.data, Utc::now())?;
    Some(((lease.namespace().unwrap_or_default(), lease.name_any()), seen))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::time::Instant;
    use vmcp_status_testkit::api::Api as Double;
    use vmcp_status_testkit::leases::ElectionCluster;

    use super::*;

    const LEASE: &str = "vmcp-status-tools";

    fn spec(holder: &str) -> Value {
        json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": Utc::now().to_rfc3339()})
    }

    fn tools() -> Object {
        Object { name: "tools".into(), namespace: "default".into(), ..Object::default() }
    }

    /// The holder of the Lease of `tools`, after one read.
    async fn holder(cluster: &ElectionCluster, namespace: Option<&str>, query: LeaseQuery) -> Option<String> {
        let mut leases = Leases::new(cluster.client("reader"), namespace, query);
        leases.set(leases.fetch().await);
        leases.of(&tools()).map(|lease| lease.holder().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn lease_of_an_object_is_found_by_one_request_alone_and_among_all() {
        let cluster = ElectionCluster::of(Double::new());
        cluster.put_lease(LEASE, spec("pod-1_ab"));
        cluster.put_lease("vmcp-status-other", spec("pod-2_ab"));
        cluster.put_lease("mine", spec("pod-3_ab"));
        for (namespace, query, wanted) in [
            (Some("default"), LeaseQuery::Named(LEASE.into()), Some("pod-1")),
            (Some("default"), LeaseQuery::Named("mine".into()), Some("pod-3")),
            (Some("default"), LeaseQuery::Named("none".into()), None),
            (Some("default"), LeaseQuery::All, Some("pod-1")),
            (None, LeaseQuery::All, Some("pod-1")),
        ] {
            cluster.clear_sent();
            assert_eq!(holder(&cluster, namespace, query.clone()).await.as_deref(), wanted, "{namespace:?} {query:?}");
            assert_eq!(cluster.sent().len(), 1);
        }
        cluster.clear_sent();
        assert_eq!(holder(&cluster, Some("default"), LeaseQuery::None).await, None);
        assert!(cluster.sent().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn leases_that_may_not_be_read_are_not_served_or_do_not_come_are_none() {
        for query in [LeaseQuery::Named(LEASE.into()), LeaseQuery::All] {
            let cluster = ElectionCluster::of(Double::new());
            cluster.put_lease(LEASE, spec("pod-1_ab"));
            cluster.forbid(&["get", "list"]);
            assert_eq!(holder(&cluster, Some("default"), query.clone()).await, None);
            cluster.forbid(&[]);
            cluster.serve_leases(false);
            assert_eq!(holder(&cluster, Some("default"), query.clone()).await, None);
            cluster.serve_leases(true);
            cluster.cut_off("reader", true);
            let start = Instant::now();
            assert_eq!(holder(&cluster, Some("default"), query).await, None);
            assert_eq!(start.elapsed(), PATIENCE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lease_that_was_found_is_read_again_every_few_seconds_however_often_the_wait_is_dropped() {
        let cluster = ElectionCluster::of(Double::new());
        cluster.put_lease(LEASE, spec("pod-1_ab"));
        let mut leases = Leases::new(cluster.client("reader"), Some("default"), LeaseQuery::All);
        leases.set(leases.fetch().await);
        cluster.put_lease(LEASE, spec("pod-2_ab"));
        let start = Instant::now();
        while timeout(Duration::from_secs(1), leases.changed()).await.is_err() {}
        assert_eq!(start.elapsed(), POLL);
        assert_eq!(leases.of(&tools()).map(SeenLease::holder), Some("pod-2"));
        assert_eq!(cluster.sent().len(), 2);

        cluster.forbid(&["list"]);
        assert!(timeout(POLL * 3, leases.changed()).await.is_err());
        assert_eq!(leases.of(&tools()).map(SeenLease::holder), Some("pod-2"), "it stays as it was read");
        cluster.forbid(&[]);
        cluster.remove_lease(LEASE);
        leases.changed().await;
        assert_eq!(leases.of(&tools()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn lease_that_was_not_found_is_looked_for_once_a_minute() {
        let cluster = ElectionCluster::of(Double::new());
        let mut leases = Leases::new(cluster.client("reader"), Some("default"), LeaseQuery::Named(LEASE.into()));
        leases.set(leases.fetch().await);
        assert!(timeout(POLL * 10, leases.changed()).await.is_err());
        assert_eq!(cluster.sent().len(), 1);
        cluster.put_lease(LEASE, spec("pod-1_ab"));
        leases.changed().await;
        assert_eq!(leases.of(&tools()).map(SeenLease::holder), Some("pod-1"));
        assert_eq!(cluster.sent().len(), 2);
    }
}
