//! A real API server with its etcd, for one test each: see
//! `tests/apiserver/README.md`.

#![allow(dead_code, reason = "each user takes the part it needs")]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const NAMESPACE: &str = "default";
/// Ends a test whose server does not come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// User, and what it may do: the three roles, and one that may do nothing.
const RULES: &str = r#"[
  {"user": "seed", "rules": [{"verbs": ["get", "update", "patch"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers/status"]}]},
  {"user": "operator", "rules": [
    {"verbs": ["get"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers"]},
    {"verbs": ["update", "patch"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers/status"]}]},
  {"user": "least", "rules": [{"verbs": ["patch"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers/status"]}]}
]"#;
const USERS: [&str; 4] = ["seed", "operator", "least", "nobody"];

pub struct RealServer {
    dir: TempDir,
    etcd: Option<Child>,
    server: Option<Child>,
    etcd_port: u16,
    url: String,
    admin: Client,
}

/// A program of the build, by the variable that `build.sh` prints.
fn program(variable: &str) -> PathBuf {
    std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| {
        panic!("{variable} is not set: export what tests/apiserver/build.sh prints, see tests/apiserver/README.md")
    })
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl RealServer {
    /// Starts both, with the CRD that the program prints and tokens for the
    /// roles.
    pub async fn start() -> Self {
        // One provider for the process: without it the client cannot choose.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("rules.json"), RULES).expect("written");
        let etcd_port = free_port();
        let admin =
            Client::try_from(kube::Config::new("https://127.0.0.1:1".parse().expect("a URL"))).expect("a client");
        let mut server =
            RealServer { dir, etcd: None, server: None, etcd_port, url: "https://127.0.0.1:0".into(), admin };
        server.set_tokens(&[]);
        server.start_etcd();
        server.start_server(0).await;
        server.admin = server.client("admin").await;
        server.apply_crd().await;
        server
    }

    /// Everybody's token is their name and this word; those given here have
    /// another one.
    pub fn set_tokens(&self, others: &[(&str, &str)]) {
        let mut tokens = String::from("admin-token,admin,0,\"system:masters\"\n");
        for (uid, user) in USERS.iter().enumerate() {
            let usual = format!("{user}-token");
            let token = others.iter().find(|(other, _)| other == user).map_or(&*usual, |(_, token)| token);
            tokens.push_str(&format!("{token},{user},{}\n", uid + 1));
        }
        // Replaced at once: the server reads it at any time.
        std::fs::write(self.dir.path().join("tokens.new"), tokens).expect("written");
        std::fs::rename(self.dir.path().join("tokens.new"), self.dir.path().join("tokens.csv")).expect("renamed");
    }

    pub fn start_etcd(&mut self) {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{}", free_port());
        let child = Command::new(program("ETCD"))
            .arg("--data-dir")
            .arg(self.dir.path().join("etcd"))
            .args(["--unsafe-no-fsync", "--log-level", "error", "--name", "default"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        self.etcd = Some(child.expect("etcd starts"));
    }

    async fn start_server(&mut self, port: u16) {
        let mut child = Command::new(program("APIEXTENSIONS_APISERVER"))
            .args(["-etcd-servers", &format!("http://127.0.0.1:{}", self.etcd_port)])
            .args(["-secure-port", &port.to_string()])
            .arg("-cert-dir")
            .arg(self.dir.path().join("cert"))
            .arg("-token-auth-file")
            .arg(self.dir.path().join("tokens.csv"))
            .arg("-authorization-file")
            .arg(self.dir.path().join("rules.json"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("readable");
        self.url = line.expect("the server says its address");
        self.server = Some(child);
        // It has nothing more to say, but must not find a closed pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    }

    fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok()).expect("a port")
    }

    pub async fn kill_server(&mut self) {
        self.server.take().expect("it runs").kill().await.expect("killed");
    }

    pub async fn restart_server(&mut self) {
        let port = self.port();
        self.start_server(port).await;
    }

    pub async fn kill_etcd(&mut self) {
        self.etcd.take().expect("it runs").kill().await.expect("killed");
    }

    /// A kubeconfig for this user. The token is read from a file, as in a pod.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        let token = self.token_file(user);
        if !token.exists() {
            std::fs::write(&token, format!("{user}-token")).expect("written");
        }
        let path = self.dir.path().join(format!("{user}.kubeconfig"));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url,
                "certificate-authority": self.dir.path().join("cert/apiserver.crt"),
            }}],
            "users": [{"name": user, "user": {"tokenFile": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user, "namespace": NAMESPACE}}],
        });
        std::fs::write(&path, config.to_string()).expect("written");
        path
    }

    pub fn token_file(&self, user: &str) -> PathBuf {
        self.dir.path().join(format!("{user}.token"))
    }

    pub async fn client(&self, user: &str) -> Client {
        vmcp_status::connect(Some(&self.kubeconfig(user)), None).await.expect("a client")
    }

    async fn apply_crd(&self) {
        let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        let crds: Api<DynamicObject> = Api::all_with(self.admin.clone(), &ApiResource::from_gvk(&gvk));
        let crd: DynamicObject = serde_json::from_value(vmcp_status::crd()).expect("a CRD");
        let patch = Patch::Apply(&crd);
        let params = PatchParams::apply("test").force();
        let served = async {
            while crds.patch(&crd.name_any(), &params, &patch).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
            while self.api().list(&Default::default()).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, served).await.expect("the CRD is served in time");
    }

    fn api(&self) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk("toolhive.stacklok.dev", "v1beta1", "VirtualMCPServer");
        Api::namespaced_with(self.admin.clone(), NAMESPACE, &ApiResource::from_gvk(&gvk))
    }

    pub async fn create(&self, name: &str) {
        let object = json!({
            "apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "VirtualMCPServer",
            "metadata": {"name": name}, "spec": {"groupRef": {"name": "g"}},
        });
        let object = serde_json::from_value(object).expect("an object");
        self.api().create(&PostParams::default(), &object).await.expect("created");
    }

    pub async fn object(&self, name: &str) -> Option<Value> {
        let object = self.api().get_opt(name).await.expect("an answer")?;
        Some(serde_json::to_value(object).expect("serialises"))
    }

    /// Somebody else's write of the status.
    pub async fn merge_status(&self, name: &str, status: &Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.api().patch_status(name, &PatchParams::default(), &patch).await.expect("patched");
    }

    pub async fn merge(&self, name: &str, patch: &Value) {
        self.api().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    }

    pub async fn delete(&self, name: &str) {
        let _ = self.api().delete(name, &Default::default()).await.expect("deleted");
    }
}
