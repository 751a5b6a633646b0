//! One JSON Patch from what is stored to what we want, list items by their key.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// A patch under construction.
#[derive(Debug, Default)]
pub(super) struct Patch {
    pub(super) operations: Vec<Value>,
}

impl Patch {
    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Adds a member or an item, or replaces the member that is there.
    pub(super) fn add(&mut self, path: String, value: Value) {
        self.operations.push(json!({"op": "add", "path": path, "value": value}));
    }

    /// Replaces an item of a list.
    pub(super) fn replace(&mut self, path: String, value: Value) {
        self.operations.push(json!({"op": "replace", "path": path, "value": value}));
    }

    /// Removes what is there.
    pub(super) fn remove(&mut self, path: String) {
        self.operations.push(json!({"op": "remove", "path": path}));
    }

    /// The members that differ between two forms of the same item.
    pub(super) fn members(&mut self, path: &str, old: &Members, new: &Members) {
        for (name, value) in &new.0 {
            if old.0.get(name) != Some(value) {
                self.add(format!("{path}/{name}"), value.clone());
            }
        }
        for name in old.0.keys().filter(|name| !new.0.contains_key(*name)) {
            self.remove(format!("{path}/{name}"));
        }
    }

    /// About how many bytes it has.
    pub(super) fn bytes(&self) -> usize {
        self.operations.iter().map(|operation| operation.to_string().len() + 1).sum()
    }

    pub(super) fn append(&mut self, mut other: Patch) {
        self.operations.append(&mut other.operations);
    }
}

/// The members of one item as they stand on the wire.
pub(super) struct Members(pub(super) Map<String, Value>);

impl Members {
    pub(super) fn of(item: &impl Serialize) -> Self {
        match serde_json::to_value(item).expect("the model serialises") {
            Value::Object(members) => Members(members),
            other => unreachable!("an item of the model is an object, not {other}"),
        }
    }

    pub(super) fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|name, _| !names.contains(&name.as_str()));
        self
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// The first operation of a patch: refuse it unless the object is as it was
/// seen.
pub(super) fn only_at(version: &str) -> Value {
    json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version})
}
