//! Bad servers, each with its fixed message.

use super::*;

#[tokio::test]
async fn bad_server_is_unavailable_with_its_fixed_message() {
    let kinds = [
        (Behaviour::Html, "Not an MCP server"),
        (Behaviour::Junk, "Not an MCP server"),
        (Behaviour::NotHttp, "Not an MCP server"),
        (Behaviour::EndlessHead, "Not an MCP server"),
        // What a server of the HTTP+SSE transport says to a POST.
        (Behaviour::Status(405), "Not an MCP server"),
        (Behaviour::Status(200), "Not an MCP server"),
        (Behaviour::Endless, "Response too large"),
        (Behaviour::EndlessEvents, "Response too large"),
        (Behaviour::ServerError, "Server error"),
        (Behaviour::InternalError, "Server error"),
        (Behaviour::Status(503), "Server error"),
        (Behaviour::Status(404), "Endpoint not found"),
        (Behaviour::Status(302), "Redirected elsewhere"),
        (Behaviour::FutureOnly, "Speaks only newer MCP revisions (from 2099-01-01)"),
    ];
    let prober = prober_with(ProberOptions { max_response_bytes: 100_000, ..ProberOptions::default() });
    for (behaviour, message) in kinds {
        let server = McpServer::start(behaviour.clone()).await;
        let target = target(&server.url());
        for known in [Way::Unknown, discovery(), Way::Handshake, Way::EventStream] {
            let mut memory: Lifecycle = known.into();
            let finding = guarded(prober.check(&target, &mut memory)).await;
            assert_eq!(finding.message, message, "{behaviour:?} {known:?}");
            assert_unavailable(&finding, message);
        }
    }
}

#[tokio::test]
async fn server_that_never_answers_times_out_whatever_is_known_of_it() {
    for behaviour in [Behaviour::Hang, Behaviour::SilentEvents] {
        let server = McpServer::start(behaviour).await;
        let impatient = Target { timeout: SHORT, ..target(&server.url()) };
        for known in [Way::Unknown, discovery(), Way::Handshake, Way::EventStream] {
            let mut memory: Lifecycle = known.into();
            let finding = check(&impatient, &mut memory).await;
            assert_unavailable(&finding, "Health check timed out");
            assert!(finding.elapsed >= SHORT);
            // It may have become a server of the other kind.
            assert_eq!(memory.way(), Way::Unknown);
        }
    }
}

#[tokio::test]
async fn no_time_at_all_is_a_time_out() {
    let server = McpServer::start(Behaviour::Modern).await;
    let target = Target { timeout: Duration::ZERO, ..target(&server.url()) };
    assert_unavailable(&first_check(&target).await, "Health check timed out");
}

#[tokio::test]
async fn endless_time_is_no_problem() {
    let server = McpServer::start(Behaviour::Legacy).await;
    let target = Target { timeout: Duration::MAX, degraded_above: Duration::MAX, ..target(&server.url()) };
    assert_ready(&first_check(&target).await, LEGACY);
}

#[tokio::test]
async fn response_over_the_limit_is_not_read() {
    let server = McpServer::start(Behaviour::Modern).await;
    let prober = prober_with(ProberOptions { max_response_bytes: 64, ..ProberOptions::default() });
    let target = target(&server.url());
    let finding = guarded(prober.check(&target, &mut Lifecycle::default())).await;
    assert_unavailable(&finding, "Response too large");
}

#[tokio::test]
async fn closed_port_is_a_failed_connection_and_a_restart_is_found_in_one_request() {
    let mut server = McpServer::start(Behaviour::Modern).await;
    let target = target(&server.url());
    let mut memory = Lifecycle::default();
    assert_ready(&check(&target, &mut memory).await, MODERN);

    server.stop().await;
    let finding = check(&target, &mut memory).await;
    assert_unavailable(&finding, "Connection failed");
    assert_eq!(memory.way(), discovery());

    server.restart().await;
    server.clear_log();
    assert_ready(&check(&target, &mut memory).await, MODERN);
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn unknown_name_is_a_failed_resolution() {
    // A label this long is refused without asking anyone.
    let url = format!("http://{}.invalid/mcp", "a".repeat(64));
    assert_unavailable(&first_check(&target(&url)).await, "Name resolution failed");
}

#[tokio::test]
async fn address_that_is_not_http_is_unavailable() {
    for url in ["ftp://localhost/mcp", "file:///mcp", "mailto:me@localhost"] {
        assert_unavailable(&first_check(&target(url)).await, "Not an HTTP address");
    }
}
