//! Checks a list of backends side by side and reports each finding.

mod backend;
mod breaker;
mod limit;
mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use url::Url;

use self::breaker::{Circuit, Outcome};
use self::limit::{Lane, QUICK_LOOK};
use self::verdict::{Observation, SOON, Verdict};
use super::probe::{Finding, Health, Lifecycle, Prober, Target};
use crate::timing::{bounded, jittered, spread};
use vmcp_status::SourceHandle;
use vmcp_status::{BackendStatus, DiscoveredBackend, human_duration};

pub use backend::{CheckedBackend, TokenSource};
pub use breaker::CircuitBreaker;
pub use limit::CheckLimit;
pub(crate) use verdict::Thresholds;

/// What a backend says that asks for the credentials which are configured for its
/// users: it is there, and its door works.
const CHECKED_AT_USE: &str = "Credentials are checked at use";
/// What a backend says whose credentials cannot be read here.
const NO_CREDENTIALS: &str = "Configured credentials cannot be read";

/// A backend to check, and what else is known of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckSpec {
    pub(crate) backend: CheckedBackend,
    /// Said beside what the checks find.
    pub(crate) note: String,
    /// The phase of its workload. A change of it is a reason to check at once.
    pub(crate) phase: String,
}

impl From<CheckedBackend> for CheckSpec {
    fn from(backend: CheckedBackend) -> Self {
        CheckSpec { backend, note: String::new(), phase: String::new() }
    }
}

impl CheckSpec {
    /// Whether the same is asked of the same server.
    fn has_target_of(&self, other: &Self) -> bool {
        let asked = |wanted: &Self| {
            let CheckedBackend { url, token, headers, trusted_ca, transport, revision, .. } = wanted.backend.clone();
            (url, token, headers, trusted_ca, transport, revision)
        };
        asked(self) == asked(other)
    }

    /// Whether the same credentials are configured.
    fn has_credentials_of(&self, other: &Self) -> bool {
        let configured = |wanted: &Self| (wanted.backend.auth_type.clone(), wanted.backend.auth_config_ref.clone());
        configured(self) == configured(other)
    }

    /// Whether the two differ in nothing but what is reported.
    fn is_checked_as(&self, other: &Self) -> bool {
        let timing = |wanted: &Self| {
            let CheckedBackend { interval, timeout, degraded_above, circuit_breaker, .. } = wanted.backend;
            (interval, timeout, degraded_above, circuit_breaker)
        };
        self.has_target_of(other)
            && timing(self) == timing(other)
            && self.backend.thresholds() == other.backend.thresholds()
            && self.phase == other.phase
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
    /// When the status was found.
    at: Option<DateTime<Utc>>,
    /// Whether this counts as checked: there is a verdict, or the backend refuses
    /// to be asked again soon.
    settled: bool,
    lifecycle: Lifecycle,
    /// Its circuit, where it has a breaker.
    circuit: Option<Circuit>,
    /// Where the next check waits for its turn.
    lane: Lane,
    next: Instant,
}

/// What was found of a backend until now.
pub(crate) struct Past {
    /// How this checker checked it; none where others did.
    checked_as: Option<(CheckSpec, u64)>,
    last: Option<LastResult>,
}

impl Past {
    /// A finding that others have reported, such as the discovery before this one.
    fn of_others(backend: &DiscoveredBackend, wanted: &CheckSpec) -> Option<Self> {
        let at = backend.last_health_check.filter(|_| backend.status != BackendStatus::Unknown);
        // The note stands beside the finding, and not twice.
        let message = backend.message.strip_suffix(&*wanted.note).unwrap_or(&backend.message).trim_end_matches("; ");
        let (message, revision) = (message.to_owned(), backend.mcp_revision.clone());
        let verdict = Verdict::inherited(backend.status, message, revision);
        let mut last = LastResult::inherited(verdict, at?);
        if let Some(breaker) = &wanted.backend.circuit_breaker
            && backend.url == bare(wanted.backend.url.clone())
        {
            let now = Instant::now();
            let circuit = Circuit::reported(backend, breaker, now);
            last.circuit = Some(circuit);
            if let Some(until) = circuit.pauses_until(breaker, now) {
                last.verdict.failures = backend.consecutive_failures;
                (last.settled, last.next) = (true, until);
            }
        }
        Some(Past { checked_as: None, last: Some(last) })
    }

    /// What of it holds for the backend as it is wanted now. A finding of another
    /// address or other credentials stands until the check, which comes at once.
    fn for_now(self, wanted: &CheckSpec, earlier_probers: u64) -> Option<LastResult> {
        let last = self.last?;
        let Some((before, probers)) = self.checked_as else { return Some(last) };
        if !wanted.has_target_of(&before) {
            let Verdict { status, message, revision, .. } = last.verdict;
            return Some(LastResult::inherited(Verdict::inherited(status, message, revision), last.at?));
        }
        let (breaker, now) = (wanted.backend.circuit_breaker, Instant::now());
        let last = LastResult { circuit: last.circuit.filter(|_| breaker.is_some()), ..last };
        if probers != earlier_probers || !wanted.has_credentials_of(&before) {
            let verdict = last.verdict.in_question();
            return Some(LastResult { verdict, settled: false, next: now, ..last });
        }
        let next =
            if wanted.is_checked_as(&before) { last.next } else { last.pauses_until(breaker, now).unwrap_or(now) };
        Some(LastResult { next, ..last })
    }
}

impl LastResult {
    fn inherited(verdict: Verdict, at: DateTime<Utc>) -> Self {
        let (at, lifecycle, lane, next) = (Some(at), Lifecycle::default(), Lane::New, Instant::now());
        LastResult { verdict, at, settled: false, lifecycle, circuit: None, lane, next }
    }

    /// When the pause of an open circuit ends.
    fn pauses_until(&self, breaker: Option<CircuitBreaker>, now: Instant) -> Option<Instant> {
        self.circuit?.pauses_until(&breaker?, now)
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
        Past { checked_as: Some((self.wanted.clone(), self.earlier_probers)), last }
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
    /// and keeps its last finding till then; a new one is reported as unknown until
    /// its first verdict, unless another has reported a finding of it; one that is
    /// gone is removed.
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
    /// it is reported any more; removing it is left to the caller. A finding of
    /// others is among the past ones too: it stands until the check.
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
        let is_new = |name: &String| !self.running.contains_key(name) && !past.contains_key(name);
        let new: Vec<_> = wanted.iter().filter(|(name, _)| is_new(name)).collect();
        if !new.is_empty()
            && let Some(current) = self.handle.unbound().current().await
        {
            let found = |(name, wanted): (&String, &CheckSpec)| {
                Some((name.clone(), Past::of_others(current.backend(name)?, wanted)?))
            };
            past.extend(new.into_iter().filter_map(found));
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
        let CheckedBackend { headers, trusted_ca, transport, revision, circuit_breaker, .. } = &self.wanted.backend;
        // Many that are new at the same time must not stay in step.
        let pause = if last.is_some() { jittered(*interval) } else { spread(*interval) };
        let begin = Instant::now();
        let circuit = self.begin_trial(last);
        let mut lifecycle = last.map(|last| last.lifecycle.clone()).unwrap_or_default();
        let finding = match token.as_ref().map(TokenSource::read) {
            Some(None) => {
                tracing::warn!(
                    backend = name,
                    token = token.as_ref().map(tracing::field::display),
                    "token cannot be read"
                );
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
                    headers: headers.clone(),
                    trusted_ca: trusted_ca.clone(),
                    transport: *transport,
                    revision: *revision,
                    timeout: *timeout,
                    degraded_above: *degraded_above,
                    ..Target::new(url.clone())
                };
                self.prober.check(&target, &mut lifecycle).await
            }
        };
        let (elapsed, retry_after) = (finding.elapsed, finding.retry_after);
        let observation = observation(finding, &self.wanted.backend);
        let verdict = last.map(|last| last.verdict.clone()).unwrap_or_default();
        let outcome = match &observation {
            Observation::Answered { .. } => Outcome::Answered,
            Observation::Failed { .. } => Outcome::Failed(verdict.failures.saturating_add(1)),
            Observation::Deferred { .. } => Outcome::Deferred,
        };
        let is_hung = matches!(outcome, Outcome::Failed(_)) && elapsed >= QUICK_LOOK;
        let lane = if is_hung { Lane::Hung } else { Lane::Answered };
        let verdict = verdict.after(observation, self.wanted.backend.thresholds());
        tracing::debug!(backend = name, status = %verdict.status, failures = verdict.failures, elapsed = %human_duration(elapsed), "checked");
        let now = Instant::now();
        let circuit = circuit.zip(*circuit_breaker).map(|(circuit, breaker)| {
            let next = circuit.after(outcome, &breaker, now, Utc::now());
            if circuit.state() != next.state() {
                let state = next.state().as_str();
                tracing::info!(backend = name, failures = verdict.failures, state, "circuit changed");
            }
            next
        });
        let next = match verdict.sooner(*interval) {
            // A check that hung has had its pause already, save for a moment.
            Some(pause) if verdict.is_given() => (begin + jittered(pause)).max(now + SOON.min(*interval)),
            Some(pause) => now + pause,
            None => begin + pause,
        };
        let next = retry_after.map_or(next, |asked| next.max(now + bounded(asked)));
        let settled = verdict.is_given() || outcome == Outcome::Deferred;
        let at = if verdict.is_given() { Some(Utc::now()) } else { last.and_then(|last| last.at) };
        let result = LastResult { verdict, at, settled, lifecycle, circuit, lane, next };
        match result.pauses_until(*circuit_breaker, now) {
            Some(until) => LastResult { next: until, ..result },
            None => result,
        }
    }

    /// The circuit during the check that begins, where there is a breaker.
    fn begin_trial(&self, last: Option<&LastResult>) -> Option<Circuit> {
        self.wanted.backend.circuit_breaker?;
        let before = last.and_then(|last| last.circuit).unwrap_or_default();
        let now = before.during_check(Utc::now());
        if let Some(last) = last
            && now != before
            && now.is_first_trial()
        {
            let trial = LastResult { circuit: Some(now), ..last.clone() };
            let _ = self.handle.upsert_backend(reported(&self.wanted, Some(&trial)));
        }
        Some(now)
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
    let CheckSpec { backend, note, .. } = wanted;
    let without_check = DiscoveredBackend {
        url: bare(backend.url.clone()),
        status: BackendStatus::Unknown,
        auth_type: backend.auth_type.clone(),
        auth_config_ref: backend.auth_config_ref.clone(),
        message: note.clone(),
        ..DiscoveredBackend::named(backend.name.clone())
    };
    let Some(LastResult { verdict, at, circuit, .. }) = last else { return without_check };
    // Without a time of a check it counts as unchecked, so a stored finding of an
    // earlier process stands until there is a verdict.
    let status = if at.is_some() { verdict.status } else { BackendStatus::Unknown };
    DiscoveredBackend {
        status,
        message: joined([&verdict.message, note]),
        mcp_revision: verdict.revision.clone(),
        last_health_check: *at,
        circuit_breaker_state: circuit.map(|circuit| circuit.state()),
        circuit_last_changed: circuit.and_then(|circuit| circuit.changed()),
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
