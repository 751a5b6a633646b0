//! RBAC.md and the program say the same.

use std::process::{Command, Output};

use serde_json::Value;
use vmcp_status_testkit::manifests;

const DOCUMENT: &str = include_str!("../../../RBAC.md");

fn program(args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
    command.env_clear().args(args.split_whitespace()).output().expect("it runs")
}

fn printed(args: &str) -> String {
    let output = program(args);
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// What the first line of a manifest says that it was printed by.
fn command(manifest: &str) -> (&str, &str) {
    manifest.strip_prefix("# vmcp-status ").and_then(|rest| rest.split_once('\n')).expect("its first line says how")
}

fn role(objects: &[Value]) -> &Value {
    objects.iter().find(|object| object["kind"] == "Role").expect("a role")
}

#[test]
fn the_manifests_to_apply_are_those_that_are_printed() {
    for file in ["base/rbac.yaml", "cluster-wide.yaml"] {
        let manifest = std::fs::read_to_string(manifests::folder().join(file)).expect("it is there");
        let (args, objects) = command(&manifest);
        assert_eq!(printed(args), objects, "{file}: vmcp-status {args}");
    }
    for (overlay, flags) in [("overlays/replicas", "--leader-elect --events"), ("overlays/group", "--discovery")] {
        let args = format!("rbac --service-account my-vmcp {flags}");
        let printed: Vec<Value> =
            printed(&args).split("---\n").map(|text| serde_saphyr::from_str(text).expect("YAML")).collect();
        assert_eq!(role(&manifests::kustomized(overlay)), role(&printed), "{overlay}: vmcp-status {args}");
    }
}

#[test]
fn the_document_names_each_manifest_and_the_command_that_prints_it() {
    for (file, flags) in [
        ("deploy/base/rbac.yaml", ""),
        ("deploy/overlays/replicas", " --leader-elect --events"),
        ("deploy/overlays/group", " --discovery"),
        ("deploy/cluster-wide.yaml", " --cluster-wide"),
    ] {
        assert!(DOCUMENT.contains(&format!("({file})")), "{file} is linked");
        let command = format!("vmcp-status rbac -n my-namespace --service-account my-vmcp{flags}");
        assert!(DOCUMENT.lines().any(|line| line.split(" | ").next() == Some(&command)), "{command}");
    }
}

#[test]
fn rights_to_make_events_are_added_when_asked_for() {
    let added = "- apiGroups:\n  - events.k8s.io\n  resources:\n  - events\n  verbs:\n  - create\n  - patch\n";
    assert!(printed("rbac --events").contains(added));
    assert_eq!(printed("rbac --events").replace(added, ""), printed("rbac"), "and nothing else");
}

#[test]
fn the_names_given_are_the_names_used() {
    let text = printed("rbac -n ns --service-account sa --name mine --cluster-wide");
    for line in ["kind: ClusterRole", "kind: ClusterRoleBinding", "  name: mine", "  name: sa", "  namespace: ns"] {
        assert!(text.lines().any(|found| found.trim_start_matches("- ").trim() == line.trim()), "{line}:\n{text}");
    }
    assert_eq!(text.matches("namespace: ns").count(), 1, "only the subject has one:\n{text}");
    assert!(!printed("rbac").contains("namespace"), "it is left to kubectl apply -n");
}

#[test]
fn a_service_account_of_a_cluster_wide_role_needs_its_namespace() {
    for wrong in ["rbac --cluster-wide", "rbac -n Not_A_Name", "rbac --name x/y"] {
        assert_eq!(program(wrong).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn nothing_more_than_was_asked_for() {
    for args in ["rbac", "rbac --discovery", "rbac -n a --cluster-wide --discovery"] {
        let text = printed(args);
        for word in ["secrets", "\"*\"", "'*'", "update", "delete", "create"] {
            assert!(!text.contains(word), "{args}: {word}");
        }
        assert_eq!(text.contains("mcpgroups"), args.contains("--discovery"));
    }
}

#[test]
fn the_spec_of_the_vmcp_can_be_followed_and_the_rights_limited_to_the_one_named() {
    let objects = |args: &str| -> Vec<Value> {
        printed(args).split("---\n").map(|text| serde_saphyr::from_str(text).expect("YAML")).collect()
    };
    let all = objects("rbac --discovery");
    let one = objects("rbac --discovery --vmcp mine");
    let (all, one) = (role(&all)["rules"].as_array(), role(&one)["rules"].as_array());
    let (all, one) = (all.expect("rules"), one.expect("rules"));
    assert_eq!(all[1]["resources"][0], "virtualmcpservers");
    assert_eq!(all[1]["verbs"], serde_json::json!(["get", "list", "watch"]));
    for (rule, limited) in all.iter().zip(one) {
        let mut expected = rule.clone();
        if rule["resources"][0].as_str().is_some_and(|resource| resource.starts_with("virtualmcpservers")) {
            expected["resourceNames"] = serde_json::json!(["mine"]);
        }
        assert_eq!(limited, &expected);
    }
}

#[test]
fn rights_to_read_ca_bundles_are_two_verbs_on_config_maps() {
    let rule = "- apiGroups:\n  - ''\n  resources:\n  - configmaps\n  verbs:\n  - list\n  - watch\n";
    let discovering = printed("rbac --discovery");
    assert!(discovering.replace('"', "'").contains(rule), "{discovering}");
    assert!(!printed("rbac --leader-elect --events").contains("configmaps"));
}

#[test]
fn rights_to_elect_a_leader_are_three_verbs_on_leases() {
    let (plain, electing) = (printed("rbac"), printed("rbac --leader-elect"));
    let rule =
        "- apiGroups:\n  - coordination.k8s.io\n  resources:\n  - leases\n  verbs:\n  - get\n  - create\n  - update\n";
    assert_eq!(electing.replace(rule, ""), plain, "{electing}");
    assert!(electing.contains(rule), "{electing}");
}

#[test]
fn the_pod_to_apply_asks_for_what_its_role_allows() {
    let objects = manifests::kustomized("overlays/replicas");
    let pod = objects.iter().find(|object| object["kind"] == "Deployment").expect("it is there");
    assert_eq!(pod["spec"]["replicas"], 2);
    let pod = pod.to_string();
    for what in ["VMCP_LEADER_ELECT", "VMCP_EVENTS", "VMCP_LISTEN", "/healthz", "/readyz"] {
        assert!(pod.contains(what), "{what}");
    }
    assert!(include_str!("../../../README.md").contains("(deploy/README.md)"), "the README says where it is");
}
