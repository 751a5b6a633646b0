//! The program as its users run it.

use vmcp_status_testkit::mcp;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use mcp::{Behaviour, McpServer};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use vmcp_status::{BackendStatus, Phase, StateFile, Status};

/// The program with its own state directory and an environment of its own.
fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
    command.env_clear().env("VMCP_STATE_DIR", dir).stdin(Stdio::null());
    command
}

fn stored(dir: &Path, name: &str) -> Status {
    StateFile::load(&dir.join(format!("{name}.json"))).expect("a state").status
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("it runs");
}

/// Waits for a state that is as wanted. The guard only ends a test that would
/// hang for ever.
async fn wait_for(dir: &Path, name: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    let path = dir.join(format!("{name}.json"));
    let look = async {
        loop {
            if let Ok(state) = StateFile::load(&path)
                && wanted(&state.status)
            {
                return state.status;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.expect("the state comes about")
}

mod report {
    use super::*;

    fn report(dir: &TempDir, args: &[&str], input: &str) -> Output {
        let mut child = program(dir.path())
            .arg("report")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        // One that ends before it reads closes the pipe.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("it ends")
    }

    #[test]
    fn every_kind_of_update_is_applied_and_stored_before_it_exits() {
        let dir = tempfile::tempdir().expect("a directory");
        let output = report(
            &dir,
            &["--name", "mine"],
            r#"
{"snapshot":{"phase":"Pending","discoveredBackends":[{"name":"old"},{"name":"b1"}]}}
{"upsertBackend":{"name":"b1","status":"READY","url":"http://b1/mcp"}}
{"removeBackend":"old"}
{"replaceBackends":{"source":"s","backends":[{"name":"s1","status":"ready"},{"name":"s2"}]}}
{"replaceBackends":{"source":"s","backends":[{"name":"s2","status":"unavailable"}]}}
{"setCondition":{"type":"Degraded","status":"True","reason":"ServerDegraded","message":"m"}}
{"setCondition":{"type":"Ready","status":"True","reason":"ServerReady"}}
{"removeCondition":"Degraded"}
{"setPhase":{"phase":"Degraded","message":"half of it"}}
{"setObservedGeneration":3}"#,
        );
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "data alone on standard output");
        let status = stored(dir.path(), "mine");
        assert_eq!((status.phase, status.message.as_str()), (Phase::Degraded, "half of it"));
        let backends: Vec<_> = status.discovered_backends.iter().map(|b| (b.name.as_str(), b.status)).collect();
        assert_eq!(backends, [("b1", BackendStatus::Ready), ("s2", BackendStatus::Unavailable)]);
        assert_eq!(status.conditions.len(), 1);
        assert!(status.conditions[0].last_transition_time.is_some());
        assert_eq!((status.backend_count, status.observed_generation), (1, Some(3)));
    }

    #[test]
    fn bad_lines_are_named_and_the_rest_goes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let output = report(
            &dir,
            &[],
            "{\"setPhase\":{\"phase\":\"Ready\",\"message\":\"first\"}}\n\nnot json\n{\"upsertBackend\":7}\n\u{1b}\n{\"noSuch\":1}\n\
             {\"setPhase\":{\"phase\":\"Ready\",\"message\":\"last\"}}",
        );
        assert_eq!(output.status.code(), Some(1));
        let errors = text(&output.stderr);
        for line in
            ["line 3:", "line 4:", "line 5:", "line 6: not an update: unknown variant `noSuch`", "4 of the lines"]
        {
            assert!(errors.contains(line), "{line}: {errors}");
        }
        assert_eq!(stored(dir.path(), "vmcp").message, "last");
    }

    #[test]
    fn line_that_is_too_long_is_skipped_and_ten_thousand_backends_are_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let long = format!("{{\"upsertBackend\":{{\"name\":\"long\",\"message\":\"{}\"}}}}\n", "x".repeat(9 << 20));
        let backend = |i: usize| {
            let (url, message) = (format!("http://backend-{i}.default.svc:8080/mcp"), "m".repeat(400));
            serde_json::json!({"name": format!("b{i}"), "url": url, "status": "ready", "message": message})
        };
        let many: Vec<_> = (0..10_000).map(backend).collect();
        let many = serde_json::json!({"snapshot": {"phase": "Ready", "discoveredBackends": many}});
        let output = report(&dir, &[], &format!("{long}{many}\n{long}"));
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        for words in ["line 1: not an update: longer than 8 MiB", "line 3: not an update", "2 of the lines"] {
            assert!(errors.contains(words), "{words}: {errors}");
        }
        let status = stored(dir.path(), "vmcp");
        assert_eq!((status.discovered_backends.len(), status.backend("long")), (10_000, None));
    }

    #[test]
    fn file_with_one_status_is_reported_as_json_or_yaml() {
        let dir = tempfile::tempdir().expect("a directory");
        for (file, content) in [
            ("s.json", r#"{"phase":"Ready","message":"json","discoveredBackends":[{"name":"a","status":"ready"}]}"#),
            ("s.yaml", "phase: Ready\nmessage: yaml\n"),
        ] {
            let path = dir.path().join(file);
            std::fs::write(&path, content).expect("written");
            let output = program(dir.path()).args(["report", "-f"]).arg(&path).output().expect("it runs");
            assert!(output.status.success(), "{}", text(&output.stderr));
            assert_eq!(stored(dir.path(), "vmcp").message, &file[2..]);
        }
        std::fs::write(dir.path().join("bad"), "{\"phase\": ").expect("written");
        let output = program(dir.path()).args(["report", "-f"]).arg(dir.path().join("bad")).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("holds no status"), "{}", text(&output.stderr));
    }

    #[test]
    fn what_get_prints_can_be_reported_again_and_a_list_of_several_cannot() {
        let dir = tempfile::tempdir().expect("a directory");
        let line = "{\"setPhase\":{\"phase\":\"Degraded\",\"message\":\"half of it\"}}";
        assert!(report(&dir, &["--name", "a"], line).status.success());
        let file = dir.path().join("printed");
        let print = |args: &[&str]| {
            let output = program(dir.path()).arg("get").args(args).output().expect("it runs");
            std::fs::write(&file, output.stdout).expect("written");
        };
        let again = |name: &str| {
            let output = program(dir.path()).args(["report", "--name", name, "-f"]).arg(&file).output();
            let output = output.expect("it runs");
            (output.status.code(), text(&output.stderr))
        };
        for (name, args) in [("b", &["a", "-o", "json"][..]), ("c", &["a", "-o", "yaml"])] {
            print(args);
            assert_eq!(again(name).0, Some(0));
            let status = stored(dir.path(), name);
            assert_eq!((status.phase, status.message.as_str()), (Phase::Degraded, "half of it"), "{args:?}");
        }
        print(&["-o", "json"]);
        let (code, errors) = again("d");
        assert!(code == Some(1) && errors.contains("a list of 3 objects"), "{errors}");
    }

    #[test]
    fn unknown_words_are_logged_once_each_and_bad_lines_with_strict() {
        let dir = tempfile::tempdir().expect("a directory");
        let backend = |name: &str| format!("{{\"upsertBackend\":{{\"name\":\"{name}\",\"status\":\"redy\"}}}}\n");
        let input = format!("{}{}{{\"setPhase\":{{\"phase\":\"Reddy\"}}}}\n", backend("a"), backend("b"));
        let output = report(&dir, &[], &input);
        let errors = text(&output.stderr);
        assert!(output.status.success(), "{errors}");
        for (word, place, became) in [("`redy`", "backend a", "unknown"), ("`Reddy`", "vMCP", "Pending")] {
            let lines: Vec<_> = errors.lines().filter(|line| line.contains(word)).collect();
            assert!(lines.len() == 1 && lines[0].contains(place) && lines[0].contains(became), "{errors}");
        }
        let output = report(&dir, &["--strict"], &input);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("line 2: not an update: unknown status `redy`"), "{errors}");
        assert!(errors.contains("3 of the lines"), "{errors}");
    }

    #[test]
    fn store_that_cannot_be_written_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("file"), "in the way").expect("written");
        let output = report_to(&dir.path().join("file"), &["--shutdown-grace", "100ms"]);
        assert_eq!(output.status.code(), Some(1));
        let errors = text(&output.stderr);
        assert!(errors.contains("vmcp.json") && errors.contains("not stored"), "{errors}");
    }

    fn report_to(dir: &Path, args: &[&str]) -> Output {
        let mut child = program(dir)
            .arg("report")
            .args(args)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(b"{\"removeBackend\":\"a\"}\n{\"setPhase\":{\"phase\":\"Ready\"}}")
            .expect("it reads");
        child.wait_with_output().expect("it ends")
    }

    #[test]
    fn environment_that_asks_for_kubernetes_without_a_cluster_is_an_error_that_says_so() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = |variables: &[(&str, &str)]| {
            let mut command = program(dir.path());
            command.arg("report").envs(variables.iter().copied()).env("HOME", dir.path());
            let output = command.output().expect("it runs");
            (output.status.code(), text(&output.stderr))
        };
        let (code, errors) = run(&[("VMCP_NAME", "a"), ("VMCP_NAMESPACE", "ns")]);
        assert!(code == Some(1) && errors.contains("no way to reach a cluster"), "{errors}");
        let (code, errors) = run(&[("VMCP_NAMESPACE", "ns")]);
        assert!(code == Some(1) && errors.contains("VMCP_NAME is not"), "{errors}");
        // A name alone is that of the state file.
        assert_eq!(run(&[("VMCP_NAME", "a")]).0, Some(0));
    }

    #[test]
    fn log_level_that_is_none_is_wrong_usage_and_the_error_says_what_is_accepted() {
        let dir = tempfile::tempdir().expect("a directory");
        for (argument, variable) in [(Some("inof"), None), (None, Some("wran"))] {
            let mut command = program(dir.path());
            command.arg("report").args(argument.map(|level| format!("--log-level={level}")));
            command.envs(variable.map(|level| ("RUST_LOG", level)));
            let output = command.output().expect("it runs");
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{errors}");
            for word in ["RUST_LOG", "error, warn, info, debug, trace"] {
                assert!(errors.contains(word), "{word}: {errors}");
            }
        }
    }

    #[test]
    fn name_that_leaves_the_directory_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let output = report(&dir, &["--name", "../evil"], "");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("cannot name a state"), "{}", text(&output.stderr));
    }

    #[tokio::test]
    async fn second_writer_of_a_state_ends_with_the_pid_of_the_first_unless_it_is_forced() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = program(dir.path()).arg("report").stdin(Stdio::piped()).spawn();
        let mut first = first.expect("it starts");
        let line = |message| format!("{{\"setPhase\":{{\"phase\":\"Ready\",\"message\":\"{message}\"}}}}\n");
        let mut input = first.stdin.take().expect("piped");
        input.write_all(line("first").as_bytes()).expect("it reads");
        wait_for(dir.path(), "vmcp", |status| status.message == "first").await;
        let output = report(&dir, &[], "");
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        for word in [&format!("process {}", first.id()), "vmcp.json", "--force"] {
            assert!(errors.contains(word), "{word}: {errors}");
        }
        assert_eq!(stored(dir.path(), "vmcp").message, "first");
        assert!(report(&dir, &["--force"], &line("forced")).status.success());
        assert_eq!(stored(dir.path(), "vmcp").message, "forced");
        // Death releases the lock.
        first.kill().expect("kill -9");
        first.wait().expect("it ends");
        assert!(report(&dir, &[], &line("next")).status.success());
        assert_eq!(stored(dir.path(), "vmcp").message, "next");
    }

    /// Each of these writes consists of one number only, so that a mixture of
    /// two would show.
    fn storm_line(i: u32) -> String {
        let backends: Vec<_> =
            (0..20).map(|b| format!(r#"{{"name":"b{b}","status":"ready","consecutiveFailures":{i}}}"#)).collect();
        let backends = backends.join(",");
        format!("{{\"snapshot\":{{\"phase\":\"Ready\",\"message\":\"{i}\",\"discoveredBackends\":[{backends}]}}}}\n")
    }

    #[tokio::test]
    async fn killed_fifty_times_in_a_storm_the_file_always_holds_a_state_that_was_reported() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut next = 1;
        for round in 0..50u32 {
            let mut child = program(dir.path())
                .args(["report", "--write-interval", "0s", "--log-level", "error"])
                .stdin(Stdio::piped())
                .spawn()
                .expect("it starts");
            let mut input = child.stdin.take().expect("piped");
            let first = next;
            let storm = std::thread::spawn(move || {
                // Ends when the reader is dead.
                while input.write_all(storm_line(next).as_bytes()).is_ok() {
                    next += 1;
                }
                next
            });
            // A few writes in, at another moment each time.
            wait_for(dir.path(), "vmcp", |status| status.message.parse::<u32>().is_ok_and(|i| i >= first + round * 3))
                .await;
            child.kill().expect("kill -9");
            child.wait().expect("it ends");
            next = storm.join().expect("no panic");

            let status = stored(dir.path(), "vmcp");
            let number: u32 = status.message.parse().expect("a number");
            assert!((first..next).contains(&number), "it was reported in this round");
            assert_eq!(status.discovered_backends.len(), 20);
            assert!(status.discovered_backends.iter().all(|b| b.consecutive_failures == number), "and is whole");
        }
    }
}

mod run {
    use super::*;

    fn write_config(dir: &TempDir, backends: &[(&str, &str)]) -> std::path::PathBuf {
        let mut yaml = String::from("name: yard\ninterval: 50ms\ntimeout: 300ms\ndegradedAbove: 200ms\nbackends:\n");
        for (name, members) in backends {
            yaml.extend(["- {name: ", name, ", ", members, "}\n"]);
        }
        let path = dir.path().join("vmcp.yaml");
        std::fs::write(&path, yaml).expect("written");
        path
    }

    fn start(dir: &TempDir, config: &Path) -> Child {
        program(dir.path())
            .args(["run", "--write-interval", "10ms", "--reload-on-hup", "-c"])
            .arg(config)
            .env("TOKEN", "s3cret-t0ken")
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts")
    }

    fn end(child: &mut Child, by: Signal) -> (ExitStatus, String) {
        signal(child, by);
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        let errors: Vec<_> = errors.lines().map_while(Result::ok).collect();
        (child.wait().expect("it ends"), errors.join("\n"))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn once_checks_all_kinds_of_backends_stores_and_prints_them() {
        let good = McpServer::start(Behaviour::Modern).await;
        let old = McpServer::start(Behaviour::Legacy).await;
        let slow = McpServer::start(Behaviour::Slow(Duration::from_millis(250))).await;
        let locked = McpServer::start(Behaviour::WantsBearer("s3cret-t0ken".into())).await;
        let page = McpServer::start(Behaviour::Html).await;
        let mut down = McpServer::start(Behaviour::Modern).await;
        down.stop().await;
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("token"), "s3cret-t0ken\n").expect("written");
        let file = dir.path().join("token");
        let url = |server: &McpServer| format!("url: '{}'", server.url());
        let config = write_config(
            &dir,
            &[
                ("good", &url(&good)),
                ("old", &url(&old)),
                ("slow", &url(&slow)),
                ("locked", &url(&locked)),
                ("opened", &format!("{}, bearerTokenEnv: TOKEN, authType: oauth2", url(&locked))),
                ("filed", &format!("{}, bearerTokenFile: {}", url(&locked), file.display())),
                ("tokenless", &format!("{}, bearerTokenEnv: NOT_SET", url(&locked))),
                ("page", &url(&page)),
                ("down", &url(&down)),
            ],
        );
        // A machine under load answers late: the checks have time here.
        let yaml = std::fs::read_to_string(&config).expect("there").replace("timeout: 300ms", "timeout: 20s");
        std::fs::write(&config, yaml).expect("written");
        let output = tokio::task::spawn_blocking({
            let mut command = program(dir.path());
            command.args(["run", "--once", "-c"]).arg(&config).env("TOKEN", "s3cret-t0ken");
            move || command.output().expect("it runs")
        })
        .await
        .expect("no panic");
        let (printed, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{errors}");
        let status = stored(dir.path(), "yard");
        let found = |name: &str| {
            let backend = status.backend(name).expect("listed");
            (backend.status, backend.message.as_str(), backend.mcp_revision.as_str())
        };
        use BackendStatus::{Degraded, Ready, Unauthenticated, Unavailable};
        assert_eq!(found("good"), (Ready, "", "2026-07-28"));
        assert_eq!(found("old"), (Ready, "", "2025-11-25"));
        assert_eq!(found("slow"), (Degraded, "Slow response (over 200 ms)", "2026-07-28"));
        assert_eq!(found("locked").0, Unauthenticated);
        assert_eq!(found("opened").0, Ready);
        assert_eq!(found("filed").0, Ready);
        assert_eq!(found("tokenless"), (Unavailable, "Configured credentials cannot be read", ""));
        assert_eq!(found("page"), (Unavailable, "Not an MCP server", ""));
        assert_eq!(found("down"), (Unavailable, "Connection failed", ""));
        assert_eq!(status.backend("down").map(|b| b.consecutive_failures), Some(2), "one lost check is not a failure");
        assert!(status.discovered_backends.iter().all(|b| b.last_health_check.is_some()));
        assert_eq!((status.phase, status.backend_count), (Phase::Degraded, 5));
        for name in ["good", "slow", "locked", "down", "Degraded", "Connection failed"] {
            assert!(printed.contains(name), "{name}: {printed}");
        }
        let file = std::fs::read_to_string(dir.path().join("yard.json")).expect("there");
        for place in [&printed, &errors, &file] {
            assert!(!place.contains("s3cret"), "a token got out: {place}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn backend_that_fails_and_recovers_is_followed_and_sigterm_ends_it_with_0() {
        let mut server = McpServer::start(Behaviour::Modern).await;
        let dir = tempfile::tempdir().expect("a directory");
        let config = write_config(&dir, &[("a", &format!("url: '{}'", server.url()))]);
        let mut child = start(&dir, &config);
        wait_for(dir.path(), "yard", |status| status.phase == Phase::Ready).await;
        server.stop().await;
        let failed = wait_for(dir.path(), "yard", |status| status.phase == Phase::Failed).await;
        assert_eq!(failed.condition("Ready").map(|c| c.reason.as_str()), Some("NoRoutableBackends"));
        wait_for(dir.path(), "yard", |s| s.backend("a").is_some_and(|b| b.consecutive_failures > 2)).await;
        server.restart().await;
        let back = wait_for(dir.path(), "yard", |status| status.phase == Phase::Ready).await;
        assert_eq!(back.backend("a").map(|b| b.consecutive_failures), Some(0));
        let (status, errors) = end(&mut child, Signal::TERM);
        assert!(status.success(), "{errors}");
        assert!(errors.contains("\"signal\":\"SIGTERM\""), "{errors}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hang_up_reads_the_configuration_again_and_a_bad_one_changes_nothing() {
        let one = McpServer::start(Behaviour::Modern).await;
        let two = McpServer::start(Behaviour::Modern).await;
        let dir = tempfile::tempdir().expect("a directory");
        let url = |server: &McpServer| format!("url: '{}'", server.url());
        let config = write_config(&dir, &[("one", &url(&one)), ("gone", &url(&one))]);
        let mut child = start(&dir, &config);
        wait_for(dir.path(), "yard", |status| status.phase == Phase::Ready && status.backend_count == 2).await;
        std::fs::write(&config, "backends: 7").expect("written");
        signal(&child, Signal::HUP);
        write_config(&dir, &[("one", &url(&one)), ("two", &url(&two))]);
        signal(&child, Signal::HUP);
        let status = wait_for(dir.path(), "yard", |s| s.backend("two").is_some_and(|b| b.is_routable())).await;
        assert!(status.backend("one").is_some() && status.backend("gone").is_none());
        let (status, errors) = end(&mut child, Signal::INT);
        assert!(status.success(), "{errors}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hang_up_applies_trust_at_once_and_says_that_the_name_needs_a_restart() {
        let server = McpServer::start_tls(Behaviour::Modern).await;
        let dir = tempfile::tempdir().expect("a directory");
        let (config, ca) = (dir.path().join("vmcp.yaml"), dir.path().join("ca.pem"));
        std::fs::write(&ca, server.certificate().expect("it has one")).expect("written");
        // No check comes of its own within the time of this test.
        let write = |settings: &str| {
            let yaml = format!("interval: 1h\n{settings}\nbackends:\n- {{name: a, url: '{}'}}\n", server.url());
            std::fs::write(&config, yaml).expect("written");
        };
        let checked = async |routable: bool| {
            wait_for(dir.path(), "yard", |status| {
                let checked = status.backend("a").filter(|a| a.last_health_check.is_some());
                checked.is_some_and(|a| a.is_routable() == routable)
            })
            .await
        };
        write("name: yard");
        let mut child = start(&dir, &config);
        checked(false).await;
        for (settings, routable) in [
            (format!("name: yard\ncaFile: '{}'", ca.display()), true),
            ("name: yard".into(), false),
            ("name: yard\ninsecureSkipTlsVerify: true".into(), true),
            ("name: other".into(), false),
        ] {
            write(&settings);
            signal(&child, Signal::HUP);
            checked(routable).await;
        }
        let (status, errors) = end(&mut child, Signal::TERM);
        assert!(status.success(), "{errors}");
        let warned: Vec<_> =
            errors.lines().filter(|line| line.contains("\"WARN\"") && line.contains("restart")).collect();
        assert_eq!(warned.len(), 1, "{errors}");
        assert!(warned[0].contains("other") && warned[0].contains("yard"), "{errors}");
        assert!(!dir.path().join("other.json").exists(), "it reports where it did before");
    }

    #[test]
    fn configuration_that_cannot_be_used_says_what_to_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = write_config(&dir, &[("a", "url: 'gopher://a'")]);
        let output = program(dir.path()).args(["run", "-c"]).arg(&config).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("not an http or https URL"), "{}", text(&output.stderr));
        let output = program(dir.path()).args(["run", "-c", "/no/such/file"]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(program(dir.path()).arg("run").output().expect("it runs").status.code(), Some(2));
    }
}
