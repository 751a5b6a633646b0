//! MCP servers to try a client on: good ones, old ones and bad ones, on a
//! random loopback port, each able to change its behaviour while it runs.
//!
//! Modern and older servers are those of the official SDK. What the SDK would
//! never do (strict, silent or broken servers) is written by hand.

#![allow(dead_code, reason = "each user takes the part it needs")]

mod answers;
mod behaviour;
mod echo;
mod event_stream;
mod odd;
mod old;
mod sdk;
mod tls;

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rmcp::model::ProtocolVersion;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;

use crate::cluster::free_port;
use answers::{McpResponse, json_answer, json_error, json_result, redirect, text, with_header};
pub use behaviour::{Behaviour, Refusal};
pub use echo::Echo;
use event_stream::EventStreamServer;
use old::OldServer;
use sdk::{SdkServer, sdk_server};
use tls::{Tls, self_signed};

/// A server on loopback. Dropped, it stops.
pub struct McpServer {
    address: SocketAddr,
    state: Arc<McpState>,
    tls: Option<Tls>,
    accepting: Option<JoinHandle<()>>,
}

impl McpServer {
    /// Starts a server on a port of its own.
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::start_as(behaviour, None).await
    }

    /// Starts an HTTPS server with a certificate that it signed itself, for
    /// `localhost`.
    pub async fn start_tls(behaviour: Behaviour) -> Self {
        Self::start_as(behaviour, Some(self_signed())).await
    }

    async fn start_as(behaviour: Behaviour, tls: Option<Tls>) -> Self {
        // A port that no outgoing connection takes while the server is stopped. Another
        // listener may be quicker.
        let listener = loop {
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", free_port())).await {
                break listener;
            }
        };
        let address = listener.local_addr().expect("local address");
        let state = Arc::new(McpState::new(behaviour));
        let mut server = Self { address, state, tls, accepting: None };
        server.accept_from(listener);
        server
    }

    fn accept_from(&mut self, listener: TcpListener) {
        let acceptor = self.tls.as_ref().map(|tls| tls.acceptor.clone());
        let serving = accept(listener, acceptor, self.state.clone());
        self.accepting = Some(tokio::spawn(serving));
    }

    /// The address of the endpoint.
    pub fn url(&self) -> String {
        let port = self.address.port();
        match self.tls {
            Some(_) => format!("https://localhost:{port}/mcp"),
            None => format!("http://127.0.0.1:{port}/mcp"),
        }
    }

    /// The server's certificate as PEM, when it has one.
    pub fn certificate(&self) -> Option<&str> {
        Some(&self.tls.as_ref()?.certificate)
    }

    /// Behaves differently from now on. Open sessions of handwritten servers
    /// stay.
    pub fn set(&self, behaviour: Behaviour) {
        *self.state.behaviour() = behaviour;
    }

    /// Closes the port and every connection.
    pub async fn stop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = accepting.await;
        }
    }

    /// Closes the port, and goes on serving the connections there are.
    pub async fn stop_accepting(&self) {
        self.state.accepts.send_replace(false);
        self.state.accepts.closed().await;
    }

    /// Stops, if need be, and starts again on the same port, without memory of
    /// the handwritten servers' sessions.
    pub async fn restart(&mut self) {
        self.stop().await;
        lock(&self.state.sessions).clear();
        self.state.accepts.send_replace(true);
        let listener = TcpListener::bind(self.address).await.expect("bind again");
        self.accept_from(listener);
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        lock(&self.state.seen).len()
    }

    /// What came, in order: HTTP method, then the JSON-RPC method if any.
    pub fn log(&self) -> Vec<String> {
        let seen = lock(&self.state.seen);
        seen.iter().map(|seen| seen.what.clone()).collect()
    }

    /// Forgets the requests that came so far.
    pub fn clear_log(&self) {
        lock(&self.state.seen).clear();
    }

    /// The `Authorization` header of the last request, if it had one.
    pub fn last_authorization(&self) -> Option<String> {
        lock(&self.state.seen).last()?.authorization.clone()
    }

    /// Every request's `Authorization` header, in order.
    pub fn authorizations(&self) -> Vec<Option<String>> {
        lock(&self.state.seen).iter().map(|seen| seen.authorization.clone()).collect()
    }

    /// This header of every request, in order.
    pub fn headers(&self, name: &str) -> Vec<Option<String>> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        lock(&self.state.seen).iter().map(|seen| seen.headers.get(name).map(text)).collect()
    }

    /// Every request's path and query, in order.
    pub fn targets(&self) -> Vec<String> {
        lock(&self.state.seen).iter().map(|seen| seen.target.clone()).collect()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// How many TLS connections took up the session of an earlier one, so that no
    /// certificate was shown.
    pub fn resumed_connections(&self) -> usize {
        self.state.resumed.load(Ordering::Relaxed)
    }

    /// Waits until every connection is closed.
    pub async fn wait_for_no_connection(&self) {
        let mut open = self.state.open.subscribe();
        open.wait_for(|open| *open == 0).await.expect("the server outlives its users");
    }

    /// How many sessions are open.
    pub async fn open_sessions(&self) -> usize {
        let own = lock(&self.state.sessions).len();
        own + self.state.legacy_sessions.sessions.read().await.len()
    }

    /// Waits until this request (as in [`McpServer::log`]) has come.
    pub async fn wait_for(&self, what: &str) {
        let mut changes = self.state.changes.subscribe();
        let came = changes.wait_for(|()| lock(&self.state.seen).iter().any(|seen| seen.what == what));
        came.await.expect("the server outlives its users");
    }

    /// Waits until no session is open. Only for handwritten servers.
    pub async fn wait_for_no_session(&self) {
        let mut changes = self.state.changes.subscribe();
        let ended = changes.wait_for(|()| lock(&self.state.sessions).is_empty());
        ended.await.expect("the server outlives its users");
    }

    /// Lets one held request go on.
    pub fn release(&self) {
        self.state.held.add_permits(1);
    }
}

impl Drop for McpServer {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }
}

struct Seen {
    what: String,
    target: String,
    authorization: Option<String>,
    headers: HeaderMap,
}

struct McpState {
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    /// Sessions of the handwritten servers.
    sessions: Mutex<HashSet<String>>,
    next_session: AtomicUsize,
    /// Connections that came.
    connections: AtomicUsize,
    /// Of those, the ones that are not closed yet.
    open: watch::Sender<usize>,
    resumed: AtomicUsize,
    accepts: watch::Sender<bool>,
    changes: watch::Sender<()>,
    held: Semaphore,
    modern: SdkServer,
    modern_events: SdkServer,
    modern_only: SdkServer,
    legacy: SdkServer,
    legacy_sessions: Arc<LocalSessionManager>,
    event_stream: EventStreamServer,
}

impl McpState {
    fn new(behaviour: Behaviour) -> Self {
        let modern = ProtocolVersion::KNOWN_VERSIONS;
        let legacy = ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25);
        let legacy_sessions = Arc::new(LocalSessionManager::default());
        let fresh = || Arc::new(LocalSessionManager::default());
        Self {
            behaviour: Mutex::new(behaviour),
            seen: Mutex::default(),
            sessions: Mutex::default(),
            next_session: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: watch::Sender::new(0),
            resumed: AtomicUsize::new(0),
            accepts: watch::Sender::new(true),
            changes: watch::Sender::default(),
            held: Semaphore::new(0),
            modern: sdk_server(modern, fresh(), true),
            modern_events: sdk_server(modern, fresh(), false),
            modern_only: sdk_server(&modern[legacy.len()..], fresh(), true),
            legacy: sdk_server(legacy, legacy_sessions.clone(), false),
            legacy_sessions,
            event_stream: EventStreamServer::default(),
        }
    }

    fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        lock(&self.behaviour)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<McpState>) {
    // Aborted with the task that holds it, and so are the connections.
    let mut connections = JoinSet::new();
    let mut accepts = state.accepts.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = accepts.wait_for(|accepts| !accepts) => break,
        };
        let Ok((stream, _)) = accepted else { return };
        while connections.try_join_next().is_some() {}
        // Small answers in two parts would each wait for a delayed ACK.
        let _ = stream.set_nodelay(true);
        state.connections.fetch_add(1, Ordering::Relaxed);
        let open = Open::new(&state.open);
        let (state, tls) = (state.clone(), tls.clone());
        connections.spawn(async move {
            let _open = open;
            match tls {
                None => serve(stream, state).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                            state.resumed.fetch_add(1, Ordering::Relaxed);
                        }
                        serve(stream, state).await;
                    }
                }
            }
        });
    }
    drop((listener, accepts));
    while connections.join_next().await.is_some() {}
}

/// Counts a connection until it is closed.
struct Open(watch::Sender<usize>);

impl Open {
    fn new(open: &watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Open(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

async fn serve<S>(mut stream: S, state: Arc<McpState>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let behaviour = state.behaviour().clone();
    match behaviour {
        Behaviour::NotHttp => {
            let _ = stream.read(&mut [0; 64]).await;
            let _ = stream.write_all(b"500 unknown command\r\n").await;
            // Read on, so that the client sees the answer and not a reset.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Behaviour::EndlessHead => {
            let _ = stream.read(&mut [0; 64]).await;
            let mut next: &[u8] = b"HTTP/1.1 200 OK\r\n";
            while stream.write_all(next).await.is_ok() {
                next = b"x-more: and more, and more, and more\r\n";
            }
        }
        _ => {
            let service = service_fn(|request| {
                let state = state.clone();
                async move { Ok::<_, Infallible>(answer(&state, request).await) }
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = served.await;
        }
    }
}

async fn answer(state: &McpState, request: Request<Incoming>) -> McpResponse {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return text(StatusCode::BAD_REQUEST, "");
    };
    let body = body.to_bytes();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let request = Request::from_parts(head, Full::new(body));
    note(state, &request, &message);

    let behaviour = state.behaviour().clone();
    if let Some(answer) = odd::answer(&behaviour) {
        return answer;
    }
    match behaviour {
        Behaviour::NoTools if message["method"] == "tools/list" => {
            json_answer(StatusCode::OK, &json_error(&message["id"], -32603, Value::Null))
        }
        Behaviour::Modern | Behaviour::NoTools => state.modern.handle(request).await,
        Behaviour::ModernEvents => state.modern_events.handle(request).await,
        Behaviour::ModernOnly => state.modern_only.handle(request).await,
        Behaviour::Legacy => state.legacy.handle(request).await,
        Behaviour::LegacyStrict(refusal) => {
            let old = OldServer { refusal, ..OldServer::default() };
            old.answer(state, &request, &message).await
        }
        Behaviour::LegacyStateless(revision) => {
            let old = OldServer { revision, has_sessions: false, ..OldServer::default() };
            old.answer(state, &request, &message).await
        }
        Behaviour::LegacyFragile(revision) => {
            let old = OldServer { revision, has_sessions: false, refusal: Refusal::Crash };
            let answer = old.answer(state, &request, &message).await;
            if answer.status().is_server_error() {
                *state.behaviour() = Behaviour::ServerError;
            }
            answer
        }
        Behaviour::LegacyDeleteFails if request.method() == "DELETE" => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "oh no")
        }
        Behaviour::LegacyDeleteFails => OldServer::default().answer(state, &request, &message).await,
        Behaviour::EventStream(address) => state.event_stream.answer(&address, &request, &message),
        Behaviour::FutureDiscovery
            if request.headers().get("mcp-protocol-version").is_some_and(|version| version == "2099-01-01") =>
        {
            let discovered = json!({"resultType": "complete", "supportedVersions": ["2099-01-01"], "capabilities": {}, "serverInfo": {"name": "a", "version": "1"}, "ttlMs": 0, "cacheScope": "private"});
            json_answer(StatusCode::OK, &json_result(&message["id"], discovered))
        }
        Behaviour::LegacyForgetful => {
            let old = OldServer::default();
            let answer = old.answer(state, &request, &message).await;
            lock(&state.sessions).clear();
            answer
        }
        Behaviour::LegacyHeld => {
            if message["method"] == "initialize" {
                wait_for_release(state).await;
            }
            OldServer::default().answer(state, &request, &message).await
        }
        Behaviour::LegacyStuck => {
            if message["method"] == "ping" {
                std::future::pending::<()>().await;
            }
            OldServer::default().answer(state, &request, &message).await
        }
        Behaviour::FutureOnly | Behaviour::FutureDiscovery => {
            let supported = json!({"supported": ["2099-01-01"], "requested": "secret-text"});
            json_answer(StatusCode::BAD_REQUEST, &json_error(&message["id"], -32022, supported))
        }
        Behaviour::InternalError => json_answer(StatusCode::OK, &json_error(&message["id"], -32603, Value::Null)),
        Behaviour::Slow(time) => {
            tokio::time::sleep(time).await;
            state.modern.handle(request).await
        }
        Behaviour::Held => {
            wait_for_release(state).await;
            state.modern.handle(request).await
        }
        Behaviour::WantsBearer(token) => {
            let wanted = format!("Bearer {token}");
            match request.headers().get(AUTHORIZATION) {
                Some(given) if given == wanted.as_str() => state.modern.handle(request).await,
                _ => with_header(
                    text(StatusCode::UNAUTHORIZED, "who are you?"),
                    WWW_AUTHENTICATE.as_str(),
                    "Bearer realm=\"backend\"",
                ),
            }
        }
        Behaviour::Moved if request.uri().path() == "/moved/mcp" => state.modern.handle(request).await,
        Behaviour::Moved => redirect("/moved/mcp"),
        Behaviour::Echo(place) => place.answer(&request, &message),
        // What is left answers nothing, or has answered above.
        _ => std::future::pending().await,
    }
}

fn note(state: &McpState, request: &Request<Full<Bytes>>, message: &Value) {
    let what = match message["method"].as_str() {
        Some(method) => format!("{} {method}", request.method()),
        None => request.method().to_string(),
    };
    let authorization = request.headers().get(AUTHORIZATION);
    let authorization = authorization.map(|value| String::from_utf8_lossy(value.as_bytes()).into());
    let target = request.uri().to_string();
    let headers = request.headers().clone();
    lock(&state.seen).push(Seen { what, target, authorization, headers });
    state.changes.send_replace(());
}

async fn wait_for_release(state: &McpState) {
    let permit = state.held.acquire().await;
    permit.expect("never closed").forget();
}
