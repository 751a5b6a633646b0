//! The table of what the operator makes of `status.runtime`, held against the
//! genuine one: what the double does is what the operator did.

use kube::api::{DeleteParams, Patch, PatchParams};

use super::api::{Group, Pods};
use super::*;
use crate::projection_table::{Object, Step, scenarios, top_level};

async fn set_pods(cluster: &RealCluster, name: &str, pods: Pods) {
    let there = cluster.get("v1", "Pod", name).await.is_some();
    if pods == Pods::Absent {
        if there {
            cluster.delete_pod(name).await;
        }
        return;
    }
    if !there {
        cluster.create_pod(name, false).await;
    }
    let (phase, ready) = match pods {
        Pods::Failed => ("Failed", "False"),
        Pods::Ready => ("Running", "True"),
        Pods::NotReady | Pods::Absent => ("Running", "False"),
    };
    let status = json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
    let pods = cluster.api("v1", "Pod");
    pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await.expect("the Pod is there");
}

/// Puts the step's runtime in the place of the one there is, as one write.
async fn report(cluster: &RealCluster, name: &str, step: &Step) {
    let operation = match &step.runtime {
        Some(runtime) => json!([{"op": "add", "path": "/status/runtime", "value": runtime}]),
        None => return,
    };
    let patch: json_patch::Patch = serde_json::from_value(operation).expect("it is a patch");
    let vmcps = cluster.toolhive("VirtualMCPServer");
    let patch = Patch::<()>::Json(patch);
    vmcps.patch_status(name, &PatchParams::default(), &patch).await.expect("it can be patched");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator"]
async fn genuine_operator_does_what_the_table_of_the_double_says() {
    let cluster = RealCluster::start_with(Definitions::ToolHive).await;
    let _operator = cluster.operator().await;
    let mut steps = 0;
    for (index, scenario) in scenarios().into_iter().enumerate() {
        let (name, group) = (format!("s{index}"), format!("group-{index}"));
        cluster.create_group(&group).await;
        cluster.create_in_group(&name, &group).await;
        cluster.until_object(&name, "seen by the operator", |object| object["status"]["phase"].is_string()).await;
        for (at, step) in scenario.steps.iter().enumerate() {
            if step.group == Group::Missing {
                let groups = cluster.toolhive("MCPGroup");
                let _ = groups.delete(&group, &DeleteParams::default()).await.expect("it is there");
            }
            set_pods(&cluster, &name, step.pods).await;
            report(&cluster, &name, step).await;
            // The operator says last what holds: a group has to be looked at first.
            let generation = cluster.object(&name).await.expect("it is there")["metadata"]["generation"].as_i64();
            let object =
                Object { namespace: "default", name: &name, group: &group, generation: generation.expect("a number") };
            let expected = step.expected(object);
            cluster.touch(&name).await;
            let what = format!("{}, step {at} ({}): {expected:#}", scenario.name, step.why);
            let wanted = |object: &Value| top_level(&object["status"]) == expected;
            cluster.until_object(&name, &what, wanted).await;
            cluster.reconciled(&name).await;
            let after = cluster.object(&name).await.expect("it is there");
            assert_eq!(top_level(&after["status"]), expected, "and it stays: {what}");
            steps += 1;
        }
    }
    println!("{steps} steps");
    assert!(steps > 20, "{steps}");
}
