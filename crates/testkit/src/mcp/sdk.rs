//! Servers of the official SDK.

use std::borrow::Cow;
use std::sync::Arc;

use rmcp::ServerHandler;
use rmcp::model::{ProtocolVersion, ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

pub(super) type SdkServer = StreamableHttpService<Backend, LocalSessionManager>;

/// A backend that can nothing but be there.
#[derive(Clone)]
pub(super) struct Backend {
    revisions: &'static [ProtocolVersion],
}

impl ServerHandler for Backend {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.revisions.into()
    }
}

pub(super) fn sdk_server(
    revisions: &'static [ProtocolVersion],
    sessions: Arc<LocalSessionManager>,
    answers_in_json: bool,
) -> SdkServer {
    let config = StreamableHttpServerConfig::default()
        .with_json_response(answers_in_json)
        .with_legacy_session_mode(!answers_in_json);
    StreamableHttpService::new(move || Ok(Backend { revisions }), sessions, config)
}
