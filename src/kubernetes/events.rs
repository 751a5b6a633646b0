//! Kubernetes Events about what a write has changed.
//!
//! | file | concern |
//! |---|---|
//! | `changes` | what differs between two statuses, and how it is said |
//! | `limit` | how much of it may be told |
//! | `publisher` | the task that tells it |
//! | `notes` | foreign text, made harmless |

mod changes;
mod limit;
mod notes;
mod publisher;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::Reporter;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use self::changes::Known;
use self::publisher::{Batch, Publisher};
use super::api::ObjectPath;
use super::observed::ObservedObject;
use crate::custom_resource::{APP_NAME, KIND};
use crate::error::{Retry, SinkError};
use crate::leadership::Leadership;
use crate::status::Status;

/// How many writes may wait for their Events to be sent.
const QUEUE: usize = 64;
/// The API server refuses a longer name of an instance.
const MAX_INSTANCE: usize = 128;

/// How Kubernetes Events are made: see
/// [`KubernetesSink::with_events`](crate::KubernetesSink::with_events).
///
/// The default names this process `vmcp-status`; replicas want a name each, as
/// [`from_env`](EventOptions::from_env) gives them.
#[derive(Clone, Debug)]
pub struct EventOptions {
    instance: String,
}

impl EventOptions {
    /// The default, with `$POD_NAME`, else the name of the host, as the name of
    /// this process among its replicas.
    pub fn from_env() -> Self {
        // This asks for the name of the host.
        let host = Reporter::from(APP_NAME).instance.unwrap_or_default();
        let pod = std::env::var("POD_NAME").unwrap_or_default();
        EventOptions::default().instance(&host).instance(&pod)
    }

    /// Another name for this process among its replicas; an empty one changes
    /// nothing. Its first 128 bytes count.
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

/// What the sink holds of it.
pub(super) struct Events {
    client: Client,
    reporter: Reporter,
    known: Known,
    /// The write whose outcome is not known.
    attempt: Option<Attempt>,
    queue: Option<mpsc::Sender<Batch>>,
    /// The publisher, from the first Event on. Dropping ends it.
    tasks: JoinSet<()>,
    dropped: usize,
}

struct Attempt {
    regarding: ObjectReference,
    leadership: Option<Leadership>,
    before: Option<Status>,
    after: Status,
}

impl Events {
    pub(super) fn new(client: Client, options: EventOptions) -> Self {
        let reporter = Reporter { controller: APP_NAME.into(), instance: Some(options.instance) };
        Events {
            client,
            reporter,
            known: Known::default(),
            attempt: None,
            queue: None,
            tasks: JoinSet::new(),
            dropped: 0,
        }
    }

    /// A write begins. It may end with an answer or without one.
    pub(super) fn writing(
        &mut self,
        object: &ObjectPath,
        seen: &ObservedObject,
        status: &Status,
        leadership: Option<Leadership>,
    ) {
        let regarding = regarding(object, seen.uid());
        self.attempt = Some(Attempt { regarding, leadership, before: seen.reported(), after: status.clone() });
    }

    /// The write has ended with an answer.
    pub(super) fn wrote(&mut self, error: Option<&SinkError>) {
        match error.map(SinkError::retry) {
            None => self.tell(),
            // Only the next read tells.
            Some(Retry::Transient) => {}
            Some(_) => self.attempt = None,
        }
    }

    /// What is stored now. If it is what was written without an answer, then
    /// that write has succeeded.
    pub(super) fn read(&mut self, stored: Option<&Status>) {
        let attempted = self.attempt.as_ref().map(|attempt| &attempt.after);
        if attempted.zip(stored).is_some_and(|(attempted, stored)| attempted.eq_ignoring_times(stored)) {
            self.tell();
        } else {
            self.attempt = None;
        }
    }

    fn tell(&mut self) {
        let Some(Attempt { regarding, leadership, before, after }) = self.attempt.take() else { return };
        let changes = self.known.changes(before.as_ref(), &after);
        let count = changes.len();
        if count > 0 && self.queue().try_send(Batch { regarding, leadership, changes }).is_err() {
            self.dropped += count;
            tracing::debug!(
                dropped = self.dropped,
                "Kubernetes Events are dropped: the API server is slow to take them"
            );
        }
    }

    fn queue(&mut self) -> &mpsc::Sender<Batch> {
        let Events { queue, tasks, client, reporter, .. } = self;
        queue.get_or_insert_with(|| {
            let (queue, batches) = mpsc::channel(QUEUE);
            let publisher = Publisher::new(client.clone(), reporter.clone());
            tasks.spawn(publisher.run(batches).in_current_span());
            queue
        })
    }

    /// Waits until what is in the queue has been sent.
    pub(super) async fn close(&mut self) {
        self.queue = None;
        while self.tasks.join_next().await.is_some() {}
    }
}

fn regarding(object: &ObjectPath, uid: Option<&str>) -> ObjectReference {
    let ObjectPath { group, version, namespace, name } = object;
    ObjectReference {
        api_version: Some(format!("{group}/{version}")),
        kind: Some(KIND.into()),
        namespace: Some(namespace.clone()),
        name: Some(name.clone()),
        uid: uid.map(String::from),
        ..ObjectReference::default()
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
