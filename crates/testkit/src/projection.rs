//! What ToolHive's operator makes of `status.runtime`: a table, for whatever
//! has an operator, the double's or the genuine one.
//!
//! The rows stand in `projection.json`. Each scenario is for a fresh object,
//! and its steps are taken in order, for some of what the operator writes
//! stays. A step sets pods and group, puts its `runtime` in the place of the
//! one there is, and waits for the top level; pods start no reconcile of the
//! genuine operator, and a `runtime` equal to the last one does not either, so
//! there the object is touched as well. In the table a condition is `[status, reason, message]` below its
//! type; the conditions that the operator has for itself are left out unless
//! they differ, and `GROUP` stands for the name of the object's group.

#![allow(dead_code, reason = "compiled into several test binaries, each of which uses a part")]

use serde_json::{Map, Value, json};

use crate::api::{Group, Pods};

/// When a vMCP that reports says its conditions moved: never when the
/// operator says that its copies did.
pub const REPORTED_AT: &str = "2020-01-01T00:00:00Z";
/// The generation that the vMCP has loaded: not the one the operator sees.
pub const REPORTED_GENERATION: i64 = 9;

pub struct Scenario {
    pub name: String,
    pub steps: Vec<Step>,
}

/// One report, and what shall be at the top level once the operator has seen it.
pub struct Step {
    /// Why this row is here, for whom it fails.
    pub why: String,
    pub pods: Pods,
    pub group: Group,
    /// None: there shall be no `runtime`.
    pub runtime: Option<Value>,
    top: Value,
}

/// The object that a scenario plays on.
#[derive(Clone, Copy)]
pub struct Object<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub group: &'a str,
    pub generation: i64,
}

pub fn scenarios() -> Vec<Scenario> {
    let table: Value = serde_json::from_str(include_str!("projection.json")).expect("the table is JSON");
    table.as_array().into_iter().flatten().map(Scenario::new).collect()
}

/// The top level as the table has it: conditions by type, and neither their
/// times nor `runtime`.
pub fn top_level(status: &Value) -> Value {
    let mut top = status.clone();
    top.as_object_mut().and_then(|top| top.remove("runtime"));
    let conditions: Map<_, _> = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|condition| {
            let kind = condition["type"].as_str().unwrap_or_default();
            (kind.to_owned(), json!([condition["status"], condition["reason"], condition["message"]]))
        })
        .collect();
    top["conditions"] = conditions.into();
    top
}

impl Scenario {
    fn new(row: &Value) -> Self {
        let name = row["name"].as_str().expect("a scenario has a name").to_owned();
        Scenario { name, steps: row["steps"].as_array().into_iter().flatten().map(Step::new).collect() }
    }
}

impl Step {
    fn new(row: &Value) -> Self {
        let pods = match row["pods"].as_str() {
            Some("Absent") => Pods::Absent,
            Some("NotReady") => Pods::NotReady,
            Some("Ready") => Pods::Ready,
            Some("Failed") => Pods::Failed,
            _ => panic!("there are no such pods: {row}"),
        };
        let group = match row.get("group").map(|group| group.as_str()) {
            None => Group::Ready,
            Some(Some("Missing")) => Group::Missing,
            _ => panic!("there is no such group: {row}"),
        };
        let runtime = Some(&row["runtime"]).filter(|runtime| !runtime.is_null()).map(|runtime| {
            let mut runtime = runtime.clone();
            if let Some(conditions) = runtime.get_mut("conditions") {
                *conditions = reported(conditions);
            }
            runtime
        });
        let why = row["why"].as_str().unwrap_or_default().to_owned();
        Step { why, pods, group, runtime, top: row["top"].clone() }
    }

    /// The top level that this step leads to, as `top_level` shows it.
    pub fn expected(&self, object: Object<'_>) -> Value {
        let Object { namespace, name, group, generation } = object;
        let mut conditions = own_conditions();
        let told = self.top["conditions"].as_object().cloned().unwrap_or_default();
        conditions.extend(told);
        let mut expected = self.top.clone();
        expected["conditions"] = conditions.into();
        expected["url"] = json!(format!("http://vmcp-{name}.{namespace}.svc.cluster.local:4483"));
        expected["observedGeneration"] = json!(generation);
        serde_json::from_str(&expected.to_string().replace("GROUP", group)).expect("a name breaks no JSON")
    }
}

/// Conditions as the vMCP reports them.
fn reported(conditions: &Value) -> Value {
    conditions
        .as_object()
        .into_iter()
        .flatten()
        .map(|(kind, condition)| {
            json!({
                "type": kind, "status": condition[0], "reason": condition[1], "message": condition[2],
                "lastTransitionTime": REPORTED_AT, "observedGeneration": REPORTED_GENERATION,
            })
        })
        .collect()
}

/// What the operator says of a vMCP that nothing special is configured for.
fn own_conditions() -> Map<String, Value> {
    [
        ("AuthConfigured", ["True", "AuthValid", "Authentication configuration is valid"]),
        ("CompositeToolRefsValidated", ["True", "CompositeToolRefsValid", "No composite tool references to validate"]),
        ("GroupRefValidated", ["True", "GroupRefValid", "MCPGroup GROUP is valid and ready"]),
        (
            "SessionStorageWarning",
            ["False", "SessionStorageWarningNotApplicable", "session storage warning is not active"],
        ),
        ("Valid", ["True", "ValidationSucceeded", "Spec validation passed"]),
    ]
    .map(|(kind, condition)| (kind.to_owned(), json!(condition)))
    .into_iter()
    .collect()
}
