//! The two reporters behind one interface.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout};
use vmcp_status::{KubernetesSink, Progress, Reporter, Status, StatusHandle};
use vmcp_status_testkit::cluster::{Peer, Proxy, RealCluster};

use crate::naive::Naive;
use crate::states::NAMESPACE;

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// A reporter with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ToolHive's as it is: client-go allows it five requests a second after ten.
    Peer,
    /// Ours as it is: at most one write a second.
    Ours,
    /// ToolHive's without client-go's limit.
    PeerUnlimited,
    /// Ours with a pace of a millisecond.
    OursUnpaced,
    /// A patch that is conditional on the version, made for comparison.
    ByVersion,
    /// GET and PUT of the whole, made for comparison.
    GetPut,
    /// A patch of one field without any condition, made for comparison.
    Bare,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Peer, Kind::Ours, Kind::PeerUnlimited, Kind::OursUnpaced];

    /// Those that are measured beside foreign writers.
    pub const BESIDE_OTHERS: [Kind; 5] =
        [Kind::OursUnpaced, Kind::Bare, Kind::ByVersion, Kind::GetPut, Kind::PeerUnlimited];

    pub fn is_ours(self) -> bool {
        matches!(self, Kind::Ours | Kind::OursUnpaced)
    }

    /// The service account, of this kind alone, so that the audit log tells them
    /// apart.
    pub fn user(self) -> &'static str {
        match self {
            Kind::Peer => "peer",
            Kind::Ours => "ours",
            Kind::PeerUnlimited => "peer-unlimited",
            Kind::OursUnpaced => "ours-unpaced",
            Kind::ByVersion => "by-version",
            Kind::GetPut => "get-put",
            Kind::Bare => "bare",
        }
    }
}

/// An object of one kind of reporter, and the proxy by which it is reached.
pub struct Stage<'a> {
    pub cluster: &'a RealCluster,
    pub kind: Kind,
    pub name: String,
    pub proxy: Proxy,
}

impl<'a> Stage<'a> {
    /// Creates the object and waits until the operator calls it ready.
    pub async fn set(cluster: &'a RealCluster, kind: Kind, purpose: &str) -> Self {
        let name = format!("{purpose}-{}", kind.user());
        cluster.create_managed(&name).await;
        cluster.until_object(&name, "ready", |object| object["status"]["phase"] == "Ready").await;
        Stage { cluster, kind, name, proxy: cluster.proxy().await }
    }

    /// How many bytes of each request are the token.
    pub fn token_bytes(&self) -> u64 {
        let token = std::fs::metadata(self.cluster.token_file(self.kind.user()));
        token.map_or(0, |token| token.len())
    }

    /// A reporter of this kind.
    pub async fn writer(&self) -> Writer {
        let peer = |args: &[&str]| self.cluster.peer_at(self.proxy.url(), self.kind.user(), &self.name, args);
        match self.kind {
            Kind::Peer => Writer::Peer(Box::new(peer(&[]))),
            Kind::PeerUnlimited => Writer::Peer(Box::new(peer(&["--qps", "-1"]))),
            Kind::Ours => self.ours(|builder| builder).await,
            Kind::OursUnpaced => self.ours(|builder| builder.write_interval(Duration::from_millis(1))).await,
            Kind::ByVersion | Kind::GetPut | Kind::Bare => Writer::Naive(Naive::new(
                self.proxy.client(self.cluster, self.kind.user()).await,
                self.kind,
                &self.name,
            )),
        }
    }

    async fn ours(
        &self,
        settings: impl FnOnce(vmcp_status::ReporterBuilder) -> vmcp_status::ReporterBuilder,
    ) -> Writer {
        let kubeconfig = self.proxy.kubeconfig(self.cluster, self.kind.user());
        let client = vmcp_status::connect(Some(&kubeconfig), None).await.expect("a client");
        let sink = KubernetesSink::new(client, NAMESPACE, &self.name).expect("good names");
        let (handle, reporter) = settings(Reporter::builder(sink)).start();
        Writer::Ours(handle, reporter)
    }
}

/// A status in the form that each of them takes, made before anything is timed.
pub struct Form {
    pub status: Status,
    /// For ToolHive's reporter.
    pub json: Value,
}

impl Form {
    pub fn new(status: Status) -> Self {
        let json = serde_json::to_value(&status).expect("serialises");
        Form { status, json }
    }
}

/// What became of a report, as its caller saw it.
pub struct Reported {
    /// When the caller began.
    pub at: Instant,
    /// How long the caller was kept.
    pub waited: Duration,
    /// What the caller was told; an error means that the report was given up.
    pub result: Result<(), String>,
}

/// A running reporter.
pub enum Writer {
    Peer(Box<Peer>),
    Ours(StatusHandle, Reporter),
    Naive(Naive),
}

impl Writer {
    /// Reports, and returns when the reporter lets go of its caller.
    pub async fn report(&mut self, form: &Form) -> Reported {
        match self {
            Writer::Peer(peer) => {
                let answer = peer.report(&form.json).await;
                let waited = Duration::from_secs_f64(answer.millis / 1e3);
                // Counted back from the end, because the way of the status to
                // the other process is no cost of its reporter.
                let at = Instant::now() - waited;
                Reported { at, waited, result: if answer.ok { Ok(()) } else { Err(answer.error) } }
            }
            Writer::Naive(naive) => {
                let at = Instant::now();
                let result = naive.report(form).await;
                Reported { at, waited: at.elapsed(), result }
            }
            Writer::Ours(handle, _) => {
                let status = form.status.clone();
                let at = Instant::now();
                let accepted = handle.report(status);
                let waited = at.elapsed();
                Reported { at, waited, result: accepted.then_some(()).ok_or_else(|| "the reporter has ended".into()) }
            }
        }
    }

    /// Waits until this process knows that the report was stored. ToolHive's
    /// `ReportStatus` has done so already.
    pub async fn until_stored(&self, form: &Form) -> Result<(), String> {
        let Writer::Ours(handle, _) = self else { return Ok(()) };
        let wanted = &form.status;
        let is_stored = |progress: &Progress| {
            progress.stored.as_ref().is_some_and(|stored| {
                let first = |status: &Status| status.discovered_backends.first().map(|backend| backend.status);
                stored.message == wanted.message && first(stored) == first(wanted)
            })
        };
        let mut progress = handle.watch();
        match timeout(PATIENCE, progress.wait_for(is_stored)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err("the reporter has ended".into()),
            Err(_) => Err(format!("not stored after {PATIENCE:?}")),
        }
    }

    /// Ends it. Ours has to have found where the operator looks.
    pub async fn end(self) {
        if let Writer::Ours(_, reporter) = self {
            let outcome = reporter.shutdown().await;
            let location = outcome.location.as_ref().expect("this store has a choice");
            assert_eq!(location.place, "status.runtime", "{}", location.reason);
            assert!(outcome.is_complete(), "{:?}", outcome.unstored);
        }
    }
}
