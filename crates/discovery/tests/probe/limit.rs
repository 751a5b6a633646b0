//! Checks that share a limit.

use vmcp_status::{NoOpSink, Reporter};
use vmcp_status_discovery::{CheckLimit, CheckedBackend, HealthChecker};

use super::*;

#[tokio::test]
async fn checks_that_share_a_limit_never_run_more_at_once_than_it_says() {
    // With the revision fixed, a check is one request.
    let server = McpServer::start(Behaviour::Held).await;
    let (handle, _reporter) = Reporter::builder(NoOpSink::silent()).start();
    let limit = CheckLimit::new(4);
    let mut all = Vec::new();
    for source in ["one", "other"] {
        let mut health_checker = HealthChecker::new(prober(), handle.source(source), limit.clone());
        let backend = |i| CheckedBackend {
            interval: 100 * GUARD,
            timeout: GUARD,
            degraded_above: GUARD,
            revision: Some("2026-07-28".parse().expect("a revision")),
            ..CheckedBackend::new(format!("{source}-{i}"), server.url().parse().expect("a URL"))
        };
        health_checker.set((0..10).map(backend)).await;
        all.push(health_checker);
    }
    let came = async |expected: usize| {
        while server.requests() < expected {
            tokio::task::yield_now().await;
        }
    };
    for released in 0..20 {
        let expected = (released + 4).min(20);
        guarded(came(expected)).await;
        assert_eq!(server.requests(), expected, "after {released} were answered");
        server.release();
    }
    for health_checker in &all {
        guarded(health_checker.first_round()).await;
    }
    assert_eq!(server.requests(), 20);
}
