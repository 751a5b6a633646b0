//! The Leases by which reporters elect one writer: their renewals tell who is
//! alive.
//!
//! They are an extra. Whatever goes wrong with them, a missing right above all,
//! shows in the log at level debug and nowhere else.

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

pub(super) struct Leases {
    reader: Reader,
    seen: Seen,
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
        Leases { reader: Reader { api, query }, seen: Seen::new(), renewals: None }
    }

    /// Asks once, for [`set`](Leases::set).
    pub(super) async fn fetch(&self) -> Seen {
        self.reader.read().await.unwrap_or_default()
    }

    pub(super) fn set(&mut self, seen: Seen) {
        self.seen = seen;
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

    /// Waits until they have been read again; for ever where none was found. May be
    /// dropped and called again.
    pub(super) async fn changed(&mut self) {
        if self.renewals.is_none() && self.seen.is_empty() {
            return pending().await;
        }
        let reader = &self.reader;
        let renewals = self.renewals.get_or_insert_with(|| reader.clone().renewals());
        match renewals.next().await {
            Some(seen) => self.seen = seen,
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
    /// `None`: nothing is known.
    async fn read(&self) -> Option<Seen> {
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
            Ok(Ok(leases)) => return Some(leases.into_iter().filter_map(entry).collect()),
            Ok(Err(kube::Error::Api(status))) => Refusal::from(&*status).summary(),
            Ok(Err(error)) => error.source().map_or_else(|| error.to_string(), error_chain),
            Err(_) => format!("no answer from the API server in {PATIENCE:?}"),
        };
        tracing::debug!(why, "Leases are not shown");
        None
    }

    /// What is read each [`POLL`] from now on. What cannot be read stays as it was.
    fn renewals(self) -> BoxStream<'static, Seen> {
        let read = |reader: Reader| async move {
            loop {
                sleep(POLL).await;
                if let Some(seen) = reader.read().await {
                    return Some((seen, reader));
                }
            }
        };
        stream::unfold(self, read).boxed()
    }
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
    async fn lease_that_was_not_found_is_not_asked_for_again() {
        let cluster = ElectionCluster::of(Double::new());
        let mut leases = Leases::new(cluster.client("reader"), Some("default"), LeaseQuery::Named(LEASE.into()));
        leases.set(leases.fetch().await);
        assert!(timeout(POLL * 10, leases.changed()).await.is_err());
        assert_eq!(cluster.sent().len(), 1);
    }
}
