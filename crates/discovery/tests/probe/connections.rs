//! A check tells of now: it connects anew, and closes what it has opened.

use super::*;

#[tokio::test]
async fn server_that_accepts_no_more_fails_the_next_check_though_old_connections_are_served() {
    let server = McpServer::start(Behaviour::Legacy).await;
    let (prober, target) = (prober(), target(&server.url()));
    let mut memory = Lifecycle::default();
    assert_ready(&guarded(prober.check(&target, &mut memory)).await, LEGACY);
    server.stop_accepting().await;
    assert_unavailable(&guarded(prober.check(&target, &mut memory)).await, "Connection failed");
}

#[tokio::test]
async fn check_uses_one_connection_and_closes_it_whatever_the_server_is_like() {
    for behaviour in [
        Behaviour::Modern,
        Behaviour::ModernEvents,
        Behaviour::ModernOnly,
        Behaviour::Legacy,
        Behaviour::LegacyStrict(Refusal::MethodNotFound),
        Behaviour::Unauthorized,
        Behaviour::ServerError,
    ] {
        let server = McpServer::start(behaviour.clone()).await;
        let (prober, target) = (prober(), target(&server.url()));
        let mut memory = Lifecycle::default();
        for checks in 1..=3 {
            guarded(prober.check(&target, &mut memory)).await;
            guarded(server.wait_for_no_connection()).await;
            assert_eq!(server.connections(), checks, "{behaviour:?}");
        }
    }
}

#[tokio::test]
async fn check_of_an_event_stream_uses_a_second_connection_and_closes_both() {
    let server = McpServer::start(Behaviour::EventStream("/messages".to_owned())).await;
    let prober = prober();
    let mut memory: Lifecycle = Way::EventStream.into();
    let finding = guarded(prober.check(&target(&server.url()), &mut memory)).await;
    assert_ready(&finding, "2024-11-05");
    guarded(server.wait_for_no_connection()).await;
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn each_check_verifies_the_certificate_anew() {
    let server = McpServer::start_tls(Behaviour::Modern).await;
    let ca = server.certificate().expect("a TLS server").as_bytes();
    let prober = prober_with(ProberOptions { extra_ca: Some(ca.to_vec()), ..ProberOptions::default() });
    let mut memory = Lifecycle::default();
    for _ in 0..3 {
        assert_ready(&guarded(prober.check(&target(&server.url()), &mut memory)).await, MODERN);
    }
    assert_eq!((server.connections(), server.resumed_connections()), (3, 0));
}
