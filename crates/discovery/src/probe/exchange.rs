//! What is said to a backend: discovery, or the older handshake and a ping.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rmcp::model::{
    ClientCapabilities, ClientJsonRpcMessage, ClientNotification, ClientRequest, DiscoverRequest,
    DiscoverRequestParams, ErrorCode, ErrorData, Implementation, InitializeRequest, InitializeRequestParams,
    InitializedNotification, PingRequest, ProtocolVersion, RequestId, RequestMetaObject, ServerResult,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::Lifecycle;
use super::http::{Endpoint, Fault, Http};
use super::reason::Reason;

/// An old server may keep silent at a method it does not know. After this part
/// of the time the old way is tried beside the new one.
const SILENCE_DIVISOR: u32 = 4;
const MAX_SILENCE: Duration = Duration::from_secs(2);

/// A server that has learned the new way may still speak the old one, so now
/// and then a check finds out again.
const LEGACY_CHECKS: u16 = 100;

/// How long after its check an abandoned `initialize` is waited for, to end
/// the session that it may still bring.
const STRAGGLER_GRACE: Duration = Duration::from_secs(10);

/// How long the server has to end a session.
const END_LIMIT: Duration = Duration::from_secs(5);

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// One check's talk with one backend.
#[derive(Clone)]
pub(super) struct Conversation {
    http: Http,
    endpoint: Arc<Endpoint>,
}

/// The backend has shown that it is an MCP server and answers.
#[derive(Debug)]
pub(super) struct ProbeSuccess {
    pub(super) lifecycle: Lifecycle,
    pub(super) revision: Option<String>,
    /// The longest single round trip of the way that worked.
    pub(super) slowest: Duration,
    pub(super) session: Option<Session>,
}

impl Conversation {
    pub(super) fn new(http: Http, endpoint: Endpoint) -> Self {
        Self { http, endpoint: Arc::new(endpoint) }
    }

    /// Talks the way that worked last time, or finds out which one does.
    pub(super) async fn hold(&self, memory: Lifecycle) -> Result<ProbeSuccess, Fault> {
        match memory {
            Lifecycle::Modern => match self.discover().await {
                Err(Fault::Refused(_)) => self.initialize(0).await,
                settled => settled,
            },
            Lifecycle::Legacy { health_checker } if health_checker < LEGACY_CHECKS => {
                match self.initialize(health_checker + 1).await {
                    Err(refused @ Fault::Refused(_)) => self.discover().await.or(Err(refused)),
                    settled => settled,
                }
            }
            Lifecycle::Legacy { .. } | Lifecycle::Unknown => self.learn().await,
        }
    }

    /// Tries discovery first. A server that refuses it is asked the old way at
    /// once; for a silent one both questions stay open, so that a slow server
    /// of either kind is still recognized.
    async fn learn(&self) -> Result<ProbeSuccess, Fault> {
        let silence = (self.endpoint.timeout / SILENCE_DIVISOR).min(MAX_SILENCE);
        let mut discovery = pin!(self.discover());
        match timeout(silence, &mut discovery).await {
            Ok(Err(Fault::Refused(_))) => return self.initialize(0).await,
            Ok(settled) => return settled,
            Err(_silent) => {}
        }
        let mut handshake = pin!(self.initialize(0));
        tokio::select! {
            discovered = &mut discovery => match discovered {
                Ok(proof) => Ok(proof),
                Err(_) => handshake.await,
            },
            shaken = &mut handshake => match shaken {
                Ok(proof) => Ok(proof),
                Err(fault) => discovery.await.or(Err(fault)),
            },
        }
    }

    /// The way since revision 2026-07-28: one request, no session.
    async fn discover(&self) -> Result<ProbeSuccess, Fault> {
        let revision = ProtocolVersion::V_2026_07_28;
        let id = RequestId::Number(0);
        let mut discover = DiscoverRequest::new(DiscoverRequestParams {});
        discover.extensions.insert(RequestMetaObject::with_client_context(
            revision.clone(),
            ourselves(),
            ClientCapabilities::default(),
        ));
        let message = request(ClientRequest::DiscoverRequest(discover), &id);
        let method = (METHOD, HeaderValue::from_static("server/discover"));
        let headers = version_header(&revision).into_iter().chain([method]);
        let headers = HeaderMap::from_iter(headers);

        let asked = Instant::now();
        let response = self.http.post(&self.endpoint, &message, headers).await?;
        let answer = self.http.answer(&self.endpoint, response, &id).await?;
        let supported = match answer.content.map(|result| *result) {
            Ok(ServerResult::DiscoverResult(discovered)) => discovered.supported_versions,
            Ok(_) => return Err(Fault::Refused(Reason::NotMcp)),
            Err(error) => return Err(discovery_refused(&error)),
        };
        if !supported.contains(&revision) {
            return Err(no_common_revision(&supported));
        }
        Ok(ProbeSuccess {
            lifecycle: Lifecycle::Modern,
            revision: Some(revision.to_string()),
            slowest: answer.at - asked,
            session: None,
        })
    }

    /// The way up to revision 2025-11-25: the handshake, then a ping through
    /// the session it opened, if any.
    async fn initialize(&self, health_checker: u16) -> Result<ProbeSuccess, Fault> {
        let asked = Instant::now();
        let id = RequestId::Number(1);
        let (response, mut session) = self.open(&id).await?;
        let answer = self.http.answer(&self.endpoint, response, &id).await?;
        let version = match answer.content.map(|result| *result) {
            Ok(ServerResult::InitializeResult(initialized)) => initialized.protocol_version,
            Ok(_) => return Err(Fault::Failed(Reason::NotMcp)),
            Err(error) => return Err(handshake_refused(&error)),
        };
        let handshake = answer.at - asked;
        session.speak(&version);

        let initialized = ClientJsonRpcMessage::notification(ClientNotification::InitializedNotification(
            InitializedNotification::default(),
        ));
        let response = self.http.post(&self.endpoint, &initialized, session.headers()).await?;
        Http::accepted(&self.endpoint, &response).map_err(|fault| session.lost(fault))?;
        drop(response);

        let ping = self.ping(&session).await?;
        Ok(ProbeSuccess {
            lifecycle: Lifecycle::Legacy { health_checker },
            revision: dated(&version),
            slowest: handshake.max(ping),
            session: Some(session),
        })
    }

    /// Sends `initialize` from a task of its own: when the check is given up
    /// meanwhile, a session that comes after all is still ended.
    async fn open(&self, id: &RequestId) -> Result<(reqwest::Response, Session), Fault> {
        let params = InitializeRequestParams::new(ClientCapabilities::default(), ourselves())
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        let message = request(ClientRequest::InitializeRequest(InitializeRequest::new(params)), id);
        let (deliver, opened) = oneshot::channel();
        let this = self.clone();
        tokio::spawn(async move {
            let limit = this.endpoint.timeout.saturating_add(STRAGGLER_GRACE);
            let posted = timeout(limit, this.http.post(&this.endpoint, &message, HeaderMap::new()));
            let opened = match posted.await {
                Ok(posted) => posted.map(|response| {
                    let session = Session::of(this.clone(), &response);
                    (response, session)
                }),
                Err(_) => Err(Fault::Failed(Reason::TimedOut)),
            };
            // With nobody left to take it, the session ends by being dropped.
            let _ = deliver.send(opened);
        });
        opened.await.unwrap_or(Err(Fault::Failed(Reason::ConnectionFailed)))
    }

    /// Returns how long the answer took.
    async fn ping(&self, session: &Session) -> Result<Duration, Fault> {
        let id = RequestId::Number(2);
        let message = request(ClientRequest::PingRequest(PingRequest::default()), &id);
        let asked = Instant::now();
        let response = self.http.post(&self.endpoint, &message, session.headers()).await?;
        let answered = self.http.answer(&self.endpoint, response, &id).await;
        let answer = answered.map_err(|fault| session.lost(fault))?;
        let took = answer.at - asked;
        match (answer.content, answer.status) {
            (Ok(_), _) => Ok(took),
            // It refuses to play, but it is the server the handshake was with.
            (Err(error), _) if error.code == ErrorCode::METHOD_NOT_FOUND => Ok(took),
            (Err(_), StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) => {
                Err(session.lost(Fault::Refused(Reason::ServerError)))
            }
            (Err(_), _) => Err(Fault::Failed(Reason::ServerError)),
        }
    }
}

/// A session on the server, or the lack of one. Dropped, it is ended in the
/// background: no path out of a check leaves one behind.
pub(super) struct Session {
    exchange: Conversation,
    id: Option<HeaderValue>,
    version: Option<ProtocolVersion>,
}

impl Session {
    fn of(exchange: Conversation, response: &reqwest::Response) -> Self {
        let id = response.headers().get(SESSION_ID).cloned();
        Self { exchange, id: id.filter(|_| response.status().is_success()), version: None }
    }

    fn speak(&mut self, version: &ProtocolVersion) {
        self.version = Some(version.clone());
    }

    fn headers(&self) -> HeaderMap {
        let id = self.id.clone().map(|id| (SESSION_ID, id));
        let version = self.version.as_ref().and_then(version_header);
        id.into_iter().chain(version).collect()
    }

    /// What a refusal means once the handshake has succeeded: the next request
    /// reached a server that does not know the session, as happens behind a
    /// load balancer without affinity.
    fn lost(&self, fault: Fault) -> Fault {
        Fault::Failed(match fault {
            Fault::Refused(_) if self.id.is_some() => Reason::SessionLost,
            Fault::Refused(reason) | Fault::Failed(reason) => reason,
        })
    }

    /// Ends the session and waits for that, but no longer than `limit`.
    pub(super) async fn end(mut self, limit: Duration) {
        if let Some(ending) = self.end_in_background() {
            let _ = timeout(limit, ending).await;
        }
    }

    fn end_in_background(&mut self) -> Option<JoinHandle<()>> {
        let headers = self.headers();
        self.id.take()?;
        let exchange = self.exchange.clone();
        let ending = async move {
            let Conversation { http, endpoint } = exchange;
            let _ = timeout(END_LIMIT, http.delete(&endpoint, headers)).await;
        };
        Some(Handle::try_current().ok()?.spawn(ending))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.end_in_background());
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The id is as good as a password while the session lasts.
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

fn version_header(version: &ProtocolVersion) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_str(version.as_str()).ok()?;
    Some((PROTOCOL_VERSION, value))
}

fn ourselves() -> Implementation {
    Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
}

fn request(request: ClientRequest, id: &RequestId) -> ClientJsonRpcMessage {
    ClientJsonRpcMessage::request(request, id.clone())
}

fn discovery_refused(error: &ErrorData) -> Fault {
    match error.code {
        ErrorCode::UNSUPPORTED_PROTOCOL_VERSION => {
            let supported = error.data.as_ref().and_then(|data| data.get("supported"));
            let supported = supported.and_then(|list| serde_json::from_value(list.clone()).ok());
            supported.map_or(Fault::Refused(Reason::NoCommonRevision), |supported: Vec<ProtocolVersion>| {
                no_common_revision(&supported)
            })
        }
        // It knows the new way, and finds fault with what we said in it.
        ErrorCode::HEADER_MISMATCH | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY => {
            Fault::Failed(Reason::HandshakeRefused)
        }
        _ => handshake_refused(error),
    }
}

fn handshake_refused(error: &ErrorData) -> Fault {
    Fault::Refused(match error.code {
        ErrorCode::UNSUPPORTED_PROTOCOL_VERSION => Reason::NoCommonRevision,
        ErrorCode::INTERNAL_ERROR => Reason::ServerError,
        _ => Reason::HandshakeRefused,
    })
}

/// The old way is worth a try only where one of its revisions is on offer.
fn no_common_revision(supported: &[ProtocolVersion]) -> Fault {
    if supported.iter().any(ProtocolVersion::has_initialize) {
        Fault::Refused(Reason::NoCommonRevision)
    } else {
        Fault::Failed(Reason::NoCommonRevision)
    }
}

/// The revision, if it looks like one: it is the server's word, and goes into a
/// status.
fn dated(version: &ProtocolVersion) -> Option<String> {
    let text = version.as_str();
    let is_date = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    is_date.then(|| text.to_owned())
}
