//! One HTTP request and its bounded answer.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, InvalidHeaderValue, WWW_AUTHENTICATE,
};
use reqwest::{Client, Method, Response, StatusCode};
use rmcp::model::{ClientJsonRpcMessage, ErrorData, RequestId, ServerJsonRpcMessage, ServerResult};
use rmcp::transport::common::http_header::{EVENT_STREAM_MIME_TYPE, JSON_MIME_TYPE};
use tokio::time::Instant;
use url::Url;
use vmcp_status::error_causes;

use super::Target;
use super::lifecycle::Transport;
use super::reason::Reason;
use super::retry_after::retry_after;
use super::sse::{Event, EventSplitter};

/// How long to wait for the end of an event stream whose answer is known
/// already, so that its connection can serve the next request.
const STREAM_END: Duration = Duration::from_millis(20);

/// The client of one check. Its connections are closed with the last clone.
#[derive(Clone)]
pub(super) struct Http {
    client: Client,
    max_body: usize,
}

/// Where one request goes, and with what credentials.
#[derive(Clone)]
pub(super) struct Endpoint {
    url: Url,
    authorization: Option<HeaderValue>,
    forwarded: HeaderMap,
    has_credentials: bool,
    /// The only transport to ask in.
    pub(super) transport: Option<Transport>,
    /// Time for the whole check.
    pub(super) timeout: Duration,
}

/// Why a request brought no usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server is there but would not have this request: another lifecycle
    /// may suit it.
    Refused(Reason),
    /// Nothing that another lifecycle would change.
    Failed(Reason),
}

impl Fault {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Refused(reason) | Self::Failed(reason) => reason,
        }
    }
}

/// A whole JSON-RPC answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// When it was all there.
    pub(super) at: Instant,
    pub(super) content: Result<Box<ServerResult>, ErrorData>,
}

impl Endpoint {
    pub(super) fn new(target: &Target) -> Result<Self, Reason> {
        let mut url = target.url.clone();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(Reason::UnusableAddress);
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        let authorization = match &target.bearer {
            None => None,
            Some(bearer) => {
                // One credential at a time: the token wins over the address.
                // Neither call can fail, for the address has a host.
                let _ = url.set_username("");
                let _ = url.set_password(None);
                let header = bearer_header(bearer.expose());
                Some(header.map_err(|_| Reason::UnusableCredentials)?)
            }
        };
        let mut forwarded = target.headers.to_map();
        if authorization.is_some() {
            forwarded.remove(AUTHORIZATION);
        }
        let has_credentials = authorization.is_some() || has_user || target.headers.authorize();
        let (transport, timeout) = (target.transport, target.timeout);
        Ok(Self { url, authorization, forwarded, has_credentials, transport, timeout })
    }

    /// The same credentials for another address of the same origin.
    pub(super) fn same_origin(&self, address: &str) -> Option<Self> {
        let mut url = self.url.join(address).ok().filter(|url| url.origin() == self.url.origin())?;
        // Neither call can fail, for the address has a host.
        let _ = url.set_username(self.url.username());
        let _ = url.set_password(self.url.password());
        Some(Self { url, ..self.clone() })
    }

    /// What an answer without a usable body means.
    fn status_fault(&self, response: &Response) -> Fault {
        match response.status().as_u16() {
            200..=299 => Fault::Refused(Reason::NotMcp),
            300..=399 => Fault::Failed(Reason::Redirected),
            403 if !response.headers().contains_key(WWW_AUTHENTICATE) => Fault::Failed(Reason::AccessDenied),
            401 | 403 if self.has_credentials => Fault::Failed(Reason::AuthenticationFailed),
            401 | 403 => Fault::Failed(Reason::AuthenticationRequired),
            404 | 410 => Fault::Refused(Reason::NotFound),
            407 => Fault::Failed(Reason::ConnectionFailed),
            429 => Fault::Failed(Reason::RateLimited { retry_after: retry_after(response) }),
            // Some old servers crash on a method they do not know.
            500 | 501 => Fault::Refused(Reason::ServerError),
            500..=599 => Fault::Failed(Reason::ServerError),
            _ => Fault::Refused(Reason::NotMcp),
        }
    }
}

impl Http {
    pub(super) fn new(client: Client, max_body: usize) -> Self {
        Self { client, max_body }
    }

    /// Posts a message; returns as soon as the head of the answer is there.
    pub(super) async fn post(
        &self,
        endpoint: &Endpoint,
        message: &ClientJsonRpcMessage,
        headers: HeaderMap,
    ) -> Result<Response, Fault> {
        // Our own few messages always serialize.
        let body = serde_json::to_vec(message).unwrap_or_default();
        let accept = [JSON_MIME_TYPE, EVENT_STREAM_MIME_TYPE].join(", ");
        let request = self
            .request(Method::POST, endpoint, headers)
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, JSON_MIME_TYPE)
            .body(body);
        request.send().await.map_err(|error| broken(&error))
    }

    /// Opens a stream of events that is there for more than one answer.
    pub(super) async fn open_events(&self, endpoint: &Endpoint) -> Result<EventStream, Fault> {
        let request = self.request(Method::GET, endpoint, HeaderMap::new()).header(ACCEPT, EVENT_STREAM_MIME_TYPE);
        let response = request.send().await.map_err(|error| broken(&error))?;
        match (response.status(), Media::of(&response)) {
            (StatusCode::OK, Media::Events) => Ok(EventStream::new(response, self.max_body)),
            (StatusCode::OK, _) => Err(Fault::Refused(Reason::NotMcp)),
            _ => Err(endpoint.status_fault(&response)),
        }
    }

    /// Ends a session. Returns what the server says about it, if anything.
    pub(super) async fn delete(&self, endpoint: &Endpoint, headers: HeaderMap) -> Option<StatusCode> {
        let answered = self.request(Method::DELETE, endpoint, headers).send().await;
        answered.ok().map(|response| response.status())
    }

    fn request(&self, method: Method, endpoint: &Endpoint, headers: HeaderMap) -> reqwest::RequestBuilder {
        // The later ones replace the earlier: no forwarded header hides one of MCP's own.
        let request = self.client.request(method, endpoint.url.clone());
        let request = request.headers(endpoint.forwarded.clone()).headers(headers);
        match &endpoint.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }

    /// Whether the server took a notification.
    pub(super) fn accepted(endpoint: &Endpoint, response: &Response) -> Result<(), Fault> {
        match response.status() {
            status if status.is_success() => Ok(()),
            _ => Err(endpoint.status_fault(response)),
        }
    }

    /// Reads the answer to the request `id` from a response.
    pub(super) async fn answer(
        &self,
        endpoint: &Endpoint,
        response: Response,
        id: &RequestId,
    ) -> Result<Answer, Fault> {
        let status = response.status();
        let refusal = endpoint.status_fault(&response);
        let may_carry_error = matches!(refusal, Fault::Refused(_));
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            Err(refusal)
        } else if status.is_success() {
            match Media::of(&response) {
                Media::Json => {
                    let body = self.whole_body(response).await?;
                    parse(&body, status, id).ok_or(Fault::Failed(Reason::NotMcp))
                }
                Media::Events => self.answer_among_events(response, id).await,
                Media::None => Err(refusal),
                Media::Other => Err(Fault::Failed(Reason::NotMcp)),
            }
        } else if may_carry_error && Media::of(&response) == Media::Json {
            // A refusal in JSON-RPC says more than its status alone.
            let body = self.whole_body(response).await.map_err(|_| refusal)?;
            match parse(&body, status, id) {
                Some(answer) if answer.content.is_err() => Ok(answer),
                _ => Err(refusal),
            }
        } else {
            Err(refusal)
        }
    }

    async fn whole_body(&self, response: Response) -> Result<Vec<u8>, Fault> {
        let mut body = Body::new(response, self.max_body);
        let mut whole = Vec::new();
        while let Some(chunk) = body.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    async fn answer_among_events(&self, response: Response, id: &RequestId) -> Result<Answer, Fault> {
        let mut stream = EventStream::new(response, self.max_body);
        let answer = stream.answer(id).await?;
        let drained = async { while let Ok(Some(_)) = stream.body.chunk().await {} };
        let _ = tokio::time::timeout(STREAM_END, drained).await;
        Ok(answer)
    }
}

/// Events as they come, all together no longer than a body may be.
pub(super) struct EventStream {
    status: StatusCode,
    body: Body,
    splitter: EventSplitter,
    come: VecDeque<Event>,
}

impl EventStream {
    fn new(response: Response, limit: usize) -> Self {
        let (status, body) = (response.status(), Body::new(response, limit));
        Self { status, body, splitter: EventSplitter::default(), come: VecDeque::new() }
    }

    pub(super) async fn next(&mut self) -> Result<Event, Fault> {
        loop {
            if let Some(event) = self.come.pop_front() {
                return Ok(event);
            }
            let chunk = self.body.chunk().await?.ok_or(Fault::Refused(Reason::NotMcp))?;
            self.come.extend(self.splitter.push(&chunk));
        }
    }

    /// The answer to the request `id`. What else a server sends before it is
    /// not for us.
    pub(super) async fn answer(&mut self, id: &RequestId) -> Result<Answer, Fault> {
        loop {
            let event = self.next().await?;
            if let Some(answer) = parse(&event.data, self.status, id) {
                return Ok(answer);
            }
        }
    }
}

/// The body of a response, read up to a limit.
struct Body {
    response: Response,
    left: usize,
}

impl Body {
    fn new(response: Response, limit: usize) -> Self {
        Self { response, left: limit }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        let chunk = self.response.chunk().await.map_err(|error| broken(&error))?;
        let length = chunk.as_ref().map_or(0, Bytes::len);
        self.left = self.left.checked_sub(length).ok_or(Fault::Failed(Reason::TooLarge))?;
        Ok(chunk)
    }
}

#[derive(PartialEq, Eq)]
enum Media {
    Json,
    Events,
    None,
    Other,
}

impl Media {
    fn of(response: &Response) -> Self {
        let Some(value) = response.headers().get(CONTENT_TYPE) else {
            return Self::None;
        };
        let essence = value.as_bytes().split(|byte| *byte == b';').next();
        let essence = essence.unwrap_or_default().trim_ascii();
        if essence.eq_ignore_ascii_case(JSON_MIME_TYPE.as_bytes()) {
            Self::Json
        } else if essence.eq_ignore_ascii_case(EVENT_STREAM_MIME_TYPE.as_bytes()) {
            Self::Events
        } else {
            Self::Other
        }
    }
}

/// The answer to the request `id`, if that is what the bytes hold. An error
/// needs no matching id: a server that could not make sense of the request
/// does not know it.
fn parse(bytes: &[u8], status: StatusCode, id: &RequestId) -> Option<Answer> {
    let content = match serde_json::from_slice(bytes).ok()? {
        ServerJsonRpcMessage::Response(response) if is_same(&response.id, id) => Ok(Box::new(response.result)),
        ServerJsonRpcMessage::Error(error) => Err(error.error),
        _ => return None,
    };
    Some(Answer { status, at: Instant::now(), content })
}

/// Some servers send a numeric id back as a string.
fn is_same(answered: &RequestId, asked: &RequestId) -> bool {
    answered == asked || answered.to_string() == asked.to_string()
}

fn broken(error: &reqwest::Error) -> Fault {
    let reason = Reason::from_transport(error);
    // The first link of the chain names the address, which may hold secrets.
    let causes = error_causes(error).skip(1).map(ToString::to_string);
    tracing::debug!(%reason, causes = ?Vec::from_iter(causes), "health check request failed");
    Fault::Failed(reason)
}

fn bearer_header(token: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))?;
    header.set_sensitive(true);
    Ok(header)
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Nothing, a result, or an error with its code.
    fn parsed(text: &str) -> Option<Result<(), i32>> {
        let answer = parse(text.as_bytes(), StatusCode::OK, &RequestId::Number(7))?;
        Some(match answer.content {
            Ok(_) => Ok(()),
            Err(error) => Err(error.code.0),
        })
    }

    #[test]
    fn result_counts_only_with_the_id_asked_for() {
        for id in ["7", "\"7\""] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
            assert_eq!(parsed(&text), Some(Ok(())), "{text}");
        }
        for id in ["8", "\"seven\"", "null"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
            assert_eq!(parsed(&text), None, "{text}");
        }
    }

    #[test]
    fn error_counts_with_any_id() {
        for id in ["\"id\":7,", "\"id\":null,", "\"id\":\"server-error\",", ""] {
            let text = format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":-32000,"message":"no"}}}}"#);
            assert_eq!(parsed(&text), Some(Err(-32000)), "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_counts_for_nothing() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "null",
            "{}",
            "[]",
            &deep,
            "\u{0}",
            r#"{"id":7,"result":{}}"#,
            r#"{"jsonrpc":"1.0","id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":"no"}"#,
        ] {
            assert_eq!(parsed(text), None, "{}", &text[..text.len().min(60)]);
        }
    }
    fn json() -> impl Strategy<Value = serde_json::Value> {
        let word = prop::sample::select(vec![
            "2.0",
            "7",
            "ping",
            "2025-11-25",
            "2026-07-28",
            "error",
            "notifications/initialized",
            "",
        ]);
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            word.prop_map(Into::into),
            (-1i64..8).prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<bool>().prop_map(Into::into),
        ];
        let member = prop::sample::select(vec![
            "jsonrpc",
            "id",
            "result",
            "error",
            "method",
            "params",
            "code",
            "message",
            "data",
            "protocolVersion",
            "supportedVersions",
            "capabilities",
            "serverInfo",
            "name",
            "version",
            "_meta",
            "resultType",
        ]);
        leaf.prop_recursive(4, 30, 6, move |inner| {
            let members = vec((member.clone().prop_map(String::from), inner.clone()), 0..6);
            prop_oneof![
                1 => vec(inner, 0..3).prop_map(Into::into),
                4 => members.prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in vec(any::<u8>(), 0..100)) {
            let _ = parse(&bytes, StatusCode::OK, &RequestId::Number(7));
        }

        #[test]
        fn any_result_counts_with_its_id_alone_and_any_error_without(content in json(), id in json(), is_error in any::<bool>()) {
            let kind = if is_error { "error" } else { "result" };
            let message = serde_json::json!({"jsonrpc": "2.0", "id": id, kind: content});
            match parsed(&message.to_string()) {
                Some(Ok(())) => prop_assert!(!is_error && (id == 7 || id == "7"), "{message}"),
                Some(Err(code)) => prop_assert!(is_error && message["error"]["code"] == code, "{message}"),
                None => {}
            }
        }
    }
}
