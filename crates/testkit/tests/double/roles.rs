//! Who may do what.

use http::header::AUTHORIZATION;
use serde_json::json;

use crate::{
    MERGE_PATCH, OBJECT, RESOURCE, STATUS,
    api::{Api, Role},
    demo, get, send, server, try_send,
};

#[tokio::test(start_paused = true)]
async fn each_role_reaches_the_object_by_its_own_verbs_only() {
    let api = server();
    let table = [
        (Role::Seed, [403, 200, 200, 200, 403]),
        (Role::Operator, [200, 403, 200, 200, 403]),
        (Role::Least, [403, 403, 403, 200, 403]),
        (Role::Admin, [200, 200, 200, 200, 200]),
        (Role::None, [403, 403, 403, 403, 403]),
    ];
    for (role, expected) in table {
        let patch = [("content-type", MERGE_PATCH)];
        let put = [("content-type", "application/json")];
        let found = [
            get(&api, role, OBJECT).await.code,
            get(&api, role, STATUS).await.code,
            send(&api, role, "PUT", STATUS, &put, &demo(&api)).await.code,
            send(&api, role, "PATCH", STATUS, &patch, &json!({})).await.code,
            get(&api, role, RESOURCE).await.code,
        ];
        assert_eq!(found, expected, "{role:?}: GET, GET status, PUT status, PATCH status, list");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_request_is_told_what_is_missing() {
    let reply = get(&server(), Role::Operator, STATUS).await;
    assert_eq!(
        reply.message(),
        "virtualmcpservers.toolhive.stacklok.dev \"demo\" is forbidden: User \
         \"system:serviceaccount:default:operator\" cannot get resource \"virtualmcpservers/status\" in API group \
         \"toolhive.stacklok.dev\" in the namespace \"default\""
    );
    assert_eq!(reply.json()["reason"], "Forbidden");
    assert_eq!(
        reply.json()["details"],
        json!({"name": "demo", "group": "toolhive.stacklok.dev", "kind": "virtualmcpservers"})
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_not_told_to_be_missing() {
    let reply = get(&Api::without_crd(), Role::None, STATUS).await;
    assert_eq!(reply.code, 403);
    assert_eq!(get(&server(), Role::None, "/apis").await.code, 403);
}

#[tokio::test(start_paused = true)]
async fn only_the_current_token_is_let_in() {
    let api = server();
    let with = async |token: &str| {
        let headers = [(AUTHORIZATION.as_str(), token)];
        try_send(&api, Role::Seed, "GET", STATUS, &headers, "").await.expect("an answer").code
    };
    api.set_token(Some("old".to_owned()));
    assert_eq!(with("Bearer old").await, 200);
    api.set_token(Some("new".to_owned()));
    assert_eq!(with("Bearer old").await, 401);
    assert_eq!(with("Basic new").await, 401);
    assert_eq!(with("Bearer new").await, 200);
    let without = get(&api, Role::Seed, STATUS).await;
    assert_eq!((without.code, without.json()["reason"].as_str()), (401, Some("Unauthorized")));
    api.set_token(None);
    assert_eq!(get(&api, Role::Seed, STATUS).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn an_access_review_answers_by_role() {
    let api = server();
    let review = async |role: Role, verb: &str, subresource: &str| {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "group": "toolhive.stacklok.dev", "resource": "virtualmcpservers", "subresource": subresource,
                "verb": verb, "namespace": "default", "name": "demo",
            }},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let reply = send(&api, role, "POST", path, &[("content-type", "application/json")], &review).await;
        (reply.code, reply.json()["status"]["allowed"].as_bool())
    };
    assert_eq!(review(Role::Operator, "get", "").await, (201, Some(true)));
    assert_eq!(review(Role::Operator, "get", "status").await, (201, Some(false)));
    assert_eq!(review(Role::Seed, "get", "status").await, (201, Some(true)));
    assert_eq!(review(Role::Least, "update", "status").await, (201, Some(false)));
    assert_eq!(review(Role::Least, "patch", "status").await, (201, Some(true)));
    assert_eq!(review(Role::None, "patch", "status").await.0, 403);
}
