//! One JSON Patch (RFC 6902) from what is stored to what we want, list items by
//! their key, and the conditions under which the server may carry it out.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};

/// A patch under construction.
#[derive(Debug, Default)]
pub(super) struct Patch {
    /// What has to be so, or the server refuses the whole patch. Tests see the
    /// document as patched so far, so all of them come first.
    guards: Vec<Value>,
    edits: Vec<Value>,
}

impl Patch {
    /// Whether it changes nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    pub(super) fn operations(&self) -> impl Iterator<Item = &Value> {
        self.guards.iter().chain(&self.edits)
    }

    /// How many operations it has.
    pub(super) fn len(&self) -> usize {
        self.guards.len() + self.edits.len()
    }

    /// Refuses the patch unless this value is there; null: unless nothing is.
    pub(super) fn test(&mut self, path: String, value: &Value) {
        self.guards.push(json!({"op": "test", "path": path, "value": value}));
    }

    /// Refuses the patch unless the object is as it was seen, whatever part of
    /// it another writer changes.
    pub(super) fn only_at(&mut self, version: &str) {
        self.guards.push(json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version}));
    }

    /// Adds a member or an item, or replaces the member that is there.
    pub(super) fn add(&mut self, path: String, value: Value) {
        self.edits.push(json!({"op": "add", "path": path, "value": value}));
    }

    /// Replaces an item of a list.
    pub(super) fn replace(&mut self, path: String, value: Value) {
        self.edits.push(json!({"op": "replace", "path": path, "value": value}));
    }

    /// Removes what is there.
    pub(super) fn remove(&mut self, path: String) {
        self.edits.push(json!({"op": "remove", "path": path}));
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
        self.operations().map(|operation| operation.to_string().len() + 1).sum()
    }

    pub(super) fn append(&mut self, mut other: Patch) {
        self.guards.append(&mut other.guards);
        self.edits.append(&mut other.edits);
    }

    /// The body of the request. The server compares what a test names with the
    /// encoded text of what is stored, and it encodes as Go does, so the body
    /// has the same escapes.
    pub(super) fn to_body(&self) -> Vec<u8> {
        let operations: Vec<_> = self.operations().collect();
        let text = serde_json::to_string(&operations).expect("JSON values serialise");
        escaped_as_go(&text).into_owned().into_bytes()
    }
}

/// JSON with the escapes of Go's encoder. These characters stand in strings
/// only, so each can be replaced wherever it is.
fn escaped_as_go(json: &str) -> Cow<'_, str> {
    let is_escaped = |c| matches!(c, '&' | '<' | '>' | '\u{2028}' | '\u{2029}');
    if !json.contains(is_escaped) {
        return json.into();
    }
    let mut escaped = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if is_escaped(c) {
            write!(escaped, "\\u{:04x}", u32::from(c)).expect("a string takes it");
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_has_the_escapes_of_go_and_means_the_same() {
        let mut patch = Patch::default();
        patch.add("/status/message".into(), json!("a&b <x>\u{2028}\u{2029} \"ü\""));
        patch.test("/status/phase".into(), &json!("R&D"));
        let body = String::from_utf8(patch.to_body()).expect("text");
        assert!(body.contains(r#"a\u0026b \u003cx\u003e\u2028\u2029 \"ü\""#), "{body}");
        let read: Vec<Value> = serde_json::from_str(&body).expect("JSON");
        assert_eq!(read.iter().collect::<Vec<_>>(), patch.operations().collect::<Vec<_>>());
        assert_eq!(read[0]["op"], "test", "guards come first");
    }
}
