//! Servers that become others between checks, and many checks at once.

use super::*;

#[tokio::test]
async fn server_that_learned_only_the_new_way_is_found_within_the_same_check() {
    let server = McpServer::start(Behaviour::ModernOnly).await;
    let mut memory: Lifecycle = Way::Handshake.into();
    let finding = check(&target(&server.url()), &mut memory).await;
    assert_ready(&finding, MODERN);
    assert_eq!(server.log(), ["POST initialize", "POST server/discover"]);
    assert_eq!(memory.way(), discovery());
}

#[tokio::test]
async fn server_that_fell_back_to_the_old_way_is_found_within_the_same_check() {
    let server = McpServer::start(Behaviour::Legacy).await;
    let mut memory: Lifecycle = discovery().into();
    let finding = check(&target(&server.url()), &mut memory).await;
    assert_ready(&finding, LEGACY);
    assert_eq!(memory.way(), Way::Handshake);
}

#[tokio::test]
async fn server_that_learned_the_new_way_beside_the_old_goes_on_being_asked_the_old_way() {
    let server = McpServer::start(Behaviour::LegacyStateless(LEGACY.to_owned())).await;
    let target = target(&server.url());
    let mut memory = Lifecycle::default();
    assert_ready(&check(&target, &mut memory).await, LEGACY);

    server.set(Behaviour::Modern);
    server.clear_log();
    for _ in 0..101 {
        assert_ready(&check(&target, &mut memory).await, LEGACY);
    }
    assert!(!server.log().iter().any(|asked| asked == "POST server/discover"));
    assert_eq!(memory.way(), Way::Handshake);
}

#[tokio::test]
async fn each_check_connects_anew_only_once_it_is_due() {
    let server = McpServer::start(Behaviour::LegacyStrict(Refusal::MethodNotFound)).await;
    let finding = first_check(&target(&server.url())).await;
    assert_ready(&finding, LEGACY);
    assert_eq!((server.requests(), server.connections()), (5, 1));
}

#[tokio::test]
async fn many_checks_at_once_do_not_disturb_each_other() {
    let (good, bad) = (Behaviour::Legacy, Behaviour::Hang);
    let (good, bad) = (McpServer::start(good).await, McpServer::start(bad).await);
    let prober = prober();
    let mut health_checker = tokio::task::JoinSet::new();
    for number in 0..60 {
        let prober = prober.clone();
        let is_good = number % 2 == 0;
        let target = if is_good { target(&good.url()) } else { Target { timeout: SHORT, ..target(&bad.url()) } };
        health_checker.spawn(async move {
            let finding = prober.check(&target, &mut Lifecycle::default()).await;
            (is_good, finding.health)
        });
    }
    while let Some(checked) = guarded(health_checker.join_next()).await {
        let (is_good, health) = checked.expect("no check panics");
        let expected = if is_good { Health::Ready } else { Health::Unavailable };
        assert_eq!(health, expected);
    }
    assert_eq!(good.open_sessions().await, 0);
}

#[tokio::test]
async fn check_of_a_port_that_accepts_nothing_ends() {
    // Bound and listening, but nobody takes the connection.
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("local address");
    let impatient = Target { timeout: SHORT, ..target(&format!("http://{address}/mcp")) };
    let finding = first_check(&impatient).await;
    assert_unavailable(&finding, "Health check timed out");
}
