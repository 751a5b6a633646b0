//! Checks a list of backends side by side and reports each finding.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::future::join_all;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use url::Url;

use super::probe::{Finding, Health, Lifecycle, Prober, Secret, Target};
use crate::backoff::jittered;
use crate::handle::SourceHandle;
use crate::status::{BackendStatus, DiscoveredBackend};

/// One backend, and how it is checked.
#[derive(Clone, PartialEq)]
pub struct CheckedBackend {
    /// Its key.
    pub name: String,
    /// Its streamable HTTP endpoint.
    pub url: Url,
    /// See [`DiscoveredBackend::auth_type`].
    pub auth_type: String,
    /// See [`DiscoveredBackend::auth_config_ref`].
    pub auth_config_ref: String,
    /// Where the bearer token comes from, if it wants one.
    pub token: Option<TokenSource>,
    /// Time from one check to the next, with a jitter of a tenth.
    pub interval: Duration,
    /// Time that one check may take.
    pub timeout: Duration,
    /// A backend that answers more slowly is degraded.
    pub degraded_above: Duration,
}

impl fmt::Debug for CheckedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password, in its user part or its query.
        f.debug_struct("CheckedBackend")
            .field("name", &self.name)
            .field("url", &bare(&self.url).as_str())
            .field("auth_type", &self.auth_type)
            .field("auth_config_ref", &self.auth_config_ref)
            .field("token", &self.token)
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("degraded_above", &self.degraded_above)
            .finish()
    }
}

/// Where a bearer token is read from, anew before each check: a token that is
/// rotated is picked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// The environment variable of this name.
    Env(String),
    /// This file.
    File(PathBuf),
}

impl TokenSource {
    fn read(&self) -> Option<Secret> {
        let token = match self {
            TokenSource::Env(variable) => std::env::var(variable).ok(),
            TokenSource::File(path) => std::fs::read_to_string(path).ok(),
        };
        token.filter(|token| !token.trim().is_empty()).map(Secret::new)
    }
}

/// What a backend says whose credentials cannot be read here.
const NO_CREDENTIALS: &str = "Configured credentials cannot be read";

/// Tasks that check backends, one for each, and report through one handle.
///
/// Dropping it ends the tasks.
#[derive(Debug)]
pub struct Checks {
    prober: Prober,
    handle: SourceHandle,
    limit: Arc<Semaphore>,
    running: HashMap<String, Running>,
}

#[derive(Debug)]
struct Running {
    backend: CheckedBackend,
    task: JoinHandle<()>,
    /// Whether it has been checked at least once.
    checked: watch::Receiver<bool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// Ends the task. When this returns it reports nothing any more.
    async fn end(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Checks {
    /// No checks yet; of those to come at most `at_once` run at the same time.
    pub fn new(prober: Prober, handle: SourceHandle, at_once: usize) -> Self {
        let limit = Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS)));
        Checks { prober, handle, limit, running: HashMap::new() }
    }

    /// Checks these backends from now on. One that is checked already in just
    /// this way goes on undisturbed; a new one is reported as unknown until its
    /// first check; one that is gone is removed.
    ///
    /// # Cancellation safety
    ///
    /// Call it again if it was dropped: some of the changes may be missing.
    pub async fn set(&mut self, backends: impl IntoIterator<Item = CheckedBackend>) {
        let mut wanted: HashMap<String, CheckedBackend> =
            backends.into_iter().map(|backend| (backend.name.clone(), backend)).collect();
        let (kept, ended): (HashMap<_, _>, HashMap<_, _>) =
            self.running.drain().partition(|(name, running)| wanted.get(name) == Some(&running.backend));
        self.running = kept;
        for (name, running) in ended {
            running.end().await;
            if !wanted.contains_key(&name) {
                self.handle.remove_backend(name);
            }
        }
        wanted.retain(|name, _| !self.running.contains_key(name));
        for (name, backend) in wanted {
            self.handle.upsert_backend(reported(&backend));
            self.running.insert(name, self.start(backend));
        }
    }

    /// Waits until every backend there is now has been checked once.
    pub fn first_round(&self) -> impl Future<Output = ()> + Send + use<> {
        let checked: Vec<_> = self.running.values().map(|running| running.checked.clone()).collect();
        async move {
            // An error says that the task is gone; then nothing is to be waited for.
            join_all(checked.into_iter().map(async |mut checked| drop(checked.wait_for(|checked| *checked).await)))
                .await;
        }
    }

    /// Ends all checks. What they found stays reported.
    pub async fn end(mut self) {
        for (_, running) in self.running.drain() {
            running.end().await;
        }
    }

    fn start(&self, backend: CheckedBackend) -> Running {
        let (checked, seen) = watch::channel(false);
        let check = Check {
            prober: self.prober.clone(),
            handle: self.handle.clone(),
            limit: Arc::clone(&self.limit),
            backend: backend.clone(),
            lifecycle: Lifecycle::default(),
            failures: 0,
        };
        Running { backend, task: tokio::spawn(check.run(checked)), checked: seen }
    }
}

/// The task of one backend.
struct Check {
    prober: Prober,
    handle: SourceHandle,
    limit: Arc<Semaphore>,
    backend: CheckedBackend,
    lifecycle: Lifecycle,
    failures: u32,
}

impl Check {
    async fn run(mut self, checked: watch::Sender<bool>) {
        loop {
            let due = Instant::now();
            let Ok(permit) = Arc::clone(&self.limit).acquire_owned().await else { return };
            let found = self.check().await;
            drop(permit);
            if !self.handle.upsert_backend(found) {
                return;
            }
            checked.send_replace(true);
            sleep_until(due + jittered(self.backend.interval)).await;
        }
    }

    async fn check(&mut self) -> DiscoveredBackend {
        let finding = match self.backend.token.as_ref().map(TokenSource::read) {
            Some(None) => {
                tracing::warn!(backend = self.backend.name, token = ?self.backend.token, "token cannot be read");
                Finding {
                    health: Health::Unavailable,
                    message: NO_CREDENTIALS.into(),
                    revision: None,
                    elapsed: Duration::ZERO,
                }
            }
            bearer => {
                let target = Target {
                    bearer: bearer.flatten(),
                    timeout: self.backend.timeout,
                    degraded_above: self.backend.degraded_above,
                    ..Target::new(self.backend.url.clone())
                };
                self.prober.check(&target, &mut self.lifecycle).await
            }
        };
        let status = match finding.health {
            Health::Ready => BackendStatus::Ready,
            Health::Degraded => BackendStatus::Degraded,
            Health::Unavailable => BackendStatus::Unavailable,
            Health::Unauthenticated => BackendStatus::Unauthenticated,
        };
        self.failures = if status == BackendStatus::Unavailable { self.failures.saturating_add(1) } else { 0 };
        tracing::debug!(backend = self.backend.name, %status, elapsed = ?finding.elapsed, "checked");
        DiscoveredBackend {
            status,
            message: finding.message,
            mcp_revision: finding.revision.unwrap_or_default(),
            last_health_check: Some(Utc::now()),
            consecutive_failures: self.failures,
            ..reported(&self.backend)
        }
    }
}

/// The URL without what is for the backend alone: credentials, query, fragment.
fn bare(url: &Url) -> Url {
    let mut url = url.clone();
    // A URL that cannot have credentials has none either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// What is known without a check.
fn reported(backend: &CheckedBackend) -> DiscoveredBackend {
    DiscoveredBackend {
        url: bare(&backend.url).into(),
        auth_type: backend.auth_type.clone(),
        auth_config_ref: backend.auth_config_ref.clone(),
        ..DiscoveredBackend::named(backend.name.clone())
    }
}
