//! Checks a list of backends side by side and reports each finding.

mod limit;
mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use url::Url;

use self::limit::{Lane, QUICK_LOOK};
use self::verdict::{Observation, SOON, Verdict};
use super::probe::{Finding, Health, Lifecycle, Prober, Secret, Target};
use crate::timing::{bounded, jittered, spread};
use vmcp_status::SourceHandle;
use vmcp_status::{BackendStatus, DiscoveredBackend};

pub use limit::CheckLimit;
pub(crate) use verdict::Thresholds;

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
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            degraded_above: Duration::from_secs(2),
            unhealthy_threshold: Thresholds::DEFAULT.unhealthy,
            healthy_threshold: Thresholds::DEFAULT.healthy,
        }
    }

    /// Whether its users have credentials of their own, as far as is configured.
    fn wants_credentials(&self) -> bool {
        !matches!(self.auth_type.as_str(), "" | "unauthenticated") || !self.auth_config_ref.is_empty()
    }

    fn thresholds(&self) -> Thresholds {
        Thresholds { unhealthy: self.unhealthy_threshold, healthy: self.healthy_threshold }
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
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("degraded_above", &self.degraded_above)
            .field("unhealthy_threshold", &self.unhealthy_threshold)
            .field("healthy_threshold", &self.healthy_threshold)
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

impl TokenSource {
    fn read(&self) -> Option<Secret> {
        let token = match self {
            TokenSource::Env(variable) => std::env::var(variable).ok(),
            TokenSource::File(path) => std::fs::read_to_string(path).ok(),
        };
        token.filter(|token| !token.trim().is_empty()).map(Secret::new)
    }
}

/// What a backend says that asks for the credentials which are configured for its
/// users: it is there, and its door works.
const CHECKED_AT_USE: &str = "Credentials are checked at use";
/// What a backend says whose credentials cannot be read here.
const NO_CREDENTIALS: &str = "Configured credentials cannot be read";

/// A backend to check, and what else is known of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckSpec {
    pub(crate) backend: CheckedBackend,
    /// How it is shown until its first check.
    pub(crate) initial: BackendStatus,
    /// Said beside what the checks find.
    pub(crate) note: String,
}

impl From<CheckedBackend> for CheckSpec {
    fn from(backend: CheckedBackend) -> Self {
        CheckSpec { backend, initial: BackendStatus::Unknown, note: String::new() }
    }
}

impl CheckSpec {
    /// Whether the same is asked of the same server.
    fn has_target_of(&self, other: &Self) -> bool {
        (&self.backend.url, &self.backend.token) == (&other.backend.url, &other.backend.token)
    }

    /// Whether the two differ in nothing but what is reported.
    fn is_checked_as(&self, other: &Self) -> bool {
        let timing = |wanted: &Self| (wanted.backend.interval, wanted.backend.timeout, wanted.backend.degraded_above);
        self.has_target_of(other)
            && timing(self) == timing(other)
            && self.backend.thresholds() == other.backend.thresholds()
            && self.initial == other.initial
    }
}

/// Tasks that check backends, one for each, and report through one handle.
///
/// New backends are checked at once, as fast as the limit allows.
///
/// Dropping it ends the tasks.
///
/// ```no_run
/// use vmcp_status_discovery::probe::{Prober, ProberOptions};
/// use vmcp_status_discovery::{CheckedBackend, HealthChecker};
/// use vmcp_status::{NoOpSink, Reporter};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (handle, reporter) = Reporter::builder(NoOpSink::logging()).derive_phase(true).start();
/// let mut health_checker = HealthChecker::new(Prober::new(ProberOptions::default())?, handle.source("config"), 16);
/// health_checker.set([CheckedBackend::new("weather", "http://weather:8080/mcp".parse()?)]).await;
/// health_checker.first_round().await;
/// handle.first_round_done();
/// // … until the gateway ends.
/// health_checker.shutdown().await;
/// reporter.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HealthChecker {
    prober: Prober,
    /// How many probers there were before this one.
    earlier_probers: u64,
    handle: SourceHandle,
    limit: CheckLimit,
    running: HashMap<String, Running>,
}

#[derive(Debug)]
struct Running {
    wanted: CheckSpec,
    /// Tells the prober that it is checked with from others.
    earlier_probers: u64,
    task: JoinHandle<()>,
    last: watch::Receiver<Option<LastResult>>,
}

/// What the checks have found, and what the next one needs.
#[derive(Clone, Debug)]
struct LastResult {
    verdict: Verdict,
    at: DateTime<Utc>,
    /// Whether this counts as checked: there is a verdict, or the backend refuses
    /// to be asked again soon.
    settled: bool,
    lifecycle: Lifecycle,
    /// Where the next check waits for its turn.
    lane: Lane,
    next: Instant,
}

/// A backend that was checked until now.
pub(crate) struct Past {
    wanted: CheckSpec,
    earlier_probers: u64,
    last: Option<LastResult>,
}

impl Past {
    /// What of it holds for the backend as it is wanted now.
    fn for_now(self, wanted: &CheckSpec, earlier_probers: u64) -> Option<LastResult> {
        let last = self.last.filter(|_| wanted.has_target_of(&self.wanted))?;
        let as_before = wanted.is_checked_as(&self.wanted) && self.earlier_probers == earlier_probers;
        let next = if as_before { last.next } else { Instant::now() };
        Some(LastResult { next, ..last })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// Ends the task. When this returns it reports nothing any more.
    async fn end(mut self) -> Past {
        self.task.abort();
        let _ = (&mut self.task).await;
        let last = self.last.borrow().clone();
        Past { wanted: self.wanted.clone(), earlier_probers: self.earlier_probers, last }
    }
}

impl HealthChecker {
    /// No checks yet; of those to come at most as many as the limit says run at
    /// the same time. A number is a limit of its own.
    pub fn new(prober: Prober, handle: SourceHandle, limit: impl Into<CheckLimit>) -> Self {
        HealthChecker { prober, earlier_probers: 0, handle, limit: limit.into(), running: HashMap::new() }
    }

    /// Uses this prober from the next [`set`](HealthChecker::set) on, which then
    /// checks every backend anew; each keeps its last finding till then.
    pub fn set_prober(&mut self, prober: Prober) {
        self.prober = prober;
        self.earlier_probers += 1;
    }

    /// Checks these backends from now on. One that is checked already in just
    /// this way goes on undisturbed; one whose settings changed is checked anew
    /// and keeps its last finding till then if it is at the same address; a new
    /// one is reported as unknown until its first check; one that is gone is
    /// removed.
    ///
    /// # Cancellation safety
    ///
    /// Call it again if it was dropped: some of the changes may be missing.
    pub async fn set(&mut self, backends: impl IntoIterator<Item = CheckedBackend>) {
        let wanted: HashMap<String, CheckSpec> =
            backends.into_iter().map(|backend| (backend.name.clone(), backend.into())).collect();
        let ended = self.end_others(&wanted).await;
        for name in ended.keys().filter(|name| !wanted.contains_key(*name)) {
            let _ = self.handle.remove_backend(name.as_str());
        }
        self.begin(wanted, ended);
    }

    /// Ends what is not wanted in just this way. When this returns, nothing of
    /// it is reported any more; removing it is left to the caller.
    pub(crate) async fn end_others(&mut self, wanted: &HashMap<String, CheckSpec>) -> HashMap<String, Past> {
        let goes_on = |name: &String, running: &Running| {
            running.earlier_probers == self.earlier_probers && wanted.get(name) == Some(&running.wanted)
        };
        let (kept, ended): (HashMap<_, _>, HashMap<_, _>) =
            std::mem::take(&mut self.running).into_iter().partition(|(name, running)| goes_on(name, running));
        self.running = kept;
        let mut past = HashMap::with_capacity(ended.len());
        for (name, running) in ended {
            past.insert(name, running.end().await);
        }
        past
    }

    /// Reports and checks what is not checked yet.
    pub(crate) fn begin(&mut self, wanted: HashMap<String, CheckSpec>, mut past: HashMap<String, Past>) {
        // In the order in which they are listed, so that a store that keeps the
        // order of arrival has the same one after each start.
        let wanted: BTreeMap<String, CheckSpec> = wanted.into_iter().collect();
        for (name, wanted) in wanted {
            if !self.running.contains_key(&name) {
                let last = past.remove(&name).and_then(|past| past.for_now(&wanted, self.earlier_probers));
                let _ = self.handle.upsert_backend(reported(&wanted, last.as_ref()));
                self.running.insert(name, self.start(wanted, last));
            }
        }
    }

    /// Waits until every backend there is now has a verdict: from its first answer
    /// or its second failure.
    pub fn first_round(&self) -> impl Future<Output = ()> + Send + use<> {
        let checked: Vec<_> = self.running.values().map(|running| running.last.clone()).collect();
        async move {
            // An error says that the task is gone; then nothing is to be waited for.
            join_all(checked.into_iter().map(async |mut last| {
                drop(last.wait_for(|last| last.as_ref().is_some_and(|last| last.settled)).await);
            }))
            .await;
        }
    }

    /// Ends all checks. What they found stays reported.
    pub async fn shutdown(mut self) {
        for (_, running) in self.running.drain() {
            running.end().await;
        }
    }

    fn start(&self, wanted: CheckSpec, last: Option<LastResult>) -> Running {
        let (found, seen) = watch::channel(last.clone());
        let check = Check {
            prober: self.prober.clone(),
            handle: self.handle.clone(),
            limit: self.limit.clone(),
            wanted: wanted.clone(),
        };
        let task = tokio::spawn(check.run(last, found));
        Running { wanted, earlier_probers: self.earlier_probers, task, last: seen }
    }
}

/// The task of one backend.
struct Check {
    prober: Prober,
    handle: SourceHandle,
    limit: CheckLimit,
    wanted: CheckSpec,
}

impl Check {
    async fn run(self, mut last: Option<LastResult>, found: watch::Sender<Option<LastResult>>) {
        loop {
            if let Some(last) = &last {
                sleep_until(last.next).await;
            }
            let lane = last.as_ref().map_or(Lane::New, |last| last.lane);
            let now = self.limit.run(lane, || self.check(last.as_ref())).await;
            if !self.handle.upsert_backend(reported(&self.wanted, Some(&now))) {
                return;
            }
            found.send_replace(Some(now.clone()));
            last = Some(now);
        }
    }

    async fn check(&self, last: Option<&LastResult>) -> LastResult {
        let CheckedBackend { name, url, token, interval, timeout, degraded_above, .. } = &self.wanted.backend;
        // Many that are new at the same time must not stay in step.
        let pause = if last.is_some() { jittered(*interval) } else { spread(*interval) };
        let begin = Instant::now();
        let mut lifecycle = last.map(|last| last.lifecycle).unwrap_or_default();
        let finding = match token.as_ref().map(TokenSource::read) {
            Some(None) => {
                tracing::warn!(backend = name, ?token, "token cannot be read");
                Finding {
                    health: Health::Unavailable,
                    message: NO_CREDENTIALS.into(),
                    revision: None,
                    elapsed: Duration::ZERO,
                    retry_after: None,
                }
            }
            bearer => {
                let target = Target {
                    bearer: bearer.flatten(),
                    timeout: *timeout,
                    degraded_above: *degraded_above,
                    ..Target::new(url.clone())
                };
                self.prober.check(&target, &mut lifecycle).await
            }
        };
        let (elapsed, retry_after) = (finding.elapsed, finding.retry_after);
        let observation = observation(finding, &self.wanted.backend);
        let is_failed = matches!(observation, Observation::Failed { .. });
        let lane = if is_failed && elapsed >= QUICK_LOOK { Lane::Hung } else { Lane::Answered };
        let is_deferred = matches!(observation, Observation::Deferred { .. });
        let verdict = last.map(|last| last.verdict.clone()).unwrap_or_default();
        let verdict = verdict.after(observation, self.wanted.backend.thresholds());
        tracing::debug!(backend = name, status = %verdict.status, failures = verdict.failures, ?elapsed, "checked");
        let next = match verdict.hurry(*interval) {
            // A check that hung has had its pause already, save for a moment.
            Some(pause) if verdict.is_given() => (begin + jittered(pause)).max(Instant::now() + SOON.min(*interval)),
            Some(pause) => Instant::now() + pause,
            None => begin + pause,
        };
        let next = retry_after.map_or(next, |asked| next.max(Instant::now() + bounded(asked)));
        LastResult { settled: verdict.is_given() || is_deferred, verdict, at: Utc::now(), lifecycle, lane, next }
    }
}

/// What a finding says of this backend.
fn observation(finding: Finding, backend: &CheckedBackend) -> Observation {
    let Finding { health, message, revision, .. } = finding;
    let (status, message) = match health {
        Health::Ready => (BackendStatus::Ready, message),
        Health::Degraded => (BackendStatus::Degraded, message),
        Health::Unauthenticated if backend.wants_credentials() => (BackendStatus::Ready, CHECKED_AT_USE.into()),
        Health::Unauthenticated => (BackendStatus::Unauthenticated, message),
        Health::RateLimited => return Observation::Deferred { message },
        Health::Unavailable => return Observation::Failed { message },
    };
    Observation::Answered { status, message, revision: revision.unwrap_or_default() }
}

/// What is known, with or without a check.
fn reported(wanted: &CheckSpec, last: Option<&LastResult>) -> DiscoveredBackend {
    let CheckSpec { backend, initial, note } = wanted;
    let without_check = DiscoveredBackend {
        url: bare(backend.url.clone()),
        status: *initial,
        auth_type: backend.auth_type.clone(),
        auth_config_ref: backend.auth_config_ref.clone(),
        message: note.clone(),
        ..DiscoveredBackend::named(backend.name.clone())
    };
    let Some(LastResult { verdict, at, .. }) = last else { return without_check };
    if !verdict.is_given() {
        // Without a time of a check it counts as unchecked, so a stored finding of
        // an earlier process stands until there is a verdict.
        return DiscoveredBackend {
            message: joined([&verdict.message, note]),
            consecutive_failures: verdict.failures,
            ..without_check
        };
    }
    DiscoveredBackend {
        status: verdict.status,
        message: joined([&verdict.message, note]),
        mcp_revision: verdict.revision.clone(),
        last_health_check: Some(*at),
        consecutive_failures: verdict.failures,
        ..without_check
    }
}

/// Two messages as one; either may be empty.
pub(crate) fn joined([one, other]: [&str; 2]) -> String {
    let separator = if one.is_empty() || other.is_empty() { "" } else { "; " };
    [one, separator, other].concat()
}

/// The URL as it is shown: credentials are for the backend alone.
pub(crate) fn bare(mut url: Url) -> String {
    // A URL that cannot have any has none either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests;
