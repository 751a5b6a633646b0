//! In which form an answer comes, and what is served at all.

use kube::{
    Api as Resources,
    api::{DynamicObject, Patch, PatchParams},
    discovery::ApiResource,
};
use serde_json::{Value, json};

use crate::{
    JSON_PATCH, MERGE_PATCH, OBJECT, RESOURCE, STATUS, TABLE,
    api::{Api, Role},
    demo, get, send, server,
};

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

#[tokio::test(start_paused = true)]
async fn a_table_without_the_object_stays_small_and_has_the_version() {
    let api = server();
    let headers = [("content-type", MERGE_PATCH), ("accept", TABLE)];
    let patch = json!({"status": {"message": "x".repeat(10_000), "url": "http://demo", "backendCount": 2}});
    let reply = send(&api, Role::Least, "PATCH", &format!("{STATUS}?includeObject=None"), &headers, &patch).await;
    let table = reply.json();
    assert_eq!((reply.code, &table["kind"]), (200, &json!("Table")));
    assert_eq!(table["metadata"]["resourceVersion"], demo(&api)["metadata"]["resourceVersion"]);
    assert_eq!(table["rows"], json!([{"cells": ["demo", "Ready", "http://demo", 2, "0s", null], "object": null}]));
    assert!((1_000..2_048).contains(&reply.text.len()), "{} bytes", reply.text.len());
}

#[tokio::test(start_paused = true)]
async fn a_table_shows_the_object_as_far_as_it_is_asked_for() {
    let api = server();
    let with = async |include: &str| {
        let path = format!("{STATUS}{include}");
        let headers = [("content-type", MERGE_PATCH), ("accept", TABLE)];
        send(&api, Role::Least, "PATCH", &path, &headers, &json!({})).await
    };
    assert_eq!(with("").await.json()["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(with("?includeObject=Object").await.json()["rows"][0]["object"], demo(&api));
    assert_eq!(with("?includeObject=nonsense").await.code, 400);
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_comes_with_the_managed_fields() {
    let api = server();
    let headers = [("content-type", MERGE_PATCH), ("accept", METADATA)];
    let reply = send(&api, Role::Least, "PATCH", STATUS, &headers, &json!({})).await;
    assert_eq!(
        reply.json(),
        json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": demo(&api)["metadata"],
        })
    );
    assert!(reply.json()["metadata"]["managedFields"].is_array());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_status_in_whatever_form_the_object_was_wanted() {
    let api = server();
    let stale = json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}]);
    for accept in [TABLE, METADATA] {
        let headers = [("content-type", JSON_PATCH), ("accept", accept)];
        let reply = send(&api, Role::Least, "PATCH", STATUS, &headers, &stale).await;
        assert_eq!((reply.code, reply.json()["kind"].as_str()), (409, Some("Status")));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_form_that_is_known_is_taken() {
    let api = server();
    for (accept, code, kind) in [
        ("application/json;as=Nonsense;g=meta.k8s.io;v=v1,application/json", 200, "VirtualMCPServer"),
        ("application/json;as=Table;g=meta.k8s.io;v=v1,application/json", 200, "Table"),
        ("*/*", 200, "VirtualMCPServer"),
        ("text/html", 406, "Status"),
    ] {
        let reply = send(&api, Role::Admin, "GET", OBJECT, &[("accept", accept)], &Value::Null).await;
        assert_eq!((reply.code, reply.json()["kind"].as_str()), (code, Some(kind)), "{accept}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_older_version_shows_the_same_object_with_a_warning() {
    let api = server();
    let reply = get(&api, Role::Seed, &STATUS.replace("v1beta1", "v1alpha1")).await;
    let mut expected = demo(&api);
    expected["apiVersion"] = json!("toolhive.stacklok.dev/v1alpha1");
    assert_eq!(reply.json(), expected);
    assert!(reply.header("warning").is_some_and(|warning| warning.contains("is deprecated")));
    assert_eq!(get(&api, Role::Seed, STATUS).await.header("warning"), None);
    assert_eq!(get(&api, Role::Admin, &STATUS.replace("v1beta1", "v1")).await.text, "404 page not found\n");
}

#[tokio::test(start_paused = true)]
async fn a_list_has_the_objects_of_its_namespace() {
    let api = server();
    api.create("other", "demo", json!({}));
    let names = async |path: &str| {
        let list = get(&api, Role::Admin, path).await.json();
        assert_eq!(list["kind"], "VirtualMCPServerList");
        list["items"].as_array().map(Vec::len)
    };
    assert_eq!(names(RESOURCE).await, Some(1));
    assert_eq!(names(&format!("{RESOURCE}?fieldSelector=metadata.name%3Dnobody")).await, Some(0));
    assert_eq!(names("/apis/toolhive.stacklok.dev/v1beta1/virtualmcpservers").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn the_definition_says_what_is_served() {
    let api = server();
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/virtualmcpservers.toolhive.stacklok.dev";
    assert_eq!(get(&api, Role::Seed, path).await.code, 403);
    assert_eq!(get(&api, Role::Admin, path).await.json()["kind"], "CustomResourceDefinition");
    let missing = get(&Api::without_crd(), Role::Admin, path).await;
    assert_eq!((missing.code, missing.json()["reason"].as_str()), (404, Some("NotFound")));

    let later = Api::without_crd();
    later.edit_crd(|_| ());
    assert_eq!(get(&later, Role::Seed, STATUS).await.json()["reason"], "NotFound");

    api.edit_crd(|crd| {
        crd["spec"]["versions"][0].as_object_mut().and_then(|version| version.remove("subresources"));
        crd["spec"]["versions"][1]["served"] = json!(false);
    });
    let without_subresource = get(&api, Role::Seed, STATUS).await;
    assert_eq!((without_subresource.code, without_subresource.json()["reason"].as_str()), (404, Some("NotFound")));
    assert_eq!(get(&api, Role::Seed, &STATUS.replace("v1beta1", "v1alpha1")).await.text, "404 page not found\n");
}

#[tokio::test(start_paused = true)]
async fn kubes_discovery_finds_the_resource() {
    let client = server().client(Role::Least);
    let group = kube::discovery::group(&client, "toolhive.stacklok.dev").await.expect("the group is served");
    let (resource, capabilities) = group.recommended_kind("VirtualMCPServer").expect("the kind is served");
    assert_eq!((resource.version.as_str(), resource.plural.as_str()), ("v1beta1", "virtualmcpservers"));
    assert!(capabilities.subresources.iter().any(|(subresource, _)| subresource.plural == "status"));
    assert!(kube::discovery::group(&Api::without_crd().client(Role::Least), "toolhive.stacklok.dev").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn kubes_typed_api_reads_writes_and_gets_errors_it_understands() {
    let api = server();
    let resource = ApiResource {
        group: "toolhive.stacklok.dev".to_owned(),
        version: "v1beta1".to_owned(),
        api_version: "toolhive.stacklok.dev/v1beta1".to_owned(),
        kind: "VirtualMCPServer".to_owned(),
        plural: "virtualmcpservers".to_owned(),
    };
    let servers: Resources<DynamicObject> = Resources::default_namespaced_with(api.client(Role::Seed), &resource);
    let mut object = servers.get_status("demo").await.expect("the role may read the status");
    object.data["status"]["phase"] = json!("Failed");
    let written = servers.replace_status("demo", &kube::api::PostParams::default(), &object).await.expect("is current");
    assert_eq!(written.data["status"]["phase"], "Failed");

    let stale = servers.replace_status("demo", &kube::api::PostParams::default(), &object).await;
    let Err(kube::Error::Api(status)) = stale else { panic!("a stale object was written") };
    assert!(status.is_conflict());
    let broken = Patch::Merge(json!({"status": {"phase": "Bogus"}}));
    let refused = servers.patch_status("demo", &PatchParams::default(), &broken).await;
    let Err(kube::Error::Api(status)) = refused else { panic!("a phase that does not exist was written") };
    let causes = &status.details.expect("details").causes;
    assert_eq!((status.code, causes[0].field.as_str()), (422, "status.phase"));
}
