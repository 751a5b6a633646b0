//! `kube-apiserver` and its etcd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::PATIENCE;
use super::kubeconfig::{ADMIN_TOKEN, admin_client};
use super::process::{Process, free_port};

/// One line for each request that the server has answered.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;
/// Another program may take a port between our look and the server's.
const TRIES: usize = 3;

pub struct ControlPlane {
    assets: PathBuf,
    dir: PathBuf,
    etcd_port: u16,
    port: u16,
    server: Option<Process>,
    etcd: Option<Process>,
}

impl ControlPlane {
    /// Starts both and waits until the server is ready.
    pub async fn start(assets: &Path, dir: &Path) -> Self {
        std::fs::write(dir.join("audit-policy.json"), AUDIT_POLICY).expect("the folder is ours");
        let tokens = format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n");
        std::fs::write(dir.join("tokens.csv"), tokens).expect("the folder is ours");
        for last in (0..TRIES).map(|tried| tried + 1 == TRIES) {
            let (assets, dir) = (assets.to_owned(), dir.to_owned());
            let mut plane =
                ControlPlane { assets, dir, etcd_port: free_port(), port: free_port(), server: None, etcd: None };
            plane.start_etcd();
            plane.spawn_server();
            match plane.ready().await {
                Ok(()) => return plane,
                Err(why) => assert!(!last, "{why}"),
            }
        }
        unreachable!("the last try returns or panics")
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub fn ca_file(&self) -> PathBuf {
        // The server signs its own certificate, and puts its authority beside it.
        self.dir.join("cert/apiserver.crt")
    }

    pub fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    pub fn start_etcd(&mut self) {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{}", free_port());
        let mut command = Command::new(self.assets.join("etcd"));
        command
            .arg("--data-dir")
            .arg(self.dir.join("etcd"))
            .args(["--unsafe-no-fsync", "--log-level", "warn", "--name", "default"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")]);
        self.etcd = Some(Process::spawn("etcd", &mut command, &self.dir));
    }

    pub async fn kill_etcd(&mut self) {
        self.etcd.take().expect("etcd runs").kill().await;
    }

    /// Starts the server at the address that it had, and waits until it is
    /// ready.
    pub async fn start_server(&mut self) {
        self.spawn_server();
        self.ready().await.unwrap_or_else(|why| panic!("{why}"));
    }

    pub async fn kill_server(&mut self) {
        self.server.take().expect("the server runs").kill().await;
    }

    fn spawn_server(&mut self) {
        let file = |name: &str| self.dir.join(name).display().to_string();
        // The key that the server makes for its certificate is an RSA key, as
        // the tokens of service accounts need one, and it exists by the time
        // that they are set up.
        let key = file("cert/apiserver.key");
        let mut command = Command::new(self.assets.join("kube-apiserver"));
        command
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port))
            .arg(format!("--secure-port={}", self.port))
            .args(["--bind-address=127.0.0.1", "--authorization-mode=RBAC"])
            .args(["--service-cluster-ip-range=10.0.0.0/24"])
            .arg(format!("--cert-dir={}", file("cert")))
            .arg(format!("--token-auth-file={}", file("tokens.csv")))
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .arg(format!("--service-account-key-file={key}"))
            .arg(format!("--service-account-signing-key-file={key}"))
            .arg(format!("--audit-policy-file={}", file("audit-policy.json")))
            .arg(format!("--audit-log-path={}", self.audit_log().display()))
            // A line is written before its request is over, and the file stays
            // one.
            .args(["--audit-log-mode=blocking", "--audit-log-maxsize=0"]);
        self.server = Some(Process::spawn("kube-apiserver", &mut command, &self.dir));
    }

    /// Waits until the server says that it is ready. By then it has loaded its
    /// roles; before, it refuses everything to everyone but administrators.
    async fn ready(&mut self) -> Result<(), String> {
        let certificate = self.ca_file();
        let url = self.url();
        let (server, etcd) = (&mut self.server, &mut self.etcd);
        let mut check_alive = || {
            for process in [server.as_mut(), etcd.as_mut()].into_iter().flatten() {
                if let Some(status) = process.ended() {
                    return Err(format!("a part of the control plane ended with {status}:\n{}", process.log_tail()));
                }
            }
            Ok(())
        };
        let ready = async {
            let mut admin = None;
            loop {
                check_alive()?;
                if admin.is_none() && certificate.exists() {
                    admin = admin_client(&url, &certificate).await;
                }
                if let Some(admin) = &admin {
                    let request = http::Request::get("/readyz").body(Vec::new()).expect("it is well formed");
                    if admin.request_text(request).await.is_ok() {
                        return Ok(());
                    }
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        match timeout(PATIENCE, ready).await {
            Ok(ready) => ready,
            Err(_) => {
                let log = self.server.as_ref().map(Process::log_tail).unwrap_or_default();
                Err(format!("kube-apiserver is not ready after {PATIENCE:?}:\n{log}"))
            }
        }
    }
}
