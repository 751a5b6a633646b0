//! One member of the fleet: a gateway that checks its backends and reports
//! through a [`Reporter`], as `vmcp-status run` does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use vmcp_status::{BackendStatus, DiscoveredBackend, Phase, Reporter};

use super::server::ApiServer;
use super::sink::ModelSink;
use super::{Backends, Clock, between, random, wall_clock};

pub const BACKENDS: usize = 10;
pub const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// One in so many has a backend that flaps.
const FLAPPING: usize = 10;
/// A flapping backend turns at one in so many rounds of checks: every five
/// minutes on average.
const FLIP: u32 = 10;

/// From the start of the outage until everybody's backends change.
const SHAKEN_AFTER: Duration = Duration::from_secs(60);

/// The backends of one gateway.
pub fn backends(id: usize, status: BackendStatus) -> impl Iterator<Item = DiscoveredBackend> {
    (0..BACKENDS).map(move |number| DiscoveredBackend {
        url: format!("http://backend-{number}.fleet-{id}.svc:8080/mcp"),
        status,
        auth_type: "unauthenticated".into(),
        ..DiscoveredBackend::named(format!("backend-{number}"))
    })
}

/// What the checks of one gateway find, and when.
pub struct Checks {
    server: ApiServer,
    id: usize,
    clock: Clock,
    random: fastrand::Rng,
    found: Backends,
    /// When something befalls everybody's backends at once, as when a network
    /// fails that took the API server along.
    shaken: Option<Instant>,
    due: Instant,
}

impl Checks {
    pub fn new(server: ApiServer, id: usize, clock: Clock) -> Self {
        let (random, found, shaken) = (random(id, 2), Vec::new(), Some(clock.outage + SHAKEN_AFTER));
        Checks { server, id, clock, random, found, shaken, due: Instant::now() }
    }

    /// Listed and not yet checked.
    pub fn listed(&mut self) -> &Backends {
        self.found = backends(self.id, BackendStatus::Unknown).map(Arc::new).collect();
        self.number();
        self.due = Instant::now() + between(&mut self.random, Duration::from_millis(50), Duration::from_secs(2));
        &self.found
    }

    /// Waits for the next round of checks.
    pub async fn due(&self) {
        sleep_until(self.shaken.map_or(self.due, |at| at.min(self.due))).await;
    }

    /// A round of checks: whether it found anything but what it found before.
    /// All change in the first backend; that each check brings a new time is
    /// left out for the others, for it would cost time here and no request.
    pub fn round(&mut self) -> bool {
        let now = Instant::now();
        self.due = now + between(&mut self.random, CHECK_INTERVAL.mul_f64(0.9), CHECK_INTERVAL.mul_f64(1.1));
        let first = self.found[0].status == BackendStatus::Unknown;
        let flips = self.id.is_multiple_of(FLAPPING) && self.random.u32(..FLIP) == 0;
        let changed = first || flips || self.shaken.take_if(|at| *at <= now).is_some();
        if first {
            self.found = backends(self.id, BackendStatus::Ready).map(Arc::new).collect();
        }
        let backend = Arc::make_mut(&mut self.found[0]);
        backend.last_health_check = Some(wall_clock(self.clock.begin)());
        if changed && !first {
            backend.status = match backend.status {
                BackendStatus::Ready => BackendStatus::Unavailable,
                _ => BackendStatus::Ready,
            };
        }
        if changed {
            self.number();
        }
        changed
    }

    pub fn found(&self) -> &Backends {
        &self.found
    }

    /// Gives what was found the number of the change.
    fn number(&mut self) {
        let number = self.server.changed(self.id);
        Arc::make_mut(&mut self.found[0]).consecutive_failures = number;
    }
}

/// Lives for ever.
pub async fn report(server: ApiServer, id: usize, refresh: Option<Duration>, clock: Clock) {
    let (handle, _reporter) = Reporter::builder(ModelSink::new(server.clone(), id))
        .periodic_interval(refresh)
        .wall_clock(wall_clock(clock.begin))
        .start();
    let source = handle.source("config");
    let mut checks = Checks::new(server, id, clock);
    let _ = handle.set_phase(Phase::Pending, format!("Starting, checking {BACKENDS} backends"));
    let _ = source.replace_backends(checks.listed().iter().cloned());
    checks.due().await;
    checks.round();
    let _ = source.replace_backends(checks.found().iter().cloned());
    let _ = handle.derive_phase();
    loop {
        checks.due().await;
        checks.round();
        let _ = source.upsert_backend(Arc::clone(&checks.found()[0]));
    }
}
