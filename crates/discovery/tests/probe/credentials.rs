//! Credentials: who gets them, and what a refusal means.

use super::*;

#[tokio::test]
async fn right_bearer_is_ready() {
    let server = McpServer::start(Behaviour::WantsBearer("t0ken".to_owned())).await;
    let target = Target {
        // As read from a file.
        bearer: Some(Secret::new("t0ken\n")),
        ..target(&server.url())
    };
    assert_ready(&first_check(&target).await, MODERN);
    assert_eq!(server.last_authorization().as_deref(), Some("Bearer t0ken"));
}

#[tokio::test]
async fn refusal_without_credentials_is_unauthenticated() {
    for behaviour in
        [Behaviour::WantsBearer("t0ken".to_owned()), Behaviour::Unauthorized, Behaviour::ForbiddenWithChallenge]
    {
        let server = McpServer::start(behaviour).await;
        let finding = first_check(&target(&server.url())).await;
        let found = (finding.health, &*finding.message);
        assert_eq!(found, (Health::Unauthenticated, "Authentication required"));
        assert_eq!(server.requests(), 1);
    }
}

#[tokio::test]
async fn refusal_of_configured_credentials_is_unavailable() {
    for behaviour in
        [Behaviour::WantsBearer("t0ken".to_owned()), Behaviour::Unauthorized, Behaviour::ForbiddenWithChallenge]
    {
        let server = McpServer::start(behaviour).await;
        let target = Target { bearer: Some(Secret::new("other")), ..target(&server.url()) };
        assert_unavailable(&first_check(&target).await, "Authentication failed");
    }
}

#[tokio::test]
async fn refusal_without_a_challenge_is_of_something_in_between() {
    for bearer in [None, Some(Secret::new("t0ken"))] {
        let server = McpServer::start(Behaviour::Forbidden).await;
        let target = Target { bearer, ..target(&server.url()) };
        assert_unavailable(&first_check(&target).await, "Access denied");
    }
}

#[tokio::test]
async fn rate_limit_says_nothing_of_health_and_keeps_its_pause() {
    for (retry_after, expected) in [("120", Some(Duration::from_secs(120))), ("soon", None)] {
        let server = McpServer::start(Behaviour::RateLimited(retry_after)).await;
        let finding = first_check(&target(&server.url())).await;
        let found = (finding.health, &*finding.message, finding.retry_after);
        assert_eq!(found, (Health::RateLimited, "Rate limited", expected));
    }
}

#[tokio::test]
async fn password_in_the_url_counts_as_credentials_and_yields_to_a_token() {
    let server = McpServer::start(Behaviour::Unauthorized).await;
    let url = server.url().replace("://", "://user:pass@");
    let mut target = target(&url);
    assert_unavailable(&first_check(&target).await, "Authentication failed");
    let basic = server.last_authorization().expect("credentials were sent");
    assert!(basic.starts_with("Basic "), "{basic}");

    target.bearer = Some(Secret::new("t0ken"));
    assert_unavailable(&first_check(&target).await, "Authentication failed");
    assert_eq!(server.last_authorization().as_deref(), Some("Bearer t0ken"));
}

#[tokio::test]
async fn redirect_to_another_server_is_not_followed() {
    let other = McpServer::start(Behaviour::Modern).await;
    let server = McpServer::start(Behaviour::Redirect(other.url())).await;
    let target = Target { bearer: Some(Secret::new("t0ken")), ..target(&server.url()) };
    assert_unavailable(&first_check(&target).await, "Redirected elsewhere");
    assert_eq!(server.last_authorization().as_deref(), Some("Bearer t0ken"));
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn redirect_in_a_circle_ends() {
    let server = McpServer::start(Behaviour::Redirect("/mcp".to_owned())).await;
    let finding = first_check(&target(&server.url())).await;
    assert_unavailable(&finding, "Redirected elsewhere");
    assert!(server.requests() < 10);
}

#[tokio::test]
async fn token_that_cannot_be_sent_is_unavailable_and_not_sent() {
    let server = McpServer::start(Behaviour::Modern).await;
    let target = Target { bearer: Some(Secret::new("two\r\nlines: 1")), ..target(&server.url()) };
    assert_unavailable(&first_check(&target).await, "Credentials cannot be sent");
    assert_eq!(server.connections(), 0);
}

#[test]
fn debug_output_shows_no_secret() {
    let target =
        Target { bearer: Some(Secret::new("t0ken")), ..target("https://user:passw0rd@example.com/mcp?key=k3y") };
    let shown = format!("{target:?} {:?}", Secret::new("t0ken"));
    for secret in ["t0ken", "passw0rd", "k3y"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn forwarded_headers_are_in_each_request_beside_those_of_mcp() {
    let server = McpServer::start(Behaviour::Legacy).await;
    let mut headers = ForwardedHeaders::default();
    headers.insert("X-Tenant", "blue").expect("it can be sent");
    headers.insert("User-Agent", "gateway/1").expect("it can be sent");
    let target = Target { headers, ..target(&server.url()) };
    assert_ready(&first_check(&target).await, LEGACY);
    assert!(server.log().ends_with(&["DELETE".to_owned()]), "{:?}", server.log());
    for (name, value) in [("x-tenant", "blue"), ("user-agent", "gateway/1")] {
        assert!(server.headers(name).iter().all(|sent| sent.as_deref() == Some(value)), "{name}");
    }
    assert!(server.headers("content-type").iter().flatten().all(|sent| sent == "application/json"));
}

#[tokio::test]
async fn forwarded_authorization_is_a_credential_and_a_bearer_wins_over_it() {
    let server = McpServer::start(Behaviour::WantsBearer("t0ken".to_owned())).await;
    let forwarding = |authorization: &str| {
        let mut headers = ForwardedHeaders::default();
        headers.insert("authorization", authorization).expect("it can be sent");
        Target { headers, ..target(&server.url()) }
    };
    assert_ready(&first_check(&forwarding("Bearer t0ken")).await, MODERN);
    assert_unavailable(&first_check(&forwarding("Bearer other")).await, "Authentication failed");
    let target = Target { bearer: Some(Secret::new("t0ken")), ..forwarding("Bearer other") };
    assert_ready(&first_check(&target).await, MODERN);
    assert!(!format!("{target:?}").contains("other"), "{target:?}");
}
