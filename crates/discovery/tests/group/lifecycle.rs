//! The life of a group: workloads come, change and go.

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn workloads_that_come_change_and_go_are_in_the_status_promptly() {
    let cluster = GroupCluster::start("life").await;
    let (handle, reporter) = cluster.reporter().await;
    let (files, mail) = (McpServer::start(Behaviour::Modern).await, McpServer::start(Behaviour::Legacy).await);
    let began = Instant::now();
    let discovery = discover(client(&cluster.server, "dynamic").await, "tools", &handle, seldom());

    let absent = "group \"tools\" does not exist in namespace \"default\"";
    cluster.stored(began, "no such group", |s| s.phase() == "Pending" && s.message() == absent).await;
    let at = cluster.create("MCPGroup", "tools", json!({}), json!({"phase": "Pending"})).await;
    cluster.promptly(at, "group made", |s| s.message() == "Ready, no backends configured").await;

    let at = cluster.create("MCPServer", "files", json!({"transport": "stdio"}), Value::Null).await;
    cluster.promptly(at, "MCPServer without a URL", |s| s.is("files", "unknown", "No URL yet")).await;
    let at = cluster.set_status("MCPServer", "files", json!({"phase": "Ready", "url": files.url()})).await;
    let status =
        cluster.promptly(at, "its URL, checked", |s| s.0["discoveredBackends"][0]["mcpRevision"] == "2026-07-28").await;
    assert!(status.is("files", "ready", "") && status.phase() == "Ready", "{:#}", status.0);
    assert_eq!(status.backend("files").expect("listed")["url"], files.url());

    let entry = json!({"transport": "streamable-http", "remoteUrl": mail.url()});
    let at = cluster.create("MCPServerEntry", "mail", entry, Value::Null).await;
    cluster.promptly(at, "MCPServerEntry", |s| s.is("mail", "unknown", "Not validated yet")).await;
    assert_eq!(mail.requests(), 0, "nobody has validated its address");
    let at = cluster.set_status("MCPServerEntry", "mail", json!({"phase": "Valid"})).await;
    cluster.promptly(at, "validated and checked", |s| s.is("mail", "ready", "")).await;

    let old = McpServer::start(Behaviour::EventStream("/messages".into())).await;
    let spec = json!({"transport": "sse", "remoteUrl": "https://old.example"});
    let ready = json!({"phase": "Ready", "url": format!("{}#old", old.url())});
    let at = cluster.create("MCPRemoteProxy", "old", spec, ready).await;
    let spoken = |s: &Stored| s.backend("old").is_some_and(|b| b["mcpRevision"] == "2024-11-05");
    let status = cluster.promptly(at, "MCPRemoteProxy of HTTP+SSE", spoken).await;
    assert!(status.is("old", "ready", "") && old.log()[0] == "GET", "{:?}", old.log());

    // Two kinds share a name.
    let at = cluster.create("MCPRemoteProxy", "files", json!({}), json!({"phase": "Ready", "url": mail.url()})).await;
    let both = ["files", "mail", "mcpremoteproxy/files", "old"];
    let status = cluster.promptly(at, "name of another kind", |s| s.is("mcpremoteproxy/files", "ready", "")).await;
    assert_eq!(status.names(), both);
    assert_eq!(status.backend("files").expect("listed")["url"], files.url(), "the first keeps its name");

    // A reference to nothing, then to something.
    let reference = json!({"externalAuthConfigRef": {"name": "sso"}});
    let at = cluster.set_spec("MCPServer", "files", reference).await;
    let said = "MCPExternalAuthConfig \"sso\" does not exist";
    cluster.promptly(at, "reference to nothing", |s| s.is("files", "unavailable", said)).await;
    let at = cluster.create("MCPExternalAuthConfig", "sso", json!({"type": "tokenExchange"}), Value::Null).await;
    let typed =
        |s: &Stored| s.backend("files").is_some_and(|b| b["authType"] == "token_exchange" && b["status"] == "ready");
    let status = cluster.promptly(at, "reference resolved", typed).await;
    assert!(status.is("files", "ready", "") && status.backend("files").expect("listed")["authConfigRef"] == "sso");

    // Nonsense costs itself alone.
    let nonsense = json!({"groupRef": {"name": "tools"}, "transport": [1], "externalAuthConfigRef": "sso"});
    let at = cluster.create("MCPServer", "odd", nonsense, json!({"phase": 7, "url": {"a": 1}})).await;
    let status = cluster.promptly(at, "nonsense", |s| s.is("odd", "unknown", "No URL yet")).await;
    assert_eq!(status.backend("files").expect("listed")["status"], "ready");
    cluster.delete("MCPServer", "odd").await;

    let at = cluster.set_status("MCPServer", "files", json!({"phase": "Failed"})).await;
    cluster.promptly(at, "failed", |s| s.is("files", "unavailable", "Workload is Failed")).await;
    let before = files.requests();
    let at = cluster.set_status("MCPServer", "files", json!({"phase": "Ready"})).await;
    cluster.promptly(at, "ready again, checked", |s| s.is("files", "ready", "")).await;
    assert!(files.requests() > before, "what failed is checked when it is back");

    // What is off on purpose is no failure.
    let at = cluster.set_status("MCPRemoteProxy", "old", json!({"phase": "Stopped"})).await;
    let status = cluster.promptly(at, "stopped", |s| s.names() == ["files", "mail", "mcpremoteproxy/files"]).await;
    assert_eq!((status.phase(), status.message()), ("Ready", "3 of 3 backends routable"));
    let at = cluster.set_status("MCPRemoteProxy", "old", json!({"phase": "Ready"})).await;
    cluster.promptly(at, "started", |s| s.is("old", "ready", "") && s.names() == both).await;

    // The name passes on with its backend.
    let at = cluster.delete("MCPServer", "files").await;
    let passed = |s: &Stored| s.names() == ["files", "mail", "old"];
    let status = cluster.promptly(at, "deleted", passed).await;
    assert_eq!(status.backend("files").expect("listed")["url"], mail.url());
    let at = cluster.create("MCPServer", "files", json!({}), json!({"phase": "Ready", "url": files.url()})).await;
    let status = cluster
        .promptly(at, "made again", |s| s.is("mcpremoteproxy/files", "ready", "") && s.is("files", "ready", ""))
        .await;
    assert_eq!(status.names(), both);
    assert_eq!(status.backend("files").expect("listed")["url"], files.url());

    let at = cluster.set_spec("MCPRemoteProxy", "files", json!({"groupRef": {"name": "others"}})).await;
    cluster.promptly(at, "moved to another group", passed).await;

    let at = cluster.delete("MCPGroup", "tools").await;
    let status = cluster.promptly(at, "group deleted", |s| s.phase() == "Pending" && s.message() == absent).await;
    assert_eq!(status.names().len(), 3, "its workloads are still there");
    let at = cluster.create("MCPGroup", "tools", json!({}), json!({"phase": "Failed"})).await;
    cluster.promptly(at, "group made again", |s| s.phase() == "Ready").await;

    discovery.shutdown().await;
    assert!(reporter.shutdown().await.is_complete());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn names_are_the_same_after_a_restart_whatever_the_lists_bring_first() {
    let cluster = GroupCluster::start("names").await;
    cluster.create("MCPGroup", "tools", json!({}), Value::Null).await;
    for kind in ["MCPServerEntry", "MCPRemoteProxy", "MCPServer"] {
        cluster.create(kind, "same", json!({}), Value::Null).await;
    }
    for _ in 0..3 {
        let store = store::Store::default();
        let (handle, reporter) = Reporter::builder(store.clone()).write_interval(Duration::ZERO).start();
        let discovery = discover(client(&cluster.server, "dynamic").await, "tools", &handle, seldom());
        discovery.first_round().await;
        discovery.shutdown().await;
        assert!(reporter.shutdown().await.is_complete());
        let names = |status: &vmcp_status::Status| status.discovered_backends.iter().map(|b| b.name.clone()).collect();
        let mut all: Vec<String> = names(&store.stored());
        all.sort_unstable();
        assert_eq!(all, ["mcpremoteproxy/same", "mcpserverentry/same", "same"]);
        for (_, status) in &store.state().writes {
            let some: Vec<String> = names(status);
            assert!(some.iter().all(|name| all.contains(name)), "{some:?}");
        }
    }
}
