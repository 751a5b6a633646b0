//! Metrics and health endpoints in an axum application of your own, beside its
//! own routes and metrics.
//!
//! ```text
//! cargo run --example metrics_in_axum              # asks itself once, and ends
//! cargo run --example metrics_in_axum -- serve     # serves on 127.0.0.1:9090
//! ```

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use vmcp_status::axum::Router;
use vmcp_status::axum::routing::get;
use vmcp_status::http::{Readiness, router, serve};
use vmcp_status::{BackendStatus, DiscoveredBackend, MetricsOptions, NoOpSink, Reporter};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stays = std::env::args().nth(1).as_deref() == Some("serve");
    let (handle, reporter) = Reporter::builder(NoOpSink::silent()).derive_phase(true).start();

    // One registry holds the gateway's own metrics and those of the reporter, which are
    // encoded at each scrape.
    let mut registry = Registry::default();
    let calls: Counter = Counter::default();
    registry.register("gateway_calls", "Tool calls", calls.clone());
    handle.register_metrics(&mut registry, MetricsOptions::default().max_backends(20));

    // The endpoints of the reporter join the routes of the gateway.
    let app = Router::new().route("/tools", get(async || "none yet\n")).merge(router(
        &handle,
        Arc::new(registry),
        Readiness::Stored,
    ));

    // `serve` is a small server with bounds that suit probes. `axum::serve` takes the
    // same router.
    let listener = TcpListener::bind(if stays { "127.0.0.1:9090" } else { "127.0.0.1:0" }).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    let end = CancellationToken::new();
    let server = tokio::spawn(serve(listener, app, end.clone()));

    println!("before anything is stored:\n  /readyz  {}", get_from(address, "/readyz").await?);
    let weather = DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named("weather") };
    assert!(handle.upsert_backend(weather), "the reporter runs");
    handle.flush().await?;
    calls.inc();

    println!("after that:");
    for path in ["/healthz", "/readyz", "/status", "/tools"] {
        println!("  {path:<8} {}", get_from(address, path).await?);
    }
    let metrics = get_from(address, "/metrics").await?;
    for line in metrics.lines().filter(|line| line.starts_with("gateway_calls") || line.contains("backend_up{")) {
        println!("  {line}");
    }
    if stays {
        tokio::signal::ctrl_c().await?;
    }

    // The reporter ends first, so that the server answers probes during its last write.
    let outcome = reporter.shutdown().await;
    end.cancel();
    server.await?;
    println!("everything is stored: {}", outcome.is_complete());
    Ok(())
}

/// Status code and body of one answer.
async fn get_from(address: std::net::SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split_whitespace().nth(1).unwrap_or("no answer");
    Ok(format!("{code} {}", body.trim_end()))
}
