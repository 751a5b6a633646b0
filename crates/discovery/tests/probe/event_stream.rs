//! Servers of revision 2024-11-05: answers come on a stream of their own.

use super::*;

#[tokio::test]
async fn server_of_the_event_stream_is_ready_and_remembered() {
    let server = McpServer::start(Behaviour::EventStream("/messages?session_id=1".to_owned())).await;
    let target = Target { bearer: Some(Secret::new("t0ken")), ..target(&server.url()) };
    let mut memory = Lifecycle::default();
    assert_ready(&check(&target, &mut memory).await, "2024-11-05");
    assert_eq!(memory.way(), Way::EventStream);
    assert_eq!(server.log()[..2], ["POST initialize", "GET"]);

    server.clear_log();
    assert_ready(&check(&target, &mut memory).await, "2024-11-05");
    assert_eq!(server.log(), ["GET", "POST initialize", "POST notifications/initialized", "POST ping"]);
    assert_eq!(server.targets()[1..], ["/messages?session_id=1"; 3]);
    assert!(server.authorizations().iter().all(|sent| sent.as_deref() == Some("Bearer t0ken")));
}

#[tokio::test]
async fn fixed_revision_of_the_event_stream_begins_with_the_stream() {
    let server = McpServer::start(Behaviour::EventStream("/messages".to_owned())).await;
    let fixed = Target { revision: Some(revision("2024-11-05")), ..target(&server.url()) };
    assert_ready(&first_check(&fixed).await, "2024-11-05");
    assert_eq!(server.log()[0], "GET");
}

#[tokio::test]
async fn known_transport_is_asked_in_alone() {
    let server = McpServer::start(Behaviour::EventStream("/messages".to_owned())).await;
    let in_transport = |transport| Target { transport: Some(transport), ..target(&server.url()) };
    assert_ready(&first_check(&in_transport(Transport::EventStream)).await, "2024-11-05");
    assert_eq!(server.log(), ["GET", "POST initialize", "POST notifications/initialized", "POST ping"]);
    server.clear_log();
    assert_unavailable(&first_check(&in_transport(Transport::StreamableHttp)).await, "Not an MCP server");
    assert_eq!(server.log(), ["POST initialize"], "its gateway does not look for a stream either");

    server.clear_log();
    server.set(Behaviour::Legacy);
    let finding = first_check(&in_transport(Transport::EventStream)).await;
    assert_eq!(finding.health, Health::Unavailable);
    assert_eq!(server.log(), ["GET"]);
    assert_ready(&first_check(&in_transport(Transport::StreamableHttp)).await, LEGACY);
}

#[tokio::test]
async fn event_stream_that_names_another_origin_gets_no_credentials_there() {
    let other = McpServer::start(Behaviour::Modern).await;
    let server = McpServer::start(Behaviour::EventStream(other.url())).await;
    let target = Target { bearer: Some(Secret::new("t0ken")), ..target(&server.url()) };
    assert_unavailable(&first_check(&target).await, "Redirected elsewhere");
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn server_whose_messages_cannot_be_sent_is_never_shown_as_ready() {
    use vmcp_status::{BackendStatus, NoOpSink, Reporter};
    use vmcp_status_discovery::{CheckedBackend, HealthChecker};

    let other = McpServer::start(Behaviour::Modern).await;
    for (behaviour, expected) in [
        (Behaviour::SilentEvents, "Health check timed out"),
        (Behaviour::EventStream(other.url()), "Redirected elsewhere"),
        (Behaviour::EventStream("http://".to_owned()), "Redirected elsewhere"),
        (Behaviour::EventStream("/elsewhere".to_owned()), "Not an MCP server"),
    ] {
        let server = McpServer::start(behaviour).await;
        let (handle, _reporter) = Reporter::builder(NoOpSink::silent()).write_interval(Duration::ZERO).start();
        let mut progress = handle.watch();
        let mut health_checker = HealthChecker::new(prober(), handle.source("config"), 1);
        let backend = CheckedBackend {
            interval: SHORT,
            timeout: SHORT,
            revision: Some(revision("2024-11-05")),
            ..CheckedBackend::new("a", server.url().parse().expect("a URL"))
        };
        health_checker.set([backend]).await;
        let mut shown = Vec::new();
        let judged = async {
            while shown.last() != Some(&(BackendStatus::Unavailable, expected.to_owned())) {
                progress.changed().await.expect("the reporter lives");
                let current = progress.borrow_and_update().current.clone();
                let found = current.as_ref().and_then(|status| status.backend("a"));
                shown.extend(found.map(|found| (found.status, found.message.clone())));
                shown.dedup();
            }
        };
        guarded(judged).await;
        let (first, last) =
            ((BackendStatus::Unknown, String::new()), (BackendStatus::Unavailable, expected.to_owned()));
        assert_eq!(shown, [first, last]);
    }
    assert_eq!(other.requests(), 0);
}
