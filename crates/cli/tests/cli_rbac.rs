//! RBAC.md and the program say the same.

use std::process::{Command, Output};

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

#[test]
fn the_manifests_in_the_document_are_those_that_are_printed() {
    let quoted: Vec<_> = DOCUMENT.split("<!-- vmcp-status ").skip(1).collect();
    assert!(quoted.len() >= 3, "each kind is quoted");
    for quote in quoted {
        let (args, rest) = quote.split_once(" -->\n\n```yaml\n").expect("a block of YAML after the comment");
        let (block, _) = rest.split_once("```").expect("the block ends");
        assert_eq!(printed(args), block, "vmcp-status {args}");
    }
    for word in ["--discovery", "--cluster-wide", "--leader-elect", "--events"] {
        assert!(DOCUMENT.lines().any(|line| line.starts_with("<!--") && line.contains(word)), "{word}");
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
fn rights_to_elect_a_leader_are_three_verbs_on_leases() {
    let (plain, electing) = (printed("rbac"), printed("rbac --leader-elect"));
    let rule =
        "- apiGroups:\n  - coordination.k8s.io\n  resources:\n  - leases\n  verbs:\n  - get\n  - create\n  - update\n";
    assert_eq!(electing.replace(rule, ""), plain, "{electing}");
    assert!(electing.contains(rule), "{electing}");
}

#[test]
fn the_pod_in_the_readme_has_the_role_that_is_printed() {
    let rules = |manifests: &str| {
        let objects: Vec<serde_json::Value> =
            manifests.split("---\n").map(|text| serde_saphyr::from_str(text).expect("YAML")).collect();
        let role = objects.iter().find(|object| object["kind"] == "Role").expect("a role");
        role["rules"].clone()
    };
    let readme = include_str!("../../../README.md");
    let pod = readme.split("```yaml\n").find(|block| block.contains("kind: Deployment")).expect("it is there");
    let (pod, _) = pod.split_once("```").expect("the block ends");
    assert_eq!(rules(pod), rules(&printed("rbac -n my-namespace --leader-elect --events")));
    for what in ["VMCP_LEADER_ELECT", "VMCP_EVENTS", "VMCP_LISTEN", "/healthz", "/readyz", "replicas: 2"] {
        assert!(pod.contains(what), "{what}");
    }
}
