//! `metadata.managedFields`: who wrote which field last. Kept because it is
//! part of every answer and of the object's size: about 158 bytes for each
//! backend.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::schema::{map_key, map_keys};

/// Who writes, and by which door.
pub struct Writer<'a> {
    pub manager: &'a str,
    pub api_version: &'a str,
    pub subresource: Option<&'a str>,
    pub time: String,
}

impl Writer<'_> {
    /// Hands over to this writer what changed in the top-level field `name`.
    pub fn record(&self, metadata: &mut Value, name: &str, schema: &Value, old: Option<&Value>, new: Option<&Value>) {
        let name = format!("f:{name}");
        let all = new.and_then(|new| fields(schema, None, new)).unwrap_or(Value::Null);
        let changed = new.and_then(|new| fields(schema, old, new));
        let mut entries = match metadata["managedFields"].take() {
            Value::Array(entries) => entries,
            _ => Vec::new(),
        };
        entries.retain_mut(|entry| {
            let sets = entry["fieldsV1"].as_object_mut().expect("an entry names its fields");
            if let Some(set) = sets.get_mut(&name) {
                let owns_any = keep(set, &all) && changed.as_ref().is_none_or(|changed| take(set, changed));
                if !owns_any {
                    sets.remove(&name);
                }
            }
            !sets.is_empty()
        });
        if let Some(changed) = changed {
            let changed = json!({ name: changed });
            if let Some(entry) = entries.iter_mut().find(|entry| self.wrote(entry)) {
                json_patch::merge(&mut entry["fieldsV1"], &changed);
                entry["time"] = json!(self.time);
            } else {
                entries.push(self.entry(&changed));
            }
        }
        metadata["managedFields"] = Value::Array(entries);
    }

    fn wrote(&self, entry: &Value) -> bool {
        entry["manager"] == self.manager
            && entry["apiVersion"] == self.api_version
            && entry.get("subresource").and_then(Value::as_str) == self.subresource
    }

    fn entry(&self, fields: &Value) -> Value {
        let mut entry = json!({
            "manager": self.manager,
            "operation": "Update",
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        });
        if let Some(subresource) = self.subresource {
            entry["subresource"] = json!(subresource);
        }
        entry
    }
}

/// The set of fields in `new` that are not as in `old`, none when all are:
/// a tree whose leaves are empty objects.
fn fields(schema: &Value, old: Option<&Value>, new: &Value) -> Option<Value> {
    if old == Some(new) {
        return None;
    }
    let keys = map_keys(schema);
    let mut set = Map::new();
    match new {
        Value::Object(members) => {
            for (name, value) in members {
                let old = old.and_then(|old| old.get(name));
                set.extend(fields(&schema["properties"][name], old, value).map(|set| (format!("f:{name}"), set)));
            }
        }
        Value::Array(items) if !keys.is_empty() => {
            let old: HashMap<_, _> =
                old.and_then(Value::as_array).into_iter().flatten().map(|item| (map_key(&keys, item), item)).collect();
            for item in items {
                let key = map_key(&keys, item);
                let old = old.get(&key).copied();
                set.extend(fields(&schema["items"], old, item).map(|set| (format!("k:{key}"), set)));
            }
        }
        // A scalar or an atomic list is owned as a whole.
        _ => return Some(json!({})),
    }
    if old.is_none() {
        set.insert(".".to_owned(), json!({}));
    }
    (!set.is_empty()).then_some(Value::Object(set))
}

/// Leaves in `set` only what is in `all` too; says whether anything is left.
fn keep(set: &mut Value, all: &Value) -> bool {
    retain(set, |name, below| all.get(name).is_some_and(|all| keep(below, all)), true)
}

/// Takes `taken` out of `set`; says whether anything is left.
fn take(set: &mut Value, taken: &Value) -> bool {
    retain(set, |name, below| taken.get(name).is_none_or(|taken| take(below, taken)), false)
}

fn retain(set: &mut Value, mut stays: impl FnMut(&str, &mut Value) -> bool, leaf_stays: bool) -> bool {
    let below = set.as_object_mut().expect("a set of fields is a tree of objects");
    if below.is_empty() {
        return leaf_stays;
    }
    below.retain(|name, below| stays(name, below));
    !below.is_empty()
}
