//! Checks one backend as an MCP client.
//!
//! A [`Prober`] asks a backend the least that proves it is an MCP server and
//! answers, and says what it found in a [`Finding`].
//!
//! # What is asked
//!
//! | server | requests of one check |
//! |---|---|
//! | revision 2026-07-28 | `server/discover`: 1 |
//! | older, without sessions | `initialize`, `notifications/initialized`, `ping`: 3 |
//! | older, with sessions | the same, and a `DELETE` of the session: 4 |
//! | 2024-11-05, HTTP+SSE | `GET` of the stream, and the three messages: 4 |
//!
//! A backend that is not known yet is asked `initialize` first, naming
//! 2025-11-25, as every client before 2026 did: some servers on old SDKs answer
//! nothing any more once they have met another method. One that refuses it in
//! JSON-RPC is asked for discovery; one that agrees on 2025-11-25 is asked for
//! discovery once, since it may speak both; one that agrees on an older revision
//! is never asked. Where HTTP itself refuses, such as with 404 or 405, the event
//! stream of 2024-11-05 is tried. [`Lifecycle`] remembers what worked, and
//! [`Target::transport`] and [`Target::revision`] fix it.
//!
//! # Guarantees
//!
//! - A check ends within [`Target::timeout`], whatever the server does, and
//!   reads at most [`ProberOptions::max_response_bytes`] of a response body.
//! - Credentials go to the target's own origin only: a redirect is followed
//!   when it keeps scheme, host, port and message (307 and 308), and is a
//!   finding otherwise.
//! - A session opened for a check is ended, also when the check is cut off; but
//!   a backend that has answered that with a server error (5xx), or has broken down
//!   after the first time, is spared it from then on, and the session left to its
//!   time-out.
//! - A finding's message is one of a few fixed phrases. It holds no text of the
//!   server (save the date of a revision), no address and no secret, and it is equal for equal findings.
//!
//! # Connections
//!
//! Each check connects anew, and closes its connections when it ends: it proves that
//! the name resolves, the port answers and the certificate holds now. The requests of
//! one check share a connection where the server lets them. One thing outlasts a check
//! that was cut off: an `initialize` without an answer is waited for ten seconds
//! more, so that a session it brings is ended. HTTPS is verified
//! against the certificates of the system or pod (`SSL_CERT_FILE`,
//! `SSL_CERT_DIR`) and [`ProberOptions::extra_ca`], read once by
//! [`Prober::new`], and those of [`Target::trusted_ca`]. The proxy variables
//! `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are honoured, because a
//! backend is reached the way the gateway reaches it; loopback addresses never go by a
//! proxy.
//!
//! # Why not the client loop of the SDK
//!
//! The messages are those of the official SDK, the loop around them is not. The
//! SDK's loop is made for long connections: it opens an event stream beside the
//! handshake, cannot be stopped while its first request hangs, loses the
//! session of a handshake that is cut off, reads bodies of up to 16 MiB, and
//! logs what servers say about themselves at every start. A check that runs
//! every few seconds against servers that may be broken can have none of that.

mod any_certificate;
mod ca_bundle;
mod client;
mod event_stream;
mod exchange;
mod forwarded_headers;
mod http;
mod lifecycle;
mod messages;
mod reason;
mod retry_after;
mod revision;
mod session;
mod sse;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use url::Url;

use client::ClientSettings;
use exchange::Conversation;
use http::{Endpoint, Fault, Http};
use reason::Reason;

pub use ca_bundle::{CaBundle, CaBundleError};
pub use forwarded_headers::{ForwardedHeaderError, ForwardedHeaders};
pub use lifecycle::{Lifecycle, Transport, Way};
pub use revision::{Revision, RevisionError};

/// Checks backends as an MCP client.
///
/// Cheap to clone; all clones share certificates and settings, and no connection.
///
/// ```no_run
/// # use std::time::Duration;
/// # use vmcp_status_discovery::probe::{Lifecycle, Prober, ProberOptions, Target};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let prober = Prober::new(ProberOptions::default())?;
/// let target = Target::new("http://localhost:8080/mcp".parse()?);
/// let mut memory = Lifecycle::default();
/// let finding = prober.check(&target, &mut memory).await;
/// println!("{:?} {}", finding.health, finding.message);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Prober {
    client: ClientSettings,
    max_response_bytes: usize,
    accept_revisions: Arc<[Revision]>,
}

/// Settings of a [`Prober`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProberOptions {
    /// Skips the verification of certificates. Off by default: anyone on the
    /// way to the backend can then read its credentials.
    pub accept_invalid_certs: bool,
    /// More root certificates, in PEM form, beside those of the system.
    pub extra_ca: Option<Vec<u8>>,
    /// Revisions that are welcome though they are newer than 2026-07-28, the
    /// newest that is known here. A backend that speaks only other new ones is
    /// unavailable, because its gateway cannot use it either. None by default.
    pub accept_revisions: Vec<Revision>,
    /// The most that is read of one response body. 1 MiB by default.
    pub max_response_bytes: usize,
    /// The `User-Agent` sent. Name and version of this crate by default.
    pub user_agent: String,
}

impl Default for ProberOptions {
    fn default() -> Self {
        Self {
            accept_invalid_certs: false,
            extra_ca: None,
            accept_revisions: Vec::new(),
            max_response_bytes: 1024 * 1024,
            user_agent: concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Why a [`Prober`] could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeSetupError {
    /// [`ProberOptions::extra_ca`] holds no certificate, or an unusable one.
    #[error("extra CA is not a list of PEM certificates; give it the CA's own certificate")]
    ExtraCa,
    /// [`ProberOptions::user_agent`] cannot be sent in a header.
    #[error("user agent holds characters that cannot be sent; use visible ASCII")]
    UserAgent,
    /// The HTTP client could not be built.
    #[error("HTTP client could not be set up")]
    Client(#[source] reqwest::Error),
}

/// A bearer token. Neither `Debug` nor any message shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a token without the word `Bearer`. White space around it is
    /// dropped: a file that holds one often ends in a new line.
    pub fn new(token: impl AsRef<str>) -> Self {
        Self(token.as_ref().trim().to_owned())
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What to check, and how patiently.
#[derive(Clone)]
pub struct Target {
    /// The streamable HTTP endpoint, such as `http://files:8080/mcp`. A user
    /// and password in it are sent as basic authentication.
    pub url: Url,
    /// Sent as `Authorization: Bearer`, in place of credentials in the URL.
    pub bearer: Option<Secret>,
    /// Sent with each request. [`bearer`](Target::bearer) wins over an
    /// `Authorization` among them.
    pub headers: ForwardedHeaders,
    /// Root certificates to trust for this backend, beside those of the prober.
    pub trusted_ca: Option<CaBundle>,
    /// The one transport to ask in, in place of finding out.
    pub transport: Option<Transport>,
    /// The one revision to ask in, in place of finding out. Up to 2025-11-25 it
    /// is named in the handshake, in answer to which the backend may name an
    /// older one; from 2026-07-28 on, in discovery.
    pub revision: Option<Revision>,
    /// Time for the whole check, all its requests included.
    pub timeout: Duration,
    /// A backend slower than this is degraded. See [`Finding::elapsed`].
    pub degraded_above: Duration,
}

impl Target {
    /// A target without credentials, 10 seconds of patience, and degraded above
    /// 2 seconds.
    pub fn new(url: Url) -> Self {
        let (timeout, degraded_above) = (Duration::from_secs(10), Duration::from_secs(2));
        let headers = ForwardedHeaders::default();
        Self { url, bearer: None, headers, trusted_ca: None, transport: None, revision: None, timeout, degraded_above }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password, in its user part or its query.
        f.debug_struct("Target")
            .field("host", &self.url.host_str())
            .field("bearer", &self.bearer)
            .field("headers", &self.headers)
            .field("trusted_ca", &self.trusted_ca)
            .field("transport", &self.transport)
            .field("revision", &self.revision)
            .field("timeout", &self.timeout)
            .field("degraded_above", &self.degraded_above)
            .finish()
    }
}

/// The health of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    /// It proved to be an MCP server and answered in time.
    Ready,
    /// It did, but slower than [`Target::degraded_above`].
    Degraded,
    /// It could not be reached, is broken, is no MCP server, or refused the
    /// configured credentials.
    Unavailable,
    /// It wants credentials and none are configured: it is there, and its users
    /// may well have some.
    Unauthenticated,
    /// It refuses to be asked so often, which tells nothing of how it is.
    RateLimited,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How the backend is.
    pub health: Health,
    /// Why, in a few fixed words; empty when ready. Two findings with the same
    /// cause have the same message, so it can be compared for changes.
    pub message: String,
    /// The MCP revision spoken, such as `2025-11-25`; none when the check
    /// failed, or when what the server named is no date.
    pub revision: Option<String>,
    /// When the check succeeded: its longest single round trip, connecting
    /// included, and neither what it took to learn the backend's lifecycle nor
    /// to end its session. This is what [`Target::degraded_above`] is compared
    /// with, so that old and new servers are measured alike. When it failed:
    /// the time until that was clear.
    pub elapsed: Duration,
    /// How long the server wants not to be asked, if it said so.
    pub retry_after: Option<Duration>,
}

impl Prober {
    /// Sets up what all checks share. Reads the root certificates of the
    /// system from disk and the proxy variables from the environment.
    ///
    /// Installs the process's TLS provider (ring) if there is none yet.
    ///
    /// # Errors
    ///
    /// See [`ProbeSetupError`].
    pub fn new(options: ProberOptions) -> Result<Self, ProbeSetupError> {
        let environment = |name: &str| std::env::var(name).ok();
        Ok(Self {
            client: ClientSettings::new(&options, environment)?,
            max_response_bytes: options.max_response_bytes,
            accept_revisions: options.accept_revisions.into(),
        })
    }

    /// Checks one backend. Never fails: what goes wrong is the finding.
    ///
    /// `memory` is what [`Lifecycle`] says, and is brought up to date.
    ///
    /// # Cancellation safety
    ///
    /// Dropping the future ends the check. A session that it opened, or that an
    /// `initialize` still under way opens later, is ended in the background;
    /// for that the future must be polled and dropped within a tokio runtime
    /// with time and I/O enabled.
    pub async fn check(&self, target: &Target, memory: &mut Lifecycle) -> Finding {
        let started = Instant::now();
        let outcome = match Endpoint::new(target).and_then(|endpoint| Ok((endpoint, self.connect_anew(target)?))) {
            Ok((endpoint, http)) => {
                let (deletes, accepted) = (memory.deletes.clone(), self.accept_revisions.clone());
                let exchange = Conversation::new(http, endpoint, deletes, accepted);
                let settled = async {
                    match target.revision {
                        Some(revision) => exchange.hold_in(revision).await,
                        None => exchange.hold(memory).await,
                    }
                };
                match timeout(target.timeout, settled).await {
                    Ok(settled) => settled.map_err(Fault::reason),
                    Err(_) => Err(Reason::TimedOut),
                }
            }
            Err(reason) => Err(reason),
        };
        match outcome {
            Ok(proof) => {
                if target.revision.is_none() {
                    memory.way = proof.way;
                    memory.refuses_discovery |= proof.refuses_discovery;
                }
                memory.deletes.found_well();
                if let Some(session) = proof.session {
                    let left = target.timeout.saturating_sub(started.elapsed());
                    session.end(left).await;
                }
                let reason = if proof.slowest > target.degraded_above {
                    Reason::Slow { limit: target.degraded_above }
                } else {
                    Reason::Ready
                };
                finding(reason, proof.revision.map(|revision| revision.to_string()), proof.slowest)
            }
            Err(reason) => {
                if reason == Reason::ServerError {
                    memory.deletes.found_broken();
                }
                if !reason.keeps_lifecycle() {
                    memory.forget_way();
                }
                finding(reason, None, started.elapsed())
            }
        }
    }

    /// The client of one check.
    fn connect_anew(&self, target: &Target) -> Result<Http, Reason> {
        let trusted = target.trusted_ca.as_ref().filter(|_| target.url.scheme() == "https");
        // `new` has built one of the same settings.
        let client = self.client.client(trusted).map_err(|error| {
            tracing::error!(%error, "HTTP client of a health check could not be set up");
            Reason::ConnectionFailed
        })?;
        Ok(Http::new(client, self.max_response_bytes))
    }
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").finish_non_exhaustive()
    }
}

fn finding(reason: Reason, revision: Option<String>, elapsed: Duration) -> Finding {
    Finding {
        health: reason.health(),
        message: reason.to_string(),
        revision,
        elapsed,
        retry_after: reason.retry_after(),
    }
}
