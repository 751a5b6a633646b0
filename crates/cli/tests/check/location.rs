//! Where a reporter would write, asked of the double.

use serde_json::json;

use super::api::{Api, Operator, Pods, Reconciled, Role};
use super::served::Served;
use super::{Checked, NAME, check};

const NAMESPACE: &str = "default";

fn with_object(api: Api) -> Api {
    api.create(NAMESPACE, NAME, json!({}));
    api
}

/// A backend that is reported to `runtime`.
fn report(api: &Api, status: &str) {
    api.edit(NAMESPACE, NAME, |object| {
        let backends = json!([{"name": "a", "status": status}]);
        object["status"]["runtime"] = json!({"phase": "Ready", "backendCount": 1, "discoveredBackends": backends});
    });
}

async fn check_as(api: &Api, role: Role, args: &[&str]) -> Checked {
    let served = Served::new(api, role);
    let before = api.object(NAMESPACE, NAME);
    let checked = check(Some(&served.kubeconfig()), &[&[NAME], args].concat()).await;
    assert_eq!(api.object(NAMESPACE, NAME), before, "nothing is written");
    checked
}

#[tokio::test]
async fn least_role_learns_the_location_from_the_crd() {
    for (api, words) in [
        (Api::new(), "status.runtime: the CRD has it"),
        (Api::with_old_crd(), "the top level of the status: the CRD has no status.runtime"),
    ] {
        let checked = check_as(&with_object(api), Role::Least, &[]).await;
        checked.assert(0, &[("write", "ok"), ("location", "ok")], &[words]);
        assert!(!checked.text.contains("\nok   operator"), "nothing to follow: {}", checked.text);
    }
}

#[tokio::test]
async fn server_that_refuses_dry_runs_leaves_the_location_open() {
    let api = with_object(Api::new());
    api.set_webhook_with_side_effects(Some("audit.example.com".into()));
    let words = ["audit.example.com", "finds out with its first write"];
    check_as(&api, Role::Operator, &[]).await.assert(0, &[("location", "warn")], &words);
    report(&api, "ready");
    let words = ["status.runtime: the object has one"];
    check_as(&api, Role::Operator, &[]).await.assert(0, &[("location", "ok")], &words);
}

#[tokio::test]
async fn operator_that_does_not_follow_is_named_with_what_users_miss() {
    let api = with_object(Api::new());
    report(&api, "ready");
    let words = ["ago: Ready, 1 routable, 1 listed; not taken over by the operator", "is ToolHive's operator running"];
    check_as(&api, Role::Least, &[]).await.assert(0, &[("location", "ok"), ("operator", "warn")], &words);

    let operator: Operator = api.operator(NAMESPACE, NAME, Pods::Ready);
    assert_eq!(operator.reconcile(), Reconciled::Written);
    check_as(&api, Role::Least, &[]).await.assert(0, &[("operator", "ok")], &["shows the backends"]);
}

#[tokio::test]
async fn location_by_hand_is_judged_by_what_is_there() {
    let old = with_object(Api::with_old_crd());
    let words = ["drops what is written", "update ToolHive's CRDs"];
    check_as(&old, Role::Least, &["--status-location", "runtime"]).await.assert(1, &[("location", "FAIL")], &words);
    check_as(&old, Role::Least, &["--status-location", "top-level"]).await.assert(0, &[("location", "ok")], &[]);

    let today = with_object(Api::new());
    report(&today, "ready");
    let words = ["would remove the status.runtime", "leave --status-location at auto"];
    let by_hand = check_as(&today, Role::Least, &["--status-location", "top-level"]).await;
    by_hand.assert(0, &[("location", "warn")], &words);
    let by_hand = check_as(&today, Role::Least, &["--status-location", "runtime"]).await;
    by_hand.assert(0, &[("location", "ok")], &["chosen by hand"]);
}

#[tokio::test]
async fn location_that_is_none_is_wrong_usage_and_an_empty_variable_is_auto() {
    assert_eq!(check(None, &[NAME, "--status-location", "elsewhere"]).await.code, Some(2));
    let served = Served::new(&with_object(Api::new()), Role::Least);
    for (variable, code, words) in [("", 0, "the CRD has it"), ("runtime", 0, "by hand"), ("elsewhere", 2, "")] {
        let variable = ("VMCP_STATUS_LOCATION", variable);
        let checked = super::check_with(Some(&served.kubeconfig()), &[NAME], &[variable]).await;
        checked.assert(code, &[], &[words]);
    }
}
