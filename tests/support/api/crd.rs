//! The definition of `VirtualMCPServer`: the one document that says what is
//! served and what an object may hold. A test that needs another definition
//! edits the document, as an administrator would.

use serde_json::{Value, json};

pub const GROUP: &str = "toolhive.stacklok.dev";
pub const PLURAL: &str = "virtualmcpservers";
pub const KIND: &str = "VirtualMCPServer";
pub const STORAGE_VERSION: &str = "v1beta1";

/// The name of the definition itself.
pub fn name() -> String {
    format!("{PLURAL}.{GROUP}")
}

pub fn definition() -> Value {
    let version = |name: &str, current: bool| {
        json!({
            "name": name,
            "served": true,
            "storage": current,
            "deprecated": !current,
            "subresources": {"status": {}},
            "additionalPrinterColumns": columns(),
            "schema": {"openAPIV3Schema": schema()},
        })
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

fn columns() -> Value {
    json!([
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
        {"name": "URL", "type": "string", "jsonPath": ".status.url"},
        {"name": "Backends", "type": "integer", "jsonPath": ".status.backendCount"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
    ])
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "apiVersion": string(),
            "kind": string(),
            "metadata": {"type": "object"},
            // What an object asks for is nobody's concern here, only that it changes.
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "status": {
                "type": "object",
                "properties": {
                    "phase": {
                        "type": "string", "enum": ["Pending", "Ready", "Degraded", "Failed"], "default": "Pending",
                    },
                    "message": string(),
                    "url": string(),
                    "observedGeneration": {"type": "integer", "format": "int64"},
                    "backendCount": {"type": "integer", "format": "int32", "minimum": 0},
                    "oidcConfigHash": string(),
                    "telemetryConfigHash": string(),
                    "authServerConfigHash": string(),
                    "conditions": list_map("type", &condition()),
                    "discoveredBackends": list_map("name", &backend()),
                },
            },
        },
    })
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
            "status": {"type": "string", "enum": ["ready", "degraded", "unavailable", "unauthenticated", "unknown"]},
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
