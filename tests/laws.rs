//! The laws of the reporter, one test and more for each, in paused time.

#[path = "support/store.rs"]
mod store;

#[path = "laws/law_10_retries.rs"]
mod law_10_retries;
#[path = "laws/law_11_shutdown.rs"]
mod law_11_shutdown;
#[path = "laws/law_12_bad_input.rs"]
mod law_12_bad_input;
#[path = "laws/law_1_reporting_never_blocks.rs"]
mod law_1_reporting_never_blocks;
#[path = "laws/law_2_nothing_accepted_is_lost.rs"]
mod law_2_nothing_accepted_is_lost;
#[path = "laws/law_3_order.rs"]
mod law_3_order;
#[path = "laws/law_4_the_actor_always_receives.rs"]
mod law_4_the_actor_always_receives;
#[path = "laws/law_5_pace.rs"]
mod law_5_pace;
#[path = "laws/law_6_nothing_to_say_nothing_sent.rs"]
mod law_6_nothing_to_say_nothing_sent;
#[path = "laws/law_7_periodic_refresh.rs"]
mod law_7_periodic_refresh;
#[path = "laws/law_8_conditions.rs"]
mod law_8_conditions;
#[path = "laws/replicas.rs"]
mod replicas;
#[path = "laws/start.rs"]
mod start_window;
#[path = "laws/watching.rs"]
mod watching;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::DateTime;
use store::{Fate, Store};
use tokio::task::yield_now;
use tokio::time::{Instant, advance, sleep};
use vmcp_status::{
    BackendStatus, Condition, ConditionStatus, DiscoveredBackend, FlushError, Leadership, LeadershipSwitch, Phase,
    Reporter, ReporterBuilder, Retry, SizeLimit, Standing, Status, StatusHandle, Update, condition_type,
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
