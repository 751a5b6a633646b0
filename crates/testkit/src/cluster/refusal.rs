//! Refusals by the real means of a cluster: an admission policy, and priority
//! and fairness.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use kube::Client;
use kube::client::ConfigExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::kubeconfig::config_of;
use super::{NAMESPACE, RealCluster, TOOLHIVE_GROUP, until};

/// The account that keeps a level of priority busy.
const CROWD: &str = "testkit-crowd";
/// Well under the server's own limit for a request, a minute.
const HELD: Duration = Duration::from_secs(20);
const ADMISSION: &str = "admissionregistration.k8s.io/v1";
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io/v1";
/// Marks the request that asks whether a policy is in effect.
const PROBE: &str = "testkit-probe";

/// The two forms in which a policy denies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denial {
    /// 422, the form that policies take unless they say otherwise.
    Invalid,
    /// 403.
    Forbidden,
}

impl RealCluster {
    /// From now on a `ValidatingAdmissionPolicy` named `deny-USER` denies this
    /// user the writes of a status of a `VirtualMCPServer` for which the CEL
    /// expression is false, with this message. `false` denies them all; `object`
    /// is the object as it would be. There has to be a `VirtualMCPServer`, to see
    /// when the policy comes into effect.
    pub async fn deny(&self, user: &str, denial: Denial, expression: &str, message: &str) {
        let name = format!("deny-{user}");
        let reason = match denial {
            Denial::Invalid => "Invalid",
            Denial::Forbidden => "Forbidden",
        };
        let account = json!(Self::user_name(user));
        self.apply(json!({
            "apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [TOOLHIVE_GROUP], "apiVersions": ["*"], "operations": ["UPDATE"],
                    "resources": ["virtualmcpservers/status"],
                }]},
                "matchConditions": [{"name": "user", "expression": format!("request.userInfo.username == {account}")}],
                "validations": [{
                    "expression": format!("!('{PROBE}' in request.userInfo.groups) && ({expression})"),
                    "message": message, "reason": reason,
                }],
            },
        }))
        .await;
        self.apply(json!({
            "apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        }))
        .await;
        until("the policy denies", async || self.is_denied(user, message).await.then_some(())).await;
    }

    /// Takes back what [`RealCluster::deny`] did.
    pub async fn allow(&self, user: &str) {
        let name = format!("deny-{user}");
        let policies = self.cluster_wide(ADMISSION, "ValidatingAdmissionPolicy");
        let policy = policies.get(&name).await.expect("the user was denied");
        let message = policy.data["spec"]["validations"][0]["message"].as_str().expect("it has one").to_owned();
        self.remove(ADMISSION, "ValidatingAdmissionPolicyBinding", &name).await;
        self.remove(ADMISSION, "ValidatingAdmissionPolicy", &name).await;
        until("the policy is gone", async || (!self.is_denied(user, &message).await).then_some(())).await;
    }

    /// Whether the policy denies a marked dry run of the administrator in the
    /// user's name, which in the audit log is the administrator's.
    async fn is_denied(&self, user: &str, message: &str) -> bool {
        let objects = self.toolhive("VirtualMCPServer").list(&kube::api::ListParams::default().limit(1)).await;
        let objects = objects.expect("the administrator may read everything");
        let object = objects.items.first().and_then(|object| object.metadata.name.clone());
        let object = object.expect("there is a VirtualMCPServer");
        let path = format!(
            "/apis/{TOOLHIVE_GROUP}/v1beta1/namespaces/{NAMESPACE}/virtualmcpservers/{object}/status?dryRun=All"
        );
        let request = Request::patch(path)
            .header("content-type", "application/merge-patch+json")
            .header("impersonate-user", Self::user_name(user))
            .header("impersonate-group", PROBE)
            .header("impersonate-group", "system:masters")
            .body(b"{}".to_vec())
            .expect("it is well formed");
        match self.admin.request::<Value>(request).await {
            Err(kube::Error::Api(status)) => status.message.contains(message),
            _ => false,
        }
    }

    /// From now on the server refuses this user with 429 and `Retry-After: 1`,
    /// until the rejection is dropped. Priority and fairness does so: the user's
    /// requests share a level that serves one at a time and queues none, and
    /// another account keeps it busy.
    pub async fn reject(&self, user: &str) -> Rejection {
        let name = format!("reject-{user}");
        let create = json!([{"verbs": ["create"], "apiGroups": [""], "resources": ["configmaps"]}]);
        self.add_user(CROWD, create).await;
        self.apply(json!({
            "apiVersion": FLOW_CONTROL, "kind": "PriorityLevelConfiguration", "metadata": {"name": name},
            "spec": {"type": "Limited", "limited": {
                "nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Reject"},
            }},
        }))
        .await;
        let subject =
            |name: &str| json!({"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": NAMESPACE}});
        self.apply(json!({
            "apiVersion": FLOW_CONTROL, "kind": "FlowSchema", "metadata": {"name": name},
            "spec": {
                "matchingPrecedence": 2,
                "priorityLevelConfiguration": {"name": name},
                "rules": [{
                    "subjects": [subject(user), subject(CROWD)],
                    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}],
                    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                }],
            },
        }))
        .await;
        let client = self.client(CROWD).await;
        let token = std::fs::read_to_string(self.token_file(CROWD)).expect("the account has one");
        let holder = tokio::spawn(hold_the_seat(self.kubeconfig(CROWD), token));
        until("the server rejects", async || is_rejected(&client).await.then_some(())).await;
        Rejection { holder }
    }
}

/// As long as it lives, a user is rejected: see [`RealCluster::reject`].
#[must_use = "the server rejects as long as this lives"]
pub struct Rejection {
    holder: JoinHandle<()>,
}

impl Drop for Rejection {
    fn drop(&mut self) {
        self.holder.abort();
    }
}

async fn is_rejected(client: &Client) -> bool {
    let request = Request::get("/version").body(Vec::new()).expect("it is well formed");
    matches!(client.request_text(request).await, Err(kube::Error::Api(status)) if status.code == 429)
}

/// Has one request under way at all times: one that announces a body and does
/// not send it.
async fn hold_the_seat(kubeconfig: PathBuf, token: String) {
    let config = config_of(&kubeconfig).await;
    let mut tls = config.rustls_client_config().expect("the certificate can be read");
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(tls));
    let host = config.cluster_url.host().expect("the server has an address").to_owned();
    let address = format!("{host}:{}", config.cluster_url.port_u16().unwrap_or(443));
    let head = format!(
        "POST /api/v1/namespaces/{NAMESPACE}/configmaps HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    );
    let hold = async || -> std::io::Result<()> {
        let name = ServerName::try_from(host.clone()).expect("the server has an address");
        let mut stream = connector.connect(name, TcpStream::connect(&address).await?).await?;
        stream.write_all(head.as_bytes()).await?;
        // An answer is a refusal, and it comes at once.
        stream.read_u8().await?;
        Ok(())
    };
    loop {
        let _ = timeout(HELD, hold()).await;
        sleep(Duration::from_millis(1)).await;
    }
}
