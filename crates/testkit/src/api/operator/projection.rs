//! One reconcile: the status that the operator makes of the one it has seen.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Group, Pods,
    decision::{Decision, decide, routable},
    go,
};

/// The conditions that go when `runtime` no longer has them. One of any other
/// type, once reported, stays at the top level.
const FOLLOWED: [&str; 3] = ["Ready", "Degraded", "BackendsDiscovered"];

/// Types of the operator's own that do not fit the vMCP's spec: what is there
/// with such a beginning is removed.
const NOT_CONFIGURED: [&str; 8] = [
    "AuthServerConfigValidated",
    "AuthzConfigRefValidated",
    "AuthzUpstreamSelectionWarning",
    "BackendAuthConfig-",
    "DefaultAuthConfig",
    "DiscoveredAuthConfig-",
    "IdentitySynthesized",
    "TelemetryConfigRefValidated",
];
/// The one of them that is removed even where the group is missing.
const DEPRECATED_GRANTS: &str = "DeprecatedInboundGrantConfiguration";

pub struct Reconcile<'a> {
    pub object: &'a Value,
    pub pods: Pods,
    pub group: Group,
    pub now: Timestamp,
}

/// What shall become of the condition of a type: a status, a reason and a
/// message, or that it goes.
type Wanted<'a> = BTreeMap<&'a str, Option<(&'a str, &'a str, String)>>;

impl Reconcile<'_> {
    /// The status after this reconcile. `status` is as the operator's structs
    /// hold it, with `runtime` where the operator knows of that.
    pub fn status(&self, mut status: Map<String, Value>) -> Map<String, Value> {
        let before = status.clone();
        let mut wanted = Wanted::new();
        if let Some(runtime) = before.get("runtime") {
            project(runtime, &mut status, &mut wanted);
        }
        if self.group == Group::Ready {
            self.answer_for_the_vmcp(&before, &mut status, &mut wanted);
        } else {
            self.answer_for_the_group(&before, &mut status, &mut wanted);
        }
        status.insert("observedGeneration".to_owned(), self.object["metadata"]["generation"].clone());

        let mut conditions = items(&status, "conditions").to_vec();
        for (kind, wanted) in wanted {
            self.set(&mut conditions, kind, wanted);
        }
        status.insert("conditions".to_owned(), conditions.into());
        go::reported(&mut status);
        status
    }

    fn answer_for_the_vmcp<'a>(
        &self,
        before: &'a Map<String, Value>,
        status: &mut Map<String, Value>,
        wanted: &mut Wanted<'a>,
    ) {
        remove(before, &NOT_CONFIGURED, wanted);
        remove(before, &[DEPRECATED_GRANTS], wanted);
        let group = format!("MCPGroup {} is valid and ready", self.group_name());
        for (kind, answer, reason, message) in [
            ("Valid", "True", "ValidationSucceeded", "Spec validation passed"),
            ("GroupRefValidated", "True", "GroupRefValid", &*group),
            (
                "CompositeToolRefsValidated",
                "True",
                "CompositeToolRefsValid",
                "No composite tool references to validate",
            ),
            (
                "SessionStorageWarning",
                "False",
                "SessionStorageWarningNotApplicable",
                "session storage warning is not active",
            ),
            ("AuthConfigured", "True", "AuthValid", "Authentication configuration is valid"),
        ] {
            wanted.insert(kind, Some((answer, reason, message.to_owned())));
        }
        let url = {
            let metadata = &self.object["metadata"];
            let [name, namespace] = ["name", "namespace"].map(|member| metadata[member].as_str().unwrap_or_default());
            format!("http://vmcp-{name}.{namespace}.svc.cluster.local:4483")
        };
        status.insert("url".to_owned(), url.into());

        // `runtime` is fresher than what has been copied from it.
        let reported = before.get("runtime").and_then(Value::as_object).unwrap_or(before);
        let Decision { phase, message, ready, reason, why } = decide(self.pods, items(reported, "discoveredBackends"));
        status.insert("phase".to_owned(), phase.into());
        status.insert("message".to_owned(), message.into());
        wanted.insert("Ready", Some((ready, reason, why.to_owned())));
    }

    /// The reconcile ends early: `Ready` is not the operator's this time.
    fn answer_for_the_group<'a>(
        &self,
        before: &'a Map<String, Value>,
        status: &mut Map<String, Value>,
        wanted: &mut Wanted<'a>,
    ) {
        remove(before, &[DEPRECATED_GRANTS], wanted);
        let message = format!("Referenced MCPGroup {} not found", self.group_name());
        status.insert("phase".to_owned(), "Failed".into());
        status.insert("message".to_owned(), message.clone().into());
        let valid = ("True", "ValidationSucceeded", "Spec validation passed".to_owned());
        wanted.insert("Valid", Some(valid));
        wanted.insert("GroupRefValidated", Some(("False", "GroupRefNotFound", message)));
    }

    fn group_name(&self) -> &str {
        self.object.pointer("/spec/groupRef/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// As `meta.SetStatusCondition` does it: the time moves with the status
    /// alone, and the generation is the operator's.
    fn set(&self, conditions: &mut Vec<Value>, kind: &str, wanted: Option<(&str, &str, String)>) {
        let Some((status, reason, message)) = wanted else {
            conditions.retain(|condition| condition["type"] != kind);
            return;
        };
        let mut new = json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "observedGeneration": self.object["metadata"]["generation"],
            "lastTransitionTime": self.now.to_string(),
        });
        match conditions.iter_mut().find(|condition| condition["type"] == kind) {
            Some(old) => {
                if old["status"] == status {
                    new["lastTransitionTime"] = old["lastTransitionTime"].take();
                }
                *old = new;
            }
            None => conditions.push(new),
        }
    }
}

/// Copies what the vMCP reports. Its phase, message and `Ready` show through
/// only where the operator comes to no verdict of its own.
fn project<'a>(runtime: &'a Value, status: &mut Map<String, Value>, wanted: &mut Wanted<'a>) {
    for member in ["phase", "message"] {
        let value = runtime.get(member).cloned().unwrap_or_else(|| "".into());
        status.insert(member.to_owned(), value);
    }
    let backends = runtime["discoveredBackends"].as_array().map_or(&[][..], Vec::as_slice);
    status.insert("discoveredBackends".to_owned(), backends.into());
    status.insert("backendCount".to_owned(), routable(backends).into());

    wanted.extend(FOLLOWED.map(|kind| (kind, None)));
    for condition in runtime["conditions"].as_array().into_iter().flatten() {
        let [kind, status, reason, message] =
            ["type", "status", "reason", "message"].map(|member| condition[member].as_str().unwrap_or_default());
        wanted.insert(kind, Some((status, reason, message.to_owned())));
    }
}

fn remove<'a>(before: &'a Map<String, Value>, beginnings: &[&str], wanted: &mut Wanted<'a>) {
    let kinds = items(before, "conditions").iter().filter_map(|condition| condition["type"].as_str());
    let removed = kinds.filter(|kind| beginnings.iter().any(|beginning| kind.starts_with(beginning)));
    wanted.extend(removed.map(|kind| (kind, None)));
}

fn items<'a>(status: &'a Map<String, Value>, list: &str) -> &'a [Value] {
    status.get(list).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
