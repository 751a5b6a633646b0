//! The task that sends Events, and how it reacts to refusals.

use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::Value;
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::changes::{EventContent, MAX_NOTE, REPORT_PHASE, Reason, Subject, shown};
use super::limit::Limit;
use super::notes::cut;
use crate::backoff::at;
use crate::custom_resource::APP_NAME;
use crate::kubernetes::api::{ApiRequest, Refusal, RefusalKind, RefusalStreak};
use crate::kubernetes::identity::ObjectIdentity;
use crate::leadership::LeadershipState;

/// Time-out of one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long to send no Events after a refusal for missing rights.
const OFF: Duration = Duration::from_secs(10 * 60);

/// The Events about one write.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) regarding: ObjectReference,
    pub(super) changes: Vec<EventContent>,
    /// Send nothing if the last Event about the phase, of whichever replica, has the
    /// same reason.
    pub(super) unless_known: bool,
}

pub(super) struct Publisher {
    client: Client,
    reporter: Reporter,
    /// Merges repeats.
    recorder: Recorder,
    regarding: ObjectReference,
    /// Whether this process is the one that writes.
    state: watch::Receiver<LeadershipState>,
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
    pub(super) fn new(client: Client, reporter: Reporter, state: watch::Receiver<LeadershipState>) -> Self {
        Publisher {
            recorder: Recorder::new(client.clone(), reporter.clone()),
            client,
            reporter,
            regarding: ObjectReference::default(),
            state,
            limit: Limit::new(),
            refusals: Default::default(),
            refused_repeat: None,
            is_refused: false,
            off_until: None,
            said: false,
        }
    }

    /// Sends Events until the queue is closed and empty.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Batch>, identity: ObjectIdentity) {
        loop {
            let due = self.limit.next_due(Instant::now());
            select! {
                biased;
                batch = queue.recv() => match batch {
                    Some(batch) => {
                        let span = identity.span(self.state().role());
                        self.publish_all(batch).instrument(span).await;
                    }
                    None => return,
                },
                () = at(due) => {
                    let span = identity.span(self.state().role());
                    self.publish_held().instrument(span).await;
                }
            }
        }
    }

    fn state(&self) -> LeadershipState {
        *self.state.borrow()
    }

    async fn publish_held(&mut self) {
        if !self.state().may_write() {
            // The replica that leads sends Events now.
            self.limit.forget_held();
        }
        if let Some(change) = self.limit.due(Instant::now()) {
            self.publish(change).await;
        }
    }

    async fn publish_all(&mut self, Batch { regarding, changes, unless_known }: Batch) {
        if self.off_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.off_until = None;
        if self.regarding.uid != regarding.uid {
            // The object was replaced, so the held Events are outdated.
            self.limit.forget_held();
        }
        self.regarding = regarding;
        if unless_known
            && self.last_phase().await.is_some_and(|last| changes.iter().all(|change| last == change.reason.as_str()))
        {
            return;
        }
        for change in changes {
            if let Some(change) = self.limit.offer(change, Instant::now()) {
                self.publish(change).await;
            }
        }
    }

    /// Returns the reason of the last Event about the phase of the object, whichever
    /// replica sent it; `None` if there is none, or if the role may not list Events.
    async fn last_phase(&self) -> Option<String> {
        let (namespace, uid) = (self.regarding.namespace.as_deref()?, self.regarding.uid.as_deref()?);
        if !uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return None;
        }
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events?fieldSelector=regarding.uid%3D{uid}");
        let response = ApiRequest::get(path).send(&self.client, Some(TIMEOUT)).await.ok()?;
        if response.refusal().is_some() {
            return None;
        }
        let events = response.json().ok()?;
        let time = |value: &Value| DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|at| at.with_timezone(&Utc));
        let is_phase = |event: &&Value| event["reportingController"] == APP_NAME && event["action"] == REPORT_PHASE;
        let phases = events["items"].as_array()?.iter().filter(is_phase);
        let last =
            phases.max_by_key(|event| time(&event["series"]["lastObservedTime"]).max(time(&event["eventTime"])))?;
        last["reason"].as_str().map(String::from)
    }

    async fn publish(&mut self, change: EventContent) {
        if self.off_until.is_some() {
            return;
        }
        let (event, regarding) = (event(&change, self.state()), self.about(&change.subject));
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

fn event(change: &EventContent, state: LeadershipState) -> Event {
    let EventContent { reason, note, .. } = change;
    let sender = match state {
        LeadershipState::Alone => "",
        LeadershipState::Leading => " (from the leader)",
        LeadershipState::Standby | LeadershipState::Undecided => " (from a replica that no longer leads)",
    };
    let note = cut(note.clone(), MAX_NOTE - sender.len()) + sender;
    Event {
        type_: if reason.is_warning() { EventType::Warning } else { EventType::Normal },
        reason: reason.as_str().into(),
        note: Some(note),
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::client::Body;
    use tokio::time::sleep;

    use super::*;
    use crate::kubernetes::api::ObjectPath;

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
        let (state, watched) = watch::channel(LeadershipState::Leading);
        let publisher = Publisher::new(client, "test".into(), watched);
        let identity = ObjectIdentity::of(&ObjectPath::new("default", "a").expect("good names"));
        let (queue, batches) = mpsc::channel(11);
        for reason in [Reason::Failed, Reason::Recovered].into_iter().cycle().take(11) {
            let change = EventContent { subject: Subject::Backend("a".into()), reason, note: "a".into() };
            let regarding = ObjectReference { namespace: Some("default".into()), ..ObjectReference::default() };
            let batch = Batch { regarding, changes: vec![change], unless_known: false };
            queue.try_send(batch).expect("room");
        }
        let task = tokio::spawn(publisher.run(batches, identity));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(requests.load(Ordering::Relaxed), 10, "the eleventh waits");
        if !stays_leader {
            state.send_replace(LeadershipState::Standby);
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
