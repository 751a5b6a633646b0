//! In which order an unknown server is asked, and what is never asked again.

use super::*;

const DISCOVER: &str = "POST server/discover";

fn times(server: &McpServer, what: &str) -> usize {
    server.log().iter().filter(|asked| *asked == what).count()
}

#[tokio::test]
async fn server_that_agrees_on_an_older_revision_is_never_asked_for_discovery() {
    let server = McpServer::start(Behaviour::LegacyFragile("2025-03-26".to_owned())).await;
    let mut memory = Lifecycle::default();
    for _ in 0..10 {
        assert_ready(&check(&target(&server.url()), &mut memory).await, "2025-03-26");
        // A reporter that has just started knows nothing.
        assert_ready(&first_check(&target(&server.url())).await, "2025-03-26");
    }
    assert_eq!(times(&server, DISCOVER), 0);
}

#[tokio::test]
async fn server_that_may_speak_both_is_asked_for_discovery_once() {
    let server = McpServer::start(Behaviour::LegacyStateless(LEGACY.to_owned())).await;
    let target = target(&server.url());
    let mut memory = Lifecycle::default();
    for _ in 0..10 {
        assert_ready(&check(&target, &mut memory).await, LEGACY);
    }
    // Nor after an outage.
    server.set(Behaviour::Status(404));
    check(&target, &mut memory).await;
    server.set(Behaviour::LegacyStateless(LEGACY.to_owned()));
    assert_ready(&check(&target, &mut memory).await, LEGACY);
    assert_eq!(times(&server, DISCOVER), 1);
}

#[tokio::test]
async fn server_that_fails_at_the_handshake_is_asked_nothing_else() {
    for behaviour in [Behaviour::ServerError, Behaviour::InternalError, Behaviour::Status(503)] {
        let server = McpServer::start(behaviour).await;
        first_check(&target(&server.url())).await;
        assert_eq!(server.log(), ["POST initialize"]);
    }
}

#[tokio::test]
async fn fixed_revision_is_the_only_one_asked_for() {
    let server = McpServer::start(Behaviour::Modern).await;
    let in_revision = |name| Target { revision: Some(revision(name)), ..target(&server.url()) };
    let mut memory = Lifecycle::default();
    assert_ready(&check(&in_revision(MODERN), &mut memory).await, MODERN);
    assert_eq!(server.log(), [DISCOVER]);
    server.clear_log();
    assert_ready(&check(&in_revision("2025-06-18"), &mut memory).await, "2025-06-18");
    assert_eq!(times(&server, DISCOVER), 0);
    assert_eq!(memory.way(), Way::Unknown);
}

#[tokio::test]
async fn server_that_answered_a_delete_with_a_server_error_is_not_sent_another() {
    let server = McpServer::start(Behaviour::LegacyDeleteFails).await;
    let target = target(&server.url());
    let mut memory = Lifecycle::default();
    for _ in 0..5 {
        assert_ready(&check(&target, &mut memory).await, LEGACY);
        assert!(memory.leaves_sessions());
    }
    server.set(Behaviour::Status(404));
    check(&target, &mut memory).await;
    server.set(Behaviour::LegacyDeleteFails);
    assert_ready(&check(&target, &mut memory).await, LEGACY);
    assert_eq!(times(&server, "DELETE"), 1);
}

#[tokio::test]
async fn server_that_breaks_after_its_first_delete_is_not_sent_another() {
    let well = || Behaviour::LegacyStrict(Refusal::MethodNotFound);
    let server = McpServer::start(well()).await;
    let target = target(&server.url());
    let mut memory = Lifecycle::default();
    assert_ready(&check(&target, &mut memory).await, LEGACY);
    // It is dead until it is started anew.
    for behaviour in [Behaviour::ServerError, well()] {
        server.set(behaviour);
        check(&target, &mut memory).await;
    }
    assert!(memory.leaves_sessions());
    assert_ready(&check(&target, &mut memory).await, LEGACY);
    assert_eq!(times(&server, "DELETE"), 1);
}

#[tokio::test]
async fn server_that_breaks_after_a_later_delete_has_its_sessions_ended() {
    let well = || Behaviour::LegacyStrict(Refusal::MethodNotFound);
    let server = McpServer::start(well()).await;
    let target = target(&server.url());
    let mut memory = Lifecycle::default();
    for behaviour in [well(), well(), Behaviour::ServerError, well()] {
        server.set(behaviour);
        check(&target, &mut memory).await;
    }
    assert!(!memory.leaves_sessions());
    assert_eq!(times(&server, "DELETE"), 3);
}

#[tokio::test]
async fn server_of_newer_revisions_alone_is_unavailable_and_its_revision_named() {
    for behaviour in [Behaviour::FutureOnly, Behaviour::LegacyStateless("2099-01-01".to_owned())] {
        let server = McpServer::start(behaviour).await;
        let finding = first_check(&target(&server.url())).await;
        assert_unavailable(&finding, "Speaks only newer MCP revisions (from 2099-01-01)");
    }
}

#[tokio::test]
async fn newer_revision_that_is_accepted_is_ready() {
    let accept_revisions = vec![revision("2099-01-01")];
    let prober = prober_with(ProberOptions { accept_revisions, ..ProberOptions::default() });
    for behaviour in [Behaviour::FutureDiscovery, Behaviour::LegacyStateless("2099-01-01".to_owned())] {
        let server = McpServer::start(behaviour).await;
        let mut memory = Lifecycle::default();
        for _ in 0..2 {
            let finding = guarded(prober.check(&target(&server.url()), &mut memory)).await;
            assert_ready(&finding, "2099-01-01");
        }
    }
}
