//! The two kinds of patches that the double takes.

use serde_json::{Value, error::Category};

use super::{
    answer::{self, Answer},
    operations,
    raw::Raw,
};

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
            Patch::Json(body) => apply_json(body, document, most_operations),
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

fn apply_merge(patch: Value, mut document: Value) -> Result<Value, Answer> {
    match patch {
        Value::Object(_) => {}
        Value::Null => return Err(answer::bad_request("Invalid JSON Patch")),
        _ => return Err(wrong_go_type(&patch, "map[string]interface {}")),
    }
    json_patch::merge(&mut document, &patch);
    Ok(document)
}

fn apply_json(body: &[u8], mut document: Value, most_operations: usize) -> Result<Value, Answer> {
    let patch = decode(body)?;
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
    let text = std::str::from_utf8(body).expect("what has been decoded is UTF-8");
    let raw = Raw::new(text);
    // The document is thrown away when an operation fails: no need to undo.
    for (operation, raw) in operations.iter().zip(raw.items()) {
        operations::apply(&mut document, operation, raw).map_err(|_| answer::unfit_patch())?;
    }
    Ok(document)
}
