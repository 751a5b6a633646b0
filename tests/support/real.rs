//! A real API server with its etcd, for one test each: the one that
//! `tests/apiserver/build.sh` builds, a `kube-apiserver` from
//! `KUBEBUILDER_ASSETS`, or the cluster of a `KUBECONFIG`: see
//! `tests/apiserver/README.md`.

#![allow(dead_code, reason = "each user takes the part it needs")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const NAMESPACE: &str = "default";
/// Ends a test whose server does not come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// User, and what it may do: the three roles, the least of them with Events,
/// with elections or with the backends of a group, and one that may do nothing.
const RULES: &str = r#"[
  {"user": "seed", "rules": [{"verbs": ["get", "update", "patch"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers/status"]}]},
  {"user": "operator", "rules": [
    {"verbs": ["get"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers"]},
    {"verbs": ["update", "patch"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers/status"]}]},
  {"user": "least", "rules": [{"verbs": ["patch"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers/status"]}]},
  {"user": "events", "rules": [
    {"verbs": ["patch"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers/status"]},
    {"verbs": ["create", "patch"], "apiGroups": ["events.k8s.io"], "resources": ["events"]}]},
  {"user": "electing", "rules": [
    {"verbs": ["patch"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers/status"]},
    {"verbs": ["get", "create", "update"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}]},
  {"user": "dynamic", "rules": [
    {"verbs": ["patch"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers/status"]},
    {"verbs": ["get"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers"]},
    {"verbs": ["get", "list", "watch"], "apiGroups": ["toolhive.stacklok.dev"],
     "resources": ["mcpgroups", "mcpservers", "mcpremoteproxies", "mcpserverentries", "mcpexternalauthconfigs"]}]}
]"#;
const USERS: [&str; 7] = ["seed", "operator", "least", "events", "electing", "dynamic", "nobody"];

/// Which server the environment offers.
enum Kind {
    /// The build of `tests/apiserver`, with rules of its own.
    Extensions,
    /// A whole `kube-apiserver` in this folder, with RBAC.
    Kubebuilder(PathBuf),
    /// A cluster that is there already, with RBAC; users by impersonation.
    Cluster(PathBuf),
}

impl Kind {
    fn of_environment() -> Self {
        let path = |variable| std::env::var_os(variable).map(PathBuf::from);
        match (path("APIEXTENSIONS_APISERVER"), path("KUBEBUILDER_ASSETS"), path("KUBECONFIG")) {
            (Some(_), _, _) => Kind::Extensions,
            (None, Some(assets), _) => Kind::Kubebuilder(assets),
            (None, None, Some(kubeconfig)) => Kind::Cluster(kubeconfig),
            (None, None, None) => {
                panic!("no API server to test on: see tests/apiserver/README.md for the three ways to give one")
            }
        }
    }

    fn program(&self, name: &str, variable: &str) -> PathBuf {
        match self {
            Kind::Extensions => std::env::var_os(variable)
                .unwrap_or_else(|| panic!("{variable} is not set: export what tests/apiserver/build.sh prints"))
                .into(),
            Kind::Kubebuilder(assets) => assets.join(name),
            Kind::Cluster(_) => panic!("this test stops the server, and a cluster is not its to stop"),
        }
    }
}

pub struct RealServer {
    kind: Kind,
    dir: TempDir,
    etcd: Option<Child>,
    server: Option<Child>,
    etcd_port: u16,
    url: String,
    admin: Client,
}

/// A port that is free, and that no other test of this process was given.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        if GIVEN.lock().expect("nobody panics here").insert(port) {
            return port;
        }
    }
}

impl RealServer {
    /// Starts both, with the CRD that the program prints and tokens for the
    /// roles.
    pub async fn start() -> Self {
        // One provider for the process: without it the client cannot choose.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("rules.json"), RULES).expect("written");
        let etcd_port = free_port();
        let admin =
            Client::try_from(kube::Config::new("https://127.0.0.1:1".parse().expect("a URL"))).expect("a client");
        let kind = Kind::of_environment();
        let mut server =
            RealServer { kind, dir, etcd: None, server: None, etcd_port, url: "https://127.0.0.1:0".into(), admin };
        if !matches!(server.kind, Kind::Cluster(_)) {
            server.set_tokens(&[]);
            server.start_etcd();
            server.start_server(0).await;
        }
        server.admin = server.client("admin").await;
        server.apply_crd().await;
        if !matches!(server.kind, Kind::Extensions) {
            server.apply_rbac(serde_json::from_str(RULES).expect("JSON")).await;
        }
        server
    }

    /// Everybody's token is their name and this word; those given here have
    /// another one.
    pub fn set_tokens(&self, others: &[(&str, &str)]) {
        let mut tokens = String::from("admin-token,admin,0,\"system:masters\"\n");
        for (uid, user) in USERS.iter().enumerate() {
            let usual = format!("{user}-token");
            let token = others.iter().find(|(other, _)| other == user).map_or(&*usual, |(_, token)| token);
            tokens.extend([token, ",", user, ",", &(uid + 1).to_string(), "\n"]);
        }
        // Replaced at once: the server reads it at any time.
        std::fs::write(self.dir.path().join("tokens.new"), tokens).expect("written");
        std::fs::rename(self.dir.path().join("tokens.new"), self.dir.path().join("tokens.csv")).expect("renamed");
    }

    pub fn start_etcd(&mut self) {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{}", free_port());
        let child = Command::new(self.kind.program("etcd", "ETCD"))
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
        let port = if port == 0 { free_port() } else { port };
        let mut command = Command::new(self.kind.program("kube-apiserver", "APIEXTENSIONS_APISERVER"));
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        command
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port))
            .arg(format!("--secure-port={port}"))
            .arg(format!("--cert-dir={}", file("cert")))
            .arg(format!("--token-auth-file={}", file("tokens.csv")));
        match self.kind {
            Kind::Extensions => command.arg(format!("--authorization-file={}", file("rules.json"))),
            // It signs the tokens of service accounts, of which there are none.
            _ => {
                let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
                std::fs::write(self.dir.path().join("sa.key"), key).expect("written");
                command
                    .args(["--bind-address=127.0.0.1", "--authorization-mode=RBAC"])
                    .args(["--service-cluster-ip-range=10.0.0.0/24", "--service-account-issuer=https://127.0.0.1"])
                    .args(["--disable-admission-plugins=ServiceAccount"])
                    .arg(format!("--service-account-key-file={}", file("sa.key")))
                    .arg(format!("--service-account-signing-key-file={}", file("sa.key")))
            }
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
        self.server = Some(child.expect("the server starts"));
        self.url = format!("https://127.0.0.1:{port}");
        let certificate = self.dir.path().join("cert/apiserver.crt");
        let ready = async {
            // Made at the first start; a client cannot be built before.
            while !certificate.exists() {
                sleep(Duration::from_millis(20)).await;
            }
            let admin = self.client("admin").await;
            let request = || http::Request::get("/readyz").body(Vec::new()).expect("a request");
            while admin.request_text(request()).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("the server is ready in time");
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
        if let Kind::Cluster(own) = &self.kind {
            let mut config = kube::config::Kubeconfig::read_from(own).expect("a kubeconfig");
            let infos = config.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut());
            infos.filter(|_| user != "admin").for_each(|info| info.impersonate = Some(user.to_owned()));
            std::fs::write(&path, serde_json::to_string(&config).expect("serialises")).expect("written");
            return path;
        }
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
        self.define(vmcp_status::crd(), &self.api()).await;
    }

    async fn define(&self, crd: Value, objects: &Api<DynamicObject>) {
        let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        let crds: Api<DynamicObject> = Api::all_with(self.admin.clone(), &ApiResource::from_gvk(&gvk));
        let crd: DynamicObject = serde_json::from_value(crd).expect("a CRD");
        let patch = Patch::Apply(&crd);
        let params = PatchParams::apply("test").force();
        let served = async {
            while crds.patch(&crd.name_any(), &params, &patch).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
            while objects.list(&ListParams::default()).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, served).await.expect("the CRD is served in time");
    }

    /// Leases: built in, or on a server that serves custom resources only, as
    /// one of these. Says which.
    pub async fn serve_leases(&self) -> &'static str {
        let gvk = GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease");
        let leases: Api<DynamicObject> =
            Api::namespaced_with(self.admin.clone(), NAMESPACE, &ApiResource::from_gvk(&gvk));
        if leases.list(&ListParams::default()).await.is_ok() {
            return "built-in Leases";
        }
        let text = json!({"type": "string"});
        let spec = json!({"type": "object", "properties": {
            "holderIdentity": text, "acquireTime": text, "renewTime": text,
            "leaseDurationSeconds": {"type": "integer", "minimum": 1}, "leaseTransitions": {"type": "integer", "minimum": 0},
        }});
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {
                "name": "leases.coordination.k8s.io",
                "annotations": {"api-approved.kubernetes.io": "unapproved, test only"},
            },
            "spec": {
                "group": "coordination.k8s.io", "scope": "Namespaced",
                "names": {"plural": "leases", "singular": "lease", "kind": "Lease", "listKind": "LeaseList"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                }],
            },
        });
        self.define(crd, &leases).await;
        "Leases as custom resources"
    }

    pub async fn lease(&self, name: &str) -> Option<Value> {
        let gvk = GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease");
        let leases: Api<DynamicObject> =
            Api::namespaced_with(self.admin.clone(), NAMESPACE, &ApiResource::from_gvk(&gvk));
        let lease = leases.get_opt(name).await.expect("an answer")?;
        Some(serde_json::to_value(lease).expect("serialises"))
    }

    /// From now on this user may do this, and nothing else.
    pub async fn grant(&self, user: &str, rules: Value) {
        let mut users: Vec<Value> = serde_json::from_str(RULES).expect("JSON");
        users.retain(|known| known["user"] != user);
        users.push(json!({"user": user, "rules": rules}));
        if !matches!(self.kind, Kind::Extensions) {
            return self.apply_rbac(users).await;
        }
        // Replaced at once: the server reads it at any time.
        let new = self.dir.path().join("rules.new");
        std::fs::write(&new, json!(users).to_string()).expect("written");
        std::fs::rename(new, self.dir.path().join("rules.json")).expect("renamed");
    }

    /// These rights as a cluster with RBAC has them.
    async fn apply_rbac(&self, rules: Vec<Value>) {
        let apply = async |kind: &str, object: Value| {
            let gvk = GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind);
            let api: Api<DynamicObject> = Api::all_with(self.admin.clone(), &ApiResource::from_gvk(&gvk));
            let object: DynamicObject = serde_json::from_value(object).expect("an object");
            let params = PatchParams::apply("test").force();
            match api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await {
                // A server without RBAC has been given rules of its own.
                Err(kube::Error::Api(refused)) if refused.code == 404 => {}
                applied => drop(applied.expect("applied")),
            }
        };
        for user in rules {
            let name = format!("vmcp-status-test-{}", user["user"].as_str().expect("a name"));
            let metadata = json!({"name": name});
            let version = "rbac.authorization.k8s.io/v1";
            let role =
                json!({"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": user["rules"]});
            apply("ClusterRole", role).await;
            let group = "rbac.authorization.k8s.io";
            let binding = json!({
                "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata,
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
                "subjects": [{"apiGroup": group, "kind": "User", "name": user["user"]}],
            });
            apply("ClusterRoleBinding", binding).await;
        }
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
        if matches!(self.kind, Kind::Cluster(_)) {
            // What an earlier test has left.
            while self.object(name).await.is_some() {
                self.delete(name).await;
            }
        }
        self.api().create(&PostParams::default(), &object).await.expect("created");
    }

    pub async fn object(&self, name: &str) -> Option<Value> {
        let object = self.api().get_opt(name).await.expect("an answer")?;
        Some(serde_json::to_value(object).expect("serialises"))
    }

    /// Keeps every state of the object from now on, as a watcher sees them.
    pub async fn record(&self, name: &str, into: Arc<Mutex<Vec<Value>>>) {
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        let object = self.object(name).await.expect("it is there");
        let version = object["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
        into.lock().expect("nobody panics here").push(object);
        let mut events = self.api().watch(&params, &version).await.expect("a watch").boxed();
        tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event {
                    let object = serde_json::to_value(object).expect("serialises");
                    into.lock().expect("nobody panics here").push(object);
                }
            }
        });
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
        let _ = self.api().delete(name, &DeleteParams::default()).await.expect("deleted");
    }
}
