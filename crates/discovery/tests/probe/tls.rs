//! TLS, with a real server and a certificate of its own.

use super::*;

#[tokio::test]
async fn self_signed_certificate_is_refused_by_default() {
    let server = McpServer::start_tls(Behaviour::Modern).await;
    let target = Target { bearer: Some(Secret::new("t0ken")), ..target(&server.url()) };
    assert_unavailable(&first_check(&target).await, "TLS verification failed");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn certificate_of_an_extra_ca_is_accepted_for_its_own_name_only() {
    let server = McpServer::start_tls(Behaviour::Modern).await;
    let ca = server.certificate().expect("a TLS server").as_bytes();
    let prober = prober_with(ProberOptions { extra_ca: Some(ca.to_vec()), ..ProberOptions::default() });
    let named = target(&server.url());
    let finding = guarded(prober.check(&named, &mut Lifecycle::default())).await;
    assert_ready(&finding, MODERN);

    let unnamed = target(&server.url().replace("localhost", "127.0.0.1"));
    let finding = guarded(prober.check(&unnamed, &mut Lifecycle::default())).await;
    assert_unavailable(&finding, "TLS verification failed");
}

#[tokio::test]
async fn certificate_of_one_target_is_trusted_in_its_checks_alone() {
    let (server, other) =
        (McpServer::start_tls(Behaviour::Modern).await, McpServer::start_tls(Behaviour::Modern).await);
    let trust = |server: &McpServer| CaBundle::from_pem(server.certificate().expect("a TLS server")).ok();
    let prober = prober();
    for (trusted_ca, is_trusted) in
        [(None, false), (trust(&server), true), (trust(&other), false), (trust(&server), true), (None, false)]
    {
        let target = Target { trusted_ca, ..target(&server.url()) };
        let finding = guarded(prober.check(&target, &mut Lifecycle::default())).await;
        if is_trusted {
            assert_ready(&finding, MODERN);
        } else {
            assert_unavailable(&finding, "TLS verification failed");
        }
    }
}

#[tokio::test]
async fn any_certificate_is_accepted_where_the_options_say_so() {
    let server = McpServer::start_tls(Behaviour::Legacy).await;
    let prober = prober_with(ProberOptions { accept_invalid_certs: true, ..ProberOptions::default() });
    let target = target(&server.url());
    let finding = guarded(prober.check(&target, &mut Lifecycle::default())).await;
    assert_ready(&finding, LEGACY);
    assert_eq!(server.open_sessions().await, 0);
}

#[tokio::test]
async fn https_to_a_server_without_tls_is_a_failed_handshake() {
    let server = McpServer::start(Behaviour::Modern).await;
    let url = server.url().replace("http://", "https://");
    assert_unavailable(&first_check(&target(&url)).await, "TLS handshake failed");
}

#[tokio::test]
async fn http_to_a_server_with_tls_is_no_mcp_server_or_no_connection() {
    let server = McpServer::start_tls(Behaviour::Modern).await;
    let url = server.url().replace("https://", "http://");
    let finding = first_check(&target(&url)).await;
    assert_eq!(finding.health, Health::Unavailable);
    assert_eq!(server.requests(), 0);
}

#[test]
fn extra_ca_without_a_certificate_is_refused_at_set_up() {
    let key = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for junk in ["", "junk", key] {
        let options = ProberOptions { extra_ca: Some(junk.as_bytes().to_vec()), ..ProberOptions::default() };
        let refused = Prober::new(options).expect_err("no certificate");
        assert!(matches!(refused, ProbeSetupError::ExtraCa), "{refused:?}");
    }
}

#[test]
fn user_agent_that_cannot_be_sent_is_refused_at_set_up() {
    let options = ProberOptions { user_agent: "two\nlines".to_owned(), ..ProberOptions::default() };
    let refused = Prober::new(options).expect_err("no header");
    assert!(matches!(refused, ProbeSetupError::UserAgent), "{refused:?}");
}
