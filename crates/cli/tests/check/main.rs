//! The doctor: without a cluster, on the double, and with a real API server.

use vmcp_status_testkit::api;
mod location;
use vmcp_status_testkit::served;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;
use vmcp_status_testkit::cluster::{Definitions, RealCluster, until};

const NAME: &str = "demo";

struct Checked {
    code: Option<i32>,
    text: String,
}

impl Checked {
    /// The mark in front of a question.
    #[track_caller]
    fn mark(&self, question: &str) -> &str {
        let asked = |line: &&str| line.get(5..).is_some_and(|line| line.starts_with(question));
        let line = self.text.lines().find(asked);
        line.unwrap_or_else(|| panic!("no {question}:\n{}", self.text))[..4].trim()
    }

    #[track_caller]
    fn assert(&self, code: i32, marks: &[(&str, &str)], words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for (question, mark) in marks {
            assert_eq!(self.mark(question), *mark, "{question}:\n{}", self.text);
        }
        for word in words {
            assert!(self.text.contains(word), "{word}:\n{}", self.text);
        }
    }
}

/// Runs it with a kubeconfig, and with nothing else that would name a cluster.
async fn check(kubeconfig: Option<&Path>, args: &[&str]) -> Checked {
    check_with(kubeconfig, args, &[]).await
}

async fn check_with(kubeconfig: Option<&Path>, args: &[&str], variables: &[(&str, &str)]) -> Checked {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
    command.env_clear().envs(variables.iter().copied()).arg("check").args(args).stdin(Stdio::null()).kill_on_drop(true);
    if let Some(file) = kubeconfig {
        command.arg("--kubeconfig").arg(file);
    }
    // It is to end by itself, and soon.
    let output = timeout(Duration::from_secs(30), command.output()).await.expect("it ends").expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    // Shown where a test fails.
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    Checked { code: output.status.code(), text }
}

#[tokio::test]
async fn without_any_configuration_it_says_how_to_reach_a_cluster() {
    check(None, &[NAME]).await.assert(1, &[("cluster", "FAIL")], &["KUBECONFIG", "service account"]);
}

/// Checks with a server at this port.
async fn check_port(port: u16) -> Checked {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}],
    });
    std::fs::write(&file, config.to_string()).expect("written");
    check(Some(&file), &[NAME]).await
}

#[tokio::test]
async fn a_server_that_is_not_there_ends_it() {
    // Nothing listens on this port.
    let checked = check_port(1).await;
    checked.assert(1, &[("cluster", "FAIL")], &["no answer", "is the address right"]);
    assert_eq!(checked.text.lines().count(), 2, "{}", checked.text);
}

#[tokio::test]
async fn a_server_that_is_silent_ends_it() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    check_port(port).await.assert(1, &[("cluster", "FAIL")], &["nothing within 5 s"]);
}

#[tokio::test]
async fn answer_without_end_is_read_no_further_than_the_limit() {
    // More than a few times the limit is not to be held in memory by this test.
    const MOST: usize = 64 << 20;
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 4096]).expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n").expect("it listens");
        let chunk = vec![b' '; 1 << 20];
        let written = (0..MOST / chunk.len()).take_while(|_| stream.write_all(&chunk).is_ok()).count();
        written * chunk.len()
    });
    check_port(port).await.assert(1, &[("cluster", "FAIL")], &["more than 16 MiB", "is it an API server"]);
    let written = server.join().expect("the server ends");
    assert!(written < MOST, "all of it was read");
}

#[tokio::test]
async fn usage_is_told_apart_from_a_failure() {
    assert_eq!(check(None, &[]).await.code, Some(2), "there must be a name");
}

#[tokio::test]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn each_role_is_enough_and_nothing_is_written() {
    const ALL: [(&str, &str); 7] = [
        ("cluster", "ok"),
        ("credentials", "ok"),
        ("CRD", "ok"),
        ("object", "ok"),
        ("rights", "ok"),
        ("write", "ok"),
        ("location", "ok"),
    ];
    let server = RealCluster::start(vmcp_status::crd()).await;
    server.create(NAME).await;
    for status in [None, Some(json!({"phase": "Degraded", "message": "not ours"}))] {
        if let Some(status) = status {
            server.merge_status(NAME, &status).await;
        }
        let before = server.object(NAME).await;
        for (user, words) in [
            ("least", "the least role"),
            ("seed", "the original reporter's role"),
            ("operator", "ToolHive's operator"),
            ("admin", "Kubernetes v1."),
        ] {
            check(Some(&server.kubeconfig(user)), &[NAME]).await.assert(0, &ALL, &[words]);
        }
        assert_eq!(server.object(NAME).await, before, "not a byte, not the version");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator, see crates/testkit/cluster/README.md"]
async fn location_and_operator_are_those_of_todays_toolhive() {
    let cluster = RealCluster::start_with(Definitions::ToolHive).await;
    cluster.create_managed(NAME).await;
    let least = cluster.kubeconfig("least");
    let checked = check(Some(&least), &[NAME]).await;
    checked.assert(0, &[("location", "ok")], &["status.runtime: the CRD has it"]);
    assert!(!checked.text.contains("ok   operator"), "nothing is reported yet: {}", checked.text);

    let backends = json!([{"name": "a", "status": "ready", "url": "http://a:8080/mcp"}]);
    let runtime = json!({"phase": "Ready", "message": "", "backendCount": 1, "discoveredBackends": backends});
    cluster.merge_status(NAME, &json!({"runtime": runtime})).await;
    let late = async || {
        let checked = check(Some(&least), &[NAME]).await;
        (checked.mark("operator") == "warn").then_some(checked)
    };
    let checked = until("the operator is late, for it does not run", late).await;
    checked.assert(0, &[("location", "ok")], &["ago: Ready, 1 routable, 1 listed; not taken over by the operator"]);

    let _operator = cluster.operator().await;
    let followed = async || (check(Some(&least), &[NAME]).await.mark("operator") == "ok").then_some(());
    until("the operator shows what was reported", followed).await;
}

#[tokio::test]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn what_is_missing_is_named_with_what_to_do() {
    let server = RealCluster::start(vmcp_status::crd()).await;
    server.create(NAME).await;

    let missing = check(Some(&server.kubeconfig("least")), &["other", "-n", "elsewhere"]).await;
    missing.assert(
        1,
        &[("CRD", "ok"), ("object", "FAIL"), ("rights", "ok"), ("write", "warn")],
        &["there is no other in the namespace elsewhere", "create it"],
    );
    assert!(server.object("other").await.is_none(), "it was not created");

    let rights = [
        "lacks the verb patch on virtualmcpservers/status",
        "vmcp-status rbac -n default --service-account nobody | kubectl apply -f -",
        "RBAC.md",
    ];
    let nobody = check(Some(&server.kubeconfig("nobody")), &[NAME]).await;
    nobody.assert(1, &[("credentials", "ok"), ("CRD", "ok"), ("object", "warn"), ("rights", "FAIL")], &rights);

    let version = ["--api-version", "toolhive.stacklok.dev/v9"];
    let old = check(Some(&server.kubeconfig("admin")), &[&[NAME][..], &version].concat()).await;
    old.assert(1, &[("CRD", "FAIL"), ("object", "FAIL")], &["not in v9", "--api-version toolhive.stacklok.dev/v1"]);

    let group = ["--api-version", "nothing.example.com/v1"];
    let none = check(Some(&server.kubeconfig("admin")), &[&[NAME][..], &group].concat()).await;
    none.assert(1, &[("CRD", "FAIL"), ("object", "FAIL")], &["is not served", "vmcp-status crd"]);

    // A cluster may be locked down so far that its users do not see what it
    // serves.
    server.forbid_discovery().await;
    let nobody = check(Some(&server.kubeconfig("nobody")), &[NAME]).await;
    nobody.assert(1, &[("credentials", "ok"), ("CRD", "warn"), ("object", "warn"), ("rights", "FAIL")], &rights);

    std::fs::write(server.token_file("least"), "not-the-token").expect("written");
    let stranger = check(Some(&server.kubeconfig("least")), &[NAME]).await;
    stranger.assert(1, &[("cluster", "ok"), ("credentials", "FAIL")], &["401", "has the token expired"]);
}
