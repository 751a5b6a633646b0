//! Good servers, what they cost, and how fast they are.

use super::*;

#[tokio::test]
async fn probe_of_modern_server_is_ready_in_one_request_once_it_is_known() {
    for behaviour in [Behaviour::Modern, Behaviour::ModernEvents, Behaviour::ModernOnly] {
        let server = McpServer::start(behaviour).await;
        let mut memory = Lifecycle::default();
        let target = target(&server.url());
        assert_ready(&check(&target, &mut memory).await, MODERN);
        assert_eq!(server.log()[0], "POST initialize");
        assert_eq!(memory.way(), discovery());
        assert_eq!(server.open_sessions().await, 0);

        server.clear_log();
        assert_ready(&check(&target, &mut memory).await, MODERN);
        assert_eq!(server.log(), ["POST server/discover"]);
    }
}

#[tokio::test]
async fn first_probe_of_legacy_server_asks_once_more_than_the_next() {
    let server = McpServer::start(Behaviour::Legacy).await;
    let target = target(&server.url());
    let mut memory = Lifecycle::default();

    assert_ready(&check(&target, &mut memory).await, LEGACY);
    assert_eq!(server.log()[..3], HANDSHAKE[..3]);
    assert_eq!(server.log()[3..], ["POST server/discover", "DELETE"]);

    server.clear_log();
    assert_ready(&check(&target, &mut memory).await, LEGACY);
    assert_eq!(server.log(), HANDSHAKE);
}

#[tokio::test]
async fn requests_of_one_check_are_as_documented() {
    let stateless = Behaviour::LegacyStateless("2025-03-26".to_owned());
    let kinds = [
        ("modern", Behaviour::Modern, 4, 1),
        ("legacy with sessions", Behaviour::Legacy, 5, 4),
        ("legacy without sessions", stateless, 3, 3),
    ];
    for (kind, behaviour, first, later) in kinds {
        let server = McpServer::start(behaviour).await;
        let target = target(&server.url());
        let mut memory = Lifecycle::default();
        let mut costs = [0; 2];
        for cost in &mut costs {
            server.clear_log();
            check(&target, &mut memory).await;
            *cost = server.requests();
        }
        println!("{kind}: {} at first, then {}", costs[0], costs[1]);
        assert_eq!(costs, [first, later], "{kind}");
    }
}

#[tokio::test]
async fn every_way_to_refuse_discovery_leaves_the_handshake_valid_at_once() {
    for refusal in [
        Refusal::BadRequest,
        Refusal::NotFound,
        Refusal::MethodNotFound,
        Refusal::MissingSession,
        Refusal::Crash,
        Refusal::Accepted,
    ] {
        let server = McpServer::start(Behaviour::LegacyStrict(refusal)).await;
        // Silence would be waited for longer than the guard allows.
        let patient = Target { timeout: GUARD * 100, ..target(&server.url()) };
        let finding = first_check(&patient).await;
        assert_ready(&finding, LEGACY);
        assert_eq!(server.log()[..3], HANDSHAKE[..3], "{refusal:?}");
        assert_eq!(server.log()[3..], ["POST server/discover", "DELETE"], "{refusal:?}");
    }
}

#[tokio::test]
async fn legacy_server_silent_at_discovery_is_ready_after_a_part_of_the_timeout() {
    let server = McpServer::start(Behaviour::LegacyStrict(Refusal::Silence)).await;
    let impatient = Target { timeout: Duration::from_secs(2), ..target(&server.url()) };
    let silence = impatient.timeout / 4;
    let mut memory = Lifecycle::default();

    let started = Instant::now();
    let finding = check(&impatient, &mut memory).await;
    assert_ready(&finding, LEGACY);
    // What it took to learn is no fault of the server.
    assert!(finding.elapsed + silence <= started.elapsed());

    server.clear_log();
    assert_ready(&check(&impatient, &mut memory).await, LEGACY);
    assert_eq!(server.log(), HANDSHAKE);
}

#[tokio::test]
async fn modern_server_slower_than_the_silence_allowed_is_still_ready() {
    let server = McpServer::start(Behaviour::Held).await;
    let target = Target { timeout: Duration::from_secs(8), ..target(&server.url()) };
    let mut memory = Lifecycle::default();
    let let_go = async {
        for asked in &HANDSHAKE[..3] {
            server.wait_for(asked).await;
            server.release();
        }
        server.wait_for("POST server/discover").await;
    };
    let (finding, ()) = guarded(async { tokio::join!(check(&target, &mut memory), let_go) }).await;
    assert_ready(&finding, LEGACY);
    assert_eq!(memory.way(), Way::Handshake);
}

#[tokio::test]
async fn revision_is_the_one_the_server_names() {
    let server = McpServer::start(Behaviour::LegacyStateless("2025-03-26".to_owned())).await;
    assert_ready(&first_check(&target(&server.url())).await, "2025-03-26");
}

#[tokio::test]
async fn revision_that_is_no_date_is_not_reported() {
    for odd in ["secret-text", "2025-11-2x", "2025-11-255", ""] {
        let server = McpServer::start(Behaviour::LegacyStateless(odd.to_owned())).await;
        let finding = first_check(&target(&server.url())).await;
        assert_eq!((finding.health, finding.revision), (Health::Ready, None));
    }
}

#[tokio::test]
async fn answer_above_the_limit_is_degraded_with_a_steady_message() {
    for behaviour in [Behaviour::Slow(Duration::from_millis(5)), Behaviour::Legacy] {
        let server = McpServer::start(behaviour).await;
        let strict = Target { degraded_above: Duration::ZERO, ..target(&server.url()) };
        let findings = [first_check(&strict).await, first_check(&strict).await];
        for finding in findings {
            assert_eq!(finding.health, Health::Degraded);
            assert_eq!(finding.message, "Slow response (over 0 ms)");
            assert!(finding.revision.is_some());
        }
    }
}

#[tokio::test]
async fn move_within_the_server_is_followed_with_credentials() {
    let server = McpServer::start(Behaviour::Moved).await;
    let target = Target { bearer: Some(Secret::new("t0ken")), ..target(&server.url()) };
    assert_ready(&first_check(&target).await, MODERN);
    assert_eq!(server.requests(), 8);
    assert_eq!(server.last_authorization().as_deref(), Some("Bearer t0ken"));
}
