//! The health endpoints of the program, asked over a real socket.

#![allow(clippy::float_cmp, reason = "small whole numbers")]

use vmcp_status_testkit::mcp;
use vmcp_status_testkit::openmetrics;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use mcp::{Behaviour, McpServer};
use openmetrics::Scrape;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Far longer than anything takes.
const LIMIT: Duration = Duration::from_secs(60);

fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
    command.env_clear().env("VMCP_STATE_DIR", dir).stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The address in the log line of a program that listens.
fn address(log: &mut BufReader<ChildStderr>) -> SocketAddr {
    for line in log.lines() {
        let entry: Value = serde_json::from_str(&line.expect("text")).expect("a log line is JSON");
        if let Some(address) = entry["address"].as_str() {
            return address.parse().expect("an address and a port");
        }
    }
    panic!("the program has ended and has not listened")
}

/// Status line and headers, and the body.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a time");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

/// Asks until the answer is as wanted.
async fn until(address: SocketAddr, path: &str, wanted: impl Fn(&str) -> bool) -> String {
    let look = async {
        loop {
            let (_, body) = get(address, path);
            if wanted(&body) {
                return body;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, look).await.expect("it comes about")
}

fn end(child: &mut Child) {
    kill_process(Pid::from_child(child), Signal::TERM).expect("it runs");
    assert!(child.wait().expect("it ends").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_serves_all_four_until_it_ends_and_shows_no_credentials() {
    let dir = tempfile::tempdir().expect("a directory");
    let up = McpServer::start(Behaviour::WantsBearer("hunter2".into())).await;
    let mut down = McpServer::start(Behaviour::Modern).await;
    down.stop().await;
    let config = dir.path().join("vmcp.yaml");
    let with_secrets = |url: String| url.replace("http://", "http://user:swordfish@") + "?key=sesame";
    let text = format!(
        "backends:\n- {{name: up, url: '{}', bearerTokenEnv: TOKEN}}\n- {{name: 'say \"down\"', url: '{}'}}\n",
        with_secrets(up.url()),
        with_secrets(down.url()),
    );
    std::fs::write(&config, text).expect("written");
    let mut command = program(dir.path());
    command.args(["run", "--listen", "127.0.0.1:0", "-c"]).arg(&config).env("TOKEN", "hunter2");
    let mut child = command.spawn().expect("it starts");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let address = address(&mut log);

    let status = until(address, "/status", |status| status.contains("\"phase\":\"Degraded\"")).await;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["backendCount"], 1);
    assert_eq!(status["discoveredBackends"][1]["url"], up.url());
    for path in ["/healthz", "/readyz"] {
        let (head, body) = get(address, path);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(body, "ok\n");
    }
    let stored = "vmcp_status_backend_up{backend=\"up\"} 1";
    let metrics = until(address, "/metrics", |metrics| metrics.lines().any(|line| line == stored)).await;
    let scrape = Scrape::parse(&metrics);
    assert_eq!(scrape.value("vmcp_status_phase{phase=\"Degraded\"}"), 1.0);
    assert_eq!(scrape.value("vmcp_status_backends{status=\"unavailable\"}"), 1.0);
    assert_eq!(scrape.value("vmcp_status_backend_up{backend=\"say \\\"down\\\"\"}"), 0.0);
    for secret in ["user", "hunter2", "swordfish", "sesame", "key="] {
        assert!(!status.to_string().contains(secret), "{secret}: {status}");
    }
    for secret in ["hunter2", "swordfish", "sesame", "127.0.0.1"] {
        assert!(!metrics.contains(secret), "{secret}: {metrics}");
    }
    end(&mut child);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[tokio::test]
async fn report_serves_them_too_as_the_environment_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = program(dir.path());
    command.args(["report", "--derive"]).env("VMCP_LISTEN", "127.0.0.1:0").stdin(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let address = address(&mut log);
    assert_eq!(get(address, "/readyz").1, "ok\n", "on the command line at once");
    let mut input = child.stdin.take().expect("piped");
    writeln!(input, r#"{{"upsertBackend":{{"name":"a","status":"ready"}}}}"#).expect("it reads");
    until(address, "/metrics", |metrics| metrics.contains("\nvmcp_status_phase{phase=\"Ready\"} 1\n")).await;
    drop(input);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn port_in_use_is_an_error_before_anything_is_reported() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = program(dir.path()).args(["report", "--listen", &address]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(&format!("cannot listen on {address}: ")), "{errors}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0);
}

#[test]
fn address_that_is_none_is_wrong_usage_and_an_empty_variable_is_none() {
    let dir = tempfile::tempdir().expect("a directory");
    for wrong in [":9090", "9090", "localhost:9090", "0.0.0.0", "0.0.0.0:99999"] {
        let output = program(dir.path()).args(["report", "--listen", wrong]).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("such as 0.0.0.0:9090"), "{errors}");
    }
    let output = program(dir.path()).arg("report").env("VMCP_LISTEN", "").output().expect("it runs");
    assert!(output.status.success());
    assert!(!String::from_utf8_lossy(&output.stderr).contains("serving"));
}
