//! What ours is compared with beside ToolHive's: the simplest writers that do the
//! same.

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::states::NAMESPACE;
use crate::writer::{Form, Kind};

/// An answer that has little more than the version in it.
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1, application/json";

/// After so many conflicts a report is given up.
const TRIES: usize = 20;

pub struct Naive {
    client: Client,
    kind: Kind,
    path: String,
    /// The version that was seen last.
    version: Option<String>,
    /// Whether `status.runtime` is there, so that parts of it can be patched.
    is_there: bool,
}

impl Naive {
    pub fn new(client: Client, kind: Kind, name: &str) -> Self {
        let path = format!("/apis/toolhive.stacklok.dev/v1beta1/namespaces/{NAMESPACE}/virtualmcpservers/{name}");
        Naive { client, kind, path, version: None, is_there: false }
    }

    /// Stores the status; an error after too many conflicts.
    pub async fn report(&mut self, form: &Form) -> Result<(), String> {
        while !self.is_there {
            // The first time all of them store the whole.
            self.is_there = self.get_and_put(form).await;
            if self.is_there {
                return Ok(());
            }
        }
        match self.kind {
            Kind::Bare => {
                let backend = json!([{"op": "replace", "path": "/status/runtime/discoveredBackends/0/status",
                    "value": form.status.discovered_backends[0].status}]);
                let (code, _) = self.patch(&backend).await;
                assert_eq!(code, StatusCode::OK, "nothing can be in its way");
                return Ok(());
            }
            Kind::ByVersion => {
                for _ in 0..TRIES {
                    if self.patch_at_version(form).await {
                        return Ok(());
                    }
                }
            }
            _ => {
                for _ in 0..TRIES {
                    if self.get_and_put(form).await {
                        return Ok(());
                    }
                }
            }
        }
        Err(format!("{TRIES} conflicts"))
    }

    /// Sends what differs, on condition that nothing of the object has changed;
    /// reads it again if something has.
    async fn patch_at_version(&mut self, form: &Form) -> bool {
        let version = match self.version.take() {
            Some(version) => version,
            None => version_in(&self.get().await),
        };
        let mut patch = vec![json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version})];
        for (path, value) in [
            ("phase", &form.json["phase"]),
            ("message", &form.json["message"]),
            ("conditions", &form.json["conditions"]),
            ("backendCount", &form.json["backendCount"]),
            ("discoveredBackends/0", &form.json["discoveredBackends"][0]),
        ] {
            patch.push(json!({"op": "replace", "path": format!("/status/runtime/{path}"), "value": value}));
        }
        let (code, answer) = self.patch(&patch.into()).await;
        let is_stored = stored(code, &answer);
        self.version = is_stored.then(|| version_in(&answer));
        is_stored
    }

    async fn get_and_put(&mut self, form: &Form) -> bool {
        let mut object = self.get().await;
        let mut runtime = form.json.clone();
        let members = runtime.as_object_mut().expect("a status is an object");
        let known = ["phase", "message", "conditions", "discoveredBackends", "backendCount"];
        members.retain(|member, _| known.contains(&&**member));
        object["status"]["runtime"] = runtime;
        let put = Request::put(format!("{}/status", self.path)).header("content-type", "application/json");
        let (code, answer) = self.send(put, bytes(&object)).await;
        let is_stored = stored(code, &answer);
        self.version = is_stored.then(|| version_in(&answer));
        is_stored
    }

    async fn get(&self) -> Value {
        let (code, object) = self.send(Request::get(&self.path), Vec::new()).await;
        assert_eq!(code, StatusCode::OK, "{object}");
        object
    }

    async fn patch(&self, patch: &Value) -> (StatusCode, Value) {
        let request = Request::patch(format!("{}/status?fieldManager=naive&includeObject=None", self.path))
            .header("content-type", "application/json-patch+json")
            .header("accept", TABLE);
        self.send(request, bytes(patch)).await
    }

    async fn send(&self, request: http::request::Builder, body: Vec<u8>) -> (StatusCode, Value) {
        let request = request.body(Body::from(body)).expect("a request");
        let answer: Response<Body> = self.client.send(request).await.expect("the server answers");
        let code = answer.status();
        let body = answer.into_body().collect().await.expect("the whole answer comes").to_bytes();
        (code, serde_json::from_slice(&body).expect("JSON"))
    }
}

/// Whether it was stored, and not refused because another was first.
fn stored(code: StatusCode, answer: &Value) -> bool {
    assert!(matches!(code, StatusCode::OK | StatusCode::CONFLICT), "{answer}");
    code == StatusCode::OK
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON values serialise")
}

fn version_in(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().expect("each object has a version").to_owned()
}
