//! The task that sends Events, and how it reacts to refusals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::changes::{EventContent, Reason, Subject, shown};
use super::limit::Limit;
use crate::backoff::at;
use crate::kubernetes::api::{Refusal, RefusalKind, RefusalStreak};

/// Time-out of one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long to send no Events after a refusal for missing rights.
const OFF: Duration = Duration::from_secs(10 * 60);

/// The Events about one write.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) regarding: ObjectReference,
    pub(super) changes: Vec<EventContent>,
}

pub(super) struct Publisher {
    client: Client,
    reporter: Reporter,
    /// Merges repeats.
    recorder: Recorder,
    regarding: ObjectReference,
    /// Whether this process is the one that writes.
    leads: Arc<AtomicBool>,
    limit: Limit,
    /// Refusals of new Events, and of repeats, which take another verb.
    refusals: [RefusalStreak; 2],
    /// The repeat that was refused last. Which verb another Event takes is not known,
    /// but this one is a repeat the next time too.
    refused_repeat: Option<(Subject, Reason)>,
    /// Whether the last refusal has lasted.
    is_refused: bool,
    off_until: Option<Instant>,
    /// Whether the log already says that no Events are sent.
    said: bool,
}

/// The reaction to a refused Event.
#[derive(Debug, PartialEq, Eq)]
enum RefusalAction {
    /// Stop sending Events for a while, for this reason, if it lasts.
    Off {
        why: &'static str,
        is_repeat: bool,
    },
    /// Send it as a new Event, because the one that it repeats no longer exists.
    Anew,
    Drop,
}

impl Publisher {
    pub(super) fn new(client: Client, reporter: Reporter, leads: Arc<AtomicBool>) -> Self {
        Publisher {
            recorder: Recorder::new(client.clone(), reporter.clone()),
            client,
            reporter,
            regarding: ObjectReference::default(),
            leads,
            limit: Limit::new(),
            refusals: Default::default(),
            refused_repeat: None,
            is_refused: false,
            off_until: None,
            said: false,
        }
    }

    /// Sends Events until the queue is closed and empty.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Batch>) {
        loop {
            let due = self.limit.next_due(Instant::now());
            select! {
                biased;
                batch = queue.recv() => match batch {
                    Some(batch) => self.publish_all(batch).await,
                    None => return,
                },
                () = at(due) => self.publish_held().await,
            }
        }
    }

    async fn publish_held(&mut self) {
        if !self.leads.load(Ordering::Relaxed) {
            // The replica that leads sends Events now.
            self.limit.forget_held();
        }
        if let Some(change) = self.limit.due(Instant::now()) {
            self.publish(change).await;
        }
    }

    async fn publish_all(&mut self, Batch { regarding, changes }: Batch) {
        if self.off_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.off_until = None;
        if self.regarding.uid != regarding.uid {
            // The object was replaced, so the held Events are outdated.
            self.limit.forget_held();
        }
        self.regarding = regarding;
        for change in changes {
            if let Some(change) = self.limit.offer(change, Instant::now()) {
                self.publish(change).await;
            }
        }
    }

    async fn publish(&mut self, change: EventContent) {
        if self.off_until.is_some() {
            return;
        }
        let (event, regarding) = (event(&change), self.about(&change.subject));
        let mut answer = timeout(TIMEOUT, self.recorder.publish(&event, &regarding)).await;
        if matches!(&answer, Ok(Err(error)) if reaction(error) == RefusalAction::Anew) {
            self.recorder = Recorder::new(self.client.clone(), self.reporter.clone());
            answer = timeout(TIMEOUT, self.recorder.publish(&event, &regarding)).await;
        }
        let reason = event.reason;
        match answer {
            Ok(Ok(())) => {
                let [new, repeats] = &mut self.refusals;
                new.allowed();
                if self.refused_repeat.take_if(|refused| *refused == (change.subject, change.reason)).is_some() {
                    repeats.allowed();
                }
                self.is_refused = false;
                tracing::debug!(reason, "Kubernetes Event sent");
            }
            Err(_elapsed) => tracing::debug!(reason, "Kubernetes Event dropped: no answer within {TIMEOUT:?}"),
            Ok(Err(error)) => match reaction(&error) {
                RefusalAction::Off { why, is_repeat } => {
                    let lasts = self.refusals[usize::from(is_repeat)].refused(Instant::now());
                    if is_repeat {
                        self.refused_repeat = Some((change.subject, change.reason));
                    }
                    if lasts || self.is_refused {
                        self.turn_off(why);
                    } else {
                        tracing::debug!(reason, why, "Kubernetes Event dropped");
                    }
                }
                RefusalAction::Anew | RefusalAction::Drop => {
                    let error: &dyn std::error::Error = &error;
                    tracing::debug!(reason, error, "Kubernetes Event dropped");
                }
            },
        }
    }

    fn turn_off(&mut self, why: &str) {
        self.is_refused = true;
        self.off_until = Some(Instant::now() + OFF);
        self.limit.forget_held();
        if std::mem::replace(&mut self.said, true) {
            tracing::debug!(why, "still no Kubernetes Events");
        } else {
            tracing::warn!(
                "no Kubernetes Events: {why}; grant the service account the verbs create and patch on events in \
                 events.k8s.io, see RBAC.md, or switch them off"
            );
        }
    }

    /// Returns a reference to the object, and in it to the backend, like the kubelet's to
    /// a container: the recorder does not merge Events about different references.
    fn about(&self, subject: &Subject) -> ObjectReference {
        let mut regarding = self.regarding.clone();
        if let Subject::Backend(name) = subject {
            regarding.field_path = Some(format!("status.discoveredBackends{{{}}}", shown(name)));
        }
        regarding
    }
}

fn event(change: &EventContent) -> Event {
    let EventContent { reason, note, .. } = change;
    Event {
        type_: if reason.is_warning() { EventType::Warning } else { EventType::Normal },
        reason: reason.as_str().into(),
        note: Some(note.clone()),
        action: reason.action().into(),
        secondary: None,
    }
}

fn reaction(error: &kube::Error) -> RefusalAction {
    let kube::Error::Api(status) = error else { return RefusalAction::Drop };
    let refusal = Refusal::from(&**status);
    // `User "a" cannot patch resource "events"`
    let is_repeat = refusal.message().contains(" cannot patch ");
    match refusal.kind() {
        RefusalKind::MissingRight | RefusalKind::Denied => {
            RefusalAction::Off { why: "the role does not allow them", is_repeat }
        }
        RefusalKind::NotServed => RefusalAction::Off { why: "the API server does not serve them", is_repeat },
        RefusalKind::ObjectNotFound => RefusalAction::Anew,
        _ => RefusalAction::Drop,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;
    use std::sync::atomic::AtomicUsize;

    use http::{Request, Response};
    use kube::client::Body;
    use tokio::time::sleep;

    use super::*;

    /// A server that accepts each request, and the count of them.
    fn server() -> (Client, Arc<AtomicUsize>) {
        let requests = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&requests);
        let server = tower::service_fn(move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            let event = r#"{"metadata": {"name": "e"}, "eventTime": "2020-01-01T00:00:00.000000Z"}"#;
            ready(Ok::<_, Infallible>(Response::new(Body::from(event.as_bytes().to_vec()))))
        });
        (Client::new(server, "default"), requests)
    }

    /// Returns how many Events eleven changes make, of which the last has to wait.
    async fn events_sent(stays_leader: bool) -> usize {
        let (client, requests) = server();
        let leads = Arc::new(AtomicBool::new(true));
        let publisher = Publisher::new(client, "test".into(), Arc::clone(&leads));
        let (queue, batches) = mpsc::channel(11);
        for reason in [Reason::Failed, Reason::Recovered].into_iter().cycle().take(11) {
            let change = EventContent { subject: Subject::Backend("a".into()), reason, note: "a".into() };
            let regarding = ObjectReference { namespace: Some("default".into()), ..ObjectReference::default() };
            let batch = Batch { regarding, changes: vec![change] };
            queue.try_send(batch).expect("room");
        }
        let task = tokio::spawn(publisher.run(batches));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(requests.load(Ordering::Relaxed), 10, "the eleventh waits");
        if !stays_leader {
            leads.store(false, Ordering::Relaxed);
        }
        sleep(OFF).await;
        task.abort();
        requests.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn held_event_is_sent_later_unless_the_replica_no_longer_leads() {
        assert_eq!(events_sent(true).await, 11);
        assert_eq!(events_sent(false).await, 10);
    }
}
