//! Sessions are ended, whatever happens.

use super::*;

#[tokio::test]
async fn session_is_ended_after_the_probe() {
    for behaviour in [Behaviour::Legacy, Behaviour::LegacyStrict(Refusal::MethodNotFound)] {
        let server = McpServer::start(behaviour).await;
        let finding = first_check(&target(&server.url())).await;
        assert_ready(&finding, LEGACY);
        assert_eq!(server.log().last().map(String::as_str), Some("DELETE"));
        assert_eq!(server.open_sessions().await, 0);
    }
}

#[tokio::test]
async fn session_is_ended_when_the_probe_times_out() {
    let server = McpServer::start(Behaviour::LegacyStuck).await;
    let impatient = Target { timeout: Duration::from_secs(1), ..target(&server.url()) };
    let mut memory: Lifecycle = Way::Handshake.into();
    let finding = check(&impatient, &mut memory).await;
    assert_unavailable(&finding, "Health check timed out");
    guarded(server.wait_for("POST initialize")).await;
    guarded(server.wait_for_no_session()).await;
    guarded(server.wait_for("DELETE")).await;
}

#[tokio::test]
async fn session_that_comes_after_the_probe_was_dropped_is_ended() {
    let server = McpServer::start(Behaviour::LegacyHeld).await;
    let (prober, target) = (prober(), target(&server.url()));
    let mut memory: Lifecycle = Way::Handshake.into();
    guarded(async {
        tokio::select! {
            finding = prober.check(&target, &mut memory) => panic!("not held: {finding:?}"),
            () = server.wait_for("POST initialize") => {}
        }
    })
    .await;
    assert_eq!(memory.way(), Way::Handshake);
    server.release();
    guarded(server.wait_for("DELETE")).await;
    guarded(server.wait_for_no_session()).await;
}

#[tokio::test]
async fn server_that_forgets_its_sessions_is_unavailable() {
    let server = McpServer::start(Behaviour::LegacyForgetful).await;
    let finding = first_check(&target(&server.url())).await;
    assert_unavailable(&finding, "MCP session not kept");
}
