//! The few messages of a check, and what an error in answer to one means.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rmcp::model::{
    ClientCapabilities, ClientJsonRpcMessage, ClientNotification, ClientRequest, DiscoverRequest,
    DiscoverRequestParams, ErrorCode, ErrorData, Implementation, InitializeRequest, InitializeRequestParams,
    InitializedNotification, PingRequest, ProtocolVersion, RequestId, RequestMetaObject,
};

use super::reason::Reason;
use super::revision::Revision;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// Discovery, with the headers that it must repeat.
pub(super) fn discover(revision: Revision, id: &RequestId) -> (ClientJsonRpcMessage, HeaderMap) {
    let version = revision.version();
    let mut discover = DiscoverRequest::new(DiscoverRequestParams {});
    discover.extensions.insert(RequestMetaObject::with_client_context(
        version.clone(),
        ourselves(),
        ClientCapabilities::default(),
    ));
    let method = (METHOD, HeaderValue::from_static("server/discover"));
    let headers = version_header(&version).into_iter().chain([method]).collect();
    (request(ClientRequest::DiscoverRequest(discover), id), headers)
}

pub(super) fn initialize(revision: Revision, id: &RequestId) -> ClientJsonRpcMessage {
    let params = InitializeRequestParams::new(ClientCapabilities::default(), ourselves())
        .with_protocol_version(revision.version());
    request(ClientRequest::InitializeRequest(InitializeRequest::new(params)), id)
}

pub(super) fn initialized() -> ClientJsonRpcMessage {
    let initialized = InitializedNotification::default();
    ClientJsonRpcMessage::notification(ClientNotification::InitializedNotification(initialized))
}

pub(super) fn ping(id: &RequestId) -> ClientJsonRpcMessage {
    request(ClientRequest::PingRequest(PingRequest::default()), id)
}

pub(super) fn version_header(version: &ProtocolVersion) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_str(version.as_str()).ok()?;
    Some((PROTOCOL_VERSION, value))
}

/// What an error in answer to discovery or the handshake says.
pub(super) fn refusal(error: &ErrorData) -> Reason {
    match error.code {
        ErrorCode::UNSUPPORTED_PROTOCOL_VERSION => no_common_revision(&supported(error)),
        ErrorCode::INTERNAL_ERROR => Reason::ServerError,
        _ => Reason::HandshakeRefused,
    }
}

/// The revisions that a server offers in place of the one that it refuses.
pub(super) fn supported(error: &ErrorData) -> Vec<ProtocolVersion> {
    let offered = error.data.as_ref().and_then(|data| data.get("supported"));
    offered.and_then(|list| serde_json::from_value(list.clone()).ok()).unwrap_or_default()
}

/// Why none of these will do. Names the oldest, for that is the first one that
/// a client has to learn.
pub(super) fn no_common_revision(supported: &[ProtocolVersion]) -> Reason {
    match supported.iter().filter_map(Revision::named).min() {
        Some(oldest) if oldest > Revision::DISCOVERY => Reason::NewerRevision(oldest),
        _ => Reason::NoCommonRevision,
    }
}

fn ourselves() -> Implementation {
    Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
}

fn request(request: ClientRequest, id: &RequestId) -> ClientJsonRpcMessage {
    ClientJsonRpcMessage::request(request, id.clone())
}
