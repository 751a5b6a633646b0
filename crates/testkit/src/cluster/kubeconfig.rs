//! Kubeconfigs, and the clients that the harness makes of them.

use std::path::Path;
use std::time::Duration;

use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::NAMESPACE;

/// The administrator's token at a server that this harness starts.
pub const ADMIN_TOKEN: &str = "admin-token";

/// A kubeconfig with one context.
pub fn kubeconfig(cluster: Value, user: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}],
    })
}

/// Cluster and user of the current context of a kubeconfig.
pub fn from_context(file: &Path) -> (Value, Value) {
    let config = Kubeconfig::read_from(file).expect("KUBECONFIG names a kubeconfig");
    let name = config.current_context.expect("KUBECONFIG has a current context");
    let context = config.contexts.into_iter().find(|context| context.name == name).and_then(|context| context.context);
    let context = context.expect("KUBECONFIG has its current context");
    let cluster = config.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.and_then(|cluster| cluster.cluster).expect("KUBECONFIG has the cluster of its context");
    let user = config.auth_infos.into_iter().find(|user| Some(&user.name) == context.user.as_ref());
    let user: AuthInfo = user.and_then(|user| user.auth_info).unwrap_or_default();
    (serde_json::to_value(cluster).expect("it serialises"), serde_json::to_value(user).expect("it serialises"))
}

/// What this kubeconfig says.
pub async fn config_of(kubeconfig: &Path) -> Config {
    let config = Kubeconfig::read_from(kubeconfig).expect("it was written by us");
    Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.expect("it names its user")
}

/// A client with this kubeconfig that sends each request once.
pub async fn client_of(kubeconfig: &Path) -> Client {
    let mut config = config_of(kubeconfig).await;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).expect("the certificate can be read")
}

/// A client of the administrator; nothing while the certificate is half written.
pub async fn admin_client(url: &str, ca: &Path) -> Option<Client> {
    let kubeconfig = kubeconfig(json!({"server": url, "certificate-authority": ca}), json!({"token": ADMIN_TOKEN}));
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).expect("it is well formed");
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.ok()?;
    config.default_retry = false;
    Client::try_from(config).ok()
}
