//! Our definition of a `VirtualMCPServer` beside ToolHive's own.

use serde_json::Value;
use vmcp_status_testkit::cluster::RealCluster;

/// The schemas of the status, by version, without descriptions.
fn status_schemas(crd: &Value) -> Vec<(&str, Value)> {
    let versions = crd["spec"]["versions"].as_array().expect("a list").iter();
    let schema = |version: &Value| version["schema"]["openAPIV3Schema"]["properties"]["status"].clone();
    let mut schemas: Vec<_> =
        versions.map(|version| (version["name"].as_str().expect("a name"), undescribed(schema(version)))).collect();
    schemas.sort_by_key(|(name, _)| *name);
    schemas
}

fn undescribed(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(members) => {
            // A schema describes itself in a text; a property of that name would be a
            // schema.
            members.retain(|name, value| name != "description" || !value.is_string());
            members.values_mut().for_each(|value| *value = undescribed(value.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = undescribed(item.take())),
        _ => {}
    }
    schema
}

#[test]
#[ignore = "needs ToolHive's CRDs, see crates/testkit/cluster/README.md"]
fn definition_accepts_what_toolhives_own_accepts_and_no_more() {
    let (ours, theirs) = (vmcp_status::crd(), RealCluster::toolhive_vmcp_definition());
    let (ours, theirs) = (status_schemas(&ours), status_schemas(&theirs));
    assert_eq!(ours.len(), theirs.len());
    for ((version, ours), (same, mut theirs)) in ours.into_iter().zip(theirs) {
        assert_eq!(version, same);
        let properties = theirs["properties"].as_object_mut().expect("they are named");
        // What a server fills in differs from what was sent.
        assert_eq!(
            properties["phase"].as_object_mut().and_then(|phase| phase.remove("default")),
            Some("Pending".into())
        );
        // Only ToolHive's operator copies from there what users see.
        let runtime = properties.remove("runtime").expect("it is the vMCP's home");
        assert_eq!(ours, theirs, "{version}");
        for (name, property) in runtime["properties"].as_object().expect("they are named") {
            assert_eq!(*property, ours["properties"][name], "runtime.{name} of {version}");
        }
    }
}
