//! One backend, how it is checked, and where its token comes from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::{CircuitBreaker, Thresholds, bare};
use crate::probe::{CaBundle, ForwardedHeaders, Revision, Secret, Transport};

/// One backend, and how it is checked.
#[derive(Clone, PartialEq)]
pub struct CheckedBackend {
    /// Its key.
    pub name: String,
    /// Its streamable HTTP endpoint.
    pub url: Url,
    /// See [`DiscoveredBackend::auth_type`](vmcp_status::DiscoveredBackend::auth_type).
    pub auth_type: String,
    /// See [`DiscoveredBackend::auth_config_ref`](vmcp_status::DiscoveredBackend::auth_config_ref).
    pub auth_config_ref: String,
    /// Where the bearer token comes from, if it wants one.
    pub token: Option<TokenSource>,
    /// Sent with each request of a check.
    pub headers: ForwardedHeaders,
    /// Whether its users send credentials that checks do not have, and that the other
    /// fields do not tell of.
    pub has_other_credentials: bool,
    /// Root certificates to trust for this backend, beside those of the prober.
    pub trusted_ca: Option<CaBundle>,
    /// The one transport to ask in; see [`Target::transport`](crate::probe::Target::transport).
    pub transport: Option<Transport>,
    /// The one revision to ask in; see [`Target::revision`](crate::probe::Target::revision).
    pub revision: Option<Revision>,
    /// Time from one check to the next, with a jitter of a tenth; from the first
    /// to the second, half of it to one and a half, which spreads many backends
    /// over the interval.
    pub interval: Duration,
    /// Time that one check may take.
    pub timeout: Duration,
    /// A backend that answers more slowly is degraded.
    pub degraded_above: Duration,
    /// Failed checks in a row that make a backend unavailable which was not;
    /// until then its last verdict stays. A backend that never had a verdict
    /// gets it from its second failure.
    pub unhealthy_threshold: u32,
    /// Answered checks in a row that end a backend's being unavailable.
    pub healthy_threshold: u32,
    /// Pauses the checks of a backend that keeps failing, and makes it unavailable. None
    /// by default: it is checked on.
    pub circuit_breaker: Option<CircuitBreaker>,
}

impl CheckedBackend {
    /// A backend without credentials that is checked every 30 s, has 10 s for a
    /// check, is degraded above 2 s, unavailable after 3 failures in a row, and
    /// available again after 1 answer.
    ///
    /// ```
    /// use std::time::Duration;
    /// use vmcp_status_discovery::{CheckedBackend, TokenSource};
    ///
    /// let backend = CheckedBackend {
    ///     token: Some(TokenSource::Env("WEATHER_TOKEN".into())),
    ///     interval: Duration::from_secs(5),
    ///     ..CheckedBackend::new("weather", "https://weather.example/mcp".parse()?)
    /// };
    /// assert_eq!(backend.timeout, Duration::from_secs(10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(name: impl Into<String>, url: Url) -> Self {
        CheckedBackend {
            name: name.into(),
            url,
            auth_type: String::new(),
            auth_config_ref: String::new(),
            token: None,
            headers: ForwardedHeaders::default(),
            has_other_credentials: false,
            trusted_ca: None,
            transport: None,
            revision: None,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            degraded_above: Duration::from_secs(2),
            unhealthy_threshold: Thresholds::DEFAULT.unhealthy,
            healthy_threshold: Thresholds::DEFAULT.healthy,
            circuit_breaker: None,
        }
    }

    /// Whether its users have credentials of their own, as far as is configured.
    pub(super) fn wants_credentials(&self) -> bool {
        let is_named = !matches!(self.auth_type.as_str(), "" | "unauthenticated") || !self.auth_config_ref.is_empty();
        is_named || self.has_other_credentials
    }

    pub(super) fn thresholds(&self) -> Thresholds {
        // A circuit that is open is that of an unavailable backend.
        let opens_after = self.circuit_breaker.map_or(u32::MAX, |breaker| breaker.failure_threshold());
        Thresholds { unhealthy: self.unhealthy_threshold.min(opens_after), healthy: self.healthy_threshold }
    }
}

impl fmt::Debug for CheckedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password, in its user part or its query.
        f.debug_struct("CheckedBackend")
            .field("name", &self.name)
            .field("url", &bare(self.url.clone()))
            .field("auth_type", &self.auth_type)
            .field("auth_config_ref", &self.auth_config_ref)
            .field("token", &self.token)
            .field("headers", &self.headers)
            .field("has_other_credentials", &self.has_other_credentials)
            .field("trusted_ca", &self.trusted_ca)
            .field("transport", &self.transport)
            .field("revision", &self.revision)
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("degraded_above", &self.degraded_above)
            .field("unhealthy_threshold", &self.unhealthy_threshold)
            .field("healthy_threshold", &self.healthy_threshold)
            .field("circuit_breaker", &self.circuit_breaker)
            .finish()
    }
}

/// Where a bearer token is read from, anew before each check: a token that is
/// rotated is picked up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenSource {
    /// The environment variable of this name.
    Env(String),
    /// This file.
    File(PathBuf),
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenSource::Env(variable) => write!(f, "environment variable {variable}"),
            TokenSource::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

impl TokenSource {
    pub(super) fn read(&self) -> Option<Secret> {
        let token = match self {
            TokenSource::Env(variable) => std::env::var(variable).ok(),
            TokenSource::File(path) => std::fs::read_to_string(path).ok(),
        };
        token.filter(|token| !token.trim().is_empty()).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_of_a_token_is_named_in_words() {
        assert_eq!(TokenSource::Env("TOKEN".into()).to_string(), "environment variable TOKEN");
        assert_eq!(TokenSource::File("/run/token".into()).to_string(), "file /run/token");
    }
}
