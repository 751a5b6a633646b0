//! The two kinds of patches that the double takes.

use serde_json::{Value, error::Category};

use super::answer::{self, Answer};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";

pub enum Patch<'a> {
    Json(&'a [u8]),
    Merge(&'a [u8]),
}

impl<'a> Patch<'a> {
    pub fn new(content_type: &str, body: &'a [u8]) -> Result<Self, Answer> {
        match content_type {
            JSON_PATCH => Ok(Patch::Json(body)),
            MERGE_PATCH => Ok(Patch::Merge(body)),
            _ => Err(answer::unsupported_media_type(&[JSON_PATCH, MERGE_PATCH, "application/apply-patch+yaml"])),
        }
    }

    /// The document as it is after the patch. The body is read only now, as
    /// the real server does: an object that is not there comes first.
    pub fn apply(&self, document: Value, most_operations: usize) -> Result<Value, Answer> {
        match self {
            Patch::Json(body) => apply_json(decode(body)?, document, most_operations),
            Patch::Merge(body) => apply_merge(decode(body)?, document),
        }
    }
}

fn decode(body: &[u8]) -> Result<Value, Answer> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Eof => undecodable("unexpected end of JSON input"),
        _ => undecodable(&error.to_string()),
    })
}

fn undecodable(why: &str) -> Answer {
    answer::bad_request(format!("error decoding patch: {why}"))
}

fn wrong_go_type(patch: &Value, wanted: &str) -> Answer {
    let found = match patch {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) | Value::Null => "bool",
    };
    undecodable(&format!("json: cannot unmarshal {found} into Go value of type {wanted}"))
}

fn apply_merge(mut patch: Value, mut document: Value) -> Result<Value, Answer> {
    match patch {
        Value::Object(_) => {}
        Value::Null => return Err(answer::bad_request("Invalid JSON Patch")),
        _ => return Err(wrong_go_type(&patch, "map[string]interface {}")),
    }
    forget_nulls_in_lists(&mut patch, false);
    json_patch::merge(&mut document, &patch);
    Ok(document)
}

/// A list replaces a list as a whole, but a null member of one of its items
/// counts as absent, not as null.
fn forget_nulls_in_lists(value: &mut Value, in_list: bool) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !in_list || !value.is_null());
            members.values_mut().for_each(|value| forget_nulls_in_lists(value, in_list));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| forget_nulls_in_lists(item, true)),
        _ => {}
    }
}

fn apply_json(patch: Value, mut document: Value, most_operations: usize) -> Result<Value, Answer> {
    let Value::Array(operations) = &patch else {
        return Err(wrong_go_type(&patch, "[]handlers.jsonPatchOp"));
    };
    if operations.len() > most_operations {
        let found = operations.len();
        let message = format!("The allowed maximum operations in a JSON patch is {most_operations}, got {found}");
        return Err(answer::too_large(&message));
    }
    for operation in operations {
        let invalid = |why: &str| answer::bad_request(format!("invalid operation {operation}: {why}"));
        if !matches!(operation["op"].as_str(), Some("add" | "copy" | "move" | "remove" | "replace" | "test")) {
            return Err(invalid("unsupported operation"));
        }
        if !operation["path"].is_string() {
            return Err(invalid("failed to decode 'path': operation missing path field: missing value"));
        }
    }
    let operations: json_patch::Patch =
        serde_json::from_value(patch).map_err(|error| undecodable(&error.to_string()))?;
    // The document is thrown away when an operation fails: no need to undo.
    json_patch::patch_unsafe(&mut document, &operations).map_err(|_| answer::unfit_patch())?;
    Ok(document)
}
