//! Kubernetes Events about what a write has changed.
//!
//! | file | concern |
//! |---|---|
//! | `changes` | the Events about the difference between two statuses |
//! | `limit` | how many of them may be sent |
//! | `publisher` | the task that sends them |
//! | `notes` | foreign text without secrets and control characters |

mod changes;
mod limit;
mod notes;
mod publisher;

use std::future::Future;
use std::pin::Pin;

use kube::Client;
use kube::runtime::events::Reporter;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::changes::{EventContent, LastKnown, Subject, phase};
use self::publisher::{Batch, Publisher};
use super::identity::ObjectIdentity;
use crate::custom_resource::APP_NAME;
use crate::leadership::LeadershipState;
use crate::listener::{StoredChange, StoredListener};
use crate::status::Status;

/// How many writes may wait for their Events to be sent.
const QUEUE: usize = 64;
/// The API server refuses a longer name of an instance.
const MAX_INSTANCE: usize = 128;

/// Options of Kubernetes Events: see [`KubernetesEvents::new`].
///
/// The default names this process `vmcp-status`. Replicas need a name each, which
/// [`from_env`](EventOptions::from_env) sets.
#[derive(Clone, Debug)]
pub struct EventOptions {
    instance: String,
}

impl EventOptions {
    /// Returns the default options with a name of this process among its replicas:
    /// `$POD_NAME`, else the name of the host.
    pub fn from_env() -> Self {
        // This conversion looks up the name of the host.
        let host = Reporter::from(APP_NAME).instance.unwrap_or_default();
        let pod = std::env::var("POD_NAME").unwrap_or_default();
        EventOptions::default().instance(&host).instance(&pod)
    }

    /// Sets the name of this process among its replicas; an empty name changes nothing.
    /// Only the first 128 bytes count.
    #[must_use]
    pub fn instance(mut self, name: &str) -> Self {
        let name = notes::name(name, MAX_INSTANCE);
        if !name.is_empty() {
            self.instance = name;
        }
        self
    }
}

impl Default for EventOptions {
    fn default() -> Self {
        EventOptions { instance: APP_NAME.into() }
    }
}

/// Makes Kubernetes Events of what a reporter's writes change: the phase, and backends
/// that come, go, fail or recover. `kubectl describe` shows them.
///
/// It is a [`StoredListener`], so it works beside any sink: pass it to
/// [`ReporterBuilder::on_stored`](crate::ReporterBuilder::on_stored). Events are best
/// effort, and no write waits for one. Repeats are merged into one Event. A backend that
/// flaps gets ten Events and then one in five minutes. The listener drops an Event that
/// the API server does not take. If the role does not allow Events, the log says so
/// once. With an election, the note of each Event says whether its sender leads.
///
/// ```no_run
/// use vmcp_status::{EventOptions, KubernetesEvents, KubernetesSink, Reporter, connect};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = connect(None, None).await?;
/// let sink = KubernetesSink::new(client.clone(), "my-namespace", "my-vmcp")?;
/// let events = KubernetesEvents::new(client, sink.identity(), EventOptions::from_env());
/// let (handle, reporter) = Reporter::builder(sink).on_stored(events).start();
/// # Ok(())
/// # }
/// ```
///
/// # Required rights
///
/// `create` and `patch` on `events` of the group `events.k8s.io`. With an election, `list`
/// too is of use: a new leader sends an Event about the phase only where the last one
/// told another phase. Without `list` it always sends one.
pub struct KubernetesEvents {
    client: Client,
    reporter: Reporter,
    regarding: ObjectIdentity,
    known: LastKnown,
    state: watch::Sender<LeadershipState>,
    /// Whether this process leads and has sent no Event about the phase since it does.
    owes_phase: bool,
    queue: Option<mpsc::Sender<Batch>>,
    /// The publisher, which the first Event starts. Dropping the set ends it.
    tasks: JoinSet<()>,
    dropped: usize,
}

impl KubernetesEvents {
    /// Makes a listener that sends Events about this object.
    ///
    /// The first Event spawns a task on the current tokio runtime, which is that of the
    /// reporter.
    pub fn new(client: Client, regarding: ObjectIdentity, options: EventOptions) -> Self {
        let reporter = Reporter { controller: APP_NAME.into(), instance: Some(options.instance) };
        KubernetesEvents {
            client,
            reporter,
            regarding,
            known: LastKnown::default(),
            state: watch::Sender::new(LeadershipState::Alone),
            owes_phase: false,
            queue: None,
            tasks: JoinSet::new(),
            dropped: 0,
        }
    }

    fn queue(&mut self) -> &mpsc::Sender<Batch> {
        let KubernetesEvents { queue, tasks, client, reporter, regarding, state, .. } = self;
        queue.get_or_insert_with(|| {
            let (queue, batches) = mpsc::channel(QUEUE);
            let publisher = Publisher::new(client.clone(), reporter.clone(), state.subscribe());
            tasks.spawn(publisher.run(batches, regarding.clone()));
            queue
        })
    }

    fn send(&mut self, changes: Vec<EventContent>, unless_known: bool) {
        let count = changes.len();
        let regarding = self.regarding.reference();
        if count > 0 && self.queue().try_send(Batch { regarding, changes, unless_known }).is_err() {
            self.dropped += count;
            tracing::debug!(
                dropped = self.dropped,
                "Kubernetes Events are dropped: the API server is slow to take them"
            );
        }
    }
}

impl std::fmt::Debug for KubernetesEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesEvents").field("regarding", &self.regarding).finish_non_exhaustive()
    }
}

impl StoredListener for KubernetesEvents {
    fn stored(&mut self, change: StoredChange<'_>) {
        let changes = self.known.changes(change);
        self.owes_phase &= !changes.iter().any(|change| change.subject == Subject::Phase);
        self.send(changes, false);
    }

    /// The replica that led before may have ended before it sent its last Event.
    fn took_over(&mut self, stored: &Status) {
        if std::mem::take(&mut self.owes_phase) {
            self.send(vec![phase(stored)], true);
        }
    }

    fn leadership_changed(&mut self, state: LeadershipState) {
        self.owes_phase = state == LeadershipState::Leading;
        self.state.send_replace(state);
    }

    /// Waits until the queue is sent.
    fn close(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.queue = None;
        Box::pin(async { while self.tasks.join_next().await.is_some() {} })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_options_are_the_same_wherever_the_process_runs() {
        assert_eq!(EventOptions::default().instance, APP_NAME);
    }
}
