use anstream::adapter::strip_str;
use chrono::TimeDelta;
use vmcp_status::Status;

use super::*;
use crate::get::liveness::{Liveness, Reporter, ReporterState, SeenLease};
use crate::homes::Unfollowed;

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

fn ago(seconds: i64) -> Option<DateTime<Utc>> {
    now().checked_sub_signed(TimeDelta::seconds(seconds))
}

fn view(format: OutputFormat, single: bool) -> View {
    View { format, columns: Columns::Files, headers: true, single }
}

/// The text as it looks without colours.
fn shown(view: View, objects: &[Object]) -> String {
    strip_str(&view.text(objects, now()).expect("it can be shown")).to_string()
}

fn object(name: &str, status: Status) -> Object {
    Object {
        name: name.into(),
        namespace: String::new(),
        url: String::new(),
        stored: json!({"metadata": {"name": name}, "status": status, "extra": {"unknown": [1, null]}}),
        status,
        written: ago(192),
        stale: None,
        unfollowed: None,
        liveness: written_by(ReporterState::Alive { vouches: true }),
    }
}

/// What a state file tells.
fn written_by(state: ReporterState) -> Liveness {
    let reporter = Reporter { state, seen: ago(192), who: "pid 1234".into() };
    Liveness { reporter: Some(reporter), ..Liveness::default() }
}

fn gone(object: Object) -> Object {
    let stale = Some("the reporter is gone; this is its last word".into());
    Object { liveness: written_by(ReporterState::Gone), stale, ..object }
}

fn weather() -> Object {
    let backends = [
        DiscoveredBackend {
            url: "http://weather:8080/mcp".into(),
            status: BackendStatus::Ready,
            auth_type: "oauth2".into(),
            auth_config_ref: "weather-auth".into(),
            last_health_check: ago(5),
            mcp_revision: "2025-11-25".into(),
            circuit_breaker_state: Some(CircuitBreakerState::Closed),
            ..DiscoveredBackend::named("weather")
        },
        DiscoveredBackend {
            url: "http://db:1/mcp".into(),
            status: BackendStatus::Unavailable,
            last_health_check: ago(7200),
            message: "connection\nrefused".into(),
            circuit_breaker_state: Some(CircuitBreakerState::Open),
            circuit_last_changed: ago(240),
            consecutive_failures: 7,
            ..DiscoveredBackend::named("db")
        },
    ];
    let mut status = Status { timestamp: ago(10), ..Status::derived_from(backends) };
    for condition in &mut status.conditions {
        condition.last_transition_time = ago(4 * 3600);
    }
    let liveness = Liveness { checked: ago(5), ..written_by(ReporterState::Alive { vouches: true }) };
    Object { liveness, ..object("tools", status) }
}

#[test]
fn a_list_has_a_row_for_each() {
    let idle = Object { written: None, liveness: Liveness::default(), ..object("idle", Status::default()) };
    let objects = [gone(object("notes", Status::derived_from::<DiscoveredBackend>([]))), weather(), idle];
    assert_eq!(
        shown(view(OutputFormat::Table, false), &objects),
        "\
NAME    PHASE           BACKENDS   AGE      MESSAGE
notes   Ready (stale)   0/0        3m12s    Ready, no backends configured
tools   Degraded        1/2        3m12s    1 of 2 backends routable, 1 unavailable
idle    Pending         0/0        <none>   <none>
"
    );
    assert_eq!(
        shown(view(OutputFormat::Wide, false), &objects),
        "\
NAME    PHASE           BACKENDS   AGE      UPDATED   REPORTER                 LAST CHECK   MESSAGE
notes   Ready (stale)   0/0        3m12s    <none>    gone 3m12s (pid 1234)    <none>       Ready, no backends configured
tools   Degraded        1/2        3m12s    10s       alive 3m12s (pid 1234)   5s           1 of 2 backends routable, 1 unavailable
idle    Pending         0/0        <none>   <none>    <none>                   <none>       <none>
"
    );
}

#[test]
fn one_is_shown_with_backends_and_conditions() {
    assert_eq!(
        shown(view(OutputFormat::Table, true), &[weather()]),
        "\
Name:       tools
Phase:      Degraded
Backends:   1 routable, 2 listed
Message:    1 of 2 backends routable, 1 unavailable
Age:        3m12s
Reporter:   alive 3m12s ago (pid 1234), backends checked 5s ago

BACKEND   STATUS        AUTH     LAST CHECK   MESSAGE
weather   ready         oauth2   5s           <none>
db        unavailable   <none>   120m         connection refused

CONDITION            STATUS   REASON                  SINCE   MESSAGE
Ready                False    SomeBackendsUnhealthy   4h      1 of 2 backends routable, 1 unavailable
BackendsDiscovered   True     BackendsDiscovered      4h      Discovered 2 backends
"
    );
}

fn in_cluster(object: Object, namespace: &str, url: &str) -> Object {
    Object { namespace: namespace.into(), url: url.into(), liveness: Liveness::default(), ..object }
}

#[test]
fn a_list_of_a_cluster_has_the_columns_of_kubectl() {
    let objects = [
        in_cluster(object("bare", Status::default()), "lab", ""),
        in_cluster(weather(), "prod", "http://tools.prod:4483/mcp"),
    ];
    let all = |columns| shown(View { columns, ..view(OutputFormat::Table, false) }, &objects);
    assert_eq!(
        all(Columns::AllNamespaces),
        "\
NAMESPACE   NAME    PHASE      URL                          BACKENDS   AGE     READY    MESSAGE
lab         bare    Pending    <none>                       0/0        3m12s   <none>   <none>
prod        tools   Degraded   http://tools.prod:4483/mcp   1/2        3m12s   False    1 of 2 backends routable, 1 unavailable
"
    );
    let without = |line: &str| line["NAMESPACE   ".len()..].to_owned() + "\n";
    assert_eq!(all(Columns::Namespace), all(Columns::AllNamespaces).lines().map(without).collect::<String>());
}

#[test]
fn one_of_a_cluster_has_namespace_and_url() {
    let text = shown(view(OutputFormat::Table, true), &[in_cluster(weather(), "prod", "http://tools/mcp")]);
    assert_eq!(
        text.split("\n\n").next(),
        Some(
            "\
Name:        tools
Namespace:   prod
Phase:       Degraded
URL:         http://tools/mcp
Backends:    1 routable, 2 listed
Message:     1 of 2 backends routable, 1 unavailable
Age:         3m12s"
        )
    );
}

fn checked(seconds: i64) -> Liveness {
    Liveness { checked: ago(seconds), ..Liveness::default() }
}

/// The same object; its leader renewed the Lease this long ago.
fn elected(object: Object, seconds: i64) -> Object {
    let renewed = ago(seconds).map(|at| at.to_rfc3339());
    let spec = json!({"holderIdentity": "pod-1_0123456789abcdef", "leaseDurationSeconds": 15, "renewTime": renewed});
    let reporter = SeenLease::new(&json!({"spec": spec}), now()).and_then(|lease| lease.reporter(None));
    Object { liveness: Liveness { reporter, ..checked(41 * 60) }, ..object }
}

#[test]
fn one_whose_reporters_elect_a_leader_says_whether_it_is_alive_and_when_backends_were_checked() {
    let of = |object| shown(view(OutputFormat::Table, true), &[object]);
    let object = || in_cluster(object("tools", Status::default()), "prod", "");
    let without = of(object());
    assert!(!without.contains("Reporter:"), "{without}");
    let alive = "Reporter:    alive 3s ago (holder pod-1), backends checked 41m ago\n";
    assert_eq!(of(elected(object(), 3)), format!("{without}{alive}"));
    let gone = "Reporter:    gone since 2024-10-03T23:58:00Z (2m ago, holder pod-1), backends checked 41m ago\n";
    assert_eq!(of(elected(object(), 120)), format!("{without}{gone}"));
    let unelected = Object { liveness: checked(41 * 60), ..object() };
    assert_eq!(of(unelected), format!("{without}Reporter:    backends checked 41m ago\n"));
}

#[test]
fn wide_list_of_a_cluster_has_columns_for_reporter_and_last_check() {
    let object = |name| in_cluster(object(name, Status::default()), "prod", "");
    let objects = [object("bare"), elected(object("dead"), 3600), elected(object("live"), 3)];
    let wide = View { columns: Columns::Namespace, ..view(OutputFormat::Wide, false) };
    assert_eq!(
        shown(wide, &objects),
        "\
NAME   PHASE     URL      BACKENDS   AGE     READY    REPORTER                  LAST CHECK   MESSAGE
bare   Pending   <none>   0/0        3m12s   <none>   <none>                    <none>       <none>
dead   Pending   <none>   0/0        3m12s   <none>   gone 60m (holder pod-1)   41m          <none>
live   Pending   <none>   0/0        3m12s   <none>   alive 3s (holder pod-1)   41m          <none>
"
    );
    let narrow = shown(View { format: OutputFormat::Table, ..wide }, &objects);
    assert!(!narrow.contains("REPORTER") && !narrow.contains("LAST CHECK"), "{narrow}");
}

#[test]
fn report_that_the_operator_has_not_copied_is_marked_in_a_list_and_told_of_one() {
    let unfollowed = Some(Unfollowed { since: ago(240), summary: "Degraded, 2 routable, 3 listed".into() });
    let behind = Object { unfollowed, ..in_cluster(object("tools", Status::default()), "prod", "") };
    let text = shown(view(OutputFormat::Table, true), std::slice::from_ref(&behind));
    assert_eq!(
        text,
        "\
Name:        tools
Namespace:   prod
Phase:       Pending (behind)
Reported:    4m ago: Degraded, 2 routable, 3 listed; not taken over by the operator
URL:         <none>
Backends:    0 routable, 0 listed
Message:     <none>
Age:         3m12s
"
    );
    let list = View { columns: Columns::Namespace, ..view(OutputFormat::Table, false) };
    assert!(shown(list, &[behind]).contains("\ntools   Pending (behind)   <none>   0/0"));
}

#[test]
fn wide_shows_all_of_a_backend() {
    let text = shown(view(OutputFormat::Wide, true), &[weather()]);
    let table = text.split("\n\n").nth(1).expect("there are backends");
    assert_eq!(
        table,
        "\
BACKEND   STATUS        AUTH     LAST CHECK   URL                       REVISION     FAILURES   CIRCUIT     AUTH REF       MESSAGE
weather   ready         oauth2   5s           http://weather:8080/mcp   2025-11-25   0          closed      weather-auth   <none>
db        unavailable   <none>   120m         http://db:1/mcp           <none>       7          open (4m)   <none>         connection refused"
    );
}

#[test]
fn one_that_is_stale_says_why() {
    assert_eq!(
        shown(view(OutputFormat::Table, true), &[gone(object("a", Status::default()))]),
        "\
Name:       a
Phase:      Pending (stale)
Stale:      the reporter is gone; this is its last word
Backends:   0 routable, 0 listed
Message:    <none>
Age:        3m12s
Reporter:   gone since 2024-10-03T23:56:48Z (3m12s ago, pid 1234)
"
    );
}

#[test]
fn list_that_was_cut_for_size_counts_what_is_known_and_the_message_says_the_rest() {
    let listed =
        ["a", "b"].map(|name| DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named(name) });
    let shown_of = |routable, message: &str, single| {
        let status =
            Status { message: message.into(), backend_count: routable, ..Status::from_backends(listed.clone()) };
        shown(View { headers: false, ..view(OutputFormat::Table, single) }, &[object("x", status)])
    };
    for message in ["fine (5 of 7 backends not listed: too large)", "in other words", ""] {
        let text = shown_of(6, message, true);
        assert_eq!(text.lines().nth(2), Some("Backends:   6 routable, 2 listed"));
        assert!(text.contains(message), "{text}");
        assert!(shown_of(6, message, false).starts_with("x   Pending   6 (2 listed)   "));
        assert!(shown_of(2, message, false).starts_with("x   Pending   2/2   "), "all that are routable are listed");
    }
}

#[test]
fn headers_can_be_left_out() {
    let bare = |single| View { headers: false, ..view(OutputFormat::Table, single) };
    assert_eq!(shown(bare(false), &[weather()]).lines().count(), 1);
    let text = shown(bare(true), &[weather()]);
    assert!(!text.contains("BACKEND  ") && !text.contains("CONDITION"), "{text}");
    assert_eq!(text.split("\n\n").count(), 3);
}

#[test]
fn programs_get_what_is_stored_and_beside_it_how_old_it_is() {
    let objects = [weather(), gone(object("b", Status::default()))];
    let [a, b] = objects.each_ref().map(|object| {
        let mut document = object.stored.clone();
        document["vmcpStatus"] = object.liveness.to_json(object.stale.as_deref());
        document
    });
    assert_eq!(a["vmcpStatus"]["lastCheck"], "2024-10-03T23:59:55Z");
    assert_eq!(b["vmcpStatus"]["stale"], true);
    let json = |single, objects: &[Object]| -> Value {
        serde_json::from_str(&shown(view(OutputFormat::Json, single), objects)).expect("it is JSON")
    };
    assert_eq!(json(true, &objects[..1]), a);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [a, b]});
    assert_eq!(json(false, &objects), list);
    assert_eq!(json(false, &[])["items"], json!([]));

    let yaml: Value = serde_saphyr::from_str(&shown(view(OutputFormat::Yaml, false), &objects)).expect("it is YAML");
    assert_eq!(yaml, list);
    assert_eq!(shown(view(OutputFormat::Name, false), &objects), "tools\nb\n");
    assert_eq!(shown(view(OutputFormat::Name, true), &objects[..1]), "tools\n");
}

#[test]
fn no_format_lets_a_control_character_out() {
    let hostile = "\u{1b}]0;x\u{7}\u{9b}2J\u{7f}\r\n\"";
    let status = Status {
        message: hostile.into(),
        conditions: vec![Condition::unchecked(hostile, ConditionStatus::True, hostile, hostile)],
        ..Status::from_backends([DiscoveredBackend {
            url: hostile.into(),
            auth_type: hostile.into(),
            auth_config_ref: hostile.into(),
            message: hostile.into(),
            mcp_revision: hostile.into(),
            ..DiscoveredBackend::named(hostile)
        }])
    };
    let evil = in_cluster(object("evil", status), hostile, hostile);
    for format in OutputFormat::value_variants() {
        for (single, columns) in [(true, Columns::Files), (false, Columns::Files), (false, Columns::AllNamespaces)] {
            let view = View { columns, ..view(*format, single) };
            let text = view.text(std::slice::from_ref(&evil), now()).expect("it can be shown");
            let ours = strip_ours(&text);
            assert!(!ours.chars().any(|char| char.is_control() && char != '\n'), "{format:?} {ours:?}");
            let stored = match format {
                OutputFormat::Json => serde_json::from_str::<Value>(&text).ok(),
                OutputFormat::Yaml => serde_saphyr::from_str::<Value>(&text).ok(),
                _ => continue,
            };
            let stored = stored.expect("it is still whole");
            assert_eq!(if single { &stored } else { &stored["items"][0] }, &evil.document());
        }
    }
}

/// Takes out the colours that cells have here, and no others.
fn strip_ours(text: &str) -> String {
    [GOOD, WARNING, BAD, DIM].iter().fold(text.to_owned(), |text, style| {
        text.replace(&style.render().to_string(), "").replace(&style.render_reset().to_string(), "")
    })
}

#[test]
fn colours_say_how_it_is() {
    let coloured = |cell| block(vec![("", cell)]).split_off("<none>   ".len());
    let phase_of = |phase| Object { status: Status { phase, ..Status::default() }, ..weather() };
    let green = |text: &str| format!("\u{1b}[32m{text}\u{1b}[0m\n");
    assert_eq!(coloured(phase(&phase_of(Phase::Ready))), green("Ready"));
    assert_eq!(coloured(backend_status(BackendStatus::Ready)), green("ready"));
    assert_eq!(coloured(phase(&gone(phase_of(Phase::Ready)))), "\u{1b}[2mReady (stale)\u{1b}[0m\n");
    let condition = |type_| Condition::unchecked(type_, ConditionStatus::False, "Why", "");
    assert_eq!(coloured(condition_status(&condition("Ready"))), "\u{1b}[31mFalse\u{1b}[0m\n");
    assert_eq!(coloured(condition_status(&condition("Degraded"))), green("False"));
    assert_eq!(coloured(condition_status(&condition("Foreign"))), "False\n");
}
