//! `vmcp-status run` with the backends of a group.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use vmcp_status::StateFile;

use serde_json::{Value, json};
use tokio::time::Instant;
use vmcp_status_testkit::group::{GroupCluster, NAMESPACE, Stored, eventually};
use vmcp_status_testkit::mcp::{Behaviour, McpServer};

/// The program without anything that this process was given.
fn program(cluster: &GroupCluster, user: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.arg("run").args(args).arg("--kubeconfig").arg(cluster.server.kubeconfig(user));
    command
}

fn ended(child: Child) -> Output {
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    child.wait_with_output().expect("it ends")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn run_follows_the_group_that_its_object_names() {
    let cluster = GroupCluster::start("program").await;
    let files = McpServer::start(Behaviour::Modern).await;
    let mine = json!({"name": "g"});
    cluster.create("MCPGroup", "g", json!({}), Value::Null).await;
    cluster
        .create("MCPServer", "files", json!({"groupRef": mine}), json!({"phase": "Ready", "url": files.url()}))
        .await;
    let began = Instant::now();
    let child = program(&cluster, "dynamic", &["--kubernetes", "program", "-n", NAMESPACE]).spawn().expect("it runs");
    cluster.stored(began, "first status of the program", |s| s.is("files", "ready", "") && s.phase() == "Ready").await;
    let entry = json!({"groupRef": mine, "remoteUrl": files.url(), "transport": "streamable-http"});
    let at = cluster.create("MCPServerEntry", "mail", entry, json!({"phase": "Valid"})).await;
    cluster
        .promptly(at, "entry that came later", |s| {
            s.is("mail", "ready", "") && s.message() == "2 of 2 backends routable"
        })
        .await;
    let at = cluster.delete("MCPServer", "files").await;
    cluster.promptly(at, "server that went", |s| s.names() == ["mail"]).await;
    let output = ended(child);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn run_once_shows_a_group_beside_the_backends_of_a_file() {
    let cluster = GroupCluster::start("once").await;
    let files = McpServer::start(Behaviour::Modern).await;
    cluster.create("MCPGroup", "tools", json!({}), Value::Null).await;
    cluster.create("MCPServer", "files", json!({}), json!({"phase": "Ready", "url": files.url()})).await;
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("vmcp.yaml");
    std::fs::write(&config, format!("backends:\n- {{name: files, url: '{}'}}\n", files.url())).expect("written");
    let mut command = program(&cluster, "dynamic", &["--group", "tools", "-n", NAMESPACE, "--name", "local", "--once"]);
    let output = command.arg("-c").arg(&config).env("VMCP_STATE_DIR", dir.path()).output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    for line in ["files", "mcpserver/files", "2 of 2 backends routable"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let status = StateFile::load(&dir.path().join("local.json")).expect("a state").status;
    assert_eq!(status.discovered_backends.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn run_says_what_it_may_not_do_once() {
    let cluster = GroupCluster::start("rights").await;
    let output = program(&cluster, "least", &["--kubernetes", "rights", "-n", NAMESPACE]).output().expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("--group") && err.contains("get on virtualmcpservers"), "{err}");

    let group = json!(["toolhive.stacklok.dev"]);
    let rules = json!([
        {"verbs": ["patch"], "apiGroups": group, "resources": ["virtualmcpservers/status"]},
        {"verbs": ["list", "watch"], "apiGroups": group, "resources": ["mcpgroups", "mcpservers", "mcpserverentries"]},
    ]);
    cluster.server.grant("dynamic", rules).await;
    cluster.create("MCPGroup", "tools", json!({}), Value::Null).await;
    let began = Instant::now();
    let args = ["--kubernetes", "rights", "-n", NAMESPACE, "--group", "tools"];
    let mut child = program(&cluster, "dynamic", &args).spawn().expect("it runs");
    let lines = BufReader::new(child.stderr.take().expect("piped"));
    cluster.stored(began, "without rights on two kinds", |s| s.phase() == "Ready").await;
    // Meanwhile what is forbidden is tried some times more.
    for count in 1..=5 {
        let at = cluster.create("MCPServer", &format!("files-{count}"), json!({}), Value::Null).await;
        cluster.promptly(at, "the others go on", |s| s.names().len() == count).await;
    }
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let mut lines: Vec<_> = lines.lines().map_while(Result::ok).collect();
    let _ = child.wait();
    let _ = child.stdout.take().expect("piped").read(&mut [0; 1]);
    lines.retain(|line| line.contains("WARN"));
    assert_eq!(lines.len(), 3, "one line for each kind, and one for the spec: {lines:#?}");
    let spec =
        "the spec of the vMCP cannot be followed: forbidden: grant the verbs get, list and watch on virtualmcpservers";
    assert!(lines.iter().any(|line| line.contains(spec)), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("get, list and watch on mcpremoteproxies")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("mcpexternalauthconfigs")), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn hang_up_applies_trust_and_timing_to_the_backends_of_the_group() {
    let cluster = GroupCluster::start("reload").await;
    let files = McpServer::start_tls(Behaviour::Modern).await;
    let dir = tempfile::tempdir().expect("a directory");
    let (config, ca) = (dir.path().join("vmcp.yaml"), dir.path().join("ca.pem"));
    std::fs::write(&ca, files.certificate().expect("it has one")).expect("written");
    std::fs::write(&config, "interval: 1h\n").expect("written");
    cluster.create("MCPGroup", "tools", json!({}), Value::Null).await;
    cluster.create("MCPServer", "files", json!({}), json!({"phase": "Ready", "url": files.url()})).await;
    let began = Instant::now();
    let mut command = program(&cluster, "dynamic", &["--kubernetes", "reload", "-n", NAMESPACE, "--group", "tools"]);
    let child = command.arg("-c").arg(&config).spawn().expect("it runs");
    cluster.stored(began, "not trusted", |s| s.backend("files").is_some_and(|b| b["status"] == "unavailable")).await;

    std::fs::write(&config, format!("interval: 1h\ncaFile: '{}'\n", ca.display())).expect("written");
    kill_process(Pid::from_child(&child), Signal::HUP).expect("it runs");
    cluster.stored(Instant::now(), "trusted", |s| s.is("files", "ready", "")).await;
    let before = files.requests();
    std::fs::write(&config, format!("interval: 20ms\ncaFile: '{}'\n", ca.display())).expect("written");
    kill_process(Pid::from_child(&child), Signal::HUP).expect("it runs");
    eventually(async || files.requests() > before + 20).await;
    let output = ended(child);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The rules of the role that `vmcp-status rbac` prints.
fn printed_rules(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_vmcp-status")).arg("rbac").args(args).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let role: Value = serde_saphyr::from_str(text.split("---\n").next().expect("a role")).expect("YAML");
    role["rules"].clone()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn spec_of_the_vmcp_is_followed_with_the_role_that_is_printed_for_it_alone() {
    let cluster = GroupCluster::start("live").await;
    cluster.server.grant("dynamic", printed_rules(&["--discovery", "--vmcp", "live"])).await;
    let (files, closed) = (McpServer::start(Behaviour::Modern).await, McpServer::start(Behaviour::Unauthorized).await);
    for group in ["g", "other"] {
        cluster.create("MCPGroup", group, json!({}), Value::Null).await;
    }
    let ready = |server: &McpServer| json!({"phase": "Ready", "url": server.url()});
    cluster.create("MCPServer", "files", json!({"groupRef": {"name": "g"}}), ready(&files)).await;
    cluster.create("MCPServer", "closed", json!({"groupRef": {"name": "other"}}), ready(&closed)).await;
    cluster.create("MCPExternalAuthConfig", "sso", json!({"type": "headerInjection"}), Value::Null).await;
    let spec = async |spec: Value| {
        cluster.server.merge("live", &json!({"spec": spec})).await;
        Instant::now()
    };
    let handling = async |handling: Value| {
        spec(json!({"config": {"operational": {"failureHandling": handling}}})).await;
    };
    handling(json!({"healthCheckInterval": "1h", "circuitBreaker": {"failureThreshold": 5}})).await;
    let began = Instant::now();
    let child = program(&cluster, "dynamic", &["--kubernetes", "live", "-n", NAMESPACE]).spawn().expect("it runs");
    cluster.stored(began, "first status", |s| s.is("files", "ready", "")).await;

    let before = files.requests();
    handling(json!({"healthCheckInterval": "100ms", "healthCheckTimeout": "90ms", "unhealthyThreshold": "3"})).await;
    eventually(async || files.requests() > before + 20).await;
    handling(json!({"healthCheckInterval": "1h", "healthCheckTimeout": null})).await;

    let at = spec(json!({"groupRef": {"name": "other"}})).await;
    let asks = |s: &Stored| s.is("closed", "unauthenticated", "Authentication required") && s.names() == ["closed"];
    cluster.promptly(at, "another group", asks).await;
    let reference = |name: &str| json!({"type": "externalAuthConfigRef", "externalAuthConfigRef": {"name": name}});
    let at = spec(json!({"outgoingAuth": {"source": "discovered", "default": reference("sso")}})).await;
    let status = cluster
        .promptly(at, "credentials for all", |s| s.is("closed", "ready", "Credentials are checked at use"))
        .await;
    let closed_now = status.backend("closed").expect("listed");
    assert_eq!((&closed_now["authType"], &closed_now["authConfigRef"]), (&json!("header_injection"), &json!("sso")));
    let at = spec(json!({"outgoingAuth": {"backends": {"closed": reference("gone")}}})).await;
    let said = "MCPExternalAuthConfig \"gone\" does not exist";
    cluster.promptly(at, "credentials that are nowhere", |s| s.is("closed", "unavailable", said)).await;

    let output = ended(child);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    let warnings: Vec<_> = err.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("unhealthyThreshold is not a count"), "{warnings:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn run_with_the_printed_role_trusts_the_ca_bundle_of_an_entry_and_leaves_out_what_is_stopped() {
    let cluster = GroupCluster::start("bundle").await;
    cluster.server.add_user("printed", printed_rules(&["--discovery"])).await;
    let (secure, other, plain) = (
        McpServer::start_tls(Behaviour::Legacy).await,
        McpServer::start_tls(Behaviour::Modern).await,
        McpServer::start(Behaviour::Modern).await,
    );
    cluster.create("MCPGroup", "tools", json!({}), Value::Null).await;
    let spec = json!({
        "remoteUrl": secure.url(), "transport": "streamable-http",
        "caBundleRef": {"configMapRef": {"name": "roots", "key": "roots.pem"}},
        "headerForward": {"addPlaintextHeaders": {"X-Tenant": "hunter2", "Host": "hunter2"}},
    });
    cluster.create("MCPServerEntry", "secure", spec, json!({"phase": "Valid"})).await;
    cluster.create("MCPServer", "plain", json!({}), json!({"phase": "Ready", "url": plain.url()})).await;
    let began = Instant::now();
    let args = ["--kubernetes", "bundle", "-n", NAMESPACE, "--group", "tools"];
    let child = program(&cluster, "printed", &args).spawn().expect("it runs");

    let headers = "Header \"Host\" cannot be sent";
    let said = |what: &str| format!("CA bundle: ConfigMap \"roots\" {what}");
    cluster.stored(began, "no ConfigMap", |s| s.is("secure", "unavailable", &said("does not exist"))).await;
    let at = cluster.set_config_map("roots", json!({"ca.crt": secure.certificate()})).await;
    cluster.promptly(at, "no key", |s| s.is("secure", "unavailable", &said("has no key \"roots.pem\""))).await;
    let at = cluster.set_config_map("roots", json!({"roots.pem": "junk"})).await;
    let junk = said("holds no certificate under \"roots.pem\"");
    cluster.promptly(at, "no certificate", |s| s.is("secure", "unavailable", &junk)).await;
    assert_eq!(secure.connections(), 0, "no other certificates are tried");
    let at = cluster.set_config_map("roots", json!({"roots.pem": secure.certificate()})).await;
    cluster.promptly(at, "trusted", |s| s.is("secure", "ready", headers) && s.phase() == "Ready").await;
    assert!(secure.headers("x-tenant").iter().all(|sent| sent.as_deref() == Some("hunter2")));
    let at = cluster.set_config_map("roots", json!({"roots.pem": other.certificate()})).await;
    let untrusted = format!("TLS verification failed; {headers}");
    cluster.stored(at, "another CA", |s| s.is("secure", "unavailable", &untrusted)).await;
    let at = cluster.delete_config_map("roots").await;
    cluster.promptly(at, "ConfigMap deleted", |s| s.is("secure", "unavailable", &said("does not exist"))).await;

    let at = cluster.set_status("MCPServer", "plain", json!({"phase": "Stopped"})).await;
    cluster.promptly(at, "stopped", |s| s.names() == ["secure"]).await;
    let at = cluster.set_status("MCPServer", "plain", json!({"phase": "Ready"})).await;
    cluster.promptly(at, "started", |s| s.is("plain", "ready", "")).await;

    let output = ended(child);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !err.contains("WARN") && !err.contains("hunter2"), "{err}");
    assert_eq!(err.matches("Stopped or Terminating").count(), 2, "once for each change: {err}");
}
