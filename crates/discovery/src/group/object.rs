//! What matters of an object of any of the kinds.

use std::collections::BTreeMap;

use serde_json::Value;

use super::vmcp_spec::VmcpSpec;
use crate::probe::{CaBundle, ForwardedHeaders};

/// The key of a `ConfigMap` where a `caBundleRef` names none.
const CA_KEY: &str = "ca.crt";

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
    /// Name and key of `spec.caBundleRef.configMapRef`.
    pub(super) ca_bundle: Option<(String, String)>,
    /// `spec.headerForward.addPlaintextHeaders`, as far as they can be sent.
    pub(super) headers: ForwardedHeaders,
    /// Names of those that cannot.
    pub(super) unusable_headers: Vec<String>,
    /// Whether there is anything in `spec.headerForward.addHeadersFromSecret`.
    pub(super) has_secret_headers: bool,
    /// `spec.type`.
    pub(super) type_: String,
    /// The `data` of a `ConfigMap` by its keys, as certificates.
    pub(super) ca_bundles: BTreeMap<String, Option<CaBundle>>,
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
        let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (headers, unusable_headers) = headers(data.pointer("/spec/headerForward/addPlaintextHeaders"));
        let has_items = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
        Object {
            group: text("/spec/groupRef/name"),
            transport: text("/spec/transport"),
            proxy_mode: text("/spec/proxyMode"),
            remote_url: text("/spec/remoteUrl"),
            auth_config: text("/spec/externalAuthConfigRef/name"),
            ca_bundle: data.pointer("/spec/caBundleRef/configMapRef").filter(|at| !at.is_null()).map(|_| {
                let key = text("/spec/caBundleRef/configMapRef/key");
                (text("/spec/caBundleRef/configMapRef/name"), if key.is_empty() { CA_KEY.into() } else { key })
            }),
            headers,
            unusable_headers,
            has_secret_headers: data.pointer("/spec/headerForward/addHeadersFromSecret").is_some_and(has_items),
            type_: text("/spec/type"),
            ca_bundles: ca_bundles(data.get("data")),
            url: text("/status/url"),
            phase: if deleting { "Terminating".into() } else { text("/status/phase") },
            vmcp: None,
        }
    }

    /// Whether it is off on purpose: no failure, and nothing to check.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.phase.as_str(), "Stopped" | "Terminating")
    }

    /// Reads the spec of a vMCP, and nothing else of it: our own writes to its status
    /// are not news.
    pub(super) fn of_vmcp(data: &Value) -> Self {
        Object { vmcp: Some(Box::new(VmcpSpec::of(data))), ..Object::default() }
    }
}

fn headers(added: Option<&Value>) -> (ForwardedHeaders, Vec<String>) {
    let (mut headers, mut unusable) = (ForwardedHeaders::default(), Vec::new());
    for (name, value) in added.and_then(Value::as_object).into_iter().flatten() {
        let sent = value.as_str().is_some_and(|value| headers.insert(name, value).is_ok());
        unusable.extend((!sent).then(|| name.clone()));
    }
    (headers, unusable)
}

/// Read once, when the `ConfigMap` comes, for the members are found anew at each change.
fn ca_bundles(data: Option<&Value>) -> BTreeMap<String, Option<CaBundle>> {
    let entries = data.and_then(Value::as_object).into_iter().flatten();
    let texts = entries.filter_map(|(key, value)| Some((key, value.as_str()?)));
    texts.map(|(key, text)| (key.clone(), CaBundle::from_pem(text).ok())).collect()
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
            json!({"spec": {"caBundleRef": {"configMapRef": null}, "headerForward": []}, "data": 7}),
            json!({"spec": {"caBundleRef": "a", "headerForward": {"addPlaintextHeaders": [], "addHeadersFromSecret": {}}}}),
            json!({"spec": {"groupRef": "g", "transport": 1, "externalAuthConfigRef": {"name": {}}}, "status": {"url": 7}}),
        ] {
            assert_eq!(Object::of(&odd, false), Object::default(), "{odd}");
        }
        assert_eq!(Object::of(&json!({"status": {"phase": "Ready"}}), true).phase, "Terminating");
    }

    #[test]
    fn headers_that_cannot_be_sent_cost_themselves_and_values_are_not_shown() {
        let added =
            json!({"X-Api-Key": "hunter2", "Host": "hunter2", "X Y": "hunter2", "X-Lines": "hunter2\n", "X-Odd": 7});
        let object = Object::of(&json!({"spec": {"headerForward": {"addPlaintextHeaders": added}}}), false);
        assert_eq!(format!("{:?}", object.headers), r#"["x-api-key"]"#);
        assert_eq!(object.unusable_headers, ["Host", "X Y", "X-Lines", "X-Odd"]);
        assert!(!format!("{object:?}").contains("hunter2"));
    }
}
