//! A session on a server, which ends with the check that opened it.

use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rmcp::model::ProtocolVersion;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::exchange::Conversation;
use super::http::Fault;
use super::messages::version_header;
use super::reason::Reason;

/// How long the server has to end a session.
const END_LIMIT: Duration = Duration::from_secs(5);

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// A session on the server, or the lack of one. Dropped, it is ended in the
/// background: no path out of a check leaves one behind.
pub(super) struct Session {
    exchange: Conversation,
    id: Option<HeaderValue>,
    version: Option<ProtocolVersion>,
}

impl Session {
    pub(super) fn of(exchange: Conversation, response: &reqwest::Response) -> Self {
        let id = response.headers().get(SESSION_ID).cloned();
        Self { exchange, id: id.filter(|_| response.status().is_success()), version: None }
    }

    /// A session that the check did not ask for: some servers open one for any request
    /// without a session, even as they refuse it.
    pub(super) fn stray(exchange: Conversation, response: &reqwest::Response) -> Self {
        Self { exchange, id: response.headers().get(SESSION_ID).cloned(), version: None }
    }

    pub(super) fn speak(&mut self, version: &ProtocolVersion) {
        self.version = Some(version.clone());
    }

    pub(super) fn headers(&self) -> HeaderMap {
        let id = self.id.clone().map(|id| (SESSION_ID, id));
        let version = self.version.as_ref().and_then(version_header);
        id.into_iter().chain(version).collect()
    }

    /// What a refusal means once the handshake has succeeded: the next request
    /// reached a server that does not know the session, as happens behind a
    /// load balancer without affinity.
    pub(super) fn lost(&self, fault: Fault) -> Fault {
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
        if self.exchange.deletes.do_harm() {
            // Some servers die of a DELETE, and a session ends by itself too.
            return None;
        }
        let exchange = self.exchange.clone();
        let ending = async move {
            let Conversation { http, endpoint, deletes, .. } = exchange;
            let answered = timeout(END_LIMIT, http.delete(&endpoint, headers)).await;
            if let Ok(Some(status)) = answered {
                deletes.answered(status);
            }
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
