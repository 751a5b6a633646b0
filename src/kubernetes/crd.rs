//! A CRD for clusters without ToolHive, made from the types of the model.

use kube::core::schema::{OptionalEnum, StructuralSchemaRewriter};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::custom_resource::{GROUP, KIND, PLURAL, VERSION};
use crate::status::Status;

/// Returns a `CustomResourceDefinition` of `VirtualMCPServer` for development clusters
/// without ToolHive: the spec is open, and the top level of the status accepts what
/// ToolHive's own definition accepts, in the same fields. It has no `status.runtime`,
/// because only ToolHive's operator copies from there what users see. Installing
/// ToolHive replaces it.
///
/// ```
/// let crd = vmcp_status::crd();
/// assert_eq!(crd["metadata"]["name"], "virtualmcpservers.toolhive.stacklok.dev");
/// ```
pub fn crd() -> Value {
    let group = GROUP;
    let version = |name: &str, stored: bool| {
        let mut version = json!({
            "name": name,
            "served": true,
            "storage": stored,
            "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {
                    "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "status": status_schema(),
                },
            }},
            "subresources": {"status": {}},
            "additionalPrinterColumns": [
                {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
                {"name": "URL", "type": "string", "jsonPath": ".status.url"},
                {"name": "Backends", "type": "integer", "jsonPath": ".status.backendCount"},
                {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
            ],
        });
        if !stored {
            version["deprecated"] = true.into();
        }
        version
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{PLURAL}.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": PLURAL,
                "singular": KIND.to_ascii_lowercase(),
                "shortNames": ["vmcp", "virtualmcp"],
            },
            "versions": [version(VERSION, true), version("v1alpha1", false)],
        },
    })
}

/// Returns the status as a structural schema, without defaults: a server that fills them
/// in would answer with something other than what was sent.
fn status_schema() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let generator = settings.with_transform(StructuralSchemaRewriter).with_transform(OptionalEnum).into_generator();
    let mut schema = generator.into_root_schema_for::<Status>().to_value();
    tidy(&mut schema);
    for name in ["url", "authzConfigHash", "oidcConfigHash", "telemetryConfigHash"] {
        schema["properties"][name] = json!({"type": "string"});
    }
    // The model knows more about these than ToolHive's definition asks for.
    let status = schema.pointer_mut("/properties/discoveredBackends/items/properties/status");
    status.and_then(Value::as_object_mut).and_then(|status| status.remove("enum"));
    schema["properties"]["backendCount"]["format"] = "int32".into();
    schema["properties"]["conditions"]["items"]["properties"]["observedGeneration"]["minimum"] = 0.into();
    // Our reader forgives what is missing; the API server does not.
    for (list, required) in [
        ("conditions", json!(["lastTransitionTime", "message", "reason", "status", "type"])),
        ("discoveredBackends", json!(["name"])),
    ] {
        schema["properties"][list]["items"]["required"] = required;
    }
    schema
}

/// Removes keywords that a structural schema must not have or its reader does not need.
/// A property with the name of a keyword has a schema as its value, and stays.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for word in ["$schema", "title", "format", "default", "description", "nullable", "minimum"] {
                let Some(value) = members.get_mut(word) else { continue };
                let known = ["date-time", "int32", "int64"];
                match (word, value) {
                    ("description", Value::String(text)) => {
                        let first = text.split("\n\n").next().unwrap_or_default();
                        *text = first.replace('\n', " ").replace(['[', ']'], "");
                    }
                    ("format", Value::String(format)) if known.contains(&format.as_str()) => {}
                    ("default", _) | (_, Value::String(_) | Value::Bool(_) | Value::Number(_)) => {
                        drop(members.remove(word));
                    }
                    _ => {}
                }
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_maps_by_key_and_enumerations_are_those_of_toolhive() {
        let status = &status_schema()["properties"];
        for (list, key) in [("conditions", "type"), ("discoveredBackends", "name")] {
            assert_eq!(status[list]["x-kubernetes-list-type"], "map");
            assert_eq!(status[list]["x-kubernetes-list-map-keys"], json!([key]));
            let required = status[list]["items"]["required"].as_array().expect("a list");
            assert!(required.contains(&key.into()), "a key is required");
        }
        assert_eq!(status["phase"]["enum"], json!(["Pending", "Ready", "Degraded", "Failed"]));
        let backend = &status["discoveredBackends"]["items"]["properties"];
        assert_eq!(backend["circuitBreakerState"]["enum"], json!(["closed", "open", "half-open"]));
        assert!(backend["status"].get("enum").is_none(), "ToolHive takes any word");
        assert_eq!(backend["lastHealthCheck"]["format"], "date-time");
        assert!(status.get("timestamp").is_none(), "the time of a report is ours alone");
        let text = crd().to_string();
        for word in ["\"default\"", "uint32", "nullable", "$schema", "oneOf", "anyOf"] {
            assert!(!text.contains(word), "{word}");
        }
    }
}
