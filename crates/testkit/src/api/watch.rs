//! A watch: the changes of some objects, one line each, for as long as the
//! watcher stays.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{StreamExt, stream, stream::BoxStream};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Api,
    request_info::{RequestInfo, Resource},
    store::{Key, ObjectStore, api_version},
};

struct Watch {
    api: Api,
    selection: Selection,
    /// The version up to which all is told.
    seen: u64,
    lines: VecDeque<String>,
    deadline: Option<Instant>,
    over: bool,
}

/// Which objects are asked for, and in which version.
pub struct Selection {
    namespace: Option<String>,
    name: Option<String>,
    api_version: String,
}

impl Selection {
    pub fn new(resource: &Resource) -> Self {
        Selection {
            namespace: resource.namespace.clone(),
            name: resource.name.clone(),
            api_version: api_version(&resource.version),
        }
    }

    pub fn has(&self, (namespace, name): &Key) -> bool {
        self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
            && self.name.as_ref().is_none_or(|wanted| wanted == name)
    }

    /// The objects there are now.
    pub fn of(&self, store: &ObjectStore) -> Vec<Value> {
        store.objects().filter(|(key, _)| self.has(key)).map(|(_, object)| self.shown(object)).collect()
    }

    fn shown(&self, object: &Arc<Value>) -> Value {
        let mut object = Value::clone(object);
        object["apiVersion"] = json!(self.api_version);
        object
    }
}

pub fn lines(api: &Api, resource: &Resource, info: &RequestInfo) -> BoxStream<'static, String> {
    let timeout = info.query("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let mut watch = Watch {
        api: api.clone(),
        selection: Selection::new(resource),
        seen: info.query("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or_default(),
        lines: VecDeque::new(),
        deadline: timeout.map(|timeout| Instant::now() + timeout),
        over: false,
    };
    // From no version in particular: what is there, then what comes.
    if watch.seen == 0 {
        api.with(|state| {
            watch.seen = state.store.version();
            watch.lines = watch.selection.of(&state.store).into_iter().map(|object| line("ADDED", &object)).collect();
        });
    }
    stream::unfold(watch, |mut watch| async move { watch.next().await.map(|line| (line, watch)) }).boxed()
}

impl Watch {
    async fn next(&mut self) -> Option<String> {
        let api = self.api.clone();
        loop {
            // Before the look at the store, so that no change is missed.
            let changed = api.changed();
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            if api.with(|state| self.read(&state.store)) {
                continue;
            }
            match self.deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, changed).await.ok()?,
                None => changed.await,
            }
        }
    }

    /// Reads on by one change; says whether there was one.
    fn read(&mut self, store: &ObjectStore) -> bool {
        match store.event_after(self.seen) {
            Ok(None) => return false,
            Ok(Some(event)) => {
                self.seen = event.version;
                if self.selection.has(&event.key) {
                    self.lines.push_back(line(event.kind, &self.selection.shown(&event.object)));
                }
            }
            Err(oldest) => {
                let message = format!("too old resource version: {} ({oldest})", self.seen);
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": message, "reason": "Expired", "code": 410,
                });
                self.lines.push_back(line("ERROR", &status));
                self.over = true;
            }
        }
        true
    }
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}
