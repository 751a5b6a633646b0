//! The program against a cluster: `get`, `report` and `run`, as others run them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use vmcp_status_testkit::api::{Api, Role};
use vmcp_status_testkit::served::Served;

use super::state_files::{Said, States, Watch, next, said};
use super::without_ours;
use vmcp_status_testkit::cluster::{Definitions, RealCluster, until};

/// Far longer than anything takes.
const LIMIT: Duration = Duration::from_secs(60);

struct Cluster {
    server: RealCluster,
    states: States,
}

impl Cluster {
    /// Two objects, one without a status.
    async fn start() -> Self {
        let server = RealCluster::start(vmcp_status::crd()).await;
        server.create("bare").await;
        server.create("tools").await;
        server.merge_status("tools", &status("1 of 2 backends routable")).await;
        Cluster { server, states: States::new() }
    }

    /// The arguments, and this user's kubeconfig.
    fn args(&self, user: &str, args: &[&str]) -> Vec<String> {
        let file = self.server.kubeconfig(user).display().to_string();
        args.iter().copied().chain(["--kubeconfig", &file]).map(String::from).collect()
    }

    fn get_as(&self, user: &str, args: &[&str]) -> Said {
        let args = self.args(user, args);
        self.states.get(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn get(&self, args: &[&str]) -> Said {
        self.get_as("admin", args)
    }

    fn watch(&self, args: &[&str]) -> Watch {
        let args = self.args("admin", args);
        self.states.watch(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn kubeconfig(&self, user: &str) -> PathBuf {
        self.server.kubeconfig(user)
    }

    async fn status(&self, name: &str) -> Value {
        self.server.object(name).await.map(|object| object["status"].clone()).unwrap_or_default()
    }
}

fn status(message: &str) -> Value {
    json!({
        "phase": "Degraded", "message": message, "url": "http://tools:4483/mcp", "backendCount": 1,
        "discoveredBackends": [{"name": "b1", "status": "ready"}, {"name": "b2", "status": "unavailable"}],
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "ServerDegraded", "message": "",
            "lastTransitionTime": "2020-01-01T00:00:00Z",
        }],
    })
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The program without anything that this process was given.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn ended(child: Child) -> Said {
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    said(child.wait_with_output().expect("it ends"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn objects_are_listed_as_kubectl_lists_them() {
    let cluster = Cluster::start().await;
    let Said { code, out, err } = cluster.get(&["-n", "default"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines: Vec<_> = out.lines().map(words).collect();
    assert_eq!(lines[0], ["NAME", "PHASE", "URL", "BACKENDS", "AGE", "READY", "MESSAGE"]);
    assert_eq!(lines[1][..4], ["bare", "Pending", "<none>", "0/0"]);
    assert_eq!(lines[1][5..], ["<none>", "<none>"]);
    assert_eq!(lines[2][..4], ["tools", "Degraded", "http://tools:4483/mcp", "1/2"]);
    assert_eq!(lines[2][5..], ["True", "1", "of", "2", "backends", "routable"]);
    assert_eq!(cluster.get(&[]).out.lines().count(), 3, "the namespace of the context");

    let out = cluster.get(&["-A"]).out;
    let lines: Vec<_> = out.lines().map(words).collect();
    assert_eq!(lines[0][..3], ["NAMESPACE", "NAME", "PHASE"]);
    assert_eq!(lines[2][..3], ["default", "tools", "Degraded"]);

    let Said { code, out, err } = cluster.get(&["-n", "empty"]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(err.contains("no VirtualMCPServer in namespace empty"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn one_is_shown_with_its_parts_and_an_unknown_one_names_the_others() {
    let cluster = Cluster::start().await;
    let Said { code, out, err } = cluster.get(&["-n", "default", "tools"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let start = "Name:        tools\nNamespace:   default\nPhase:       Degraded\nURL:         http://tools:4483/mcp\n";
    assert!(out.starts_with(start), "{out}");
    assert!(out.contains("\nb2        unavailable") && !out.contains("Writer:"), "{out}");

    let Said { code, out, err } = cluster.get(&["-n", "default", "tool"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("no \"tool\" in namespace default: choose one of bare, tools"), "{err}");
    let Said { code, err, .. } = cluster.get_as("operator", &["-n", "default", "tool"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("no \"tool\" in namespace default"), "{err}");
    let Said { code, err, .. } = cluster.get(&["-n", "default", "../tools"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("not a Kubernetes name"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn programs_get_the_objects_as_the_server_has_them() {
    let cluster = Cluster::start().await;
    let mut stored = cluster.server.object("tools").await.expect("it is there");
    stored["metadata"].as_object_mut().expect("an object").remove("managedFields");
    let json: Value = serde_json::from_str(&cluster.get(&["tools", "-o", "json"]).out).expect("JSON");
    assert_eq!(without_ours(json), stored);
    let list: Value = serde_saphyr::from_str(&cluster.get(&["-o", "yaml"]).out).expect("YAML");
    assert_eq!(without_ours(list["items"][1].clone()), stored);
    assert_eq!(cluster.get(&["-o", "name"]).out, "bare\ntools\n");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn errors_say_what_to_do() {
    let mut cluster = Cluster::start().await;
    for (args, right) in [
        (&["-n", "default"][..], "verb list on virtualmcpservers"),
        (&["-n", "default", "tools"], "verb get on virtualmcpservers"),
    ] {
        let Said { code, out, err } = cluster.get_as("least", args);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(err.contains(right) && err.lines().count() == 1, "{err}");
    }
    for args in [&["-n", "default"][..], &["-n", "default", "tools"]] {
        let args = [args, &["--api-version", "toolhive.stacklok.dev/v9"]].concat();
        let Said { code, err, .. } = cluster.get(&args);
        assert_eq!(code, Some(1));
        assert!(err.contains("toolhive.stacklok.dev/v9") && err.contains("vmcp-status crd"), "{err}");
    }
    cluster.server.kill_server().await;
    let start = tokio::time::Instant::now();
    let Said { code, err, .. } = cluster.get(&["-n", "default"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("is it reachable?") && err.lines().count() == 1, "{err}");
    assert!(start.elapsed() < LIMIT, "no endless retry");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn watch_shows_changes_and_deletions_and_outlives_the_server() {
    let mut cluster = Cluster::start().await;
    let watch = cluster.watch(&["-n", "default", "-w"]);
    for start in ["NAME", "bare", "tools"] {
        assert!(watch.line().starts_with(start));
    }
    cluster.server.merge_status("tools", &json!({"message": "changed"})).await;
    let line = watch.line();
    assert!(line.starts_with("tools") && line.ends_with("changed"), "{line}");
    cluster.server.delete("bare").await;
    assert_eq!(next(&watch.err), "default/bare was removed");

    cluster.server.kill_server().await;
    let line = next(&watch.err);
    assert!(line.contains("trying again"), "{line}");
    cluster.server.restart_server().await;
    cluster.server.merge_status("tools", &json!({"message": "back"})).await;
    let line = watch.line();
    assert!(line.ends_with("back"), "{line}");
    assert_eq!(watch.end(), Vec::<String>::new());

    let watch = cluster.watch(&["tools", "-w", "-o", "json"]);
    assert_eq!(watch.line(), "{");
    assert!(!watch.end().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn report_stores_in_the_object_that_arguments_or_environment_name() {
    let cluster = Cluster::start().await;
    let status = tempfile::NamedTempFile::new().expect("a file");
    let report = |message: &str| {
        std::fs::write(status.path(), json!({"phase": "Ready", "message": message}).to_string()).expect("written");
        let mut command = program();
        command.args(["report", "-f"]).arg(status.path());
        command
    };
    let kubeconfig = cluster.kubeconfig("least");
    let mut command = report("by arguments");
    command.args(["--kubernetes", "bare", "-n", "default", "--kubeconfig"]).arg(&kubeconfig);
    let Said { code, err, .. } = said(command.output().expect("it runs"));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(cluster.status("bare").await["message"], "by arguments");

    let mut command = report("by environment");
    command.envs([("VMCP_NAME", "bare"), ("VMCP_NAMESPACE", "default")]).env("KUBECONFIG", &kubeconfig);
    let Said { code, err, .. } = said(command.output().expect("it runs"));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(cluster.status("bare").await["message"], "by environment");

    let mut command = report("nowhere");
    command.env("VMCP_NAMESPACE", "default").env("KUBECONFIG", &kubeconfig);
    let Said { code, err, .. } = said(command.output().expect("it runs"));
    assert_eq!(code, Some(1));
    assert!(err.contains("VMCP_NAMESPACE") && err.contains("VMCP_NAME "), "{err}");
    assert_eq!(cluster.status("bare").await["message"], "by environment");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn run_stores_what_it_finds() {
    let cluster = Cluster::start().await;
    let config = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
    std::fs::write(config.path(), "backends: []\n").expect("written");
    let child = program()
        .args(["run", "--kubernetes", "bare", "-n", "default", "-c"])
        .arg(config.path())
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig("least"))
        .spawn()
        .expect("it runs");
    let stored = async { while cluster.status("bare").await["phase"] != "Ready" {} };
    let in_time = tokio::time::timeout(LIMIT, stored).await;
    let Said { code, err, .. } = ended(child);
    assert!(in_time.is_ok() && code == Some(0), "{err}");
    assert_eq!(cluster.status("bare").await["message"], "Ready, no backends configured");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn events_are_made_only_when_asked_for() {
    let cluster = Cluster::start().await;
    let kubeconfig = cluster.kubeconfig("least");
    for (flag, variable, wanted) in
        [(None, None, 0), (Some("--events"), None, 1), (None, Some("true"), 1), (None, Some("false"), 0)]
    {
        let status = tempfile::NamedTempFile::new().expect("a file");
        let said_now = format!("with {flag:?} and {variable:?}");
        std::fs::write(status.path(), json!({"phase": "Ready", "message": said_now}).to_string()).expect("written");
        // Another phase than the one before, so that there is something to tell.
        cluster.server.merge_status("bare", &json!({"phase": "Failed", "backendCount": 0})).await;
        let mut command = program();
        // A refusal that has not lasted is a line for those who look closely alone.
        command.args(["--log-level", "debug", "report", "--kubernetes", "bare", "-n", "default", "-f"]);
        command
            .arg(status.path())
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(flag)
            .envs(variable.map(|value| ("VMCP_EVENTS", value)));
        let Said { code, err, .. } = said(command.output().expect("it runs"));
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(err.matches("the role does not allow them").count(), wanted, "{said_now}: {err}");
        assert!(!err.contains("no Kubernetes Events"), "nothing is concluded yet: {err}");
        assert_eq!(cluster.status("bare").await["message"], said_now);
    }
}

/// Lets the program report two backends, of which the second has this status.
fn report_two_backends(cluster: &Cluster, second: &str) {
    let input = tempfile::NamedTempFile::new().expect("a file");
    let backends = json!([
        {"name": "files", "status": "ready", "url": "http://files:8080/mcp"},
        {"name": "mail", "status": second, "url": "http://mail:8080/mcp"},
    ]);
    let updates = json!({"replaceBackends": {"source": "test", "backends": backends}});
    std::fs::write(input.path(), updates.to_string()).expect("written");
    let mut command = program();
    command.args(["report", "--derive", "--kubernetes", "tools", "-n", "default", "--kubeconfig"]);
    command.arg(cluster.kubeconfig("least")).stdin(input.reopen().expect("it is there"));
    let Said { code, err, .. } = said(command.output().expect("it runs"));
    assert_eq!(code, Some(0), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator, see crates/testkit/cluster/README.md"]
async fn report_that_the_operator_has_not_copied_is_shown_beside_what_users_see() {
    let server = RealCluster::start_with(Definitions::ToolHive).await;
    let mut operator = server.operator().await;
    server.create_managed("tools").await;
    let cluster = Cluster { server, states: States::new() };
    report_two_backends(&cluster, "ready");
    let shown = async |words: &str| {
        let out = cluster.get(&["-n", "default", "tools"]).out;
        out.contains(words).then_some(out)
    };
    let out =
        until("the operator shows both backends", async || shown("Backends:    2 routable, 2 listed").await).await;
    assert!(!out.contains("Reported:"), "{out}");

    operator.stop().await;
    report_two_backends(&cluster, "unavailable");
    let out = until("the operator is late", async || shown("not taken over by the operator").await).await;
    println!("$ vmcp-status get -n default tools\n{out}");
    assert!(out.contains("Phase:       Ready (behind)\nReported:    "), "{out}");
    assert!(out.contains(" ago: Degraded, 1 routable, 2 listed; not taken over by the operator\n"), "{out}");
    assert!(out.contains("Backends:    2 routable, 2 listed"), "what users see: {out}");

    operator.start().await;
    let out = until("the operator has caught up", async || shown("Backends:    1 routable, 2 listed").await).await;
    assert!(!out.contains("Reported:"), "{out}");
}

#[test]
fn report_writes_where_the_option_or_the_variable_says() {
    for (option, variable, runtime, top_level) in [
        (None, None, true, false),
        (Some("auto"), Some("top-level"), true, false),
        (Some("runtime"), None, true, false),
        (Some("top-level"), None, false, true),
        (None, Some("top-level"), false, true),
    ] {
        let api = Api::new();
        api.create("default", "tools", json!({}));
        let served = Served::new(&api, Role::Least);
        let status = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(status.path(), json!({"phase": "Ready", "message": "here"}).to_string()).expect("written");
        let mut command = program();
        command.args(["report", "--kubernetes", "tools", "-n", "default", "-f"]).arg(status.path());
        command.arg("--kubeconfig").arg(served.kubeconfig());
        command.args(option.map(|option| ["--status-location", option]).into_iter().flatten());
        command.envs(variable.map(|variable| ("VMCP_STATUS_LOCATION", variable)));
        let Said { code, err, .. } = said(command.output().expect("it runs"));
        assert_eq!(code, Some(0), "{err}");
        let object = api.object("default", "tools").expect("it is there");
        let written = (object["status"]["runtime"]["message"] == "here", object["status"]["message"] == "here");
        assert_eq!(written, (runtime, top_level), "{option:?} {variable:?}: {}", object["status"]);
    }
}
