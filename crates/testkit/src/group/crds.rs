//! Definitions of the kinds that a group is made of: as little as the watches
//! need, so that any nonsense can be put into an object.

use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;

use super::eventually;

pub const GROUP: &str = "toolhive.stacklok.dev";
/// Kind and plural.
pub const KINDS: [(&str, &str); 5] = [
    ("MCPServer", "mcpservers"),
    ("MCPRemoteProxy", "mcpremoteproxies"),
    ("MCPServerEntry", "mcpserverentries"),
    ("MCPExternalAuthConfig", "mcpexternalauthconfigs"),
    ("MCPGroup", "mcpgroups"),
];

pub fn resource(group: &str, kind: &str) -> ApiResource {
    let (_, plural) = KINDS.into_iter().find(|(known, _)| *known == kind).expect("a kind of the group");
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1beta1", kind), plural)
}

/// Applies the definitions of these kinds and waits until they are served.
pub async fn apply(admin: &Client, group: &str, kinds: &[&str]) {
    let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let crds: Api<DynamicObject> = Api::all_with(admin.clone(), &ApiResource::from_gvk(&gvk));
    for kind in kinds {
        let plural = resource(group, kind).plural;
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
                "versions": [{
                    "name": "v1beta1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
                }],
            },
        });
        let params = PatchParams::apply("test").force();
        eventually(async || crds.patch(&format!("{plural}.{group}"), &params, &Patch::Apply(&crd)).await.is_ok()).await;
        let api: Api<DynamicObject> = Api::all_with(admin.clone(), &resource(group, kind));
        eventually(async || api.list(&ListParams::default()).await.is_ok()).await;
    }
}
