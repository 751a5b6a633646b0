//! Which writers own the fields of a status that a reporter writes, according to the
//! object's `metadata.managedFields`.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

/// Maximum number of characters quoted of a manager's name.
const MAX_NAME: usize = 128;
const SCALARS: [&str; 3] = ["phase", "message", "backendCount"];
/// The lists, and the key of their items.
const LISTS: [(&str, &str); 2] = [("conditions", "type"), ("discoveredBackends", "name")];
/// Each writer of an item changes one of these members. Others, such as a URL, may
/// belong for ever to a writer that has long gone.
const FINDINGS: [&str; 3] = ["f:status", "f:message", "f:reason"];

/// A field manager, and the fields of the reported status that it was the last to
/// change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldManager {
    /// The name by which the API server knows it.
    pub name: String,
    /// When it last changed one of its fields; `None` if the object does not say.
    pub at: Option<DateTime<Utc>>,
    /// Its fields, such as `phase`, `conditions[Ready]` or `discoveredBackends[weather]`.
    pub fields: Vec<String>,
}

impl FieldManager {
    #[cfg(test)]
    pub(in crate::kubernetes) fn new(name: &str, fields: Vec<String>) -> Self {
        FieldManager { name: name.into(), at: None, fields }
    }

    /// Returns the managers of what is reported at this place in the object, such as
    /// `/status/runtime`; empty if the object has no managed fields.
    ///
    /// ```
    /// use serde_json::json;
    /// use vmcp_status::api_server::FieldManager;
    ///
    /// let entry = json!({"manager": "gateway", "fieldsV1": {"f:status": {"f:runtime": {"f:phase": {}}}}});
    /// let object = json!({"metadata": {"managedFields": [entry]}});
    /// let managers = FieldManager::of(&object, "/status/runtime");
    /// assert_eq!((managers[0].name.as_str(), &managers[0].fields[..]), ("gateway", &["phase".to_owned()][..]));
    /// ```
    pub fn of(object: &Value, place: &str) -> Vec<FieldManager> {
        let place = place.replace('/', "/f:");
        let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        let managers = entries.into_iter().flatten().filter_map(|entry| {
            let fields = fields(entry.get("fieldsV1")?.pointer(&place)?.as_object()?);
            let name = entry.get("manager")?.as_str()?.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
            let at = entry.get("time").and_then(Value::as_str).and_then(|at| DateTime::parse_from_rfc3339(at).ok());
            (!fields.is_empty()).then(|| FieldManager { name, at: at.map(|at| at.to_utc()), fields })
        });
        managers.collect()
    }
}

fn fields(owned: &Map<String, Value>) -> Vec<String> {
    let scalars = SCALARS.into_iter().filter(|name| owned.contains_key(&format!("f:{name}"))).map(String::from);
    let items = LISTS.into_iter().flat_map(|(list, key)| {
        let items = owned.get(&format!("f:{list}")).and_then(Value::as_object);
        items.into_iter().flatten().filter_map(move |(item, members)| {
            FINDINGS.iter().any(|member| members.get(member).is_some()).then_some(())?;
            let keys: Value = serde_json::from_str(item.strip_prefix("k:")?).ok()?;
            Some(item_field(list, keys.get(key)?.as_str()?))
        })
    });
    scalars.chain(items).collect()
}

/// Returns how a field is called that is an item of a list.
pub(in crate::kubernetes) fn item_field(list: &str, key: &str) -> String {
    let key: String = key.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    format!("{list}[{key}]")
}

/// Lists fields for a person, and counts the rest of many.
///
/// ```
/// use vmcp_status::api_server::listed_fields;
///
/// let fields = ["phase", "message"].map(String::from);
/// assert_eq!(listed_fields(&fields), "phase, message");
/// ```
pub fn listed_fields(fields: &[String]) -> String {
    const MOST: usize = 5;
    let shown = fields[..fields.len().min(MOST)].join(", ");
    match fields.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn manager_of_an_item_is_the_one_that_changed_its_finding() {
        let entry = |manager: &str, runtime: Value| {
            let time = "2026-11-24T10:00:07Z";
            json!({"manager": manager, "time": time, "fieldsV1": {"f:status": {"f:phase": {}, "f:runtime": runtime}}})
        };
        let backends = |member: &str| json!({"k:{\"name\":\"a\"}": {".": {}, (member): {}}});
        let object = json!({"metadata": {"managedFields": [
            entry("first", json!({"f:discoveredBackends": backends("f:url")})),
            entry("newest", json!({
                "f:discoveredBackends": backends("f:status"),
                "f:conditions": {"k:{\"type\":\"Ready\"}": {"f:reason": {}}, "k:odd": {"f:status": {}}},
                "f:message": {},
            })),
        ]}});
        let expected = FieldManager {
            name: "newest".into(),
            at: Some("2026-11-24T10:00:07Z".parse().expect("a time")),
            fields: ["message", "conditions[Ready]", "discoveredBackends[a]"].map(String::from).into(),
        };
        assert_eq!(FieldManager::of(&object, "/status/runtime"), [expected]);
        let names =
            |place| FieldManager::of(&object, place).into_iter().map(|manager| manager.name).collect::<Vec<_>>();
        assert_eq!(names("/status"), ["first", "newest"]);
        assert_eq!(FieldManager::of(&json!({}), "/status"), []);
    }

    #[test]
    fn many_fields_are_counted() {
        let fields: Vec<_> = (0..7).map(|field| field.to_string()).collect();
        assert_eq!(listed_fields(&fields), "0, 1, 2, 3, 4 and 2 more");
    }
}
