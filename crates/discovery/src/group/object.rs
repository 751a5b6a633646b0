//! What matters of an object of any of the kinds.

use serde_json::Value;

use super::vmcp_spec::VmcpSpec;

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
    /// The spec of a vMCP; none of any other kind.
    pub(super) vmcp: Option<Box<VmcpSpec>>,
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
            vmcp: None,
        }
    }

    /// Reads the spec of a vMCP, and nothing else of it: our own writes to its status
    /// are not news.
    pub(super) fn of_vmcp(data: &Value) -> Self {
        Object { vmcp: Some(Box::new(VmcpSpec::of(data))), ..Object::default() }
    }
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
}
