//! Old status looks old: what `get` marks as stale, and what it says of the
//! reporter.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use vmcp_status_testkit::api::{Api, Role};
use vmcp_status_testkit::leases::ElectionCluster;
use vmcp_status_testkit::served::Served;

use super::state_files::{Said, States, state};

const NAMESPACE: &str = "default";
const LEASE: &str = "vmcp-status-tools";
const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

fn ago(seconds: i64) -> String {
    (Utc::now() - TimeDelta::seconds(seconds)).to_rfc3339()
}

/// One object, whose backend was checked this long ago.
fn checked(seconds: i64) -> (ElectionCluster, Served) {
    let api = Api::new();
    api.create(NAMESPACE, "tools", json!({}));
    api.edit(NAMESPACE, "tools", |object| {
        let backend = json!({"name": "a", "status": "ready", "lastHealthCheck": ago(seconds)});
        object["status"] = json!({"phase": "Ready", "discoveredBackends": [backend]});
    });
    let cluster = ElectionCluster::of(api);
    let served = cluster.serve("reader", Role::Admin);
    (cluster, served)
}

/// A Lease of fifteen seconds that was renewed this long ago.
fn lease(renewed: i64) -> Value {
    json!({"holderIdentity": "pod-1_ab", "leaseDurationSeconds": 15, "renewTime": ago(renewed)})
}

/// No machine is so slow that this Lease runs out.
fn lease_that_lasts() -> Value {
    json!({"holderIdentity": "pod-1_ab", "leaseDurationSeconds": HOUR, "renewTime": ago(0)})
}

fn run(served: &Served, args: &[&str]) -> Said {
    let kubeconfig = served.kubeconfig().display().to_string();
    States::new().get(&[args, &["--kubeconfig", &kubeconfig]].concat())
}

fn get(served: &Served, args: &[&str]) -> String {
    let Said { code, out, err } = run(served, args);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}");
    out
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Whether all views of the object call it stale; they have to agree.
fn is_stale(served: &Served, more: &[&str]) -> bool {
    let views = [&["tools"][..], &["tools", "-o", "wide"], &[], &["-o", "wide"], &["-A"], &["-A", "-o", "wide"]];
    let mut marks: Vec<_> =
        views.iter().map(|view| get(served, &[view, more].concat()).contains("Ready (stale)")).collect();
    marks.push(json(&get(served, &[&["tools", "-o", "json"], more].concat()))["vmcpStatus"]["stale"] == true);
    marks.push(json(&get(served, &[&["-o", "json"], more].concat()))["items"][0]["vmcpStatus"]["stale"] == true);
    assert!(marks.iter().all(|mark| *mark == marks[0]), "{marks:?}");
    marks[0]
}

#[test]
fn status_without_a_lease_is_stale_ten_minutes_after_its_newest_check() {
    let (_cluster, served) = checked(9 * MINUTE);
    assert!(!is_stale(&served, &[]));
    let (_cluster, served) = checked(11 * MINUTE);
    assert!(is_stale(&served, &[]));
    let out = get(&served, &["tools"]);
    assert!(
        out.contains("\nStale:       no backend was checked since 2") && out.contains("Z: is a reporter running?\n"),
        "{out}"
    );
    assert!(out.contains("\nReporter:    backends checked 11m ago\n"), "{out}");
}

#[test]
fn limit_of_old_checks_is_moved_and_taken_away_by_an_option() {
    let (_cluster, served) = checked(41 * MINUTE);
    for (limit, stale) in [("40m", true), ("1h", false), ("0", false), ("0s", false), ("off", false)] {
        assert_eq!(is_stale(&served, &["--stale-after", limit]), stale, "{limit}");
    }
    assert_eq!(run(&served, &["--stale-after", "soon"]).code, Some(2));
}

#[test]
fn lease_decides_whatever_the_age_of_the_checks() {
    let (cluster, served) = checked(41 * MINUTE);
    cluster.put_lease(LEASE, lease_that_lasts());
    assert!(!is_stale(&served, &[]));
    let (cluster, served) = checked(MINUTE);
    cluster.put_lease(LEASE, lease(50));
    assert!(is_stale(&served, &["--stale-after", "off"]));
    let out = get(&served, &["tools"]);
    assert!(out.contains("\nStale:       the reporter is gone; this is its last word\n"), "{out}");
    assert!(out.contains("\nReporter:    gone since 2") && out.contains("holder pod-1), backends checked 6"), "{out}");
}

#[test]
fn lease_that_ended_before_the_newest_check_is_a_leftover_and_says_nothing() {
    let (cluster, served) = checked(MINUTE);
    cluster.put_lease(LEASE, lease(2 * HOUR));
    assert!(!is_stale(&served, &[]));
    assert!(get(&served, &["tools"]).contains("\nReporter:    backends checked 6"), "no word of the Lease");
}

#[test]
fn programs_get_both_ages_as_times_beside_the_object() {
    let (cluster, served) = checked(MINUTE);
    let stored = cluster.api.object(NAMESPACE, "tools").expect("it is there");
    let check = &stored["status"]["discoveredBackends"][0]["lastHealthCheck"];
    let ours = |args: &[&str]| {
        let mut object = json(&get(&served, args));
        let ours = object["vmcpStatus"].take();
        assert_eq!(object["status"], stored["status"]);
        ours
    };
    let wanted = ours(&["tools", "-o", "json"]);
    assert_eq!((&wanted["stale"], wanted.get("staleReason"), wanted.get("reporter")), (&json!(false), None, None));
    let time = |value: &Value| {
        chrono::DateTime::parse_from_rfc3339(value.as_str().expect("a time")).expect("a time").timestamp()
    };
    assert_eq!(time(&wanted["lastCheck"]), time(check));

    cluster.put_lease(LEASE, lease(50));
    let wanted = ours(&["tools", "-o", "json"]);
    assert_eq!(
        (&wanted["stale"], &wanted["staleReason"]),
        (&json!(true), &json!("the reporter is gone; this is its last word"))
    );
    assert_eq!(
        (&wanted["reporter"]["state"], &wanted["reporter"]["identity"]),
        (&json!("gone"), &json!("holder pod-1"))
    );
    let renewed = time(&wanted["reporter"]["lastSeen"]);
    assert!((50..200).contains(&(Utc::now().timestamp() - renewed)), "{wanted}");
    let yaml: Value = serde_saphyr::from_str(&get(&served, &["tools", "-o", "yaml"])).expect("YAML");
    assert_eq!(yaml["vmcpStatus"], wanted);
}

#[test]
fn leases_that_may_not_be_read_are_said_once_and_the_newest_check_tells() {
    let (cluster, served) = checked(MINUTE);
    cluster.put_lease(LEASE, lease(50));
    cluster.forbid(&["get", "list"]);
    for (args, verb) in [
        (&["tools"][..], "verb get"),
        (&["tools", "-o", "json"], "verb get"),
        (&[], "verb list"),
        (&["-o", "wide"], "verb list"),
        (&["-A", "-o", "yaml"], "verb list"),
    ] {
        let Said { code, out, err } = run(&served, args);
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
        assert!(err.contains("the newest check") && err.contains(verb) && err.contains("RBAC.md"), "{args:?}: {err}");
        assert!(!out.contains("(stale)") && !out.contains("gone"), "{out}");
    }
    assert_eq!(get(&served, &["-o", "name"]), "tools\n");
    let kubeconfig = served.kubeconfig().display().to_string();
    let watch = States::new().watch(&["-w", "--no-headers", "--kubeconfig", &kubeconfig]);
    assert!(watch.line().starts_with("tools   Ready "));
    assert!(super::state_files::next(&watch.err).contains("the newest check"));
    cluster.api.edit(NAMESPACE, "tools", |object| object["status"]["phase"] = json!("Failed"));
    assert!(watch.line().starts_with("tools   Failed "));
    assert!(watch.err.try_recv().is_err(), "it is said once");
    watch.end();
}

#[test]
fn state_file_whose_writer_promised_nothing_is_stale_by_its_age() {
    let of = |seconds: i64, checked: Option<i64>, args: &[&str]| {
        let states = States::new();
        let mut old = state("old", std::process::id(), "fine");
        old["writer"]["time"] = json!(ago(seconds));
        old["status"]["timestamp"] = json!(ago(seconds));
        if let Some(seconds) = checked {
            old["status"]["discoveredBackends"][0]["lastHealthCheck"] = json!(ago(seconds));
        }
        states.put("old", &old);
        states.get(&[&["old"], args].concat()).out
    };
    assert!(!of(9 * MINUTE, None, &[]).contains("(stale)"));
    let out = of(11 * MINUTE, None, &[]);
    assert!(out.contains("Phase:      Degraded (stale)\nStale:      nothing was reported since 2"), "{out}");
    let out = of(11 * MINUTE, Some(11 * MINUTE), &[]);
    assert!(out.contains("Stale:      no backend was checked since 2"), "{out}");
    assert!(
        out.contains(&format!("Reporter:   alive 11m ago (pid {}), backends checked 11m ago\n", std::process::id())),
        "{out}"
    );
    assert!(!of(11 * MINUTE, None, &["--stale-after", "off"]).contains("(stale)"));
}

#[test]
fn state_file_whose_writer_keeps_its_promise_is_not_stale_however_old_its_checks() {
    let states = States::new();
    let mut kept = state("kept", std::process::id(), "fine");
    kept["writer"] = json!({"pid": std::process::id(), "time": ago(50 * MINUTE), "refreshSeconds": HOUR});
    kept["status"]["discoveredBackends"][0]["lastHealthCheck"] = json!(ago(50 * MINUTE));
    states.put("kept", &kept);
    let out = states.get(&["kept", "-o", "json"]).out;
    let ours = &json(&out)["vmcpStatus"];
    assert_eq!((&ours["stale"], &ours["reporter"]["state"]), (&json!(false), &json!("alive")), "{ours}");
    let wide = states.get(&["-o", "wide"]).out;
    assert!(wide.contains("REPORTER") && wide.contains("LAST CHECK"), "{wide}");
    assert!(wide.contains(&format!("alive 50m (pid {})   50m ", std::process::id())), "{wide}");
}

#[test]
fn status_of_a_single_round_is_fresh_in_a_cluster_and_the_last_word_of_a_process_in_a_file() {
    let (_cluster, served) = checked(HOUR);
    let states = States::new();
    let config = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
    std::fs::write(config.path(), "backends: [{name: a, url: 'http://127.0.0.1:1/mcp'}]\n").expect("written");
    let run_once = |target: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
        command.env_clear().args(["run", "--once", "-c"]).arg(config.path()).arg("--state-dir").arg(states.path());
        let said = super::state_files::said(command.args(target).output().expect("it runs"));
        assert_eq!(said.code, Some(0), "{}", said.err);
    };
    let kubeconfig = served.kubeconfig().display().to_string();
    run_once(&["--kubernetes", "tools", "-n", NAMESPACE, "--kubeconfig", &kubeconfig]);
    let out = get(&served, &["tools"]);
    assert!(!out.contains("(stale)") && out.contains("\nReporter:    backends checked "), "{out}");
    run_once(&["--name", "tools"]);
    let out = states.get(&["tools"]).out;
    assert!(out.contains("Phase:      Failed (stale)") && out.contains("\nReporter:   gone since 2"), "{out}");
}

#[test]
fn one_that_is_followed_is_marked_when_it_becomes_stale_though_nothing_happens() {
    let (_cluster, served) = checked(0);
    let kubeconfig = served.kubeconfig().display().to_string();
    let follow = ["-w", "--no-headers", "--stale-after", "3s"];
    let in_cluster = States::new().watch(&[&follow[..], &["--kubeconfig", &kubeconfig]].concat());
    let states = States::new();
    states.put("tools", &state("tools", std::process::id(), "fine"));
    let of_files = states.watch(&follow);
    for watch in [in_cluster, of_files] {
        while !watch.line().contains(" (stale)   ") {}
        assert_eq!(watch.end(), Vec::<String>::new());
    }
    let programs =
        States::new().watch(&["tools", "-w", "-o", "json", "--stale-after", "3s", "--kubeconfig", &kubeconfig]);
    while programs.line() != "    \"stale\": true," {}
    programs.end();
}
