//! The probe against servers of every kind, over real sockets.

mod changing_servers;
mod circuit_breaker;
mod connections;
mod credentials;
mod event_stream;
mod faulty_servers;
mod healthy_servers;
mod limit;
use vmcp_status_testkit::mcp;
mod order;
mod sessions;
mod tls;

use std::time::Duration;

use mcp::{Behaviour, McpServer, Refusal};
use tokio::net::TcpListener;
use tokio::time::Instant;
use vmcp_status_discovery::probe::{
    CaBundle, Finding, ForwardedHeaders, Health, Lifecycle, ProbeSetupError, Prober, ProberOptions, Revision, Secret,
    Target, Transport, Way,
};

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";
const HANDSHAKE: [&str; 4] = ["POST initialize", "POST notifications/initialized", "POST ping", "DELETE"];

/// Long enough for any test to end, should it hang.
const GUARD: Duration = Duration::from_secs(60);

/// For servers that will not answer anyway.
const SHORT: Duration = Duration::from_millis(300);

fn revision(name: &str) -> Revision {
    name.parse().expect("a date")
}

fn discovery() -> Way {
    Way::Discovery(revision(MODERN))
}

fn prober() -> Prober {
    prober_with(ProberOptions::default())
}

fn prober_with(options: ProberOptions) -> Prober {
    Prober::new(options).expect("options are usable")
}

/// A target so patient and undemanding that a busy machine changes no finding.
fn target(url: &str) -> Target {
    Target { timeout: GUARD / 2, degraded_above: GUARD, ..Target::new(url.parse().expect("a URL")) }
}

async fn check(target: &Target, memory: &mut Lifecycle) -> Finding {
    guarded(prober().check(target, memory)).await
}

async fn first_check(target: &Target) -> Finding {
    check(target, &mut Lifecycle::default()).await
}

async fn guarded<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(GUARD, future).await.expect("the test hangs")
}

#[track_caller]
fn assert_ready(finding: &Finding, revision: &str) {
    assert_eq!((finding.health, &*finding.message), (Health::Ready, ""));
    assert_eq!(finding.revision.as_deref(), Some(revision));
}

#[track_caller]
fn assert_unavailable(finding: &Finding, message: &str) {
    let found = (finding.health, &*finding.message);
    assert_eq!(found, (Health::Unavailable, message));
    assert_eq!(finding.revision, None);
}
