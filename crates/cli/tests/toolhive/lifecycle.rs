//! The everyday: changes, restarts, outages, and pods that come and go.

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator"]
async fn thirty_changes_are_seen_as_thirty_changes_and_silence_as_none() {
    let (cluster, _operator) = toolhive().await;
    let mut ours = Ours::start(&cluster, &[]);
    ours.both("ready", "ready").await;
    until_seen(&cluster, &all_ready()).await;
    let recording = Recording::start(&cluster).await;
    until_quiet(&recording).await;
    let before = recording.count();
    for change in 0..30 {
        let down = change % 2 == 0;
        ours.backend("b", if down { "unavailable" } else { "ready" }).await;
        until_seen(&cluster, &if down { one_down() } else { all_ready() }).await;
    }
    until_quiet(&recording).await;
    let flips = |value: &str, other: &str| -> Vec<String> {
        (0..31).map(|i| if i % 2 == 0 { value.to_owned() } else { other.to_owned() }).collect()
    };
    assert_eq!(recording.aspect(|seen| seen.phase.clone()), flips("Ready", "Degraded"));
    assert_eq!(recording.aspect(|seen| seen.ready.clone()), flips("True", "False"));
    assert_eq!(recording.aspect(|seen| seen.count).len(), 31);
    // Ours, and the operator's answer.
    let writes = recording.count() - before;
    assert!(writes <= 60, "{writes} writes for 30 changes");
    ours.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator"]
async fn restarts_of_the_operator_move_nothing() {
    let (cluster, mut operator) = toolhive().await;
    let mut ours = Ours::start(&cluster, &[]);
    ours.both("ready", "unavailable").await;
    until_seen(&cluster, &one_down()).await;
    let recording = Recording::start(&cluster).await;
    until_quiet(&recording).await;
    let times = |object: &Value| object["status"]["conditions"].clone();
    let before = times(&cluster.object(NAME).await.expect("it is there"));
    for _ in 0..10 {
        operator.restart().await;
        cluster.reconciled(NAME).await;
    }
    until_quiet(&recording).await;
    assert_eq!(recording.seen(), [one_down()]);
    assert_eq!(times(&cluster.object(NAME).await.expect("it is there")), before);
    ours.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator"]
async fn restarts_of_ours_move_nothing_though_nothing_has_been_checked_yet() {
    let (cluster, _operator) = toolhive().await;
    let config = cluster.dir().join("vmcp.yaml");
    // Nobody listens there, and that is what is found each time.
    std::fs::write(&config, "timeout: 1s\nbackends:\n- {name: a, url: 'http://127.0.0.1:9/mcp'}\n").expect("written");
    let run = async |cluster: &RealCluster| {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_vmcp-status"))
            .env_clear()
            .args(["run", "--once", "--kubernetes", NAME, "-n", "default", "-c"])
            .arg(&config)
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig("operator"))
            .output()
            .await
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&cluster).await;
    let down = Seen::new("Degraded", "False", 0, &["a=unavailable"]);
    until_seen(&cluster, &down).await;
    let recording = Recording::start(&cluster).await;
    until_quiet(&recording).await;
    let conditions = |object: &Value| object["status"]["runtime"]["conditions"].clone();
    let before = conditions(&cluster.object(NAME).await.expect("it is there"));
    let mark = cluster.audit_mark();
    for _ in 0..10 {
        run(&cluster).await;
    }
    until_quiet(&recording).await;
    assert_eq!(recording.seen(), [down]);
    assert_eq!(conditions(&cluster.object(NAME).await.expect("it is there")), before);
    let writes = cluster.audit_since("operator", mark).iter().filter(|entry| entry.writes_status()).count();
    assert!(writes <= 10, "at most one write each: {writes}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator"]
async fn all_unavailable_is_failed_for_us_and_degraded_for_the_operator_without_a_fight() {
    let (cluster, _operator) = toolhive().await;
    let mut ours = Ours::start(&cluster, &["--refresh", "2s"]);
    ours.both("unavailable", "unavailable").await;
    let down = Seen::new("Degraded", "False", 0, &["a=unavailable", "b=unavailable"]);
    until_seen(&cluster, &down).await;
    let recording = Recording::start(&cluster).await;
    // Refreshes of ours are in it too.
    sleep(QUIET * 3).await;
    assert_eq!(recording.seen(), [down]);
    let status = cluster.object(NAME).await.expect("it is there")["status"].clone();
    assert_eq!(status["runtime"]["phase"], "Failed");
    ours.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator"]
async fn operator_that_is_gone_for_two_minutes_is_spoken_of_and_catches_up() {
    let (cluster, mut operator) = toolhive().await;
    let mut ours = Ours::start(&cluster, &["--refresh", "10s"]);
    ours.both("ready", "ready").await;
    until_seen(&cluster, &all_ready()).await;
    operator.stop().await;
    let recording = Recording::start(&cluster).await;
    ours.backend("b", "unavailable").await;
    let reported = |object: &Value| object["status"]["runtime"]["phase"] == "Degraded";
    cluster.until_object(NAME, "reported", reported).await;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(recording.seen(), [all_ready()], "nobody shows it");
    let told = ours.logged("is not what was reported");
    assert!((1..=3).contains(&told.len()), "said, and at growing gaps: {told:#?}");
    operator.start().await;
    cluster.touch(NAME).await;
    until_seen(&cluster, &one_down()).await;
    vmcp_status_testkit::cluster::until("said that it is shown again", async || {
        (!ours.logged("shows status.runtime again").is_empty()).then_some(())
    })
    .await;
    ours.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator"]
async fn pods_that_are_not_ready_are_the_operators_word_and_ours_comes_through_after() {
    let (cluster, _operator) = toolhive().await;
    let mut ours = Ours::start(&cluster, &[]);
    ours.both("ready", "ready").await;
    until_seen(&cluster, &all_ready()).await;
    cluster.set_pod_ready(NAME, false).await;
    let pending = Seen { phase: "Pending".into(), ready: "False".into(), ..all_ready() };
    until_seen(&cluster, &pending).await;
    ours.backend("b", "unavailable").await;
    until_seen(&cluster, &Seen { phase: "Pending".into(), ..one_down() }).await;
    cluster.set_pod_ready(NAME, true).await;
    until_seen(&cluster, &one_down()).await;
    ours.end().await;
}
