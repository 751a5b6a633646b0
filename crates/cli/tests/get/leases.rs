//! What `get` tells of the Leases by which reporters elect one writer.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use vmcp_status_testkit::api::{Api, Role};
use vmcp_status_testkit::cluster::{RealCluster, until};
use vmcp_status_testkit::leases::ElectionCluster;
use vmcp_status_testkit::served::Served;

use super::state_files::{Said, States};

const NAMESPACE: &str = "default";
const LEASE: &str = "vmcp-status-tools";
const POD: &str = "pod-1_0123456789abcdef";

fn ago(seconds: i64) -> String {
    (Utc::now() - TimeDelta::seconds(seconds)).to_rfc3339()
}

/// Two objects; the backend of one was checked a while ago.
fn cluster() -> ElectionCluster {
    let api = Api::new();
    for name in ["bare", "tools"] {
        api.create(NAMESPACE, name, json!({}));
    }
    api.edit(NAMESPACE, "tools", |object| {
        let backend = json!({"name": "a", "status": "ready", "lastHealthCheck": ago(41 * 60)});
        object["status"] = json!({"phase": "Ready", "discoveredBackends": [backend]});
    });
    ElectionCluster::of(api)
}

fn spec(holder: &str, renewed: i64) -> Value {
    json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": ago(renewed)})
}

fn get(served: &Served, args: &[&str]) -> Said {
    let kubeconfig = served.kubeconfig().display().to_string();
    States::new().get(&[args, &["--kubeconfig", &kubeconfig]].concat())
}

/// The line about the reporter, if there is one.
fn reporter(said: &Said) -> Option<&str> {
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    said.out.lines().find_map(|line| line.strip_prefix("Reporter:    "))
}

#[test]
fn one_whose_reporters_elect_a_leader_says_whether_it_is_alive() {
    let cluster = cluster();
    let served = cluster.serve("reader", Role::Admin);
    assert_eq!(reporter(&get(&served, &["tools"])), Some("backends checked 41m ago"));
    assert_eq!(reporter(&get(&served, &["bare"])), None);

    // No machine is so slow that this Lease runs out.
    cluster.put_lease(LEASE, json!({"holderIdentity": POD, "leaseDurationSeconds": 3600, "renewTime": ago(0)}));
    let said = get(&served, &["tools"]);
    let line = reporter(&said).expect("there is a Lease");
    assert!(line.starts_with("alive ") && line.ends_with("s ago (holder pod-1), backends checked 41m ago"), "{line}");

    cluster.put_lease(LEASE, spec(POD, 600));
    let said = get(&served, &["tools"]);
    let line = reporter(&said).expect("there is a Lease");
    assert!(line.starts_with("gone since 2") && line.contains("Z (10m ago, holder pod-1), backends"), "{line}");

    cluster.put_lease(LEASE, spec("", 600));
    let said = get(&served, &["tools", "-o", "wide"]);
    let line = reporter(&said).expect("there is a Lease");
    assert!(line.contains("Z (10m ago, released), backends"), "{line}");
}

#[test]
fn lease_of_another_name_is_read_where_it_is_named() {
    let cluster = cluster();
    cluster.put_lease("mine", spec(POD, -3600));
    let served = cluster.serve("reader", Role::Admin);
    let said = get(&served, &["tools", "--lease-name", "mine"]);
    assert_eq!(reporter(&said), Some("alive 0s ago (holder pod-1), backends checked 41m ago"));
    let Said { code, err, .. } = get(&served, &["tools", "--lease-name", "../mine"]);
    assert!(code == Some(1) && err.contains("lease name"), "{err}");
    assert_eq!(get(&served, &["--lease-name", "mine"]).code, Some(2), "one Lease is of one object");
    assert_eq!(States::new().get(&["tools", "--lease-name", "mine"]).code, Some(2), "state files have none");
}

#[test]
fn leases_are_read_only_for_what_shows_them() {
    let cluster = cluster();
    let served = cluster.serve("reader", Role::Admin);
    for (args, requests) in [
        (&["tools"][..], 1),
        (&["-o", "wide"], 1),
        (&["-o", "wide", "-A"], 1),
        (&[], 1),
        (&["tools", "-o", "json"], 1),
        (&["-o", "yaml"], 1),
        (&["-o", "name"], 0),
    ] {
        cluster.clear_sent();
        assert_eq!(get(&served, args).code, Some(0));
        assert_eq!(cluster.sent().iter().filter(|sent| sent.is_of_lease()).count(), requests, "{args:?}");
    }
}

#[test]
fn wide_list_shows_the_lease_of_each() {
    let cluster = cluster();
    cluster.put_lease(LEASE, spec(POD, 600));
    let served = cluster.serve("reader", Role::Admin);
    for args in [&["-o", "wide"][..], &["-o", "wide", "-A"]] {
        let Said { code, out, err } = get(&served, args);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        let lines: Vec<_> = out.lines().collect();
        assert!(lines[0].contains("REPORTER                  LAST CHECK   MESSAGE"), "{out}");
        assert!(lines[1].contains("bare") && !lines[1].contains("gone"), "{out}");
        assert!(lines[2].contains("tools") && lines[2].contains("gone 10m (holder pod-1)   41m "), "{out}");
    }
}

#[test]
fn lease_that_may_not_be_read_or_is_not_served_leaves_all_else_as_it_is() {
    let cluster = cluster();
    let served = cluster.serve("reader", Role::Admin);
    let without = [&["tools"][..], &["-o", "wide"]].map(|args| get(&served, args).out);
    cluster.put_lease(LEASE, spec(POD, 600));
    for served_at_all in [true, false] {
        cluster.forbid(if served_at_all { &["get", "list"] } else { &[] });
        cluster.serve_leases(served_at_all);
        for (args, without) in [&["tools"][..], &["-o", "wide"]].iter().zip(&without) {
            let Said { code, out, err } = get(&served, args);
            assert_eq!((code, err.contains("no Leases are read")), (Some(0), served_at_all), "{args:?}: {err}");
            // Ages of the objects move on.
            let steady = |out: &str| -> Vec<String> {
                let is_age = |word: &&str| word.ends_with('s') && word[..word.len() - 1].parse::<u32>().is_ok();
                out.split_whitespace().filter(|word| !is_age(word)).map(String::from).collect()
            };
            assert_eq!(steady(&out), steady(without), "{args:?}");
        }
    }
}

#[test]
fn one_that_is_followed_is_printed_again_when_its_reporter_goes() {
    let cluster = cluster();
    cluster.put_lease(LEASE, spec(POD, -3600));
    let served = cluster.serve("reader", Role::Admin);
    let kubeconfig = served.kubeconfig().display().to_string();
    let watch = States::new().watch(&["tools", "-w", "--kubeconfig", &kubeconfig]);
    while !watch.line().starts_with("Reporter:    alive ") {}
    while !watch.line().starts_with("a         ready") {}
    cluster.put_lease(LEASE, spec("", 600));
    assert_eq!([watch.line(), watch.line()], ["", "Name:        tools"]);
    let gone = loop {
        let line = watch.line();
        if line.starts_with("Reporter:") {
            break line;
        }
    };
    assert!(gone.contains("gone since ") && gone.contains("released"), "{gone}");
    watch.end();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn lease_of_a_real_server_tells_who_leads_and_who_has_gone_as_far_as_rights_allow() {
    let server = RealCluster::start(vmcp_status::crd()).await;
    server.create("tools").await;
    let vmcps =
        json!({"verbs": ["get", "list"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers"]});
    let leases = json!({"verbs": ["get", "list"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]});
    server.add_user("reader", json!([vmcps, leases])).await;
    server.add_user("limited", json!([vmcps])).await;
    let get = |user: &str, args: &[&str]| {
        let kubeconfig = server.kubeconfig(user).display().to_string();
        let said = States::new().get(&[args, &["-n", NAMESPACE, "--kubeconfig", &kubeconfig]].concat());
        let may_read_leases = user == "reader";
        assert_eq!((said.code, said.err.is_empty()), (Some(0), may_read_leases), "{user} {args:?}: {}", said.err);
        assert!(may_read_leases || said.err.contains("on leases of coordination.k8s.io, see RBAC.md"), "{}", said.err);
        said.out
    };
    assert!(!get("reader", &["tools"]).contains("Reporter:"));

    let config = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
    std::fs::write(config.path(), "backends: [{name: mail, url: 'http://127.0.0.1:1/mcp'}]\n").expect("written");
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_vmcp-status"))
        .env_clear()
        .env("POD_NAME", "pod-1")
        .args(["run", "--kubernetes", "tools", "-n", NAMESPACE, "--leader-elect", "-c"])
        .arg(config.path())
        .arg("--kubeconfig")
        .arg(server.kubeconfig("electing"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let alive = until("the leader's report is shown", async || {
        let out = get("reader", &["tools"]);
        (out.contains("Reporter:    alive ") && out.contains("(holder pod-1), backends checked ")).then_some(out)
    })
    .await;
    println!("$ vmcp-status get -n default tools\n{alive}");
    let wide = get("reader", &["-o", "wide"]);
    println!("$ vmcp-status get -n default -o wide\n{wide}");
    assert!(wide.contains(" alive ") && wide.contains("(holder pod-1)"), "{wide}");
    let limited = get("limited", &["tools"]);
    assert!(limited.contains("Reporter:    backends checked "), "{limited}");
    let wide = get("limited", &["-o", "wide"]);
    assert!(wide.contains("REPORTER") && !wide.contains("alive"), "{wide}");

    super::cluster::ended(child);
    let gone = get("reader", &["tools"]);
    println!("$ vmcp-status get -n default tools\n{gone}");
    assert!(gone.contains("Reporter:    gone since 2") && gone.contains("released), backends checked"), "{gone}");
}
