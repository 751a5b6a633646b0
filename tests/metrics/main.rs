//! What Prometheus sees of a reporter, in paused time.

#![allow(clippy::float_cmp, clippy::cast_precision_loss, reason = "small whole numbers")]

use vmcp_status_testkit::openmetrics;
use vmcp_status_testkit::store;

mod reporter;
mod status;
mod update_accounting;

use std::time::Duration;

use chrono::Utc;
use openmetrics::Scrape;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use store::{Fate, Store};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use vmcp_status::{
    BackendStatus, DiscoveredBackend, Leadership, Location, MetricsOptions, Overwriter, Phase, Reporter, Retry,
    SizeLimit, Status, StatusHandle, StatusMetrics,
};

const INTERVAL: Duration = Duration::from_secs(1);

fn backend(name: impl Into<String>, status: BackendStatus) -> DiscoveredBackend {
    DiscoveredBackend { status, ..DiscoveredBackend::named(name) }
}

fn registry_of(handle: &StatusHandle, options: MetricsOptions) -> Registry {
    let mut registry = Registry::default();
    handle.register_metrics(&mut registry, options);
    registry
}

fn text_of(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).expect("a string takes everything");
    text
}

fn scrape(registry: &Registry) -> Scrape {
    Scrape::parse(&text_of(registry))
}

/// A scrape of a reporter with default options.
fn scraped(handle: &StatusHandle) -> Scrape {
    scrape(&registry_of(handle, MetricsOptions::default()))
}

/// Lets the actor do all it can do now.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}
