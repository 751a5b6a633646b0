//! What is shown of a cluster in which the vMCP reports to `status.runtime`.

use chrono::Utc;
use serde_json::{Value, json};

use super::state_files::{Said, States};
use vmcp_status_testkit::api::{Api, Pods, Reconciled, Role};
use vmcp_status_testkit::served::Served;

const NAMESPACE: &str = "default";
const NAME: &str = "tools";

/// An object with three reported backends, of which one is down; nothing is at
/// the top level yet.
fn reported() -> Api {
    let api = Api::new();
    api.create(NAMESPACE, NAME, json!({}));
    api.edit(NAMESPACE, NAME, |object| {
        object["status"] = json!({"runtime": {
            "phase": "Degraded", "message": "2 of 3 backends routable, 1 unavailable", "backendCount": 2,
            "discoveredBackends": [
                {"name": "a", "status": "ready"}, {"name": "b", "status": "ready"},
                {"name": "c", "status": "unavailable"},
            ],
        }});
    });
    api
}

fn get(served: &Served, args: &[&str]) -> Said {
    let kubeconfig = served.kubeconfig().display().to_string();
    States::new().get(&[args, &["--kubeconfig", &kubeconfig]].concat())
}

#[test]
fn report_that_the_operator_has_not_copied_is_marked_and_told_until_it_has() {
    let api = reported();
    let served = Served::new(&api, Role::Admin);
    let Said { code, out, err } = get(&served, &[NAME]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("Phase:       Pending (behind)\nReported:    "), "{out}");
    assert!(out.contains(" ago: Degraded, 2 routable, 3 listed; not taken over by the operator\n"), "{out}");
    let list = get(&served, &[]).out;
    assert!(list.contains("tools   Pending (behind)   <none>   0/0"), "{list}");

    assert_eq!(api.operator(NAMESPACE, NAME, Pods::Ready).reconcile(), Reconciled::Written);
    let out = get(&served, &[NAME]).out;
    assert!(out.contains("Phase:       Degraded\n") && !out.contains("Reported:"), "{out}");
    assert!(out.contains("Backends:    2 routable, 3 listed"), "{out}");
    assert!(!get(&served, &[]).out.contains("behind"));
}

#[test]
fn object_without_runtime_is_shown_as_before() {
    let api = Api::with_old_crd();
    api.create(NAMESPACE, NAME, json!({}));
    api.edit(NAMESPACE, NAME, |object| {
        object["status"] = json!({"phase": "Ready", "discoveredBackends": [{"name": "a", "status": "ready"}]});
    });
    let served = Served::new(&api, Role::Admin);
    let out = get(&served, &[NAME]).out;
    assert!(out.contains("Phase:       Ready\nURL:") && !out.contains("Reported:"), "{out}");
}

#[test]
fn programs_get_both_homes_and_no_mark() {
    let api = reported();
    let served = Served::new(&api, Role::Admin);
    let stored = api.object(NAMESPACE, NAME).expect("it is there");
    let json: Value = serde_json::from_str(&get(&served, &[NAME, "-o", "json"]).out).expect("JSON");
    assert_eq!(json["status"], stored["status"]);
    assert_eq!(json["status"]["runtime"]["backendCount"], 2);
    let yaml: Value = serde_saphyr::from_str(&get(&served, &[NAME, "-o", "yaml"]).out).expect("YAML");
    assert_eq!(yaml, json);
}

#[test]
fn one_that_is_followed_says_when_the_operator_is_late_and_when_it_has_caught_up() {
    let api = reported();
    // A server that keeps no managed fields: the report is as old as its checks.
    api.edit(NAMESPACE, NAME, |object| {
        object["status"]["runtime"]["discoveredBackends"][0]["lastHealthCheck"] = json!(Utc::now().to_rfc3339());
    });
    api.edit(NAMESPACE, NAME, |object| {
        object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
    });
    let served = Served::new(&api, Role::Admin);
    let kubeconfig = served.kubeconfig().display().to_string();
    let watch = States::new().watch(&["-w", "--no-headers", "--kubeconfig", &kubeconfig]);
    // The server tells nothing new meanwhile.
    while !watch.line().starts_with("tools   Pending (behind)") {}
    assert_eq!(api.operator(NAMESPACE, NAME, Pods::Ready).reconcile(), Reconciled::Written);
    let line = watch.line();
    assert!(line.starts_with("tools   Degraded "), "{line}");
    assert_eq!(watch.end(), Vec::<String>::new());
}
