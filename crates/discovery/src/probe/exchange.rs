//! What a check sends to a backend, and in which order: the handshake first, since
//! every client that the backend has ever met began with it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use rmcp::model::{ErrorCode, ProtocolVersion, RequestId, ServerResult};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::http::{Answer, Endpoint, Fault, Http};
use super::lifecycle::{DeleteMemory, Lifecycle, Transport, Way};
use super::messages;
use super::reason::Reason;
use super::revision::Revision;
use super::session::Session;

/// A server may keep silent at a method it does not know. After this part of
/// the time a check that has shaken hands already waits for discovery no longer.
const SILENCE_DIVISOR: u32 = 4;
const MAX_SILENCE: Duration = Duration::from_secs(2);

/// How long after its check an abandoned `initialize` is waited for, to end
/// the session that it may still bring.
const STRAGGLER_GRACE: Duration = Duration::from_secs(10);

/// One check's talk with one backend.
#[derive(Clone)]
pub(super) struct Conversation {
    pub(super) http: Http,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) deletes: DeleteMemory,
    /// Revisions that are newer than those we know, and welcome all the same.
    accepted: Arc<[Revision]>,
    started: Instant,
}

/// The backend has shown that it is an MCP server and answers.
#[derive(Debug)]
pub(super) struct ProbeSuccess {
    pub(super) way: Way,
    pub(super) refuses_discovery: bool,
    pub(super) revision: Option<Revision>,
    /// The longest single round trip of the way that worked.
    pub(super) slowest: Duration,
    pub(super) session: Option<Session>,
}

impl Conversation {
    pub(super) fn new(http: Http, endpoint: Endpoint, deletes: DeleteMemory, accepted: Arc<[Revision]>) -> Self {
        Self { http, endpoint: Arc::new(endpoint), deletes, accepted, started: Instant::now() }
    }

    /// Talks the way of one revision and no other.
    pub(super) async fn hold_in(&self, revision: Revision) -> Result<ProbeSuccess, Fault> {
        let event_stream = self.endpoint.transport == Some(Transport::EventStream);
        if event_stream || revision == Revision::EVENT_STREAM {
            self.ask_on_event_stream().await
        } else if revision >= Revision::DISCOVERY {
            self.discover(revision).await
        } else {
            self.initialize(revision).await
        }
    }

    /// Talks the way that worked last time, or finds out which one does.
    pub(super) async fn hold(&self, memory: &Lifecycle) -> Result<ProbeSuccess, Fault> {
        match memory.way {
            _ if self.endpoint.transport == Some(Transport::EventStream) => self.ask_on_event_stream().await,
            Way::Unknown => self.learn(memory.refuses_discovery).await,
            Way::Discovery(revision) => match self.discover(revision).await {
                Err(Fault::Refused(_)) => self.learn(true).await,
                settled => settled,
            },
            Way::EventStream => match self.ask_on_event_stream().await {
                Err(Fault::Refused(_)) => self.learn(memory.refuses_discovery).await,
                settled => settled,
            },
            Way::Handshake => match self.initialize(Revision::HANDSHAKE).await {
                Err(Fault::Refused(refused)) => self.ask_otherwise(refused).await,
                settled => settled,
            },
        }
    }

    /// Begins with the handshake. Only a server that refuses it, or agrees on
    /// the newest revision that has it, is asked for discovery: some older
    /// servers answer nothing any more once they have met that method.
    async fn learn(&self, refuses_discovery: bool) -> Result<ProbeSuccess, Fault> {
        match self.initialize(Revision::HANDSHAKE).await {
            Ok(success) if success.revision == Some(Revision::HANDSHAKE) && !refuses_discovery => {
                Ok(self.discover_beside(success).await)
            }
            Err(Fault::Refused(refused)) => self.ask_otherwise(refused).await,
            settled => settled,
        }
    }

    /// Asks a server another way that would not shake hands. One that refuses
    /// in JSON-RPC may know discovery alone; of one that knows no such address
    /// or method of HTTP, the rules of MCP say to try the event stream; but a gateway
    /// that is configured for streamable HTTP does not, and so could not use it.
    async fn ask_otherwise(&self, refused: Reason) -> Result<ProbeSuccess, Fault> {
        let otherwise = match refused {
            Reason::NotFound | Reason::NotMcp if self.endpoint.transport.is_some() => {
                return Err(Fault::Refused(refused));
            }
            Reason::NotFound | Reason::NotMcp => self.ask_on_event_stream().await,
            _ => self.discover(Revision::DISCOVERY).await,
        };
        otherwise.map_err(|fault| match fault {
            // Further on than the refusal, and so nearer to the cause.
            Fault::Failed(_) | Fault::Refused(Reason::NewerRevision(_)) => fault,
            Fault::Refused(_) => Fault::Refused(refused),
        })
    }

    /// Asks a server for discovery that may speak both. Whatever it answers, it
    /// has shown already that it is well.
    async fn discover_beside(&self, shaken: ProbeSuccess) -> ProbeSuccess {
        let left = self.endpoint.timeout.saturating_sub(self.started.elapsed());
        let silence = (self.endpoint.timeout / SILENCE_DIVISOR).min(MAX_SILENCE).min(left / 2);
        let discovery = pin!(self.discover(Revision::DISCOVERY));
        match timeout(silence, discovery).await {
            Ok(Ok(discovered)) => ProbeSuccess { session: shaken.session, ..discovered },
            Ok(Err(_)) | Err(_) => ProbeSuccess { refuses_discovery: true, ..shaken },
        }
    }

    /// The way since revision 2026-07-28: one request, no session. A server
    /// that knows only newer ones is asked once more in the oldest of those
    /// that are accepted.
    async fn discover(&self, revision: Revision) -> Result<ProbeSuccess, Fault> {
        let refused = match self.discover_in(revision).await? {
            Ok(success) => return Ok(success),
            Err(supported) => supported,
        };
        let offered = refused.iter().filter_map(Revision::named);
        let accepted = offered.filter(|offered| *offered != revision && self.accepts(*offered));
        let Some(accepted) = accepted.filter(|offered| *offered >= Revision::DISCOVERY).min() else {
            return Err(Fault::Refused(messages::no_common_revision(&refused)));
        };
        match self.discover_in(accepted).await? {
            Ok(success) => Ok(success),
            Err(supported) => Err(Fault::Refused(messages::no_common_revision(&supported))),
        }
    }

    /// Returns the revisions that the server supports where this is not one.
    async fn discover_in(&self, revision: Revision) -> Result<Result<ProbeSuccess, Vec<ProtocolVersion>>, Fault> {
        let id = RequestId::Number(0);
        let (message, headers) = messages::discover(revision, &id);
        let asked = Instant::now();
        let response = self.http.post(&self.endpoint, &message, headers).await?;
        let stray = Session::stray(self.clone(), &response);
        let answer = self.http.answer(&self.endpoint, response, &id).await;
        // Waited for, because a program that checks once ends soon.
        stray.end(self.endpoint.timeout.saturating_sub(self.started.elapsed())).await;
        let answer = answer?;
        let supported = match answer.content.map(|result| *result) {
            Ok(ServerResult::DiscoverResult(discovered)) => discovered.supported_versions,
            Ok(_) => return Err(Fault::Refused(Reason::NotMcp)),
            Err(error) if error.code == ErrorCode::UNSUPPORTED_PROTOCOL_VERSION => {
                return Ok(Err(messages::supported(&error)));
            }
            // It knows the new way, and finds fault with what we said in it.
            Err(error)
                if matches!(error.code, ErrorCode::HEADER_MISMATCH | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY) =>
            {
                return Err(Fault::Failed(Reason::HandshakeRefused));
            }
            Err(error) => return Err(Fault::Refused(messages::refusal(&error))),
        };
        if !supported.contains(&revision.version()) {
            return Ok(Err(supported));
        }
        Ok(Ok(ProbeSuccess {
            way: Way::Discovery(revision),
            refuses_discovery: false,
            revision: Some(revision),
            slowest: answer.at - asked,
            session: None,
        }))
    }

    /// The way up to revision 2025-11-25: the handshake, then a ping through
    /// the session it opened, if any.
    async fn initialize(&self, revision: Revision) -> Result<ProbeSuccess, Fault> {
        let asked = Instant::now();
        let id = RequestId::Number(1);
        let (response, mut session) = self.open(revision, &id).await?;
        let answer = self.http.answer(&self.endpoint, response, &id).await.map_err(in_trouble)?;
        let handshake = answer.at - asked;
        let version = self.agreed(answer)?;
        session.speak(&version);

        let response = self.http.post(&self.endpoint, &messages::initialized(), session.headers()).await?;
        Http::accepted(&self.endpoint, &response).map_err(|fault| session.lost(fault))?;
        drop(response);

        let ping = self.ping(&session).await?;
        Ok(ProbeSuccess {
            way: Way::Handshake,
            refuses_discovery: false,
            revision: Revision::named(&version),
            slowest: handshake.max(ping),
            session: Some(session),
        })
    }

    /// The revision that the handshake has agreed on.
    pub(super) fn agreed(&self, answer: Answer) -> Result<ProtocolVersion, Fault> {
        let version = match answer.content.map(|result| *result) {
            Ok(ServerResult::InitializeResult(initialized)) => initialized.protocol_version,
            Ok(_) => return Err(Fault::Failed(Reason::NotMcp)),
            Err(error) => return Err(in_trouble(Fault::Refused(messages::refusal(&error)))),
        };
        match Revision::named(&version) {
            Some(newer) if !self.accepts(newer) => Err(Fault::Refused(Reason::NewerRevision(newer))),
            _ => Ok(version),
        }
    }

    fn accepts(&self, revision: Revision) -> bool {
        revision <= Revision::DISCOVERY || self.accepted.contains(&revision)
    }

    /// Sends `initialize` from a task of its own: when the check is given up
    /// meanwhile, a session that comes after all is still ended.
    async fn open(&self, revision: Revision, id: &RequestId) -> Result<(reqwest::Response, Session), Fault> {
        let message = messages::initialize(revision, id);
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
            // If the check has been given up, dropping the session ends it.
            let _ = deliver.send(opened);
        });
        opened.await.unwrap_or(Err(Fault::Failed(Reason::ConnectionFailed)))
    }

    /// Returns how long the answer took.
    async fn ping(&self, session: &Session) -> Result<Duration, Fault> {
        let id = RequestId::Number(2);
        let asked = Instant::now();
        let response = self.http.post(&self.endpoint, &messages::ping(&id), session.headers()).await?;
        let answered = self.http.answer(&self.endpoint, response, &id).await;
        let answer = answered.map_err(|fault| session.lost(fault))?;
        let took = answer.at - asked;
        pong(&answer).map_err(|fault| session.lost(fault)).map(|()| took)
    }
}

/// Whether this is the answer of a server that is well.
pub(super) fn pong(answer: &Answer) -> Result<(), Fault> {
    match (&answer.content, answer.status) {
        (Ok(_), _) => Ok(()),
        // It refuses to play, but it is the server the handshake was with.
        (Err(error), _) if error.code == ErrorCode::METHOD_NOT_FOUND => Ok(()),
        (Err(_), StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) => Err(Fault::Refused(Reason::ServerError)),
        (Err(_), _) => Err(Fault::Failed(Reason::ServerError)),
    }
}

/// A server that breaks at the oldest of requests refuses nothing, and is not
/// troubled with more.
fn in_trouble(fault: Fault) -> Fault {
    match fault {
        Fault::Refused(Reason::ServerError) => Fault::Failed(Reason::ServerError),
        fault => fault,
    }
}
