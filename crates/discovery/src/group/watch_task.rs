//! The task that keeps up with the objects of one kind.
//!
//! kube's watcher lists and watches; pauses between tries are ours: its own
//! back-off starts anew with each try to list, and so never grows.

use std::convert::Infallible;
use std::time::Duration;

use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::instrument::WithSubscriber as _;

use super::cluster_state::{ClusterState, ListError, Listing};
use super::members::Objects;
use super::object::Object;
use super::resource::Resource;
use super::spec_watch::watch_specs;
use crate::timing::jittered;
use vmcp_status::{BackoffPolicy, Backoffs, Retry};

/// The server ends a watch after this time, and it is resumed where it was: a
/// connection that was lost without a word is noticed soon after.
const WATCH: Duration = Duration::from_secs(120);
/// A list that brings nothing for this long has failed.
const LIST_PATIENCE: Duration = Duration::from_secs(15);
/// After so long without an event all is listed again, in case the watch hangs
/// without an error.
const QUIET: Duration = Duration::from_secs(600);
/// A watch that has held for this long was a good one.
const GOOD: Duration = Duration::from_secs(30);

/// Objects of one kind, and where what is seen of them goes.
pub(super) struct Watcher {
    pub(super) resource: Resource,
    pub(super) api: Api<DynamicObject>,
    /// The same without spec and status.
    pub(super) metadata: Api<PartialObjectMeta<DynamicObject>>,
    /// Only the object of this name.
    pub(super) only: Option<String>,
    pub(super) cluster_state: watch::Sender<ClusterState>,
}

/// Why a watch is begun anew.
struct Ended {
    retry: Option<Retry>,
    /// How long there was a list that it kept up to date.
    held: Duration,
}

impl Watcher {
    pub(super) async fn run(self) -> Infallible {
        let max = Duration::from_secs(10);
        let mut pauses = Backoffs::new(&BackoffPolicy { max, ..BackoffPolicy::default() });
        let mut unwatched = false;
        loop {
            let Ended { retry, held } = self.watch(&mut unwatched).await;
            if held >= GOOD {
                pauses.reset();
            }
            if let Some(retry) = retry {
                sleep(pauses.next(retry)).await;
            }
        }
    }

    async fn watch(&self, unwatched: &mut bool) -> Ended {
        let mut config = watcher::Config::default().timeout(u32::try_from(WATCH.as_secs()).unwrap_or(u32::MAX));
        config.field_selector = self.only.as_ref().map(|name| format!("metadata.name={name}"));
        let mut events = match self.resource {
            Resource::Vmcp => watch_specs(self.api.clone(), self.metadata.clone(), config).boxed(),
            _ => watcher(self.api.clone(), config).boxed(),
        };
        let mut listing = Objects::new();
        let mut since: Option<Instant> = None;
        let ended = |retry, since: Option<Instant>| Ended {
            retry,
            held: since.map_or(Duration::ZERO, |since| since.elapsed()),
        };
        loop {
            let patience = if since.is_some() { jittered(QUIET) } else { LIST_PATIENCE };
            // The watcher warns of each refusal; we say it once.
            let next = events.next().with_subscriber(tracing::Dispatch::none());
            let event = match timeout(patience, next).await {
                Ok(Some(event)) => event,
                Err(_) if since.is_none() => return ended(Some(self.failed(ListError::NoAnswer)), since),
                Err(_) | Ok(None) => return ended(None, since),
            };
            match event {
                Ok(Event::Init) => listing.clear(),
                Ok(Event::InitApply(object)) => listing.extend([self.entry(object)]),
                Ok(Event::InitDone) => {
                    since = Some(Instant::now());
                    self.listed(std::mem::take(&mut listing));
                }
                Ok(Event::Apply(object)) => {
                    *unwatched = false;
                    let (name, object) = self.entry(object);
                    self.change(|objects| objects.insert(name, object.clone()).as_ref() != Some(&object));
                }
                Ok(Event::Delete(object)) => {
                    self.change(|objects| objects.remove(&object.name_any()).is_some());
                }
                Err(error) => return ended(Some(self.explain(&error, unwatched)), since),
            }
        }
    }

    fn listing<'a>(&self, cluster_state: &'a mut ClusterState) -> &'a mut Listing {
        match (self.resource, &self.only) {
            (Resource::ConfigMap, Some(name)) => cluster_state.config_maps.entry(name.clone()).or_default(),
            _ => cluster_state.of_mut(self.resource),
        }
    }

    /// The list is had again.
    fn listed(&self, new: Objects) {
        self.cluster_state.send_if_modified(|cluster_state| {
            let listing = self.listing(cluster_state);
            let was_in_trouble = listing.list_error.take().is_some();
            let changed = listing.objects.as_ref() != Some(&new);
            listing.objects = Some(new);
            was_in_trouble || changed
        });
    }

    fn change(&self, change: impl FnOnce(&mut Objects) -> bool) {
        self.cluster_state.send_if_modified(|cluster_state| {
            change(self.listing(cluster_state).objects.get_or_insert_with(Objects::new))
        });
    }

    /// The list cannot be had.
    fn failed(&self, list_error: ListError) -> Retry {
        self.cluster_state
            .send_if_modified(|cluster_state| self.listing(cluster_state).fail(list_error, Instant::now()));
        list_error.retry()
    }

    fn explain(&self, error: &watcher::Error, unwatched: &mut bool) -> Retry {
        let plural = self.resource.plural();
        tracing::debug!(resource = plural, error = %error, "watch broken");
        match error {
            watcher::Error::InitialListFailed(error) => self.failed(ListError::of(error)),
            watcher::Error::WatchStartFailed(error) => {
                let list_error = ListError::of(error);
                if list_error == ListError::Forbidden && !std::mem::replace(unwatched, true) {
                    tracing::warn!(
                        "{} can be listed but not watched, so changes are seen late: \
                         grant the verb watch on {plural}, see RBAC.md",
                        self.resource.many(),
                    );
                }
                list_error.retry()
            }
            // Forgotten by the server: there is a new list to be had.
            _ => Retry::Transient,
        }
    }

    fn entry(&self, object: DynamicObject) -> (String, Object) {
        let deleting = object.metadata.deletion_timestamp.is_some();
        let read = match self.resource {
            Resource::Vmcp => Object::of_vmcp(&object.data),
            _ => Object::of(&object.data, deleting),
        };
        (object.name_any(), read)
    }
}
