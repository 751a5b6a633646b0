//! What is served, as every user may ask.

use serde_json::{Value, json};

use super::{
    answer::{self, Answer},
    crd::{GROUP, KIND, PLURAL},
    store::api_version,
};

pub fn answer(crd: Option<&Value>, path: &str) -> Result<Answer, Answer> {
    let served = served_versions(crd);
    let answer = match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["healthz" | "livez" | "readyz"] => return Ok(Answer::text(200, "ok")),
        ["version"] => json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0", "platform": "linux/amd64"}),
        ["apis"] => json!({"kind": "APIGroupList", "groups": group(&served).as_slice()}),
        ["apis", name] if *name == GROUP => {
            let mut group = group(&served).ok_or_else(answer::page_not_found)?;
            group["kind"] = json!("APIGroup");
            group["apiVersion"] = json!("v1");
            group
        }
        ["apis", name, version] if *name == GROUP => {
            let version = served.iter().find(|served| served["name"] == *version).ok_or_else(answer::page_not_found)?;
            resources(version)
        }
        _ => return Err(answer::page_not_found()),
    };
    Ok(Answer::json(200, answer))
}

/// The versions that the definition has served.
pub fn served_versions(crd: Option<&Value>) -> Vec<&Value> {
    let versions = crd.and_then(|crd| crd["spec"]["versions"].as_array());
    versions.into_iter().flatten().filter(|version| version["served"] == true).collect()
}

fn group(served: &[&Value]) -> Option<Value> {
    let versions: Vec<_> = served
        .iter()
        .filter_map(|version| version["name"].as_str())
        .map(|name| json!({"groupVersion": api_version(name), "version": name}))
        .collect();
    let preferred = versions.first()?.clone();
    Some(json!({"name": GROUP, "versions": versions, "preferredVersion": preferred}))
}

fn resources(version: &Value) -> Value {
    let mut resources = vec![json!({
        "name": PLURAL, "singularName": "virtualmcpserver", "namespaced": true, "kind": KIND,
        "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
        "shortNames": ["vmcp", "virtualmcp"],
    })];
    if version.pointer("/subresources/status").is_some() {
        resources.push(json!({
            "name": format!("{PLURAL}/status"), "singularName": "", "namespaced": true, "kind": KIND,
            "verbs": ["get", "patch", "update"],
        }));
    }
    let group_version = api_version(version["name"].as_str().unwrap_or_default());
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}
