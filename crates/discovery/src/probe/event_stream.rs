//! The transport of revision 2024-11-05, HTTP+SSE: answers come on a stream
//! that stays open, whatever is asked goes to an address that the stream names.

use reqwest::header::HeaderMap;
use rmcp::model::{ClientJsonRpcMessage, RequestId};
use tokio::time::Instant;

use super::exchange::{Conversation, ProbeSuccess, pong};
use super::http::{Endpoint, EventStream, Fault, Http};
use super::lifecycle::Way;
use super::messages;
use super::reason::Reason;
use super::revision::Revision;

impl Conversation {
    /// The handshake and a ping. The session ends with the stream, when this
    /// returns or is dropped.
    pub(super) async fn ask_on_event_stream(&self) -> Result<ProbeSuccess, Fault> {
        let opening = Instant::now();
        let mut stream = self.http.open_events(&self.endpoint).await?;
        let endpoint = self.named_endpoint(&mut stream).await?;
        let opened = opening.elapsed();

        let asked = Instant::now();
        let id = RequestId::Number(1);
        self.send(&endpoint, &messages::initialize(Revision::HANDSHAKE, &id)).await?;
        let answer = stream.answer(&id).await?;
        let handshake = answer.at - asked;
        let version = self.agreed(answer)?;
        self.send(&endpoint, &messages::initialized()).await?;

        let asked = Instant::now();
        let id = RequestId::Number(2);
        self.send(&endpoint, &messages::ping(&id)).await?;
        let answer = stream.answer(&id).await?;
        let ping = answer.at - asked;
        pong(&answer)?;
        Ok(ProbeSuccess {
            way: Way::EventStream,
            refuses_discovery: false,
            revision: Revision::named(&version),
            slowest: opened.max(handshake).max(ping),
            session: None,
        })
    }

    /// The address that the first event names. One at another origin would
    /// receive the credentials of this one, and is not followed.
    async fn named_endpoint(&self, stream: &mut EventStream) -> Result<Endpoint, Fault> {
        let first = stream.next().await?;
        let named = std::str::from_utf8(&first.data).ok().filter(|_| first.name == b"endpoint");
        let named = named.ok_or(Fault::Refused(Reason::NotMcp))?;
        self.endpoint.same_origin(named.trim()).ok_or(Fault::Failed(Reason::Redirected))
    }

    async fn send(&self, endpoint: &Endpoint, message: &ClientJsonRpcMessage) -> Result<(), Fault> {
        let response = self.http.post(endpoint, message, HeaderMap::new()).await?;
        Http::accepted(endpoint, &response)
    }
}
