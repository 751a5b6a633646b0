//! One member of the fleet: a gateway that checks its backends and reports
//! through a [`Reporter`], as `vmcp-status run` does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use vmcp_status::{BackendStatus, DiscoveredBackend, Reporter, Status};

use super::server::ApiServer;
use super::sink::ModelSink;
use super::{Backends, Clock, between, random, wall_clock};

pub const BACKENDS: usize = 10;
pub const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// One in so many has a backend that flaps.
const FLAPPING: usize = 10;
/// One in so many has a backend that is down and stays so: with ten backends each,
/// one backend in fifty.
const WITH_A_DEAD_ONE: usize = 5;
/// The longest first round of checks, as `vmcp-status run` has it by default.
const START_WINDOW: Duration = Duration::from_secs(22);
/// Over how long the first requests of those that start in one moment are spread,
/// as `vmcp-status run` has it by default.
const START_JITTER: Duration = Duration::from_secs(5);
/// A flapping backend turns at one in so many rounds of checks: every five
/// minutes on average.
const FLIP: u32 = 10;

/// From the start of the outage until everybody's backends change.
const SHAKEN_AFTER: Duration = Duration::from_secs(60);

/// Whether this member has a backend that stays down. None of these flaps.
pub fn has_dead_backend(id: usize) -> bool {
    id % WITH_A_DEAD_ONE == 3
}

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
    restart: bool,
}

impl Checks {
    /// `restart`: an earlier process has stored what the first round will find.
    pub fn new(server: ApiServer, id: usize, clock: Clock, restart: bool) -> Self {
        let (random, shaken) = (random(id, 2), Some(clock.outage + SHAKEN_AFTER));
        if restart {
            server.hold(id, Status::derived_from(alive(id)));
        }
        Checks { server, id, clock, random, found: Vec::new(), shaken, due: Instant::now(), restart }
    }

    /// Listed and not yet checked.
    pub fn listed(&mut self) -> &Backends {
        self.found = backends(self.id, BackendStatus::Unknown).map(Arc::new).collect();
        self.due = Instant::now() + between(&mut self.random, Duration::from_millis(50), Duration::from_secs(2));
        &self.found
    }

    /// Waits for the next round of checks.
    pub async fn due(&self) {
        sleep_until(self.shaken.map_or(self.due, |at| at.min(self.due))).await;
    }

    /// A round of checks: whether it found anything but what it found before.
    /// All change in the first backend, and the last is the one that stays down;
    /// that each check brings a new time is left out for the others, for it would
    /// cost time here and no request.
    pub fn round(&mut self) -> bool {
        let now = Instant::now();
        self.due = now + between(&mut self.random, CHECK_INTERVAL.mul_f64(0.9), CHECK_INTERVAL.mul_f64(1.1));
        let first = self.found[0].status == BackendStatus::Unknown;
        let flips = self.id.is_multiple_of(FLAPPING) && self.random.u32(..FLIP) == 0;
        let changed = (first && !self.restart) || flips || self.shaken.take_if(|at| *at <= now).is_some();
        if first {
            self.found = alive(self.id).collect();
        }
        let time = Some(wall_clock(self.clock.begin)());
        if has_dead_backend(self.id) {
            let dead = Arc::make_mut(&mut self.found[BACKENDS - 1]);
            dead.consecutive_failures += 1;
            dead.last_health_check = time;
        }
        let backend = Arc::make_mut(&mut self.found[0]);
        backend.last_health_check = time;
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

    /// What the last round has brought anything new about, be it a time.
    fn touched(&self) -> impl Iterator<Item = &Arc<DiscoveredBackend>> {
        let dead = has_dead_backend(self.id).then(|| &self.found[BACKENDS - 1]);
        std::iter::once(&self.found[0]).chain(dead)
    }

    /// Gives what was found the number of the change.
    fn number(&mut self) {
        let number = self.server.changed(self.id);
        Arc::make_mut(&mut self.found[0]).message = number.to_string();
    }
}

/// What the first round of checks finds.
fn alive(id: usize) -> impl Iterator<Item = Arc<DiscoveredBackend>> {
    backends(id, BackendStatus::Ready).enumerate().map(move |(number, mut backend)| {
        if number == BACKENDS - 1 && has_dead_backend(id) {
            backend.status = BackendStatus::Unavailable;
        }
        Arc::new(backend)
    })
}

/// Lives for ever.
pub async fn report(sink: ModelSink, mut checks: Checks, refresh: Option<Duration>, clock: Clock) {
    let (handle, _reporter) = Reporter::builder(sink)
        .derive_phase(true)
        .start_window(START_WINDOW)
        .start_jitter(START_JITTER)
        .periodic_interval(refresh)
        .wall_clock(wall_clock(clock.begin))
        .start();
    let source = handle.source("config");
    let _ = source.replace_backends(checks.listed().iter().cloned());
    checks.due().await;
    checks.round();
    let _ = source.replace_backends(checks.found().iter().cloned());
    handle.first_round_done();
    loop {
        checks.due().await;
        checks.round();
        for backend in checks.touched() {
            let _ = source.upsert_backend(Arc::clone(backend));
        }
    }
}
