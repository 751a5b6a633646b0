//! The two that are compared: each takes the same settings and backends, and shows
//! how they are.

use std::path::Path;
use std::time::Duration;

use super::seen::Sight;

/// How backends are checked, in the terms that both have.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub interval: Duration,
    pub timeout: Duration,
    /// Failed checks that open the circuit, and how long it stays open.
    pub breaker: Option<(u32, Duration)>,
    /// The least time between two reports of the whole.
    pub reporting: Duration,
}

/// Which credentials are configured for a backend.
#[derive(Clone, Copy, Debug, Default)]
pub enum Auth {
    #[default]
    None,
    /// Those of each user, which a check does not have.
    OfUsers,
    /// This token, for users and checks alike.
    Token(&'static str),
}

/// A backend as it is configured.
#[derive(Clone, Debug)]
pub struct Backend {
    pub name: String,
    pub url: String,
    /// `streamable-http` or `sse`.
    pub transport: &'static str,
    pub auth: Auth,
}

/// What a gateway shows of one backend.
#[derive(Clone, Debug)]
pub struct BackendLook {
    pub name: String,
    pub sights: Vec<Sight>,
}

/// What a gateway shows; nothing of it while it does not answer.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub backends: Vec<BackendLook>,
    /// The whole, in the order in which it was seen.
    pub whole: Vec<Sight>,
}

/// A gateway that runs. It ends when it is dropped.
pub trait Gateway {
    /// Starts on these backends; what it writes is in the folder.
    fn start(settings: &Settings, backends: &[Backend], dir: &Path) -> Self;

    /// What a user sees now.
    async fn look(&mut self) -> Look;

    /// How often it has checked this backend since the start, as far as `look` knows.
    fn checks(&self, backend: &str) -> usize;

    /// Ends it with SIGTERM.
    async fn stop(&mut self);

    /// Starts it again after it was stopped.
    fn start_again(&mut self);
}

/// The time as both configurations spell it.
pub fn in_words(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}
