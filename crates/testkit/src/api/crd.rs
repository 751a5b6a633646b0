//! The definition of `VirtualMCPServer`: the one document that says what is
//! served and what an object may hold. A test that needs another definition
//! edits the document, as an administrator would.

use serde_json::{Value, json};

pub const GROUP: &str = "toolhive.stacklok.dev";
pub const PLURAL: &str = "virtualmcpservers";
pub const KIND: &str = "VirtualMCPServer";
pub const STORAGE_VERSION: &str = "v1beta1";

/// The member of the status that belongs to the running vMCP alone, where the
/// definition knows it.
pub const RUNTIME: &str = "runtime";

/// The name of the definition itself.
pub fn name() -> String {
    format!("{PLURAL}.{GROUP}")
}

/// Today's definition, of ToolHive v0.47.0 and later.
pub fn definition() -> Value {
    let version = |name: &str, current: bool| {
        let mut version = json!({
            "name": name,
            "served": true,
            "storage": current,
            "subresources": {"status": {}},
            "additionalPrinterColumns": columns(),
            "schema": {"openAPIV3Schema": schema()},
        });
        if !current {
            version["deprecated"] = json!(true);
            version["deprecationWarning"] = json!(format!("{GROUP}/{name} is deprecated; use {STORAGE_VERSION}"));
        }
        version
    };
    let names = json!({
        "kind": KIND,
        "listKind": format!("{KIND}List"),
        "plural": PLURAL,
        "singular": "virtualmcpserver",
        "shortNames": ["vmcp", "virtualmcp"],
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name(), "generation": 1, "resourceVersion": "1"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": names,
            "versions": [version(STORAGE_VERSION, true), version("v1alpha1", false)],
        },
        "status": {
            "acceptedNames": names,
            "storedVersions": [STORAGE_VERSION],
            "conditions": [
                {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found"},
                {"type": "Established", "status": "True", "reason": "InitialNamesAccepted",
                 "message": "the initial names have been accepted"},
            ],
        },
    })
}

/// Takes `status.runtime` out of every version, as definitions from before
/// September 2026 are.
pub fn forget_runtime(crd: &mut Value) {
    for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
        let properties = version.pointer_mut("/schema/openAPIV3Schema/properties/status/properties");
        properties
            .and_then(Value::as_object_mut)
            .and_then(|properties| properties.remove(RUNTIME))
            .expect("today's definition has a status.runtime");
    }
}

fn columns() -> Value {
    json!([
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
        {"name": "URL", "type": "string", "jsonPath": ".status.url"},
        {"name": "Backends", "type": "integer", "jsonPath": ".status.backendCount"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
    ])
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "apiVersion": string(),
            "kind": string(),
            "metadata": {"type": "object"},
            // What an object asks for does not matter here, only that it changes.
            // ToolHive's has rules in CEL; one, that always holds, stands for them.
            "spec": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
                "x-kubernetes-validations": [{"rule": "true"}],
            },
            "status": status(),
        },
    })
}

fn status() -> Value {
    // The top level and `runtime` have the same five, but for the default of
    // the phase.
    let reported = |phase: Value| {
        json!({
            "phase": phase,
            "message": string(),
            "conditions": list_map("type", &condition()),
            "discoveredBackends": list_map("name", &backend()),
            "backendCount": {"type": "integer", "format": "int32"},
        })
    };
    let phase = json!({"type": "string", "enum": ["Pending", "Ready", "Degraded", "Failed"]});
    let mut with_default = phase.clone();
    with_default["default"] = json!("Pending");

    let mut properties = reported(with_default);
    properties[RUNTIME] = json!({"type": "object", "properties": reported(phase)});
    properties["url"] = string();
    properties["observedGeneration"] = json!({"type": "integer", "format": "int64"});
    for hash in ["authzConfigHash", "oidcConfigHash", "telemetryConfigHash"] {
        properties[hash] = string();
    }
    json!({"type": "object", "properties": properties})
}

fn condition() -> Value {
    json!({
        "type": "object",
        "required": ["lastTransitionTime", "message", "reason", "status", "type"],
        "properties": {
            "type": {
                "type": "string",
                "maxLength": 316,
                // A DNS name and a slash before it, if it is not one of the kind's own.
                "pattern": concat!(
                    "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?",
                    "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                ),
            },
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "reason": {
                "type": "string",
                "minLength": 1,
                "maxLength": 1024,
                "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            },
            "message": {"type": "string", "maxLength": 32768},
            "lastTransitionTime": date_time(),
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        },
    })
}

fn backend() -> Value {
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": string(),
            "url": string(),
            "status": string(),
            "authType": string(),
            "authConfigRef": string(),
            "lastHealthCheck": date_time(),
            "message": string(),
            "circuitBreakerState": {"type": "string", "enum": ["closed", "open", "half-open"]},
            "circuitLastChanged": date_time(),
            "consecutiveFailures": {"type": "integer"},
            "mcpRevision": string(),
        },
    })
}

fn list_map(key: &str, items: &Value) -> Value {
    json!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": [key],
        "items": items,
    })
}

fn string() -> Value {
    json!({"type": "string"})
}

fn date_time() -> Value {
    json!({"type": "string", "format": "date-time"})
}
