//! A real Kubernetes control plane for one test: `kube-apiserver` and etcd of
//! its own, or the cluster of a `KUBECONFIG`.
//!
//! | variable | what it names |
//! |---|---|
//! | `KUBEBUILDER_ASSETS` | a folder with `kube-apiserver` and `etcd` |
//! | `KUBECONFIG` | a cluster, taken where there are no such assets |
//! | `TOOLHIVE_ASSETS` | a folder with ToolHive's `crds/`, `thv-operator`, `vmcp` and `toolhive-reporter` |
//!
//! Nothing in it is a stand-in: roles are RBAC objects, users are service
//! accounts whose tokens come from a `TokenRequest`, requests are counted by the
//! server's own audit log, a 429 comes from priority and fairness, a denial from
//! a `ValidatingAdmissionPolicy`. Only what needs nodes is absent: there is no
//! kubelet, no scheduler and no controller manager, so a Pod is as ready as a
//! test says, and nothing is garbage collected.
//!
//! Whatever goes wrong here ends the test with a panic that says what to do.

mod audit;
mod groupless;
mod kubeconfig;
mod objects;
mod operator;
mod peer;
mod process;
mod proxy;
mod refusal;
mod server;
mod source;
mod toolhive;
mod users;
mod vmcp;

pub use audit::{AuditEntry, AuditMark};
pub use operator::OperatorProcess;
pub use peer::{Peer, PeerAnswer};
pub(crate) use process::free_port;
pub use process::{LogLines, Process};
pub use proxy::{Hold, Proxy, Traffic};
pub use refusal::{Denial, Rejection};
pub use vmcp::VmcpProcess;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use kube::Client;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use server::ControlPlane;
use source::Source;

/// The namespace of all objects and users.
pub const NAMESPACE: &str = "default";
/// The API group of ToolHive.
pub const TOOLHIVE_GROUP: &str = "toolhive.stacklok.dev";
/// Bound on everything that is waited for here.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Which definitions a cluster serves beside the built-in resources.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Definitions {
    /// These definitions, such as `vmcp_status::crd()`.
    Given(Vec<Value>),
    /// ToolHive's own fourteen, from `TOOLHIVE_ASSETS`.
    ToolHive,
}

/// A control plane, users with rights of their own, and the definitions that the
/// test asked for. Dropping it kills its processes; their logs are printed if
/// the test has failed.
pub struct RealCluster {
    source: Source,
    // Its processes end before the folder that they write to is removed.
    control_plane: Option<ControlPlane>,
    admin: Client,
    /// The rules of each user that has any.
    rights: Mutex<BTreeMap<String, Value>>,
    dir: TempDir,
}

impl RealCluster {
    /// Starts a cluster that serves this definition of a `VirtualMCPServer`.
    pub async fn start(crd: Value) -> Self {
        Self::start_with(Definitions::Given(vec![crd])).await
    }

    /// Starts a cluster that serves these definitions.
    pub async fn start_with(definitions: Definitions) -> Self {
        // Without a default for the process, rustls cannot choose its provider.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let source = Source::from_env();
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let control_plane = match &source {
            Source::Assets(assets) => Some(ControlPlane::start(assets, dir.path()).await),
            Source::Cluster(_) => None,
        };
        users::write_admin(&source, control_plane.as_ref(), dir.path());
        let admin = kubeconfig::client_of(&dir.path().join("admin.kubeconfig")).await;
        let cluster = RealCluster { source, control_plane, admin, rights: Mutex::default(), dir };
        let definitions = match definitions {
            Definitions::Given(definitions) => definitions,
            Definitions::ToolHive => toolhive::definitions(),
        };
        // Both take a while to come into effect, and neither needs the other.
        futures::future::join(cluster.define(definitions), cluster.create_users()).await;
        cluster
    }

    /// The folder of this cluster, which goes with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificate authority of the server, as a file.
    pub fn ca_file(&self) -> std::path::PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// The URL of the server.
    pub fn url(&self) -> String {
        let file = std::fs::read_to_string(self.kubeconfig("admin")).expect("it was written at the start");
        let kubeconfig: Value = serde_json::from_str(&file).expect("it was written as JSON");
        kubeconfig["clusters"][0]["cluster"]["server"].as_str().expect("it names the server").to_owned()
    }

    fn own(&self) -> &ControlPlane {
        self.control_plane.as_ref().unwrap_or_else(|| panic!("{}", source::NOT_OURS))
    }

    fn own_mut(&mut self) -> &mut ControlPlane {
        self.control_plane.as_mut().unwrap_or_else(|| panic!("{}", source::NOT_OURS))
    }

    /// Kills the API server, as a crash does.
    pub async fn kill_server(&mut self) {
        self.own_mut().kill_server().await;
    }

    /// Starts the API server again, at the same address, and waits until it is
    /// ready.
    pub async fn restart_server(&mut self) {
        self.own_mut().start_server().await;
    }

    /// Kills etcd, as a crash does.
    pub async fn kill_etcd(&mut self) {
        self.own_mut().kill_etcd().await;
    }

    /// Starts etcd again, with the data that it had.
    pub fn start_etcd(&mut self) {
        self.own_mut().start_etcd();
    }
}

/// Waits until `look` returns something, or panics with `what` after
/// [`PATIENCE`].
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
