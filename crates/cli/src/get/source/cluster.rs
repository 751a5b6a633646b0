//! The objects of a cluster: read once, then followed by a watch.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::future::pending;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use vmcp_status::api_server::{Refusal, RefusalKind};
use vmcp_status::custom_resource::{KIND, PLURAL};
use vmcp_status::{NameError, Status, check_name, error_chain};

use super::super::liveness::{Liveness, StaleAfter};
use super::leases::{LeaseQuery, Leases};
use super::{Columns, Fault, Found, Object, Source};
use crate::global::Failure;
use crate::homes::{Unfollowed, newest_check, unfollowed};
use crate::parse_error;

/// A server that takes longer to answer does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is watched for has been forgotten; all is listed again.
const GONE: u16 = 410;

type Objects = BTreeMap<String, Result<Object, Fault>>;

pub(in crate::get) struct Cluster {
    api: Api<DynamicObject>,
    /// `None`: all of them.
    namespace: Option<String>,
    only: Option<String>,
    objects: Objects,
    leases: Leases,
    stale_after: StaleAfter,
    /// The watch, once there is one; it keeps the objects up to date.
    events: Option<BoxStream<'static, watcher::Result<Event<DynamicObject>>>>,
    /// What the watch is listing anew.
    listed: Objects,
    /// Why nothing new may have been heard.
    broken: Option<String>,
}

impl Cluster {
    /// The objects of one namespace, or of all.
    ///
    /// # Errors
    ///
    /// When one of the names cannot be part of a URL.
    pub(in crate::get) fn new(
        client: Client,
        (group, version): (&str, &str),
        namespace: Option<String>,
        name: Option<&str>,
        leases: LeaseQuery,
        stale_after: StaleAfter,
    ) -> Result<Self, NameError> {
        let lease_name = if let LeaseQuery::Named(name) = &leases { Some(&**name) } else { None };
        let names = [
            ("namespace", namespace.as_deref()),
            ("name", name),
            ("lease name", lease_name),
            ("group", Some(group)),
            ("version", Some(version)),
        ];
        for (what, name) in names {
            name.map(|name| check_name(what, name)).transpose()?;
        }
        let kind = GroupVersionKind::gvk(group, version, KIND);
        let resource = ApiResource::from_gvk_with_plural(&kind, PLURAL);
        let leases = Leases::new(client.clone(), namespace.as_deref(), leases);
        let api = match &namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        Ok(Cluster {
            api,
            namespace,
            only: None,
            objects: Objects::new(),
            leases,
            stale_after,
            events: None,
            listed: Objects::new(),
            broken: None,
        })
    }

    async fn fetch(&self) -> Result<Objects, String> {
        let objects = match &self.only {
            Some(name) => self.answer("get", self.api.get_opt(name)).await?.into_iter().collect(),
            None => self.answer("list", self.api.list(&ListParams::default())).await?.items,
        };
        Ok(objects.into_iter().map(entry).collect())
    }

    async fn answer<T>(&self, verb: &str, request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
        match timeout(PATIENCE, request).await {
            Ok(answer) => answer.map_err(|error| self.explain(verb, &error)),
            Err(_) => Err(format!("cannot {verb} {PLURAL}: no answer from the API server in {PATIENCE:?}")),
        }
    }

    /// What went wrong, and what to do about it.
    fn explain(&self, verb: &str, error: &kube::Error) -> String {
        let place = self.place();
        let what = match error {
            kube::Error::Api(status) => {
                let refusal = Refusal::from(&**status);
                let advice = match refusal.kind() {
                    RefusalKind::Unauthorized => "the credentials are not accepted: have they expired?".into(),
                    kind if kind.is_forbidden() => format!("the user may not: grant the verb {verb} on {PLURAL}"),
                    kind if kind.is_not_found() => format!(
                        "the CRD is not served as {}: choose another --api-version, or apply what vmcp-status crd prints",
                        self.api.resource_url().split('/').skip(2).take(2).collect::<Vec<_>>().join("/")
                    ),
                    _ => "the API server refuses".into(),
                };
                format!("{advice} ({})", refusal.summary())
            }
            kube::Error::SerdeError(error) => {
                format!("the answer is no list or object, is it an API server?: {}", parse_error::json(error))
            }
            _ => {
                let cause = error.source().map_or_else(|| error.to_string(), error_chain);
                format!("no answer from the API server, is it reachable?: {cause}")
            }
        };
        format!("cannot {verb} {PLURAL} {place}: {what}")
    }

    /// What broke the watch; `None` for what happens to every long one.
    fn why_broken(&self, error: &watcher::Error) -> Option<String> {
        let why = match error {
            watcher::Error::InitialListFailed(error) => self.explain("list", error),
            watcher::Error::WatchStartFailed(error) => self.explain("watch", error),
            watcher::Error::WatchError(refusal) if refusal.code == GONE => return None,
            _ => error_chain(error),
        };
        Some(format!("{why}; trying again"))
    }

    /// Takes in what the watch tells; whether there may be something to see.
    fn take(&mut self, event: watcher::Result<Event<DynamicObject>>) -> bool {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                let why = self.why_broken(&error);
                let is_news = why.is_some();
                self.broken = why.or(self.broken.take());
                return is_news;
            }
        };
        match event {
            // Comes before the server was asked.
            Event::Init => {
                self.listed.clear();
                return false;
            }
            Event::InitApply(object) => {
                self.listed.extend([entry(object)]);
                return false;
            }
            Event::InitDone => self.objects = std::mem::take(&mut self.listed),
            Event::Apply(object) => self.objects.extend([entry(object)]),
            Event::Delete(object) => drop(self.objects.remove(&id(&object))),
        }
        self.broken = None;
        true
    }

    /// How long until an object looks different though nothing was heard: the operator
    /// has had its time for a report that it has not copied yet, or checks are old.
    fn next_is_due(&self, now: DateTime<Utc>) -> Option<Duration> {
        let due = |object: &Object| {
            let late = object.unfollowed.as_ref().and_then(Unfollowed::lasting_from);
            late.into_iter().chain(self.liveness(object).stale_from(self.stale_after)).filter(|from| *from > now).min()
        };
        let next = self.objects.values().flatten().filter_map(due).min();
        // Half a millisecond early would be for nothing.
        next.and_then(|from| (from - now).to_std().ok()).map(|wait| wait + Duration::from_millis(1))
    }

    /// With what the Lease of its reporters tells.
    fn liveness(&self, object: &Object) -> Liveness {
        let liveness = object.liveness.clone();
        Liveness { reporter: self.leases.of(object).and_then(|lease| lease.reporter(liveness.checked)), ..liveness }
    }

    fn found(&self, now: DateTime<Utc>) -> Found {
        let mut found = Found::default();
        for object in self.objects.values().cloned() {
            match object {
                Ok(mut object) => {
                    object.unfollowed.take_if(|unfollowed| !unfollowed.is_lasting(now));
                    object.liveness = self.liveness(&object);
                    object.stale = object.liveness.why_stale(self.stale_after, now);
                    found.objects.push(object);
                }
                Err(fault) => found.faults.push(fault),
            }
        }
        found.faults.extend(self.broken.clone().map(|why| Fault { name: None, why }));
        found.notes.extend(self.leases.note());
        found
    }
}

impl Source for Cluster {
    fn place(&self) -> String {
        self.namespace.as_ref().map_or("in any namespace".into(), |namespace| format!("in namespace {namespace}"))
    }

    fn nothing(&self) -> String {
        let elsewhere = if self.namespace.is_some() { ": look elsewhere with -n or -A" } else { "" };
        format!("there is no {KIND} {}{elsewhere}", self.place())
    }

    fn columns(&self) -> Columns {
        if self.namespace.is_some() { Columns::Namespace } else { Columns::AllNamespaces }
    }

    async fn names(&self) -> Result<Option<Vec<String>>, Failure> {
        let list = async {
            match self.api.list_metadata(&ListParams::default()).await {
                Err(kube::Error::Api(refusal)) if refusal.is_forbidden() => Ok(None),
                list => list.map(Some),
            }
        };
        let list = self.answer("list", list).await?;
        Ok(list.map(|list| list.items.iter().map(|object| object.name_any()).collect()))
    }

    async fn read(&mut self, name: Option<&str>) -> Result<Found, Failure> {
        if self.events.is_none() {
            self.only = name.map(ToOwned::to_owned);
            // At the same time: a server that is slow with Leases delays it by
            // little.
            let (objects, leases) = tokio::join!(self.fetch(), self.leases.fetch());
            self.objects = objects?;
            self.leases.set(leases);
        }
        Ok(self.found(Utc::now()))
    }

    async fn changed(&mut self) {
        loop {
            let due = self.next_is_due(Utc::now());
            let due = async move {
                match due {
                    Some(wait) => sleep(wait).await,
                    None => pending().await,
                }
            };
            let events = self.events.get_or_insert_with(|| {
                let config = watcher::Config::default();
                let config = match &self.only {
                    Some(name) => config.fields(&format!("metadata.name={name}")),
                    None => config,
                };
                watcher(self.api.clone(), config).default_backoff().boxed()
            });
            let event = tokio::select! {
                event = events.next() => event,
                () = due => return,
                () = self.leases.changed() => return,
            };
            let Some(event) = event else {
                // A watch has no end.
                return pending().await;
            };
            if self.take(event) {
                return;
            }
        }
    }
}

fn id(object: &DynamicObject) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

fn entry(object: DynamicObject) -> (String, Result<Object, Fault>) {
    let id = id(&object);
    let fault = |error: serde_json::Error| {
        let why = format!("the status of {id} cannot be read: {}", parse_error::json(&error));
        Fault { name: Some(id.clone()), why }
    };
    let shown = serde_json::to_value(&object).and_then(|mut stored| {
        let unfollowed = unfollowed(&stored);
        let liveness = Liveness { checked: newest_check(&stored), ..Liveness::default() };
        // Bookkeeping of the server, longer than all the rest.
        stored["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
        let status = stored.get("status").filter(|status| !status.is_null());
        let text = |pointer| stored.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        Ok(Object {
            name: object.name_any(),
            namespace: object.namespace().unwrap_or_default(),
            status: status.map_or_else(|| Ok(Status::default()), Status::deserialize)?,
            url: text("/status/url").into(),
            written: time(text("/metadata/creationTimestamp")),
            stale: None,
            unfollowed,
            liveness,
            stored,
        })
    });
    let shown = shown.map_err(fault);
    (id, shown)
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(object: Value) -> Result<Object, Fault> {
        entry(serde_json::from_value(object).expect("an object")).1
    }

    fn object(status: Value) -> Value {
        json!({
            "apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "VirtualMCPServer",
            "metadata": {"name": "a", "namespace": "n", "creationTimestamp": "2020-01-01T00:00:00Z"},
            "spec": {"unknown": [1]}, "status": status,
        })
    }

    #[test]
    fn an_object_is_kept_whole_but_for_managed_fields() {
        let plain = object(json!({"phase": "Ready", "url": "http://a", "future": 1}));
        let mut managed = plain.clone();
        managed["metadata"]["managedFields"] = json!([{"manager": "m"}]);
        let Object { name, namespace, url, written, stored, status, .. } = shown(managed).expect("readable");
        assert_eq!((name.as_str(), namespace.as_str(), url.as_str()), ("a", "n", "http://a"));
        assert_eq!(written.map(|time| time.timestamp()), Some(1_577_836_800));
        assert_eq!((status.phase.as_str(), stored), ("Ready", plain));
    }

    #[test]
    fn report_that_is_not_followed_is_dated_by_the_managed_fields() {
        let mut unfollowed = object(json!({"runtime": {"discoveredBackends": [{"name": "b", "status": "ready"}]}}));
        let entry = json!({"time": "2026-11-24T10:00:00Z", "manager": "m", "operation": "Update",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {"f:runtime": {}}}});
        unfollowed["metadata"]["managedFields"] = json!([entry]);
        let object = shown(unfollowed).expect("readable");
        assert_eq!(object.unfollowed.and_then(|unfollowed| unfollowed.since), time("2026-11-24T10:00:00Z"));
        assert!(object.stored["status"]["runtime"].is_object(), "programs get both homes");
        assert!(object.stored["metadata"]["managedFields"].is_null());
    }

    #[test]
    fn an_object_without_status_is_pending_and_a_bad_one_is_a_fault() {
        let mut without = object(Value::Null);
        assert_eq!(shown(without.clone()).expect("readable").status, Status::default());
        without.as_object_mut().expect("an object").remove("status");
        assert_eq!(shown(without).expect("readable").status, Status::default());
        let fault = shown(object(json!({"conditions": 7}))).expect_err("no list");
        assert_eq!(fault.name.as_deref(), Some("n/a"));
        assert!(fault.why.contains("status of n/a"), "{}", fault.why);
    }
}
