//! What goes out of the program says nothing that is secret, however much is
//! logged and whatever servers do with what they are sent.

use vmcp_status_testkit::mcp;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mcp::{Behaviour, Echo, McpServer};
use tempfile::TempDir;
use vmcp_status_discovery::CheckedBackend;

/// In every text that is secret, and in nothing else.
const MARK: &str = "s3cret";
/// The same as `user:password` of basic authentication begins, in Base64.
const MARKS_IN_BASE64: [&str; 3] = ["czNjcmV0", "MzY3JldC", "zM2NyZX"];

#[track_caller]
fn nothing_leaks(place: &str, text: &str) {
    for mark in [MARK].iter().chain(&MARKS_IN_BASE64) {
        if let Some(line) = text.lines().find(|line| line.contains(mark)) {
            panic!("{place} tells a secret: {line}");
        }
    }
}

/// Every file there is: state, and what a killed writer may leave.
fn no_file_leaks(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        nothing_leaks(&path.display().to_string(), &String::from_utf8_lossy(&std::fs::read(&path).expect("a file")));
    }
}

/// One place for the state, another for what holds secrets.
struct Dirs {
    state: TempDir,
    config: TempDir,
}

impl Dirs {
    fn new() -> Self {
        Dirs { state: tempfile::tempdir().expect("a directory"), config: tempfile::tempdir().expect("a directory") }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
        command
            .env_clear()
            .env("VMCP_STATE_DIR", self.state.path())
            .env("RUST_LOG", "trace")
            .args(args)
            .stdin(Stdio::null());
        command
    }

    fn write(&self, file: &str, text: &str) -> String {
        let path = self.config.path().join(file);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }
}

/// What is printed tells nothing; returns what stood on standard error.
fn quiet(what: &str, output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    nothing_leaks(&format!("standard output of {what}"), &String::from_utf8_lossy(&output.stdout));
    nothing_leaks(&format!("standard error of {what}"), &errors);
    errors
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("no panic")
}

/// A backend of the configuration, its server, and its own secrets.
struct Backend {
    name: &'static str,
    server: McpServer,
    /// How it is authenticated: `env`, `file`, or by user and password.
    by: &'static str,
}

impl Backend {
    async fn start(name: &'static str, by: &'static str, behaviour: Behaviour) -> Self {
        Backend { name, server: McpServer::start(behaviour).await, by }
    }

    fn token(&self) -> String {
        format!("{MARK}-token-of-{}", self.name)
    }

    fn variable(&self) -> String {
        format!("TOKEN_OF_{}", self.name)
    }

    fn url(&self) -> String {
        let Backend { name, server, .. } = self;
        let url = server.url().replace("://", &format!("://{MARK}-user-{name}:{MARK}-password-{name}@"));
        format!("{url}?key={MARK}-query-{name}#{MARK}-fragment-{name}")
    }

    fn yaml(&self, dirs: &Dirs) -> String {
        let credentials = match self.by {
            "env" => format!(", bearerTokenEnv: {}", self.variable()),
            "file" => format!(", bearerTokenFile: '{}'", dirs.write(self.name, &self.token())),
            _ => String::new(),
        };
        format!("- {{name: {}, url: '{}'{credentials}}}\n", self.name, self.url())
    }

    /// It was sent all its own secrets, and none of another's: the test is not
    /// vacuous.
    fn check(&self, all: &[Backend]) {
        let authorizations = self.server.authorizations();
        assert!(!authorizations.is_empty(), "{} was asked", self.name);
        for authorization in authorizations {
            let authorization = authorization.expect("credentials with every request");
            match self.by {
                "user" => assert!(MARKS_IN_BASE64.iter().any(|mark| authorization.contains(mark)), "{authorization}"),
                _ => assert_eq!(authorization, format!("Bearer {}", self.token())),
            }
        }
        for target in self.server.targets() {
            assert!(target.contains(&format!("{MARK}-query-{}", self.name)), "{target}");
            for other in all.iter().filter(|other| other.name != self.name) {
                assert!(!target.contains(&format!("-query-{}", other.name)), "{target} came to {}", self.name);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_backends_go_to_their_own_server_and_nowhere_else() {
    let elsewhere = McpServer::start(Behaviour::Modern).await;
    // The same host by another name is another host.
    let other_name = elsewhere.url().replace("127.0.0.1", "localhost");
    let origin = |url: &str| url.trim_end_matches("/mcp").to_owned();
    let mut backends = Vec::new();
    for (name, by, behaviour) in [
        ("modern", "env", Behaviour::Modern),
        ("events", "file", Behaviour::ModernEvents),
        ("legacy", "user", Behaviour::Legacy),
        ("moved", "env", Behaviour::Echo(Echo::Redirect(String::new()))),
        ("refuses", "file", Behaviour::Echo(Echo::Status(401))),
        ("forbids", "user", Behaviour::Echo(Echo::Status(403))),
        ("crashes", "env", Behaviour::Echo(Echo::Status(500))),
        ("missing", "file", Behaviour::Echo(Echo::Status(404))),
        ("busy", "env", Behaviour::Echo(Echo::Status(429))),
        ("proxied", "user", Behaviour::Echo(Echo::Status(407))),
        ("pages", "file", Behaviour::Echo(Echo::Status(200))),
        ("errors", "env", Behaviour::Echo(Echo::Error(-32603))),
        ("future", "file", Behaviour::Echo(Echo::Error(-32022))),
        ("vain", "user", Behaviour::Echo(Echo::Handshake)),
        ("chatty", "env", Behaviour::Echo(Echo::Events)),
        ("sends", "file", Behaviour::Echo(Echo::Redirect(origin(&elsewhere.url())))),
        ("renames", "user", Behaviour::Echo(Echo::Redirect(origin(&other_name)))),
        ("garbles", "env", Behaviour::NotHttp),
        ("endless", "file", Behaviour::EndlessHead),
    ] {
        backends.push(Backend::start(name, by, behaviour).await);
    }
    let dirs = Dirs::new();
    let mut yaml = "name: yard\ntimeout: 20s\nbackends:\n".to_owned();
    yaml.extend(backends.iter().map(|backend| backend.yaml(&dirs)));
    let config = dirs.write("vmcp.yaml", &yaml);

    let mut command = dirs.command(&["run", "--once", "-c", &config]);
    command.envs(backends.iter().map(|backend| (backend.variable(), backend.token())));
    let output = run(command).await;
    let errors = quiet("run --once", &output);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("\"TRACE\"") && errors.contains("hyper_util"), "everything was logged: {errors}");
    no_file_leaks(dirs.state.path());
    let printed = String::from_utf8_lossy(&output.stdout);
    for (backend, found) in [
        ("modern", "ready"),
        ("events", "ready"),
        ("legacy", "ready"),
        ("refuses", "Authentication failed"),
        ("crashes", "Server error"),
        ("pages", "Not an MCP server"),
        ("sends", "Redirected elsewhere"),
        ("renames", "Redirected elsewhere"),
    ] {
        let line = printed.lines().find(|line| line.starts_with(backend)).expect("it is listed");
        assert!(line.contains(found), "{line}");
    }
    for format in ["table", "wide", "json", "yaml", "name"] {
        let shown = run(dirs.command(&["get", "yard", "-o", format])).await;
        let errors = quiet(&format!("get -o {format}"), &shown);
        assert!(shown.status.success() && shown.stdout.len() > 4, "{errors}");
    }

    // Servers that speak no HTTP note nothing.
    for backend in backends.iter().filter(|backend| !["garbles", "endless"].contains(&backend.name)) {
        backend.check(&backends);
    }
    assert_eq!(elsewhere.connections(), 0, "nobody followed a redirect to another host");
}

/// A proxy in plain HTTP sees what goes through it, as the backend does. Its
/// own password is for itself.
#[tokio::test(flavor = "multi_thread")]
async fn password_of_a_proxy_goes_to_the_proxy_alone() {
    let proxy = McpServer::start(Behaviour::Echo(Echo::Status(502))).await;
    let direct = McpServer::start(Behaviour::Modern).await;
    let dirs = Dirs::new();
    let config = dirs.write(
        "vmcp.yaml",
        &format!(
            "name: yard\ntimeout: 20s\nbackends:\n\
             - {{name: far, url: 'http://files.invalid/mcp?key={MARK}-query', bearerTokenEnv: TOKEN}}\n\
             - {{name: near, url: '{}'}}\n",
            direct.url()
        ),
    );
    let mut command = dirs.command(&["run", "--once", "-c", &config]);
    let url = proxy.url().replace("://", &format!("://{MARK}-user:{MARK}-password@"));
    command.env("HTTP_PROXY", url).env("TOKEN", format!("{MARK}-token"));
    let output = run(command).await;
    let errors = quiet("run --once", &output);
    assert!(output.status.success(), "{errors}");
    assert_eq!(proxy.targets().first().map(String::as_str), Some("http://files.invalid/mcp?key=s3cret-query"));
    assert_eq!(proxy.last_authorization().as_deref(), Some("Bearer s3cret-token"));
    assert_eq!(direct.last_authorization(), None, "and the other backend gets no credentials");
    no_file_leaks(dirs.state.path());
}

/// Whatever answers in its place, be it a proxy that shows the whole request.
#[tokio::test(flavor = "multi_thread")]
async fn token_for_the_cluster_goes_to_the_cluster_alone() {
    let elsewhere = McpServer::start(Behaviour::Modern).await;
    let origin = elsewhere.url().replace("/mcp", "");
    for place in [Echo::Status(200), Echo::Status(401), Echo::Status(403), Echo::Status(500), Echo::Redirect(origin)] {
        let server = McpServer::start(Behaviour::Echo(place.clone())).await;
        let dirs = Dirs::new();
        let kubeconfig = dirs.write(
            "kubeconfig",
            &serde_json::json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": server.url().replace("/mcp", "")}}],
                "users": [{"name": "u", "user": {"token": "s3cret-token"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            })
            .to_string(),
        );
        let target = ["--kubernetes", "a", "-n", "b", "--kubeconfig", &kubeconfig, "--shutdown-grace", "500ms"];
        for args in [&["report", "--derive"][..], &["check", "a", "-n", "b"], &["get", "a", "-n", "b"]] {
            let target = if args[0] == "report" { &target[..] } else { &target[4..6] };
            let mut command = dirs.command(&[args, target].concat());
            if args[0] == "report" {
                let lines = dirs.write("lines", "{\"upsertBackend\":{\"name\":\"a\"}}");
                command.stdin(std::fs::File::open(lines).expect("it is there"));
            }
            let output = run(command).await;
            let errors = quiet(&format!("{args:?} with {place:?}"), &output);
            assert_eq!(output.status.code(), Some(1), "{errors}");
        }
        let authorizations = server.authorizations();
        assert!(!authorizations.is_empty());
        assert!(authorizations.iter().flatten().all(|sent| sent == "Bearer s3cret-token"), "{authorizations:?}");
    }
    assert!(elsewhere.authorizations().iter().all(Option::is_none), "{:?}", elsewhere.authorizations());
}

#[test]
fn debug_output_of_a_backend_shows_no_secret() {
    let backend = CheckedBackend {
        interval: Duration::MAX,
        timeout: Duration::MAX,
        degraded_above: Duration::MAX,
        ..CheckedBackend::new("a", "https://s3cret:s3cret@host/mcp?s3cret#s3cret".parse().expect("a URL"))
    };
    let shown = format!("{backend:?}");
    nothing_leaks("its debug output", &shown);
    assert!(shown.contains("https://host/mcp"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_configuration_is_refused_without_its_secrets() {
    let dirs = Dirs::new();
    for (yaml, said) in [
        ("backends:\n- {name: a, url: 'ftp://me:s3cret@host/?s3cret'}\n", "not an http or https URL"),
        ("backends:\n- {name: a, url: 'http://me:s3cret@'}\n", "not an http or https URL"),
        ("backends:\n- {name: 'http://me:s3cret@host', url: a}\n", "give it a name"),
        ("backends:\n- {name: a, url: 'http://me:s3cret@host', bearerToken: s3cret}\n", "bearerTokenEnv"),
        ("backends:\n- {name: a, 'http://me:s3cret@host'}\n", "expected one of name"),
        ("backends:\n- {name: a, url: 'http://me:s3cret@host', interval: s3cret}\n", "line 2"),
        ("backends: 'http://me:s3cret@host'\n", "line 1"),
        ("backends:\n- url: http://me:s3cret@host\n  name: [\n", "is no configuration"),
    ] {
        let config = dirs.write("vmcp.yaml", yaml);
        let output = run(dirs.command(&["run", "--once", "-c", &config])).await;
        assert_eq!(output.status.code(), Some(1));
        let errors = quiet(yaml, &output);
        assert!(errors.contains(said), "{said}: {errors}");
    }
    no_file_leaks(dirs.state.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_updates_are_refused_and_urls_are_stored_without_their_secrets() {
    let dirs = Dirs::new();
    let lines = dirs.write(
        "lines",
        r#"{"upsertBackend":{"name":"a","url":"http://me:s3cret@host/mcp?key=s3cret#s3cret"}}
{"upsertBackend":"http://me:s3cret@host"}
{"upsertBackend":{"name":"b","consecutiveFailures":"s3cret"}}
{"s3cret":1}
http://me:s3cret@host
{"setCondition":{"type":"Ready","status":"s3cret"}}
{"snapshot":{"discoveredBackends":[{"name":"c","url":"s3cret@host"}]}}
"#,
    );
    let mut command = dirs.command(&["report", "--name", "yard"]);
    command.stdin(std::fs::File::open(&lines).expect("it is there"));
    let output = run(command).await;
    let errors = quiet("report", &output);
    assert!(errors.contains("4 of the lines were no updates"), "{errors}");
    assert!(errors.contains("consecutiveFailures of backend \\\"b\\\""), "an odd value costs itself: {errors}");
    let stored = std::fs::read_to_string(dirs.state.path().join("yard.json")).expect("it is stored");
    assert!(stored.contains("\"url\": \"host\""), "{stored}");
    // An odd value costs itself; what is not a status at all is refused.
    for (status, code) in
        [("discoveredBackends: [http://me:s3cret@host]\n", 0), ("{\"phase\": {\"s3cret\": 1}}", 0), ("s3cret", 1)]
    {
        let file = dirs.write("status", status);
        let output = run(dirs.command(&["report", "-f", &file])).await;
        assert_eq!(output.status.code(), Some(code), "{status}");
        quiet(status, &output);
    }
    no_file_leaks(dirs.state.path());
}
