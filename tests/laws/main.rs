//! The laws of the reporter, one test and more for each, in paused time.

use vmcp_status_testkit::store;

mod law_10_retries;
mod law_11_shutdown;
mod law_12_bad_input;
mod law_1_reporting_never_blocks;
mod law_2_nothing_accepted_is_lost;
mod law_3_order;
mod law_4_the_actor_always_receives;
mod law_5_pace;
mod law_6_nothing_to_say_nothing_sent;
mod law_7_periodic_refresh;
mod law_8_conditions;
mod replicas;
mod start_window;
mod watching;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::DateTime;
use store::{Fate, Store};
use tokio::task::yield_now;
use tokio::time::{Instant, advance, sleep};
use vmcp_status::{
    BackendStatus, BackoffPolicy, Condition, ConditionStatus, DiscoveredBackend, FlushError, Leadership,
    LeadershipSender, LeadershipState, Phase, Reporter, ReporterBuilder, Retry, SizeLimit, Status, StatusHandle,
    Update, condition_type,
};

const INTERVAL: Duration = Duration::from_secs(1);

fn said(message: impl Into<String>) -> Status {
    Status { phase: Phase::Ready, message: message.into(), ..Status::default() }
}

fn ready(name: impl Into<String>) -> DiscoveredBackend {
    DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named(name) }
}

fn start(store: &Store) -> (StatusHandle, Reporter) {
    Reporter::builder(store.clone()).start()
}

fn start_with(store: &Store, set: impl FnOnce(ReporterBuilder) -> ReporterBuilder) -> (StatusHandle, Reporter) {
    set(Reporter::builder(store.clone())).start()
}

/// Lets the actor do all it can do now.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}
