//! A status that fills the object: each backend is in it twice.

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator"]
async fn ten_thousand_backends_are_cut_so_that_the_operator_can_show_them() {
    let (cluster, _operator) = toolhive().await;
    let mut ours = Ours::start(&cluster, &[]);
    let name = |i: usize| format!("backend-{i:05}-of-a-usual-length");
    let backends: Vec<Value> = (0..10_000)
        .map(|i| {
            let status = if i % 100 == 7 { "unavailable" } else { "ready" };
            json!({"name": name(i), "url": format!("http://{}.default.svc.cluster.local:8080/mcp", name(i)),
                   "status": status, "authType": "unauthenticated", "lastHealthCheck": "2026-11-24T10:00:00Z"})
        })
        .collect();
    ours.say(json!({"replaceBackends": {"source": "test", "backends": backends}})).await;
    let stored = |object: &Value| object["status"]["runtime"]["backendCount"] == 9900;
    let object = cluster.until_object(NAME, "stored", stored).await;
    let listed = object["status"]["runtime"]["discoveredBackends"].clone();
    let count = listed.as_array().map_or(0, Vec::len);
    assert!(count > 2000, "{count}");
    let message = object["status"]["runtime"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("9900 of 10000 backends routable, 100 unavailable"), "{message}");
    assert!(message.contains(&format!("({} of 10000 backends not listed", 10_000 - count)), "{message}");

    let shown = |object: &Value| {
        let backends = object["status"]["discoveredBackends"].as_array();
        backends.is_some_and(|backends| backends.len() == count)
    };
    let object = cluster.until_object(NAME, "shown by the operator", shown).await;
    let seen = Seen::of(&object);
    assert_eq!((seen.phase.as_str(), seen.ready.as_str()), ("Degraded", "False"));
    let unavailable = seen.backends.iter().filter(|backend| backend.ends_with("=unavailable")).count();
    assert_eq!(unavailable, 100, "all that say something");
    println!("{count} of 10,000 listed, {} bytes of object", object.to_string().len());

    // And what changes after that is seen too.
    ours.backend(&name(7), "ready").await;
    let changed = |object: &Value| {
        let unavailable = Seen::of(object).backends.iter().filter(|backend| backend.ends_with("=unavailable")).count();
        unavailable == 99
    };
    cluster.until_object(NAME, "shown after a change", changed).await;
    ours.end().await;
}

/// What a backend of a usual size looks like: 190 bytes.
fn usual(i: usize) -> Value {
    let name = format!("backend-{i:05}-of-a-usual-length");
    json!({"name": name, "url": format!("http://{name}.default.svc.cluster.local:8080/mcp"), "status": "ready",
           "authType": "unauthenticated"})
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server"]
async fn top_level_lists_as_many_as_the_server_takes() {
    let cluster = RealCluster::start(vmcp_status::crd()).await;
    cluster.create(NAME).await;
    let mut ours = Ours::start(&cluster, &[]);
    let listed = |object: &Value| object["status"]["discoveredBackends"].as_array().map_or(0, Vec::len);
    let report = |count: usize| -> Value {
        let backends: Vec<Value> = (0..count).map(usual).collect();
        json!({"replaceBackends": {"source": "test", "backends": backends}})
    };
    ours.say(report(5_000)).await;
    let all = |object: &Value| listed(object) == 5_000;
    cluster.until_object(NAME, "listed whole", all).await;
    // More than any server takes: its refusals tell how much it does.
    ours.say(report(20_000)).await;
    let counted = |object: &Value| object["status"]["backendCount"] == 20_000;
    let object = cluster.until_object(NAME, "listed in part", counted).await;
    let refused = ours.logged("status not stored");
    println!("{} of 20,000 listed, {} bytes of object, {refused:#?}", listed(&object), object.to_string().len());
    assert!(listed(&object) >= 5_000, "no fewer than it took before: {}", listed(&object));
    ours.end().await;
}
