//! What matters of an object of any of the kinds.

use serde_json::Value;

/// What is read of an object. What is missing, null or of the wrong type is
/// empty: an odd object costs itself alone, never the list that it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Object {
    /// `spec.groupRef.name`.
    pub(super) group: String,
    /// `spec.transport`.
    pub(super) transport: String,
    /// `spec.proxyMode`.
    pub(super) proxy_mode: String,
    /// `spec.remoteUrl`.
    pub(super) remote_url: String,
    /// `spec.externalAuthConfigRef.name`.
    pub(super) auth_config: String,
    /// `spec.type`.
    pub(super) type_: String,
    /// `status.url`.
    pub(super) url: String,
    /// `status.phase`.
    pub(super) phase: String,
}

impl Object {
    /// Reads spec and status; `deleting` says that the object is on its way out.
    pub(super) fn of(data: &Value, deleting: bool) -> Self {
        let text = |pointer| data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Object {
            group: text("/spec/groupRef/name"),
            transport: text("/spec/transport"),
            proxy_mode: text("/spec/proxyMode"),
            remote_url: text("/spec/remoteUrl"),
            auth_config: text("/spec/externalAuthConfigRef/name"),
            type_: text("/spec/type"),
            url: text("/status/url"),
            phase: if deleting { "Terminating".into() } else { text("/status/phase") },
        }
    }
}

/// The group that the spec of a `VirtualMCPServer` names: `spec.groupRef.name`,
/// or `spec.config.groupRef`.
pub fn group_of(object: &Value) -> Option<&str> {
    let named = ["/spec/groupRef/name", "/spec/config/groupRef", "/spec/config/groupRef/name"];
    named.into_iter().filter_map(|pointer| object.pointer(pointer)?.as_str()).find(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_null_or_of_the_wrong_type_is_empty() {
        for odd in [
            json!({}),
            json!(null),
            json!([1]),
            json!({"spec": null, "status": []}),
            json!({"spec": {"groupRef": "g", "transport": 1, "externalAuthConfigRef": {"name": {}}}, "status": {"url": 7}}),
        ] {
            assert_eq!(Object::of(&odd, false), Object::default(), "{odd}");
        }
        assert_eq!(Object::of(&json!({"status": {"phase": "Ready"}}), true).phase, "Terminating");
    }

    #[test]
    fn group_of_a_vmcp_is_the_one_its_spec_names_first() {
        for (spec, group) in [
            (json!({"groupRef": {"name": "a"}, "config": {"groupRef": "b"}}), Some("a")),
            (json!({"groupRef": {"name": ""}, "config": {"groupRef": "b"}}), Some("b")),
            (json!({"config": {"groupRef": {"name": "c"}}}), Some("c")),
            (json!({"groupRef": {"name": 7}}), None),
            (json!(null), None),
        ] {
            assert_eq!(group_of(&json!({"spec": spec})), group, "{spec}");
        }
    }
}
