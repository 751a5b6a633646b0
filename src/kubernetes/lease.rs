//! Leader election by a Lease of `coordination.k8s.io/v1`: of several replicas
//! one writes.
//!
//! The implementation is our own because the available crates either take over
//! without checking the version, so that two replicas can win, or trust the clocks of
//! other replicas.

mod api;
mod election_log;
mod elector;
mod record;

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use chrono::Utc;
use kube::Client;
use tokio::select;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info};

use self::api::LeaseApi;
use self::election_log::ElectionLog;
use self::elector::{Ask, ElectionStep, ElectionTiming, LeaderElector, LeadershipChange};
use super::api::vmcp_span;
use super::name::{NameError, check_name};
use crate::backoff::jittered;
use crate::custom_resource::APP_NAME;
use crate::leadership::{Election, Leadership, LeadershipSender};

/// How replicas of one vMCP elect the one that writes.
///
/// All times follow from `lease_duration`, in the proportions that Kubernetes' own
/// components use. The defaults are in brackets:
///
/// | | part | |
/// |---|---|---|
/// | the leader renews every | 1/5 | (3 s) |
/// | it writes until this long after it *sent* its last renewal | 2/3 | (10 s) |
/// | other replicas look every | 2/15 | (2 s) |
/// | and take over when they have seen no renewal for | 1 | (15 s) |
/// | a request to the API server fails after | 1/3 | (5 s) |
///
/// Looks and renewals have a jitter of a tenth. The election never compares the clocks
/// of two replicas. After a leader that released the Lease, another replica leads
/// within one look; after a leader that died, within the duration and one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionOptions {
    /// How long other replicas wait after the last renewal before they take over: 1 s
    /// to 1 h, default 15 s.
    pub lease_duration: Duration,
    /// The name of the Lease, in the namespace of the object; all replicas need the
    /// same. Default: `vmcp-status-` and the name of the object.
    pub lease_name: Option<String>,
    /// The name of this replica in the Lease. The election appends a random part, so
    /// that no two processes have the same. Default: `POD_NAME`, else the host's name.
    pub identity: Option<String>,
}

impl Default for ElectionOptions {
    fn default() -> Self {
        ElectionOptions { lease_duration: Duration::from_secs(15), lease_name: None, identity: None }
    }
}

/// Elects the one replica that writes, by a Lease of `coordination.k8s.io`. This is the
/// part of one process in the election.
///
/// [`start`](Self::start) it and pass it to
/// [`ReporterBuilder::leadership`](crate::ReporterBuilder::leadership). The reporter
/// then writes only while this process leads, whatever the sink, and
/// [releases](Election::release) the Lease after its last write, so that another
/// replica leads at once. If the election is dropped without a release, its Lease runs
/// out.
///
/// Without the rights on Leases, or on a server that does not serve them, there is no
/// election and every replica writes. That is concluded only from a refusal that lasts
/// for 30 s over three answers, because an API server that has just started refuses
/// everything; until then nothing is written. The log says so once, and the election
/// notices rights that come later within about a minute.
///
/// ```no_run
/// use std::time::Duration;
///
/// use vmcp_status::{ElectionOptions, KubernetesSink, LeaseElection, Reporter, connect};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = connect(None, None).await?;
/// let options = ElectionOptions { lease_duration: Duration::from_secs(30), ..ElectionOptions::default() };
/// let election = LeaseElection::start(client.clone(), "my-namespace", "my-vmcp", options)?;
/// let sink = KubernetesSink::new(client, "my-namespace", "my-vmcp")?;
/// let (handle, reporter) = Reporter::builder(sink).leadership(election).start();
/// # Ok(())
/// # }
/// ```
///
/// # Required rights
///
/// `get`, `create` and `update` on `leases` of `coordination.k8s.io`.
#[derive(Debug)]
pub struct LeaseElection {
    leadership: Leadership,
    stop: CancellationToken,
    task: AbortOnDrop,
}

impl LeaseElection {
    /// Starts a task that takes part in the election among the replicas of this vMCP.
    /// The client must not repeat requests by itself: see
    /// [`connect`](crate::connect()).
    ///
    /// # Errors
    ///
    /// Fails when the namespace or the name of the Lease cannot be that of an object.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    pub fn start(client: Client, namespace: &str, vmcp: &str, options: ElectionOptions) -> Result<Self, NameError> {
        let lease = options.lease_name.unwrap_or_else(|| Self::lease_name(vmcp));
        let lease = check_name("lease name", &lease)?;
        let identity = unique(options.identity.filter(|identity| !identity.is_empty()).unwrap_or_else(host));
        let timing = ElectionTiming::of(options.lease_duration);
        let api = LeaseApi {
            client,
            namespace: check_name("namespace", namespace)?,
            name: lease.clone(),
            timeout: timing.request,
        };
        let (sender, leadership) = Leadership::new();
        let stop = CancellationToken::new();
        let elector = LeaderElector::new(lease.clone(), identity.clone(), timing, jittered, Instant::now());
        let log = ElectionLog::new(lease, identity);
        let task = run(elector, api, sender, log, stop.clone()).instrument(vmcp_span(namespace, vmcp, None));
        Ok(LeaseElection { leadership, stop, task: AbortOnDrop(tokio::spawn(task)) })
    }

    /// The Lease by which the replicas of this vMCP elect one, unless
    /// [`ElectionOptions::lease_name`] says otherwise. It is in the namespace of the
    /// vMCP, and labelled `app.kubernetes.io/name: vmcp-status`.
    ///
    /// Its `renewTime` is the leader's sign of life.
    ///
    /// ```
    /// assert_eq!(vmcp_status::LeaseElection::lease_name("my-vmcp"), "vmcp-status-my-vmcp");
    /// ```
    #[must_use]
    pub fn lease_name(vmcp: &str) -> String {
        format!("{APP_NAME}-{vmcp}")
    }
}

impl Election for LeaseElection {
    fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Stops leading and releases the Lease, so that another replica can lead at once.
    /// Returns when the Lease is released, however long that takes.
    async fn release(mut self) {
        self.stop.cancel();
        // If the task panicked, the Lease runs out by itself.
        let _ = (&mut self.task.0).await;
    }
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The default name of a replica.
fn host() -> String {
    let variables = ["POD_NAME", "HOSTNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let file = || std::fs::read_to_string("/etc/hostname").ok();
    let names = variables.chain(std::iter::once_with(file).flatten());
    names.map(|name| name.trim().to_owned()).find(|name| !name.is_empty()).unwrap_or_else(|| APP_NAME.into())
}

/// Appends a random part, because a restarted process must not take a Lease of the
/// process before it for its own.
fn unique(name: String) -> String {
    // The keys of a hash table are the standard library's source of randomness.
    format!("{name}_{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// Takes part in the election until `leave` is cancelled and the Lease is released.
async fn run(
    mut elector: LeaderElector,
    api: LeaseApi,
    sender: LeadershipSender,
    mut log: ElectionLog,
    leave: CancellationToken,
) {
    let mut error = None;
    loop {
        if leave.is_cancelled() {
            elector.leave(Instant::now());
            sender.undecided();
        } else {
            let now = Instant::now();
            let leadership = elector.leadership(now);
            match leadership {
                LeadershipChange::Alone => sender.stand_alone(),
                LeadershipChange::Undecided => sender.undecided(),
                LeadershipChange::Leading(until) => sender.lead_until(until),
                LeadershipChange::Standby(_) => sender.stand_by(),
            }
            // A refusal that may pass is not worth a line yet.
            let error = error.as_deref().filter(|_| !elector.is_refused_for_now());
            log.record(now, leadership, error);
        }
        match elector.next(Instant::now(), Utc::now()) {
            ElectionStep::Wait(until) => {
                select! {
                    () = sleep_until(until) => {}
                    () = leave.cancelled(), if !elector.is_leaving() => {}
                }
            }
            ElectionStep::Ask(ask) => {
                let held = elector.holds();
                // At the end, a look of a replica without the Lease need not finish.
                let idle = matches!(ask, Ask::Get) && !elector.may_hold();
                let (answer, why) = select! {
                    biased;
                    () = leave.cancelled(), if idle => return,
                    answered = api.send(ask) => answered,
                };
                if let Some(why) = &why {
                    debug!(lease = api.name, error = why, "election: request failed");
                }
                error = why;
                elector.answered(Instant::now(), answer);
                if elector.is_leaving() && held && !elector.holds() {
                    info!(lease = api.name, "lease handed over");
                }
            }
            ElectionStep::Done => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_of_two_processes_with_one_name_differ() {
        let (one, two) = (unique("pod".into()), unique("pod".into()));
        assert!(one.starts_with("pod_") && one != two, "{one} {two}");
    }

    #[test]
    fn times_are_parts_of_the_duration_and_stay_in_order() {
        let timing = ElectionTiming::of(ElectionOptions::default().lease_duration);
        let seconds =
            [timing.duration, timing.renew_deadline, timing.renew_interval, timing.retry_period, timing.request]
                .map(|part| part.as_secs());
        assert_eq!(seconds, [15, 10, 3, 2, 5]);
        for duration in [Duration::ZERO, Duration::from_secs(3), Duration::MAX] {
            let ElectionTiming { duration, renew_deadline, renew_interval, retry_period, .. } =
                ElectionTiming::of(duration);
            assert!(
                retry_period < renew_interval && renew_interval * 3 < renew_deadline && renew_deadline < duration,
                "{duration:?}"
            );
        }
    }
}
