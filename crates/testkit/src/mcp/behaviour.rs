//! What a server can be like.

use std::time::Duration;

use super::Echo;

/// How a server treats its clients.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Revision 2026-07-28 (and all older ones), answers in JSON.
    Modern,
    /// The same, answers in event streams.
    ModernEvents,
    /// Revision 2026-07-28 and none before.
    ModernOnly,
    /// As `Modern`, and an error where its tools are listed.
    NoTools,
    /// Revision 2025-11-25 at most, with sessions.
    Legacy,
    /// Revision 2025-11-25, with sessions, and this at an unknown method.
    LegacyStrict(Refusal),
    /// This older revision, without sessions.
    LegacyStateless(String),
    /// This older revision, without sessions; 500 to everything once it has met
    /// a method that it does not know.
    LegacyFragile(String),
    /// Revision 2025-11-25, with sessions; 500 at a `DELETE`.
    LegacyDeleteFails,
    /// Revision 2024-11-05: HTTP+SSE, with this address for messages.
    EventStream(String),
    /// Revision 2025-11-25, and forgets each session at once.
    LegacyForgetful,
    /// Revision 2025-11-25; `initialize` waits for [`McpServer::release`](super::McpServer::release).
    LegacyHeld,
    /// Revision 2025-11-25, with sessions; `ping` is never answered.
    LegacyStuck,
    /// Only revisions of the future.
    FutureOnly,
    /// Revision 2099-01-01 by discovery, and no other.
    FutureDiscovery,
    /// The JSON-RPC error -32603 to everything.
    InternalError,
    /// As `Modern`, after this time.
    Slow(Duration),
    /// As `Modern`, each answer after one [`McpServer::release`](super::McpServer::release).
    Held,
    /// As `Modern` for this token; 401 with a challenge for others.
    WantsBearer(String),
    /// 401 without a challenge.
    Unauthorized,
    /// 403 without a challenge.
    Forbidden,
    /// 403 with a challenge.
    ForbiddenWithChallenge,
    /// 429 with this `Retry-After`.
    RateLimited(&'static str),
    /// 500 with a text.
    ServerError,
    /// This status and an empty body.
    Status(u16),
    /// 307 to this address.
    Redirect(String),
    /// 307 to another path of this server, where it is as `Modern`.
    Moved,
    /// 200 and a web page.
    Html,
    /// 200 and JSON that is no JSON-RPC.
    Junk,
    /// 200 and a JSON body without end.
    Endless,
    /// 200 and an event stream that never stops talking about other things.
    EndlessEvents,
    /// 200 and an event stream that never says anything.
    SilentEvents,
    /// A response head without end.
    EndlessHead,
    /// Something that is not HTTP.
    NotHttp,
    /// Takes requests and never answers.
    Hang,
    /// Says in every place there is what it was sent: credentials and all.
    Echo(Echo),
}

/// What a strict old server answers to a method it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 400 with a text.
    BadRequest,
    /// 404 with a text.
    NotFound,
    /// 200 with the JSON-RPC error -32601.
    MethodNotFound,
    /// 400 with a JSON-RPC error of another id.
    MissingSession,
    /// 500 with a text.
    Crash,
    /// 202, and nothing more.
    Accepted,
    /// Nothing at all.
    Silence,
}
