//! An API server that knows ToolHive's groups and has none: where ToolHive's vMCP
//! looks when its configuration lists no backends.

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

use super::TOOLHIVE_GROUP;
use crate::api::AnswerBody;
use crate::served::Served;

/// Serves it until it is dropped.
pub fn serve() -> Served {
    Served::with(service_fn(|request: Request<Body>| async move { answer(request.uri().path()) }))
}

fn answer(path: &str) -> Result<Response<AnswerBody>, BoxError> {
    let (code, body) = content(path);
    let body = Full::new(Bytes::from(body.to_string())).map_err(Into::into).boxed_unsync();
    Ok(Response::builder().status(code).header(header::CONTENT_TYPE, "application/json").body(body)?)
}

fn content(path: &str) -> (u16, Value) {
    let version = json!({"groupVersion": format!("{TOOLHIVE_GROUP}/v1beta1"), "version": "v1beta1"});
    let group = json!({"name": TOOLHIVE_GROUP, "versions": [version], "preferredVersion": version});
    match path.trim_matches('/').split('/').collect::<Vec<_>>()[..] {
        ["api"] => (200, json!({"kind": "APIVersions", "versions": ["v1"]})),
        ["apis"] => (200, json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]})),
        ["apis", TOOLHIVE_GROUP] => (
            200,
            json!({"kind": "APIGroup", "apiVersion": "v1", "name": TOOLHIVE_GROUP, "versions": [version], "preferredVersion": version}),
        ),
        ["apis", TOOLHIVE_GROUP, "v1beta1"] => (
            200,
            json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version["groupVersion"],
                "resources": [{
                    "name": "mcpgroups", "singularName": "mcpgroup", "namespaced": true, "kind": "MCPGroup",
                    "verbs": ["get", "list", "watch"],
                }],
            }),
        ),
        _ => (
            404,
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound",
                "message": "not found", "code": 404,
            }),
        ),
    }
}
