//! The circuit of a backend that hangs, and then recovers.

use vmcp_status::CircuitBreakerState::{Closed, HalfOpen, Open};
use vmcp_status::{BackendStatus, NoOpSink, Reporter};
use vmcp_status_discovery::{CheckedBackend, CircuitBreaker, HealthChecker};

use super::*;

#[tokio::test]
async fn circuit_of_a_hanging_backend_opens_tries_and_closes_when_it_answers() {
    let server = McpServer::start(Behaviour::Hang).await;
    let (handle, _reporter) = Reporter::builder(NoOpSink::silent()).write_interval(Duration::ZERO).start();
    let mut health_checker = HealthChecker::new(prober(), handle.source("config"), 4);
    let moment = Duration::from_millis(50);
    let backend = CheckedBackend {
        interval: moment,
        timeout: 2 * moment,
        degraded_above: GUARD,
        unhealthy_threshold: 5,
        circuit_breaker: Some(CircuitBreaker { failure_threshold: 1, timeout: moment }),
        ..CheckedBackend::new("a", server.url().parse().expect("a URL"))
    };
    let mut progress = handle.watch();
    health_checker.set([backend.clone()]).await;
    let mut shown = Vec::new();
    let watched = async {
        while shown.last() != Some(&(BackendStatus::Ready, Some(Closed))) {
            progress.changed().await.expect("the reporter lives");
            let current = progress.borrow_and_update().current.clone();
            let Some(found) = current.as_ref().and_then(|status| status.backend("a")) else { continue };
            let now = (found.status, found.circuit_breaker_state);
            if shown.last() != Some(&now) {
                shown.push(now);
            }
            if shown.ends_with(&[(BackendStatus::Unavailable, Some(Open)); 1]) && shown.len() > 3 {
                server.set(Behaviour::Modern);
                // So that a busy machine is not too slow for the answer.
                health_checker.set([CheckedBackend { timeout: GUARD, ..backend.clone() }]).await;
            }
        }
    };
    guarded(watched).await;
    let down = BackendStatus::Unavailable;
    let expected = [
        (BackendStatus::Unknown, None),
        (down, Some(Open)),
        (down, Some(HalfOpen)),
        (down, Some(Open)),
        (BackendStatus::Ready, Some(Closed)),
    ];
    assert_eq!(shown, expected);
}
