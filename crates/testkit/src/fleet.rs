//! A fleet of reporters in one process, in paused time, against a model of an
//! API server. For the bench of the fleet and the test that keeps it small.

#![allow(dead_code, unused_imports, reason = "each user takes the part it needs")]
#![allow(clippy::cast_precision_loss, reason = "the numbers are small")]
#![allow(clippy::unchecked_time_subtraction, reason = "later less earlier; all moments are those of one timeline")]

mod gateway;
mod get_put;
mod ledger;
mod operator;
mod server;
mod sink;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use gateway::Checks;
use sink::ModelSink;

pub use gateway::{BACKENDS, backends, has_dead_backend};
pub use ledger::{Ledger, Load, Staleness};
pub use server::{ApiServer, Capacity};
pub use sink::Precondition;

/// How a fleet tells the API server what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// The reporter of this crate, with this periodic refresh.
    Reporter { precondition: Precondition, refresh: Option<Duration> },
    /// GET and PUT every 30 s whether anything changed or not, and at once when
    /// something did.
    GetPut {
        /// Whether all processes started at the same moment, and so tick
        /// together for ever.
        in_step: bool,
    },
}

/// What happens when, counted from the start of all.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    /// The end of what counts as the start.
    pub started: Duration,
    /// The outage begins: the end of the quiet day.
    pub outage: Duration,
    /// The outage ends.
    pub back: Duration,
    /// The end of all.
    pub end: Duration,
    /// Whether the objects hold what an earlier process of each member has left:
    /// then the start is a restart.
    pub restart: bool,
    /// All start within this time, evenly; none: in the same moment.
    pub start_over: Duration,
}

impl Timeline {
    pub fn new(quiet: Duration) -> Self {
        let started = Duration::from_secs(5 * 60);
        // Between two ticks of those who tick together, or the end of the outage
        // would happen to suit them.
        let outage = started + quiet + Duration::from_secs(15);
        let back = outage + Duration::from_secs(10 * 60);
        Timeline {
            started,
            outage,
            back,
            end: back + Duration::from_secs(10 * 60),
            restart: false,
            start_over: Duration::ZERO,
        }
    }

    /// All start again at once, and nothing else happens.
    pub fn restart() -> Self {
        let started = Duration::from_secs(5 * 60);
        Timeline { started, outage: started, back: started, end: started, restart: true, start_over: Duration::ZERO }
    }
}

/// The moments of one run on its clock.
#[derive(Clone, Copy, Debug)]
struct Clock {
    begin: Instant,
    outage: Instant,
    back: Instant,
}

/// Runs one fleet from its start to after the outage, on a paused clock of its
/// own.
pub fn run(design: Design, size: usize, capacity: Capacity, timeline: Timeline) -> Ledger {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O").block_on(live(design, size, capacity, timeline))
}

async fn live(design: Design, size: usize, capacity: Capacity, timeline: Timeline) -> Ledger {
    let begin = Instant::now();
    let clock = Clock { begin, outage: begin + timeline.outage, back: begin + timeline.back };
    let server = ApiServer::new(capacity, size, begin);
    tokio::spawn(operator::answer(server.clone()));
    for id in 0..size {
        let checks = Checks::new(server.clone(), id, clock, timeline.restart);
        match design {
            Design::Reporter { precondition, refresh } => {
                let sink = ModelSink::new(server.clone(), id, precondition);
                let starts = between(&mut random(id, 4), Duration::ZERO, timeline.start_over);
                drop(tokio::spawn(async move {
                    sleep(starts).await;
                    gateway::report(sink, checks, refresh, clock).await;
                }));
            }
            Design::GetPut { in_step } => drop(tokio::spawn(get_put::report(server.clone(), id, in_step, checks))),
        }
    }
    sleep_until(clock.outage).await;
    server.go_down();
    sleep_until(clock.back).await;
    server.come_back();
    sleep_until(begin + timeline.end).await;
    server.ledger()
}

/// A random number generator of one member of the fleet: the same in each run.
fn random(id: usize, purpose: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed((id as u64) << 8 | purpose)
}

/// Uniform between the two.
fn between(rng: &mut fastrand::Rng, least: Duration, most: Duration) -> Duration {
    least + (most - least).mul_f64(rng.f64())
}

/// The time of day on the run's clock.
fn wall_clock(begin: Instant) -> impl Fn() -> chrono::DateTime<chrono::Utc> + Send + Sync + Clone + 'static {
    move || chrono::DateTime::UNIX_EPOCH + begin.elapsed()
}

type Backends = Vec<Arc<vmcp_status::DiscoveredBackend>>;
