//! Several replicas on one object: one writes. On the double of the API server
//! with Leases beside it, in paused time.

use vmcp_status_testkit::api;
use vmcp_status_testkit::leases;

mod log_lines;
mod replicas;
mod suspended;

use std::time::Duration;

use api::Api;
use leases::{ElectionCluster, SentRequest};
use serde_json::json;
use tokio::time::{Instant, sleep};
use vmcp_status::{
    DiscoveredBackend, ElectionOptions, KubernetesSink, LeadershipState, LeaseElection, Phase, Reporter,
    ReporterBuilder, Status, StatusHandle,
};

const NAME: &str = "demo";
const LEASE: &str = "vmcp-status-demo";
const DURATION: Duration = Duration::from_secs(15);
/// A look of one on standby, with its jitter.
const LOOK: Duration = Duration::from_millis(2200);

fn cluster() -> ElectionCluster {
    let api = Api::with_old_crd();
    api.create("default", NAME, json!({"groupRef": {"name": "g"}}));
    ElectionCluster::of(api)
}

fn said(message: impl Into<String>) -> Status {
    Status { phase: Phase::Ready, message: message.into(), ..Status::from_backends([DiscoveredBackend::named("a")]) }
}

fn stored(cluster: &ElectionCluster) -> String {
    let object = cluster.api.object("default", NAME).expect("it is there");
    object["status"]["message"].as_str().unwrap_or_default().to_owned()
}

/// One replica.
struct Replica {
    handle: StatusHandle,
    reporter: Reporter,
}

impl Replica {
    fn start(cluster: &ElectionCluster, who: &'static str) -> Self {
        Replica::start_with(cluster, who, |builder| builder)
    }

    fn start_with(
        cluster: &ElectionCluster,
        who: &'static str,
        set: impl FnOnce(ReporterBuilder) -> ReporterBuilder,
    ) -> Self {
        let options = ElectionOptions { identity: Some(who.into()), ..ElectionOptions::default() };
        let sink = KubernetesSink::new(cluster.client(who), "default", NAME).expect("good names");
        let election = LeaseElection::start(cluster.client(who), "default", NAME, options).expect("good names");
        let (handle, reporter) = set(Reporter::builder(sink).leadership(election)).start();
        Replica { handle, reporter }
    }

    async fn leads_within(&self, limit: Duration) {
        let start = Instant::now();
        while self.handle.leadership_state() != LeadershipState::Leading {
            assert!(start.elapsed() <= limit, "{:?} after {limit:?}", self.handle.leadership_state());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn status_writes(cluster: &ElectionCluster) -> Vec<SentRequest> {
    cluster.sent().into_iter().filter(SentRequest::writes_status).collect()
}
