//! What the server remembers: the objects, under one counter of versions, and
//! their latest changes for those who watch.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    crd::{GROUP, KIND, STORAGE_VERSION},
    managed_fields::Writer,
};

/// How many changes are remembered: as few as a small watch cache holds.
const HISTORY: usize = 100;

/// Where an object stands: namespace and name.
pub type Key = (String, String);

pub struct ObjectStore {
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<WatchEvent>,
    /// Changes up to this version are forgotten.
    compacted: u64,
    version: u64,
    uids: u64,
    /// The clock starts at a fixed time and goes with tokio's, which a test
    /// can pause: no answer depends on when a test runs.
    started: Instant,
}

#[derive(Clone)]
pub struct WatchEvent {
    pub kind: &'static str,
    pub version: u64,
    pub key: Key,
    pub object: Arc<Value>,
}

impl ObjectStore {
    pub fn new() -> Self {
        ObjectStore {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            compacted: 1,
            version: 1,
            uids: 0,
            started: Instant::now(),
        }
    }

    pub fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a constant time parses");
        let seconds = i64::try_from(self.started.elapsed().as_secs()).expect("no test runs that long");
        start + SignedDuration::from_secs(seconds)
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    pub fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// Who writes now.
    pub fn writer<'a>(&self, manager: &'a str, api_version: &'a str, subresource: Option<&'a str>) -> Writer<'a> {
        Writer { manager, api_version, subresource, time: self.now().to_string() }
    }

    /// A new object, with all that the server gives it.
    pub fn create(&mut self, key: Key, spec: Value) -> Arc<Value> {
        assert!(!self.objects.contains_key(&key), "{} exists already in {}", key.1, key.0);
        self.uids += 1;
        let api_version = api_version(STORAGE_VERSION);
        let mut object = json!({
            "apiVersion": api_version,
            "kind": KIND,
            "metadata": {
                "name": key.1,
                "namespace": key.0,
                "uid": format!("00000000-0000-4000-8000-{:012x}", self.uids),
                "generation": 1,
                "creationTimestamp": self.now().to_string(),
            },
        });
        let writer = self.writer("kubectl-create", &api_version, None);
        writer.record(&mut object["metadata"], "spec", &Value::Null, None, Some(&spec));
        object["spec"] = spec;
        self.put("ADDED", key, object)
    }

    /// Another content for an object that is there; its version goes up.
    pub fn replace(&mut self, key: Key, object: Value) -> Arc<Value> {
        self.put("MODIFIED", key, object)
    }

    pub fn delete(&mut self, key: &Key) -> Option<Arc<Value>> {
        let object = self.objects.remove(key)?;
        self.version += 1;
        let mut last = Value::clone(&object);
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.remember("DELETED", key.clone(), Arc::new(last));
        Some(object)
    }

    /// The first change after `version`. An error says that changes after it
    /// are forgotten already.
    pub fn event_after(&self, version: u64) -> Result<Option<&WatchEvent>, u64> {
        if version < self.compacted {
            return Err(self.compacted);
        }
        Ok(self.history.iter().find(|event| event.version > version))
    }

    /// Forgets all changes: who watches from an earlier version is too late.
    pub fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.version;
    }

    fn put(&mut self, kind: &'static str, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        self.objects.insert(key.clone(), Arc::clone(&object));
        self.remember(kind, key, Arc::clone(&object));
        object
    }

    fn remember(&mut self, kind: &'static str, key: Key, object: Arc<Value>) {
        self.history.push_back(WatchEvent { kind, version: self.version, key, object });
        if self.history.len() > HISTORY {
            self.compacted = self.history.pop_front().map_or(self.compacted, |event| event.version);
        }
    }
}

pub fn api_version(version: &str) -> String {
    format!("{GROUP}/{version}")
}
