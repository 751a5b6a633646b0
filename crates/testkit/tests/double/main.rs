//! The double of the API server, tested itself: what a reporter's tests rely
//! on must hold here first.

use vmcp_status_testkit::api;
use vmcp_status_testkit::projection;

mod answers;
mod faults;
mod home;
mod operations;
mod operator;
mod roles;
mod schema;
mod watch;
mod writes;

use api::{Api, Role};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, Service};

const RESOURCE: &str = "/apis/toolhive.stacklok.dev/v1beta1/namespaces/default/virtualmcpservers";
const OBJECT: &str = "/apis/toolhive.stacklok.dev/v1beta1/namespaces/default/virtualmcpservers/demo";
const STATUS: &str = "/apis/toolhive.stacklok.dev/v1beta1/namespaces/default/virtualmcpservers/demo/status";

const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

/// A server with the object `demo`, whose status is a small one.
fn server() -> Api {
    let api = Api::new();
    api.create("default", "demo", json!({"groupRef": {"name": "g"}}));
    api.edit("default", "demo", |object| object["status"] = json!({"phase": "Ready", "message": "fine"}));
    api
}

fn demo(api: &Api) -> Value {
    api.object("default", "demo").expect("demo is there")
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).expect("a version")
}

struct Reply {
    code: u16,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Sends one request as it stands, below kube's client, so that the whole
/// answer can be seen.
async fn try_send(
    api: &Api,
    role: Role,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Result<Reply, BoxError> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = api.service(role).call(request.body(Body::from(body.into()))?).await?;
    let (head, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await?.to_bytes().into())?;
    Ok(Reply { code: head.status.as_u16(), headers: head.headers, text })
}

async fn send(api: &Api, role: Role, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    try_send(api, role, method, path, headers, body.to_string()).await.expect("an answer")
}

async fn get(api: &Api, role: Role, path: &str) -> Reply {
    try_send(api, role, "GET", path, &[], "").await.expect("an answer")
}

async fn merge_patch(api: &Api, patch: Value) -> Reply {
    send(api, Role::Least, "PATCH", STATUS, &[("content-type", MERGE_PATCH)], &patch).await
}

async fn json_patch(api: &Api, operations: Value) -> Reply {
    send(api, Role::Least, "PATCH", STATUS, &[("content-type", JSON_PATCH)], &operations).await
}

async fn put(api: &Api, object: Value) -> Reply {
    send(api, Role::Seed, "PUT", STATUS, &[("content-type", "application/json")], &object).await
}
