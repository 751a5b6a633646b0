//! The backends of an `MCPGroup`, found and followed on a real API server, with
//! real MCP servers behind some of them.

mod lifecycle;
mod outages;
mod tunnel;

use std::time::Duration;

use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use serde_json::{Value, json};
use tokio::time::Instant;
use vmcp_status::{Reporter, StatusHandle};
use vmcp_status_discovery::group::{CheckOptions, GroupDiscovery, GroupOptions};
use vmcp_status_discovery::probe::{Prober, ProberOptions};
use vmcp_status_testkit::client::client;
use vmcp_status_testkit::group::{GroupCluster, LIMIT, NAMESPACE, Stored, crds};
use vmcp_status_testkit::mcp::{Behaviour, McpServer};
use vmcp_status_testkit::store;

fn prober() -> Prober {
    Prober::new(ProberOptions::default()).expect("options are usable")
}

/// Checks so seldom that what is seen in a test comes of a change.
fn seldom() -> GroupOptions {
    GroupOptions {
        checks: CheckOptions { interval: Some(Duration::from_secs(600)), ..CheckOptions::default() },
        ..GroupOptions::default()
    }
}

fn discover(client: Client, group: &str, handle: &StatusHandle, options: GroupOptions) -> GroupDiscovery {
    GroupDiscovery::start(client, NAMESPACE, group, handle, prober(), options).expect("good names")
}
