//! What the reporter logs, and how often, in paused time.

use vmcp_status_testkit::logged;
use vmcp_status_testkit::store;

use std::time::Duration;

use logged::Logged;
use store::{Fate, Store};
use tokio::time::{Instant, sleep};
use tracing::Level;
use vmcp_status::{BackendStatus, DiscoveredBackend, Leadership, Phase, Reporter, Retry, Status};

const MINUTE: Duration = Duration::from_secs(60);

/// Reads a duration such as `77s` or `1m17s`.
fn seconds(shown: &serde_json::Value) -> Option<f64> {
    let shown = shown.as_str()?.strip_suffix('s')?;
    let (minutes, seconds) = shown.split_once('m').unwrap_or(("0", shown));
    Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
}

fn said(phase: Phase, message: &str) -> Status {
    Status { phase, message: message.into(), ..Status::default() }
}

#[tokio::test(start_paused = true)]
async fn change_of_phase_is_one_line_and_other_changes_are_none() {
    let lines = Logged::start();
    let (handle, _reporter) = Reporter::builder(Store::default()).derive_phase(true).start();
    let show = async |status, message: &str| {
        for _ in 0..5 {
            assert!(handle.upsert_backend(DiscoveredBackend {
                status,
                message: message.into(),
                ..DiscoveredBackend::named("weather")
            }));
            sleep(MINUTE).await;
        }
    };
    show(BackendStatus::Ready, "").await;
    show(BackendStatus::Unavailable, "Connection failed").await;
    show(BackendStatus::Unavailable, "Health check timed out").await;
    show(BackendStatus::Ready, "").await;
    let phases: Vec<_> = lines
        .with_message("phase changed")
        .iter()
        .map(|line| [&line["before"], &line["phase"]].map(|phase| phase.as_str().unwrap_or("none").to_owned()))
        .collect();
    assert_eq!(phases, [["none", "Ready"], ["Ready", "Failed"], ["Failed", "Ready"]]);
    let others: Vec<_> =
        lines.at(Level::INFO).iter().filter(|line| line["message"] != "phase changed").cloned().collect();
    let [down, back] = &others[..] else { panic!("{others:?}") };
    assert_eq!((&down["message"], &down["backend"]), (&"backend went down".into(), &"weather".into()));
    assert_eq!((&down["status"], &down["reason"]), (&"unavailable".into(), &"Connection failed".into()));
    assert_eq!((&back["message"], &back["backend"]), (&"backend came back".into(), &"weather".into()));
}

#[tokio::test(start_paused = true)]
async fn thousand_backends_that_go_down_and_come_back_are_ten_names_and_a_count_each() {
    let lines = Logged::start();
    let (handle, _reporter) = Reporter::builder(Store::default()).derive_phase(true).start();
    let show = async |status| {
        let backend = |i| DiscoveredBackend { status, ..DiscoveredBackend::named(format!("b{i:04}")) };
        assert!(handle.report(Status::from_backends((0..1000).map(backend))));
        sleep(MINUTE * 2).await;
        let (down, back) = (lines.with_message("backend went down"), lines.with_message("backend came back"));
        let at_info = |told: &[serde_json::Value]| told.iter().filter(|line| line["level"] == "INFO").count();
        (at_info(&down), at_info(&back))
    };
    assert_eq!(show(BackendStatus::Ready).await, (0, 0));
    assert_eq!(show(BackendStatus::Unavailable).await, (10, 0));
    assert_eq!(show(BackendStatus::Unavailable).await, (10, 0));
    assert_eq!(show(BackendStatus::Unknown).await, (10, 0), "not checked yet is neither");
    assert_eq!(show(BackendStatus::Ready).await, (10, 10));
    let counts: Vec<_> = lines.at(Level::INFO).into_iter().filter(|line| line["went_down"].is_u64()).collect();
    let counts: Vec<_> = counts.iter().map(|line| (line["went_down"].as_u64(), line["came_back"].as_u64())).collect();
    assert_eq!(counts, [(Some(990), Some(0)), (Some(0), Some(990))]);
}

#[tokio::test(start_paused = true)]
async fn times_in_a_line_are_for_a_person() {
    let lines = Logged::start();
    let store = Store::default();
    store.state().always = Some(Fate::Fails(Retry::Transient));
    let (handle, _reporter) = Reporter::builder(store.clone()).start();
    assert!(handle.report(said(Phase::Ready, "x")));
    sleep(MINUTE * 5).await;
    store.state().always = None;
    sleep(MINUTE * 5).await;
    let is_short = |time: &serde_json::Value| {
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
        time.as_str().is_some_and(|time| (1..=4).contains(&digits(time)))
    };
    let (failed, stored) = (lines.with_message("status not stored"), lines.with_message("status stored again"));
    assert_eq!(failed[0]["lasting"], "0s");
    assert!(failed.iter().all(|line| is_short(&line["lasting"]) && is_short(&line["next_try_in"])), "{failed:?}");
    assert!(stored.len() == 1 && is_short(&stored[0]["took"]), "{stored:?}");
}

#[tokio::test(start_paused = true)]
async fn change_of_phase_is_logged_when_it_happens_and_not_when_it_can_be_stored() {
    let lines = Logged::start();
    let store = Store::default();
    store.state().always = Some(Fate::Hangs);
    let (handle, _reporter) = Reporter::builder(store).start();
    assert!(handle.report(said(Phase::Degraded, "half of it")));
    sleep(Duration::from_secs(1)).await;
    let [line] = &lines.with_message("phase changed")[..] else { panic!("{:?}", lines.at(Level::INFO)) };
    assert_eq!((line["phase"].as_str(), line["summary"].as_str()), (Some("Degraded"), Some("half of it")));
}

#[tokio::test(start_paused = true)]
async fn outage_is_its_first_failure_then_growing_gaps_then_the_recovery_with_how_long_it_took() {
    let lines = Logged::start();
    let store = Store::default();
    store.state().always = Some(Fate::Fails(Retry::Transient));
    let (handle, _reporter) = Reporter::builder(store.clone()).start();
    let begin = Instant::now();
    assert!(handle.report(said(Phase::Ready, "x")));
    let mut times = Vec::new();
    while begin.elapsed() < MINUTE * 120 {
        sleep(Duration::from_secs(10)).await;
        let told: Vec<_> = lines.at(Level::WARN);
        if told.len() > times.len() {
            times.push(begin.elapsed());
            let line = told.last().expect("a line more");
            assert!(line["attempt"].is_u64() && line["lasting"].is_string(), "{line}");
            assert_eq!(line["error"], "the test wants Transient");
        }
    }
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    assert!(times[0] <= Duration::from_secs(10), "the first is said at once");
    assert!(gaps.windows(2).all(|pair| pair[1] + MINUTE / 2 >= pair[0]), "they grow: {gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= MINUTE * 10 + MINUTE / 2), "up to ten minutes: {gaps:?}");
    assert!((10..20).contains(&times.len()), "{}", times.len());
    store.state().always = None;
    handle.flush().await.expect("stored");
    let [line] = &lines.with_message("status stored again")[..] else { panic!("{:?}", lines.at(Level::INFO)) };
    assert!(line["took"].as_str().is_some_and(|took| took.starts_with("2h")), "two hours: {line}");
}

#[tokio::test(start_paused = true)]
async fn pause_that_the_store_asks_for_is_logged_with_what_is_kept_of_it() {
    let lines = Logged::start();
    let store = Store::failing([Fate::Fails(Retry::After(MINUTE * 60 * 24))]);
    let (handle, _reporter) = Reporter::builder(store).start();
    assert!(handle.report(said(Phase::Ready, "x")));
    sleep(MINUTE / 2).await;
    let [line] = &lines.with_message("status not stored")[..] else { panic!("{:?}", lines.at(Level::WARN)) };
    assert_eq!(line["pause_asked_for"], "1d", "{line}");
    let kept = seconds(&line["next_try_in"]);
    assert!(kept.is_some_and(|seconds| (60.0..91.0).contains(&seconds)), "{line}");
}

#[tokio::test(start_paused = true)]
async fn hang_is_logged_before_its_first_time_out_and_once_in_a_row() {
    let lines = Logged::start();
    let store = Store::default();
    let (handle, _reporter) = Reporter::builder(store.clone()).start();
    assert!(handle.report(said(Phase::Ready, "x")));
    handle.flush().await.expect("stored");
    sleep(MINUTE).await;
    store.state().always = Some(Fate::Hangs);
    assert!(handle.report(said(Phase::Ready, "y")));
    sleep(Duration::from_secs(6)).await;
    let [line] = &lines.with_message("no answer from the store yet")[..] else { panic!("{:?}", lines.at(Level::WARN)) };
    assert_eq!((line["waiting"].as_str(), line["level"].as_str()), (Some("5s"), Some("WARN")), "{line}");
    sleep(MINUTE * 10).await;
    assert_eq!(lines.with_message("no answer from the store yet").len(), 1);
    store.state().always = None;
    sleep(MINUTE).await;
    let [line] = &lines.with_message("status stored again")[..] else { panic!("{:?}", lines.at(Level::INFO)) };
    let (took, since) = (seconds(&line["took"]).expect("a time"), seconds(&line["since_last_write"]).expect("a time"));
    assert!(took > 600.0 && (took + 60.0 - since).abs() < 1.0, "the hang counts too: {line}");
}

#[tokio::test(start_paused = true)]
async fn answer_that_comes_late_is_logged_with_the_time_since_the_change() {
    let lines = Logged::start();
    let store = Store::slow(Duration::from_secs(7));
    let (handle, _reporter) = Reporter::builder(store).start();
    assert!(handle.report(said(Phase::Ready, "x")));
    sleep(MINUTE).await;
    assert_eq!(lines.with_message("no answer from the store yet").len(), 1);
    let [line] = &lines.with_message("status stored again")[..] else { panic!("{:?}", lines.at(Level::INFO)) };
    assert_eq!(line["took"], "7s", "{line}");
    let quick = Logged::start();
    let (handle, _reporter) = Reporter::builder(Store::slow(Duration::from_secs(4))).start();
    assert!(handle.report(said(Phase::Ready, "x")));
    sleep(MINUTE).await;
    assert_eq!(quick.at(Level::WARN).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_logged_at_debug_level() {
    let lines = Logged::start();
    let store = Store::failing([Fate::Fails(Retry::Transient); 4]);
    let (handle, _reporter) = Reporter::builder(store).start();
    assert!(handle.report(said(Phase::Ready, "x")));
    sleep(MINUTE).await;
    let attempts: Vec<_> = lines.with_message("status not stored").iter().map(|line| line["attempt"].clone()).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn findings_of_an_unfinished_first_round_are_not_logged_as_a_change_of_phase() {
    let lines = Logged::start();
    let (handle, _reporter) = Reporter::builder(Store::default()).derive_phase(true).start_window(MINUTE).start();
    let is = |name: &str, status| DiscoveredBackend { status, ..DiscoveredBackend::named(name) };
    assert!(handle.upsert_backend(is("slow", BackendStatus::Unknown)));
    assert!(handle.upsert_backend(is("down", BackendStatus::Unavailable)));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(lines.with_message("phase changed").len(), 0, "nothing is known of the whole yet");
    assert!(handle.upsert_backend(is("slow", BackendStatus::Ready)));
    handle.first_round_done();
    sleep(Duration::from_secs(5)).await;
    let changes = lines.with_message("phase changed");
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0]["phase"], "Degraded");
}

#[tokio::test(start_paused = true)]
async fn lines_name_their_vmcp() {
    let lines = Logged::start();
    let dir = tempfile::tempdir().expect("a directory");
    let sink = vmcp_status::FileSink::in_dir(dir.path(), "mine").expect("a name");
    let span = sink.span();
    let (handle, reporter) = Reporter::builder(sink).span(span).start();
    assert!(handle.report(said(Phase::Ready, "x")));
    reporter.shutdown().await;
    assert_eq!(lines.with_message("phase changed")[0]["span"]["vmcp"], "mine");
}

#[tokio::test(start_paused = true)]
async fn standby_logs_no_change_of_phase_and_each_line_of_a_leader_says_that_it_leads() {
    let lines = Logged::start();
    let (election, leadership) = Leadership::new();
    let store = Store::default();
    let found = |phase| Status { phase, ..Status::from_backends([DiscoveredBackend::named("weather")]) };
    store.state().stored = Some(found(Phase::Ready));
    let spans = |state: vmcp_status::LeadershipState| tracing::error_span!("mine", role = state.role());
    let (handle, _reporter) = Reporter::builder(store.clone()).leadership(leadership).spans(spans).start();
    let phases = || {
        let of = |line: &serde_json::Value, member: &str| line[member].as_str().unwrap_or("none").to_owned();
        let changes = lines.with_message("phase changed");
        changes
            .iter()
            .map(|line| [of(line, "before"), of(line, "phase"), of(&line["span"], "role")])
            .collect::<Vec<_>>()
    };
    for (phase, stand_by) in [(Phase::Ready, false), (Phase::Failed, true), (Phase::Degraded, true)] {
        if stand_by {
            election.stand_by();
        }
        assert!(handle.report(found(phase)));
        sleep(MINUTE).await;
    }
    assert!(phases().is_empty(), "users saw none of it: {:?}", phases());
    let lead = || election.lead_until(Instant::now() + 60 * MINUTE);
    lead();
    sleep(MINUTE).await;
    assert_eq!(phases(), [["Ready", "Degraded", "leader"]], "from what users saw");

    election.stand_by();
    sleep(MINUTE).await;
    lead();
    sleep(MINUTE).await;
    assert_eq!(phases().len(), 1, "nothing has changed");
    store.state().always = Some(Fate::Fails(Retry::Transient));
    assert!(handle.report(found(Phase::Ready)));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(lines.with_message("status not stored")[0]["span"]["role"], "leader");
}
