//! Who asks, and what they may do: service accounts with RBAC roles.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures::future::join_all;
use kube::Client;
use serde_json::{Value, json};

use super::kubeconfig::{ADMIN_TOKEN, client_of, from_context, kubeconfig};
use super::server::ControlPlane;
use super::source::Source;
use super::{NAMESPACE, RealCluster, until};

/// What a kubelet asks for, so that no test outlives its token.
const TOKEN_SECONDS: u32 = 3607;

/// Users that every cluster has, and their rules: the three roles of the wild
/// (`seed`, `operator`, `least`), the least of them with Events, with elections
/// or with the backends of a group, and one that may do nothing.
fn users() -> [(&'static str, Value); 7] {
    let group = json!(["toolhive.stacklok.dev"]);
    let rule = |verbs: &[&str], resources: &[&str]| json!({"verbs": verbs, "apiGroups": group, "resources": resources});
    let least = rule(&["patch"], &["virtualmcpservers/status"]);
    let events = json!({"verbs": ["create", "patch"], "apiGroups": ["events.k8s.io"], "resources": ["events"]});
    let leases =
        json!({"verbs": ["get", "create", "update"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]});
    let bundles = json!({"verbs": ["list", "watch"], "apiGroups": [""], "resources": ["configmaps"]});
    let members = ["mcpgroups", "mcpservers", "mcpremoteproxies", "mcpserverentries", "mcpexternalauthconfigs"];
    [
        ("seed", json!([rule(&["get", "update", "patch"], &["virtualmcpservers/status"])])),
        (
            "operator",
            json!([rule(&["get"], &["virtualmcpservers"]), rule(&["update", "patch"], &["virtualmcpservers/status"])]),
        ),
        ("least", json!([least])),
        ("events", json!([least, events])),
        ("electing", json!([least, leases])),
        (
            "dynamic",
            json!([
                least,
                rule(&["get", "list", "watch"], &["virtualmcpservers"]),
                rule(&["get", "list", "watch"], &members),
                bundles
            ]),
        ),
        ("nobody", json!([])),
    ]
}

/// A right that RBAC can be asked about: verb, group, resource with its
/// subresource, and the name of the object where it holds for that alone.
type Right = (String, String, String, String);

fn rights_of(rules: &Value) -> BTreeSet<Right> {
    let list = |rule: &Value, member: &str| -> Vec<String> {
        let items = rule[member].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(String::from).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        for verb in list(rule, "verbs") {
            for group in list(rule, "apiGroups") {
                for resource in list(rule, "resources") {
                    let right = |name| (verb.clone(), group.clone(), resource.clone(), name);
                    let names = list(rule, "resourceNames");
                    if names.is_empty() {
                        rights.insert(right(String::new()));
                    }
                    rights.extend(names.into_iter().map(right));
                }
            }
        }
    }
    rights
}

/// Writes `admin.kubeconfig` and `ca.crt` into the folder.
pub fn write_admin(source: &Source, plane: Option<&ControlPlane>, dir: &Path) {
    let ca = dir.join("ca.crt");
    let (cluster, user) = match (source, plane) {
        (Source::Cluster(file), _) => from_context(file),
        (Source::Assets(_), Some(plane)) => {
            std::fs::copy(plane.ca_file(), &ca).expect("the server has made it");
            (json!({"server": plane.url(), "certificate-authority": ca}), json!({"token": ADMIN_TOKEN}))
        }
        (Source::Assets(_), None) => unreachable!("assets were started"),
    };
    if let Some(data) = cluster.get("certificate-authority-data") {
        let data: k8s_openapi::ByteString = serde_json::from_value(data.clone()).expect("it is base64");
        std::fs::write(&ca, data.0).expect("the folder is ours");
    } else if let Some(file) = cluster["certificate-authority"].as_str().filter(|file| Path::new(file) != ca) {
        std::fs::copy(file, &ca).expect("the kubeconfig names a file that can be read");
    }
    let admin = kubeconfig(cluster, user);
    std::fs::write(dir.join("admin.kubeconfig"), admin.to_string()).expect("the folder is ours");
}

impl RealCluster {
    /// The name by which the server knows this user.
    pub fn user_name(user: &str) -> String {
        match user {
            "admin" => "admin".into(),
            user => format!("system:serviceaccount:{NAMESPACE}:{user}"),
        }
    }

    pub(super) async fn create_users(&self) {
        // Pods run as this one; elsewhere a controller makes it.
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": NAMESPACE}});
        self.apply(account).await;
        join_all(users().map(|(user, rules)| self.add_user(user, rules))).await;
    }

    /// Adds a user (a service account with a token) that may do this.
    pub async fn add_user(&self, user: &str, rules: Value) {
        self.create_account(user).await;
        self.rotate_token(user).await;
        self.grant(user, rules).await;
    }

    async fn create_account(&self, user: &str) {
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": user, "namespace": NAMESPACE}});
        self.apply(account).await;
    }

    /// From now on this user may do this, and nothing else. Returns when the
    /// server acts on it.
    pub async fn grant(&self, user: &str, rules: Value) {
        let name = format!("vmcp-status-test-{user}");
        let metadata = json!({"name": name});
        let api_version = "rbac.authorization.k8s.io/v1";
        self.apply(json!({"apiVersion": api_version, "kind": "ClusterRole", "metadata": metadata, "rules": rules}))
            .await;
        self.apply(json!({
            "apiVersion": api_version, "kind": "ClusterRoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": user, "namespace": NAMESPACE}],
        }))
        .await;
        let granted = rights_of(&rules);
        let before = self.rights.lock().expect("no holder panics").insert(user.to_owned(), rules);
        let revoked: Vec<_> = before.iter().flat_map(rights_of).filter(|right| !granted.contains(right)).collect();
        let expected = granted.into_iter().map(|right| (right, true));
        for (right, allowed) in expected.chain(revoked.into_iter().map(|right| (right, false))) {
            let what = format!("{user}: {right:?} is {allowed}");
            until(&what, async || (self.may(user, &right).await == allowed).then_some(())).await;
        }
    }

    async fn may(&self, user: &str, (verb, group, resource, name): &Right) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": Self::user_name(user), "groups": ["system:authenticated"],
                "resourceAttributes": {
                    "verb": verb, "group": group, "resource": resource, "subresource": subresource,
                    "namespace": NAMESPACE, "name": name,
                },
            },
        });
        let review = self.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
        review["status"]["allowed"] == true
    }

    /// Only administrators may see which API groups and resources there
    /// are, as in a cluster that is locked down.
    pub async fn forbid_discovery(&self) {
        for name in ["system:discovery", "system:public-info-viewer"] {
            self.remove("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", name).await;
        }
        let nobody = self.client("nobody").await;
        let look = || http::Request::get("/apis").body(Vec::new()).expect("it is well formed");
        until("discovery is forbidden", async || nobody.request_text(look()).await.is_err().then_some(())).await;
    }

    /// A kubeconfig for this user. The token is read from a file, as in a pod.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        let admin = self.dir.path().join("admin.kubeconfig");
        if user == "admin" {
            return admin;
        }
        let config: Value = serde_json::from_str(&std::fs::read_to_string(admin).expect("it was written at the start"))
            .expect("it was written as JSON");
        let cluster = config["clusters"][0]["cluster"].clone();
        let path = self.dir.path().join(format!("{user}.kubeconfig"));
        let config = kubeconfig(cluster, json!({"tokenFile": self.token_file(user)}));
        std::fs::write(&path, config.to_string()).expect("the folder is ours");
        path
    }

    /// The file with the token of this user, which every kubeconfig of it names.
    pub fn token_file(&self, user: &str) -> PathBuf {
        self.dir.path().join(format!("{user}.token"))
    }

    /// A client of this user that sends each request once. It is not the one
    /// that the product makes.
    pub async fn client(&self, user: &str) -> Client {
        client_of(&self.kubeconfig(user)).await
    }

    /// Requests a new token for this user and puts it into its file. The old one
    /// stays valid.
    pub async fn rotate_token(&self, user: &str) {
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        });
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{user}/token");
        let answer = self.post(&path, &request).await;
        let token = answer["status"]["token"].as_str().expect("the answer to a TokenRequest has a token");
        // Replaced at once, for a client may read it at any time.
        let new = self.dir.path().join(format!("{user}.token.new"));
        std::fs::write(&new, token).expect("the folder is ours");
        std::fs::rename(new, self.token_file(user)).expect("the folder is ours");
    }

    /// Makes all tokens of this user invalid, by replacing its service account.
    /// Its rights stay, for they go by name. Returns when the server refuses the
    /// token that was in the file, which takes about ten seconds.
    pub async fn expire_tokens(&self, user: &str) {
        let old = self.client(user).await;
        self.remove_in("v1", "ServiceAccount", user).await;
        self.create_account(user).await;
        let look = || http::Request::get("/version").body(Vec::new()).expect("it is well formed");
        until("the old token is refused", async || match old.request_text(look()).await {
            Err(kube::Error::Api(status)) if status.code == 401 => Some(()),
            _ => None,
        })
        .await;
    }
}
