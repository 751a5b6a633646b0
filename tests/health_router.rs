//! The health endpoints, asked without a socket and in paused time.

#![allow(clippy::float_cmp, reason = "small whole numbers")]

use vmcp_status_testkit::openmetrics;
use vmcp_status_testkit::store;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use openmetrics::Scrape;
use prometheus_client::registry::Registry;
use store::{Fate, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use vmcp_status::http::{Readiness, router, serve};
use vmcp_status::{
    BackendStatus, DiscoveredBackend, Leadership, MetricsOptions, Phase, Reporter, Retry, Sink, SinkError, Status,
    StatusHandle, WriteOutcome,
};

const HOUR: Duration = Duration::from_secs(3600);

struct Answer {
    code: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn short(&self) -> (u16, &str) {
        (self.code.as_u16(), self.body.trim_end())
    }
}

async fn ask(router: &Router, method: Method, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    let answer: Result<_, Infallible> = router.clone().oneshot(request).await;
    let (parts, body) = answer.expect("infallible").into_parts();
    let body = body.collect().await.expect("a body in memory").to_bytes();
    Answer { code: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).expect("text") }
}

async fn get(router: &Router, path: &str) -> Answer {
    ask(router, Method::GET, path).await
}

fn routed(handle: &StatusHandle, readiness: Readiness) -> Router {
    let mut registry = Registry::default();
    handle.register_metrics(&mut registry, MetricsOptions::default());
    router(handle, Arc::new(registry), readiness)
}

fn start(store: &Store) -> (StatusHandle, Reporter, Router) {
    let (handle, reporter) = Reporter::builder(store.clone()).start();
    let router = routed(&handle, Readiness::Stored);
    (handle, reporter, router)
}

fn failing() -> Store {
    let store = Store::default();
    store.state().always = Some(Fate::Fails(Retry::Transient));
    store
}

#[tokio::test(start_paused = true)]
async fn store_that_fails_for_an_hour_fails_neither_liveness_nor_readiness() {
    let store = Store::default();
    let (handle, _reporter, router) = start(&store);
    assert!(handle.set_phase(Phase::Ready, "stored"));
    handle.flush().await.expect("stored");
    assert_eq!(get(&router, "/readyz").await.short(), (200, "ok"));
    for broken in [Fate::Fails(Retry::Transient), Fate::Fails(Retry::Blocked), Fate::Hangs, Fate::Panics] {
        store.state().always = Some(broken);
        assert!(handle.set_phase(Phase::Ready, format!("{broken:?}")));
        for _ in 0..60 {
            sleep(HOUR / 60).await;
            assert_eq!(get(&router, "/healthz").await.short(), (200, "ok"), "{broken:?}");
            assert_eq!(get(&router, "/readyz").await.short(), (200, "ok"), "{broken:?}");
        }
        let status: Status = serde_json::from_str(&get(&router, "/status").await.body).expect("a status");
        assert_eq!(status.message, format!("{broken:?}"), "what is reported, stored or not");
    }
}

#[tokio::test(start_paused = true)]
async fn reporter_is_ready_once_a_status_is_stored_or_found_stored() {
    let store = failing();
    let (handle, _reporter, router) = start(&store);
    assert_eq!(get(&router, "/readyz").await.short(), (503, "nothing has been reported yet"));
    assert!(handle.set_phase(Phase::Ready, "a"));
    sleep(HOUR).await;
    assert_eq!(get(&router, "/readyz").await.short(), (503, "no status has been stored yet"));
    store.state().always = None;
    sleep(HOUR).await;
    assert_eq!(get(&router, "/readyz").await.short(), (200, "ok"));

    let (handle, _reporter, router) = start(&Store::holding(store.stored()));
    assert!(handle.report(store.stored()));
    sleep(HOUR).await;
    assert_eq!(handle.counts().attempts, 0, "there was nothing to write");
    assert_eq!(get(&router, "/readyz").await.short(), (200, "ok"));
}

#[tokio::test(start_paused = true)]
async fn replica_on_standby_is_ready_and_stays_so() {
    let (switch, leadership) = Leadership::new();
    let (handle, _reporter) = Reporter::builder(failing()).leadership(leadership).start();
    let router = routed(&handle, Readiness::Stored);
    assert!(handle.set_phase(Phase::Ready, "a"));
    assert_eq!(get(&router, "/readyz").await.short(), (503, "it is not decided yet which replica leads"));
    switch.stand_by();
    assert_eq!(get(&router, "/readyz").await.short(), (200, "ok"));
    switch.undecided();
    assert_eq!(get(&router, "/readyz").await.short(), (200, "ok"));
}

#[tokio::test(start_paused = true)]
async fn command_line_is_ready_at_once() {
    let (handle, _reporter) = Reporter::builder(failing()).start();
    assert_eq!(get(&routed(&handle, Readiness::Always), "/readyz").await.short(), (200, "ok"));
}

#[tokio::test(start_paused = true)]
async fn reporter_that_has_ended_is_not_alive() {
    let (handle, reporter, router) = start(&Store::default());
    assert!(handle.set_phase(Phase::Ready, "a"));
    reporter.shutdown().await;
    for path in ["/healthz", "/status"] {
        assert_eq!(get(&router, path).await.short(), (503, "the reporter has ended"));
    }
    assert_eq!(get(&router, "/metrics").await.code, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn probes_are_answered_during_the_last_write() {
    let store = Store::slow(Duration::from_secs(3));
    let (handle, reporter, router) = start(&store);
    assert!(handle.set_phase(Phase::Ready, "a"));
    let ending = tokio::spawn(async move { reporter.shutdown().await });
    sleep(Duration::from_secs(1)).await;
    assert_eq!(get(&router, "/healthz").await.short(), (200, "ok"));
    assert!(!ending.is_finished());
    assert!(ending.await.expect("no panic").is_complete());
}

#[tokio::test(start_paused = true)]
async fn endpoints_do_not_keep_the_reporter_alive() {
    let (handle, reporter, router) = start(&Store::default());
    assert!(handle.set_phase(Phase::Ready, "a"));
    assert_eq!(get(&router, "/healthz").await.short(), (200, "ok"));
    drop(handle);
    assert!(reporter.ended().await.is_complete());
    drop(router);
}

/// Blocks its thread, as no sink should.
struct Blocking {
    writing: watch::Sender<bool>,
    release: std::sync::mpsc::Receiver<()>,
}

impl Sink for Blocking {
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        Ok(None)
    }

    async fn write(&mut self, _: &Status) -> Result<WriteOutcome, SinkError> {
        self.writing.send_replace(true);
        let _ = self.release.recv();
        Ok(WriteOutcome::Written)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actor_whose_loop_does_not_turn_is_not_alive() {
    let (release, released) = std::sync::mpsc::channel();
    let (writing, mut blocked) = watch::channel(false);
    let (handle, _reporter) = Reporter::builder(Blocking { writing, release: released }).start();
    let router = routed(&handle, Readiness::Stored);
    assert_eq!(get(&router, "/healthz").await.short(), (200, "ok"));
    assert!(handle.set_phase(Phase::Ready, "a"));
    blocked.wait_for(|writing| *writing).await.expect("it writes");
    let asked = Instant::now();
    assert_eq!(get(&router, "/healthz").await.short(), (503, "the reporter does not answer"));
    assert!(asked.elapsed() < Duration::from_secs(30), "a probe does not wait for ever");
    drop(release);
    handle.flush().await.expect("stored");
    assert_eq!(get(&router, "/healthz").await.short(), (200, "ok"));
}

#[tokio::test(start_paused = true)]
async fn status_is_what_would_be_stored_now() {
    let (handle, _reporter, router) = start(&failing());
    let answer = get(&router, "/status").await;
    assert_eq!(answer.code, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.body, r#"{"phase":"Pending","backendCount":0}"#);
    let backend = DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named("weather") };
    assert!(handle.report(Status::derived_from([backend])));
    let status: Status = serde_json::from_str(&get(&router, "/status").await.body).expect("a status");
    assert_eq!((status.phase, status.backend_count), (Phase::Ready, 1));
}

#[tokio::test(start_paused = true)]
async fn credentials_in_urls_are_shown_nowhere() {
    let (handle, _reporter, router) = start(&Store::default());
    let backend = DiscoveredBackend {
        url: "https://user:hunter2@weather.example/mcp?api_key=swordfish#sesame".into(),
        ..DiscoveredBackend::named("weather")
    };
    assert!(handle.upsert_backend(backend));
    let answers = [get(&router, "/status").await.body, get(&router, "/metrics").await.body];
    assert!(answers[0].contains("https://weather.example/mcp\""), "{}", answers[0]);
    for secret in ["user", "hunter2", "api_key", "swordfish", "sesame"] {
        assert!(!answers[0].contains(secret) && !answers[1].contains(&format!("{secret}\"")), "{secret}");
    }
    for secret in ["hunter2", "swordfish", "sesame", "weather.example"] {
        assert!(!answers[1].contains(secret), "{secret}");
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_have_the_media_type_that_prometheus_asks_for() {
    let (handle, _reporter, router) = start(&Store::default());
    assert!(handle.set_phase(Phase::Ready, "a"));
    handle.flush().await.expect("stored");
    let answer = get(&router, "/metrics").await;
    assert_eq!(answer.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(Scrape::parse(&answer.body).value("vmcp_status_phase{phase=\"Ready\"}"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn every_path_has_its_methods_and_headers_and_others_are_refused() {
    let (_handle, _reporter, router) = start(&Store::default());
    for path in ["/healthz", "/health", "/livez", "/readyz", "/status", "/metrics"] {
        let (got, head) = (get(&router, path).await, ask(&router, Method::HEAD, path).await);
        assert_eq!((head.code, head.body.as_str()), (got.code, ""), "{path}");
        assert!(!got.body.is_empty());
        let posted = ask(&router, Method::POST, path).await;
        assert_eq!(
            (posted.code, &posted.headers["allow"]),
            (StatusCode::METHOD_NOT_ALLOWED, &"GET,HEAD".parse().expect("a header"))
        );
        for answer in [got, head, posted] {
            assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
            assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        }
    }
    for path in ["/", "/nothing", "/healthz/", "/status/a"] {
        assert_eq!(get(&router, path).await.code, StatusCode::NOT_FOUND, "{path}");
    }
}

/// On a real socket: what the request says goes as it stands.
async fn talk(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers and closes");
    answer
}

const PROBE: &str = "GET /healthz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn server_answers_beside_silent_clients_and_ends_when_cancelled() {
    let (_handle, _reporter, router) = start(&Store::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let end = CancellationToken::new();
    let server = tokio::spawn(serve(listener, router, end.clone()));
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(b"GET /hea").await.expect("it reads");
        silent.push(stream);
    }
    // Sooner than the first of them would be sent away.
    let answer = timeout(Duration::from_secs(4), talk(address, PROBE)).await.expect("there is a place left");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
    let answer = talk(address, "\u{1}\u{2}\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    end.cancel();
    server.await.expect("no panic");
    assert!(TcpStream::connect(address).await.is_err(), "the port is free");
}

/// Requests that are being answered now, and the most there were.
struct Held {
    now: watch::Sender<(usize, usize)>,
    release: Semaphore,
}

impl Held {
    async fn hold(self: Arc<Self>) -> &'static str {
        self.now.send_modify(|(now, most)| {
            *now += 1;
            *most = (*most).max(*now);
        });
        let _ = self.release.acquire().await;
        self.now.send_modify(|(now, _)| *now -= 1);
        "done"
    }
}

#[tokio::test]
async fn more_than_64_connections_wait_and_are_answered_in_the_end() {
    let held = Arc::new(Held { now: watch::Sender::default(), release: Semaphore::new(0) });
    let router = Router::new().route(
        "/healthz",
        axum::routing::get({
            let held = Arc::clone(&held);
            move || held.hold()
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(serve(listener, router, CancellationToken::new()));
    let probes: Vec<_> = (0..80).map(|_| tokio::spawn(talk(address, PROBE))).collect();
    held.now.subscribe().wait_for(|(now, _)| *now == 64).await.expect("it is open");
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    held.release.add_permits(80);
    for probe in probes {
        assert!(probe.await.expect("no panic").ends_with("done"));
    }
    assert_eq!(*held.now.borrow(), (0, 64));
    server.abort();
}
