//! ToolHive's genuine operator.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::process::Process;
use super::{NAMESPACE, PATIENCE, RealCluster, TOOLHIVE_GROUP, source};

/// The user of the audit log that the operator is.
pub const USER: &str = "thv-operator";
/// What it logs once it reconciles vMCPs.
const STARTED: [&str; 2] = ["Starting workers", "controller=virtualmcpserver "];
/// An object that the operator looks at, refuses and leaves alone.
const MARKER: &str = "testkit-marker";

/// ToolHive's operator, as a process of its own. It is killed when this is
/// dropped; its log is printed if the test has failed.
pub struct OperatorProcess {
    kubeconfig: PathBuf,
    dir: PathBuf,
    process: Option<Process>,
}

impl RealCluster {
    /// Starts ToolHive's operator and waits until it reconciles. The cluster has
    /// to serve [`Definitions::ToolHive`](super::Definitions::ToolHive), or it
    /// ends at once.
    pub async fn operator(&self) -> OperatorProcess {
        let all = json!([
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
            {"verbs": ["*"], "nonResourceURLs": ["*"]},
        ]);
        self.add_user(USER, all).await;
        let kubeconfig = self.kubeconfig(USER);
        let mut operator = OperatorProcess { kubeconfig, dir: self.dir().to_owned(), process: None };
        operator.start().await;
        operator
    }

    /// Waits until the operator has seen everything that was written to the vMCP
    /// `name` before this call, and has done what it does about it.
    ///
    /// The operator reconciles vMCPs one after the other, in the order in which
    /// they changed, and says of a new generation that it has seen it. So an
    /// object of our own is changed behind the one in question; twice, for one
    /// that changes while it is being reconciled is queued again only after that.
    pub async fn reconciled(&self, name: &str) {
        self.touch(name).await;
        for _ in 0..2 {
            self.mark().await;
        }
    }

    async fn mark(&self) {
        let before = self.object(MARKER).await.map(|object| object["spec"]["replicas"].as_i64().unwrap_or_default());
        // A template that cannot be parsed: the operator says so, makes nothing
        // of it, and does not try again.
        let marker = self
            .apply(json!({
                "apiVersion": format!("{TOOLHIVE_GROUP}/v1beta1"), "kind": "VirtualMCPServer",
                "metadata": {"name": MARKER, "namespace": NAMESPACE},
                "spec": {
                    "groupRef": {"name": "g"}, "incomingAuth": {"type": "anonymous"},
                    "replicas": before.unwrap_or_default() + 1,
                    "podTemplateSpec": {"spec": {"containers": "none"}},
                },
            }))
            .await;
        let generation = marker["metadata"]["generation"].clone();
        let seen = |object: &Value| object["status"]["observedGeneration"] == generation;
        self.until_object(MARKER, "seen by the operator", seen).await;
    }
}

impl OperatorProcess {
    /// Starts it and waits until it reconciles vMCPs.
    pub async fn start(&mut self) {
        assert!(self.process.is_none(), "the operator runs already");
        let earlier = self.starts();
        let mut command = Command::new(source::toolhive("thv-operator"));
        command
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.dir)
            .env("POD_NAMESPACE", NAMESPACE)
            .env("TOOLHIVE_SKIP_UPDATE_CHECK", "true")
            .args(["--metrics-bind-address=0", "--health-probe-bind-address=0"]);
        let mut process = Process::spawn(USER, &mut command, &self.dir);
        let started = async {
            while self.starts() == earlier {
                if let Some(status) = process.ended() {
                    panic!("thv-operator ended with {status}:\n{}", process.log_tail());
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let started = timeout(PATIENCE, started).await;
        assert!(started.is_ok(), "thv-operator does not reconcile after {PATIENCE:?}:\n{}", process.log_tail());
        self.process = Some(process);
    }

    /// Ends it as Kubernetes does, and waits until it has.
    pub async fn stop(&mut self) {
        self.process.take().expect("the operator runs").terminate().await;
    }

    /// Kills it, as a crash does.
    pub async fn kill(&mut self) {
        self.process.take().expect("the operator runs").kill().await;
    }

    /// Stops it and starts it again.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    /// All that it has logged, over its restarts.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.dir.join(format!("{USER}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// How often it has begun to reconcile vMCPs.
    fn starts(&self) -> usize {
        self.log().lines().filter(|line| STARTED.iter().all(|words| line.contains(words))).count()
    }
}
