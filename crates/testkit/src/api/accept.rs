//! In which form an object is wanted: whole, its metadata alone, or a row of
//! a table.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    answer::{self, Answer},
    request_info::RequestInfo,
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Whole,
    PartialObjectMetadata,
    Table,
}

impl Form {
    /// The first form in the `Accept` header that can be served.
    pub fn negotiate(accept: Option<&str>) -> Result<Self, Answer> {
        let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Ok(Form::Whole) };
        accept.split(',').find_map(Form::from_media_type).ok_or_else(answer::not_acceptable)
    }

    fn from_media_type(media_type: &str) -> Option<Self> {
        let mut parts = media_type.split(';').map(str::trim);
        if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
            return None;
        }
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let find = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        match (find("as"), find("g"), find("v")) {
            (None, ..) => Some(Form::Whole),
            (Some("PartialObjectMetadata"), Some("meta.k8s.io"), Some("v1")) => Some(Form::PartialObjectMetadata),
            (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Some(Form::Table),
            _ => None,
        }
    }

    /// The object in this form. `version` is what the definition says of the
    /// version asked for, which names the columns.
    pub fn of(self, object: Value, version: &Value, info: &RequestInfo, now: Timestamp) -> Result<Value, Answer> {
        match self {
            Form::Whole => Ok(object),
            Form::PartialObjectMetadata => Ok(partial_object_metadata(&object)),
            Form::Table => table(object, version, info.query("includeObject").unwrap_or("Metadata"), now),
        }
    }
}

fn partial_object_metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn table(object: Value, version: &Value, include: &str, now: Timestamp) -> Result<Value, Answer> {
    let mut columns = vec![json!({
        "name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "Name must be unique within a namespace. Is required when creating resources, although some \
            resources may allow a client to request the generation of an appropriate name automatically. Name is \
            primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: \
            https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
    })];
    let mut cells = vec![object["metadata"]["name"].clone()];
    for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
        let path = column["jsonPath"].as_str().unwrap_or_default();
        let description = format!("Custom resource definition column (in JSONPath format): {path}");
        columns.push(json!({
            "name": column["name"], "type": column["type"], "format": "", "priority": 0, "description": description,
        }));
        let cell = find(&object, path);
        cells.push(if column["type"] == "date" { age(&cell, now) } else { cell });
    }
    let version = object["metadata"]["resourceVersion"].clone();
    let object = match include {
        "None" => Value::Null,
        "Metadata" | "" => partial_object_metadata(&object),
        "Object" => object,
        other => {
            return Err(answer::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
                 'Object', 'None', or empty"
            )));
        }
    };
    Ok(json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version},
        "columnDefinitions": columns, "rows": [{"cells": cells, "object": object}],
    }))
}

/// As much of a JSON path as the columns use: members, and the condition of a type.
fn find(object: &Value, path: &str) -> Value {
    if let Some((list, rest)) = path.split_once("[?(@.type=='")
        && let Some((kind, path)) = rest.split_once("')]")
    {
        let list = find(object, list);
        let condition = list.as_array().into_iter().flatten().find(|item| item["type"] == kind);
        return condition.map_or(Value::Null, |condition| find(condition, path));
    }
    object.pointer(&path.replace('.', "/")).cloned().unwrap_or_default()
}

fn age(created: &Value, now: Timestamp) -> Value {
    let created = created.as_str().and_then(|created| created.parse::<Timestamp>().ok());
    created.map_or(Value::Null, |created| json!(format!("{}s", now.duration_since(created).as_secs())))
}
