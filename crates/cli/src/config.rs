//! The YAML file of `vmcp-status run`.

mod circuit_breaker;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;
use vmcp_status_discovery::group::CheckOptions;
use vmcp_status_discovery::probe::{ProberOptions, Revision};
use vmcp_status_discovery::{CheckedBackend, TokenSource};

use self::circuit_breaker::CircuitBreakerSection;
use super::parse_error;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {}: does it exist?", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is no configuration: {reason}", path.display())]
    Parse { path: PathBuf, reason: String },
    #[error("{} cannot be used: {}", path.display(), faults.join("; "))]
    Faults { path: PathBuf, faults: Vec<String> },
}

/// What the file says, checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) name: Option<String>,
    /// How backends are checked, as far as the file says.
    pub(crate) checks: CheckOptions,
    pub(crate) max_concurrent_checks: usize,
    /// PEM certificates to trust beside the system's.
    pub(crate) extra_ca: Option<Vec<u8>>,
    pub(crate) insecure_skip_tls_verify: bool,
    /// Newer revisions of MCP that are welcome all the same.
    pub(crate) accept_revisions: Vec<Revision>,
    pub(crate) backends: Vec<CheckedBackend>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    name: Option<String>,
    // ToolHive's names for interval and timeout are accepted too.
    #[serde(alias = "healthCheckInterval", default, with = "humantime_serde")]
    interval: Option<Duration>,
    #[serde(alias = "healthCheckTimeout", default, with = "humantime_serde")]
    timeout: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    degraded_above: Option<Duration>,
    unhealthy_threshold: Option<u32>,
    healthy_threshold: Option<u32>,
    #[serde(default)]
    circuit_breaker: CircuitBreakerSection,
    #[serde(default = "defaults::max_concurrent_checks")]
    max_concurrent_checks: usize,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    #[serde(default)]
    accept_revisions: Vec<String>,
    #[serde(default)]
    backends: Vec<Backend>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Backend {
    name: String,
    url: String,
    #[serde(default)]
    auth_type: String,
    #[serde(default)]
    auth_config_ref: String,
    bearer_token_env: Option<String>,
    bearer_token_file: Option<PathBuf>,
    revision: Option<String>,
    #[serde(alias = "healthCheckInterval", default, with = "humantime_serde")]
    interval: Option<Duration>,
    #[serde(alias = "healthCheckTimeout", default, with = "humantime_serde")]
    timeout: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    degraded_above: Option<Duration>,
    unhealthy_threshold: Option<u32>,
    healthy_threshold: Option<u32>,
    #[serde(default)]
    circuit_breaker: CircuitBreakerSection,
}

mod defaults {
    pub(super) fn max_concurrent_checks() -> usize {
        16
    }
}

impl File {
    fn parse(yaml: &[u8]) -> Result<Self, String> {
        serde_saphyr::from_slice(yaml).map_err(|error| parse_error::yaml(&error))
    }
}

impl Default for Config {
    /// What holds where there is no file.
    fn default() -> Self {
        Config {
            name: None,
            checks: CheckOptions::default(),
            max_concurrent_checks: defaults::max_concurrent_checks(),
            extra_ca: None,
            insecure_skip_tls_verify: false,
            accept_revisions: Vec::new(),
            backends: Vec::new(),
        }
    }
}

impl Config {
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let read =
            |file: &Path| std::fs::read(file).map_err(|source| ConfigError::Read { path: file.to_owned(), source });
        let file = File::parse(&read(path)?).map_err(|reason| ConfigError::Parse { path: path.to_owned(), reason })?;
        let extra_ca = file.ca_file.as_deref().map(read).transpose()?;
        let config = Config::check(file, extra_ca);
        config.map_err(|faults| ConfigError::Faults { path: path.to_owned(), faults })
    }

    /// How the backends are talked to.
    pub(crate) fn prober_options(&self) -> ProberOptions {
        ProberOptions {
            accept_invalid_certs: self.insecure_skip_tls_verify,
            extra_ca: self.extra_ca.clone(),
            accept_revisions: self.accept_revisions.clone(),
            ..ProberOptions::default()
        }
    }

    /// The names of the backends.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.backends.iter().map(|backend| backend.name.clone())
    }

    /// Lists every fault, not just the first.
    fn check(file: File, extra_ca: Option<Vec<u8>>) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut names = HashSet::new();
        let mut backends = Vec::new();
        if [file.interval, file.timeout].contains(&Some(Duration::ZERO)) {
            faults.push("interval and timeout must be longer than 0s".to_owned());
        }
        if [file.unhealthy_threshold, file.healthy_threshold].contains(&Some(0)) {
            faults.push("unhealthyThreshold and healthyThreshold must be at least 1".to_owned());
        }
        if file.max_concurrent_checks == 0 {
            faults.push("maxConcurrentChecks is 0, and so nothing would be checked".to_owned());
        }
        let circuit_breaker = file.circuit_breaker.breaker().unwrap_or_else(|fault| {
            faults.push(fault.to_owned());
            None
        });
        let accept_revisions: Vec<Revision> = file.accept_revisions.iter().flat_map(|name| name.parse()).collect();
        if accept_revisions.len() < file.accept_revisions.len() {
            faults.push("acceptRevisions wants dates such as 2027-01-31".to_owned());
        }
        for (index, backend) in file.backends.iter().enumerate() {
            // Both in the wrong place: the URL itself may hold a password.
            let is_url = backend.name.contains("://");
            let subject = if is_url { format!("number {}", index + 1) } else { format!("{:?}", backend.name) };
            let mut fault = |what: &str| faults.push(format!("backend {subject}: {what}"));
            if backend.name.is_empty() || is_url {
                fault("give it a name");
            }
            if !names.insert(&backend.name) {
                fault("listed more than once");
            }
            let url = Url::parse(&backend.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            if url.is_none() {
                // The URL itself may hold a password.
                fault("its url is not an http or https URL");
            }
            let token = match (&backend.bearer_token_env, &backend.bearer_token_file) {
                (Some(_), Some(_)) => {
                    fault("give bearerTokenEnv or bearerTokenFile, not both");
                    None
                }
                (Some(variable), None) => Some(TokenSource::Env(variable.clone())),
                (None, file) => file.clone().map(TokenSource::File),
            };
            let revision = backend.revision.as_deref().map(str::parse::<Revision>);
            if matches!(revision, Some(Err(_))) {
                fault("its revision is not a date such as 2025-11-25");
            }
            if [backend.interval, backend.timeout].contains(&Some(Duration::ZERO)) {
                fault("interval and timeout must be longer than 0s");
            }
            if backend.unhealthy_threshold == Some(0) || backend.healthy_threshold == Some(0) {
                fault("unhealthyThreshold and healthyThreshold must be at least 1");
            }
            let circuit_breaker = backend.circuit_breaker.or(file.circuit_breaker).breaker().unwrap_or_else(|what| {
                fault(what);
                None
            });
            backends.extend(url.map(|url| {
                let default = CheckedBackend::new(&backend.name, url);
                CheckedBackend {
                    auth_type: backend.auth_type.clone(),
                    auth_config_ref: backend.auth_config_ref.clone(),
                    token,
                    revision: revision.and_then(Result::ok),
                    interval: backend.interval.or(file.interval).unwrap_or(default.interval),
                    timeout: backend.timeout.or(file.timeout).unwrap_or(default.timeout),
                    degraded_above: backend.degraded_above.or(file.degraded_above).unwrap_or(default.degraded_above),
                    unhealthy_threshold: backend
                        .unhealthy_threshold
                        .or(file.unhealthy_threshold)
                        .unwrap_or(default.unhealthy_threshold),
                    healthy_threshold: backend
                        .healthy_threshold
                        .or(file.healthy_threshold)
                        .unwrap_or(default.healthy_threshold),
                    circuit_breaker,
                    ..default
                }
            }));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Config {
            name: file.name,
            checks: CheckOptions {
                interval: file.interval,
                timeout: file.timeout,
                degraded_above: file.degraded_above,
                unhealthy_threshold: file.unhealthy_threshold,
                healthy_threshold: file.healthy_threshold,
                circuit_breaker: file.circuit_breaker.is_set().then_some(circuit_breaker),
            },
            max_concurrent_checks: file.max_concurrent_checks,
            extra_ca,
            insecure_skip_tls_verify: file.insecure_skip_tls_verify,
            accept_revisions,
            backends,
        })
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use vmcp_status_discovery::CircuitBreaker;

    use super::*;

    fn parse(yaml: &str) -> Result<Config, String> {
        let file = File::parse(yaml.as_bytes())?;
        Config::check(file, None).map_err(|faults| faults.join("; "))
    }

    #[test]
    fn backend_takes_what_it_does_not_say_from_the_whole() {
        let config = parse(
            "name: mine\ninterval: 5s\ntimeout: 500ms\nunhealthyThreshold: 5\nbackends:\n\
             - {name: a, url: 'http://a/mcp', bearerTokenEnv: TOKEN, interval: 1m}\n\
             - {name: b, url: 'https://b/mcp', authType: oauth2, authConfigRef: ref, bearerTokenFile: /t, unhealthyThreshold: 2, healthyThreshold: 4}\n",
        )
        .expect("it is right");
        assert_eq!(config.name.as_deref(), Some("mine"));
        let [a, b] = &config.backends[..] else { panic!("two backends") };
        assert_eq!((a.interval, a.timeout), (Duration::from_secs(60), Duration::from_millis(500)));
        assert_eq!(a.token, Some(TokenSource::Env("TOKEN".into())));
        assert_eq!((b.interval, b.degraded_above), (Duration::from_secs(5), Duration::from_secs(2)));
        assert_eq!(b.token, Some(TokenSource::File("/t".into())));
        assert_eq!((a.unhealthy_threshold, a.healthy_threshold), (5, 1));
        assert_eq!((b.unhealthy_threshold, b.healthy_threshold), (2, 4));
    }

    #[test]
    fn circuit_breaker_is_off_unless_enabled_and_a_backend_takes_what_it_does_not_say_from_the_whole() {
        let of = |yaml: &str| {
            let config = parse(yaml).expect("it is right");
            (
                config.checks.circuit_breaker.flatten(),
                config.backends.first().and_then(|backend| backend.circuit_breaker),
            )
        };
        let default = CircuitBreaker::default();
        let backend = "backends: [{name: a, url: 'http://a/mcp'";
        assert_eq!(of(&format!("{backend}}}]")), (None, None));
        let written_by_the_operator = "circuitBreaker: {failureThreshold: 5, timeout: 60s}";
        assert_eq!(of(&format!("{written_by_the_operator}\n{backend}}}]")), (None, None));
        assert_eq!(of(&format!("circuitBreaker: {{enabled: true}}\n{backend}}}]")), (Some(default), Some(default)));
        let own = CircuitBreaker { failure_threshold: 2, timeout: Duration::from_secs(1) };
        let whole = "circuitBreaker: {failureThreshold: 7, timeout: 1s}";
        let of_backend = format!("{whole}\n{backend}, circuitBreaker: {{enabled: true, failureThreshold: 2}}}}]");
        assert_eq!(of(&of_backend), (None, Some(own)));
        let off = format!("circuitBreaker: {{enabled: true}}\n{backend}, circuitBreaker: {{enabled: false}}}}]");
        assert_eq!(of(&off), (Some(default), None));
    }

    #[test]
    fn circuit_breaker_that_would_never_close_or_open_is_refused() {
        for section in ["failureThreshold: 0", "timeout: 0s"] {
            let enabled = format!("circuitBreaker: {{enabled: true, {section}}}");
            let fault = parse(&enabled).expect_err("useless");
            assert!(fault.contains("failureThreshold of at least 1"), "{fault}");
            let fault = parse(&format!("backends: [{{name: a, url: 'http://a', {enabled}}}]")).expect_err("useless");
            assert!(fault.starts_with("backend \"a\""), "{fault}");
            assert!(parse(&format!("circuitBreaker: {{{section}}}")).is_ok(), "it is off");
        }
    }

    #[test]
    fn names_of_toolhive_for_interval_and_timeout_are_accepted() {
        let config = parse(
            "healthCheckInterval: 7s\nhealthCheckTimeout: 3s\nbackends:\n- {name: a, url: 'http://a/mcp'}\n\
             - {name: b, url: 'http://b/mcp', healthCheckInterval: 1m, healthCheckTimeout: 1s}\n",
        )
        .expect("it is right");
        let times: Vec<_> = config.backends.iter().map(|b| (b.interval.as_secs(), b.timeout.as_secs())).collect();
        assert_eq!(times, [(7, 3), (60, 1)]);
        assert!(parse("interval: 7s\nhealthCheckInterval: 7s\n").is_err(), "one of the two");
    }

    #[test]
    fn what_the_file_does_not_say_is_left_to_the_spec_of_the_vmcp() {
        let config = parse("timeout: 3s\nunhealthyThreshold: 3\n").expect("it is right");
        let expected = CheckOptions {
            timeout: Some(Duration::from_secs(3)),
            // The default, and yet set.
            unhealthy_threshold: Some(3),
            ..CheckOptions::default()
        };
        assert_eq!(config.checks, expected);
        let breaker = |yaml: &str| parse(yaml).expect("it is right").checks.circuit_breaker;
        assert_eq!(breaker("circuitBreaker: {enabled: false}"), Some(None));
        assert_eq!(breaker("circuitBreaker: {enabled: true}"), Some(Some(CircuitBreaker::default())));
    }

    #[test]
    fn revisions_are_dates_and_reach_the_checks() {
        let config =
            parse("acceptRevisions: [2099-01-01]\nbackends:\n- {name: a, url: 'http://a/mcp', revision: 2025-11-25}\n")
                .expect("it is right");
        assert_eq!(config.backends[0].revision, "2025-11-25".parse().ok());
        assert_eq!(config.prober_options().accept_revisions, ["2099-01-01".parse().expect("a date")]);
        let faults = parse("acceptRevisions: [new]\nbackends:\n- {name: a, url: 'http://a/mcp', revision: newest}\n")
            .expect_err("neither is a date");
        assert!(faults.contains("acceptRevisions wants") && faults.contains("2025-11-25"), "{faults}");
    }

    #[test]
    fn every_fault_is_listed_and_no_password_is_repeated() {
        let faults = parse(
            "backends:\n- {name: '', url: 'ftp://me:secret@a'}\n- {name: b, url: 'http://b', timeout: 0s, healthyThreshold: 0}\n\
             - {name: b, url: 'http://b', bearerTokenEnv: A, bearerTokenFile: B}\n",
        )
        .expect_err("it is full of faults");
        for fault in ["give it a name", "not an http", "longer than 0s", "at least 1", "more than once", "not both"] {
            assert!(faults.contains(fault), "{fault}: {faults}");
        }
        assert!(!faults.contains("secret"), "{faults}");
    }

    #[test]
    fn misspelt_member_and_a_token_in_the_file_are_refused_by_name() {
        let typo = parse("backends:\n- {name: a, url: 'http://a', intervall: 5s}\n").expect_err("misspelt");
        assert!(typo.contains("intervall") && typo.contains("interval"), "{typo}");
        let token = parse("backends:\n- {name: a, url: 'http://a', bearerToken: s3cret}\n").expect_err("a token");
        assert!(token.contains("bearerTokenEnv"), "{token}");
    }
}
