//! What the reporter may cost, where that is a count: allocations, copies, bytes
//! of memory. Budgets that are times are in `benches/budgets.rs`; requests and
//! bytes of a change in `kubernetes::faults::costs_…`; that no timer wakes while
//! idle in `laws::law_6_…`.

mod allocations;
mod copies;
mod memory;
use vmcp_status_testkit::bench::memory as memory_server;
use vmcp_status_testkit::bench::states;

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use tokio::runtime::Runtime;
use vmcp_status::{BackendStatus, DiscoveredBackend, Status};

fn backend(i: usize, status: BackendStatus) -> DiscoveredBackend {
    DiscoveredBackend {
        url: format!("http://backend-{i:05}.default.svc:8080/mcp"),
        status,
        auth_type: "oauth2".into(),
        ..DiscoveredBackend::named(format!("backend-{i:05}"))
    }
}

fn ready(backends: usize) -> Status {
    Status::derived_from((0..backends).map(|i| backend(i, BackendStatus::Ready)))
}

/// The actor runs only inside of `block_on`, on this thread: all that it
/// allocates is counted, and nothing of other tests.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

fn counted<T>(what: impl FnOnce() -> T) -> (T, AllocationInfo) {
    let mut result = None;
    let info = measure(|| result = Some(what()));
    (result.expect("it ran"), info)
}
