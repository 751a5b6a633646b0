//! Lists that cannot be had, watches that break, kinds that are missing.

use vmcp_status::{ConditionStatus, Phase, Status};

use super::tunnel::Tunnel;
use super::*;

fn has_failed(status: &Status) -> bool {
    status.conditions.iter().any(|condition| {
        condition.type_ == "BackendsDiscovered"
            && condition.status == ConditionStatus::False
            && condition.reason == "BackendDiscoveryFailed"
    })
}

fn names(status: &Status) -> Vec<&str> {
    let mut names: Vec<_> = status.discovered_backends.iter().map(|backend| backend.name.as_str()).collect();
    names.sort_unstable();
    names
}

/// A reporter to a store that outlives the API server, and the discovery.
async fn watched(client: Client, options: GroupOptions) -> (store::Store, StatusHandle, Reporter, GroupDiscovery) {
    let store = store::Store::default();
    let (handle, reporter) = Reporter::builder(store.clone()).write_interval(Duration::ZERO).start();
    let discovery = discover(client, "tools", &handle, options);
    discovery.first_round().await;
    (store, handle, reporter, discovery)
}

async fn until(store: &store::Store, wanted: impl Fn(&Status) -> bool) {
    let look = async {
        while !store.state().stored.as_ref().is_some_and(&wanted) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let came = tokio::time::timeout(LIMIT, look).await.is_ok();
    assert!(came, "it does not come about: {:#?}", store.state().stored);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn server_that_is_killed_is_said_its_last_backends_stay_and_it_resumes() {
    let mut cluster = GroupCluster::start("killed").await;
    let files = McpServer::start(Behaviour::Modern).await;
    cluster.create("MCPGroup", "tools", json!({}), Value::Null).await;
    cluster.create("MCPServer", "files", json!({}), json!({"phase": "Ready", "url": files.url()})).await;
    let (store, _handle, _reporter, _discovery) = watched(client(&cluster.server, "dynamic").await, seldom()).await;
    until(&store, |s| s.phase == Phase::Ready && names(s) == ["files"]).await;
    let from = store.state().writes.len();

    cluster.server.kill_server().await;
    let killed = Instant::now();
    let said = |status: &Status, words: &str| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == "BackendsDiscovered");
        condition.map_or(0, |condition| condition.message.matches(words).count())
    };
    until(&store, |s| has_failed(s) && said(s, "cannot be listed: no answer from the API server") == 3).await;
    println!("said after {:?}", killed.elapsed());
    cluster.server.restart_server().await;
    cluster.create("MCPServer", "more", json!({}), Value::Null).await;
    until(&store, |s| names(s) == ["files", "more"] && !has_failed(s)).await;
    for (_, status) in &store.state().writes[from..] {
        assert!(names(status).contains(&"files"), "it was gone for a moment: {status:?}");
        let files = status.backend("files").expect("there");
        assert_eq!(files.status, vmcp_status::BackendStatus::Ready, "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn watch_that_breaks_resumes_without_a_flap() {
    let cluster = GroupCluster::start("breaks").await;
    cluster.create("MCPGroup", "tools", json!({}), Value::Null).await;
    cluster.create("MCPServer", "a", json!({}), Value::Null).await;
    let tunnel = Tunnel::start(&cluster.server.kubeconfig("dynamic")).await;
    let (store, handle, _reporter, _discovery) = watched(tunnel.client().await, seldom()).await;
    until(&store, |s| names(s) == ["a"]).await;
    handle.flush().await.expect("stored");
    let from = store.state().writes.len();
    for round in 0..3 {
        assert!(tunnel.cut() >= 1, "connections were cut");
        // Nobody hears of it at the time.
        let name = format!("b{round}");
        let at = cluster.create("MCPServer", &name, json!({}), Value::Null).await;
        until(&store, |s| s.backend(&name).is_some()).await;
        println!("seen {:?} after the watch was cut", at.elapsed());
    }
    let state = store.state();
    let said: Vec<_> = state.writes[from..].iter().map(|(_, s)| (s.phase, &s.message, names(s))).collect();
    assert_eq!(said.len(), 3, "one write for each that came, and none for the cuts: {said:#?}");
    assert!(state.writes[from..].iter().all(|(_, s)| names(s).contains(&"a") && !has_failed(s)));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn kind_that_is_missing_or_forbidden_is_left_out_until_it_is_there() {
    let cluster = GroupCluster::start("missing").await;
    // A group of its own, of which the cluster knows one kind only.
    let group = "old.stacklok.test";
    crds::apply(&cluster.admin, group, &["MCPServer"]).await;
    let api: Api<DynamicObject> =
        Api::namespaced_with(cluster.admin.clone(), NAMESPACE, &crds::resource(group, "MCPServer"));
    let create = async |kind: &str| {
        let api: Api<DynamicObject> =
            Api::namespaced_with(cluster.admin.clone(), NAMESPACE, &crds::resource(group, kind));
        let object = json!({
            "apiVersion": format!("{group}/v1beta1"), "kind": kind, "metadata": {"name": kind.to_lowercase()},
            "spec": {"groupRef": {"name": "tools"}},
        });
        let object = serde_json::from_value(object).expect("an object");
        let _ = api.delete(&kind.to_lowercase(), &DeleteParams::default()).await;
        api.create(&PostParams::default(), &object).await.expect("created");
    };
    create("MCPServer").await;
    let rules =
        |resources: &[&str]| json!([{"verbs": ["get", "list", "watch"], "apiGroups": [group], "resources": resources}]);
    cluster.server.grant("nobody", rules(&["mcpservers", "mcpserverentries"])).await;
    let options = GroupOptions { api_group: group.into(), ..seldom() };
    let (store, _handle, _reporter, _discovery) = watched(client(&cluster.server, "nobody").await, options).await;
    until(&store, |s| names(s) == ["mcpserver"]).await;
    assert!(!has_failed(&store.stored()), "the others go on: {:?}", store.stored());

    crds::apply(&cluster.admin, group, &["MCPServerEntry", "MCPRemoteProxy"]).await;
    create("MCPServerEntry").await;
    create("MCPRemoteProxy").await;
    until(&store, |s| names(s) == ["mcpserver", "mcpserverentry"]).await;
    cluster.server.grant("nobody", rules(&["mcpservers", "mcpserverentries", "mcpremoteproxies"])).await;
    until(&store, |s| names(s) == ["mcpremoteproxy", "mcpserver", "mcpserverentry"]).await;
    assert!(!store.state().writes.iter().any(|(_, status)| has_failed(status)));
    let _ = api.delete("mcpserver", &DeleteParams::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn without_any_right_nothing_is_discovered_and_that_is_said() {
    let cluster = GroupCluster::start("rightless").await;
    let (store, _handle, _reporter, discovery) = watched(client(&cluster.server, "nobody").await, seldom()).await;
    until(&store, has_failed).await;
    let status = store.stored();
    assert_eq!((status.phase, names(&status)), (Phase::Pending, vec![]));
    assert_eq!(status.message.matches("cannot be listed: forbidden").count(), 3, "{}", status.message);
    discovery.shutdown().await;
}
