//! A model of an API server and of the objects in it: it bears so many requests
//! a second, lets those that come too fast wait, and refuses what would wait
//! too long.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use vmcp_status::Status;

use super::gateway::has_dead_backend;
use super::ledger::Ledger;

/// What the API server bears. All of it is assumed.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    pub writes_per_second: f64,
    pub reads_per_second: f64,
    /// Time that an answer takes when nothing waits.
    pub write_time: Duration,
    pub read_time: Duration,
    /// What would wait longer than this is refused with 429.
    pub longest_wait: Duration,
    /// The `Retry-After` of the refusal.
    pub retry_after: Duration,
    /// The part of the attempts that get no answer at all while it is down; the
    /// others are refused at once.
    pub silent: f64,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity {
            writes_per_second: 400.0,
            reads_per_second: 3000.0,
            write_time: Duration::from_millis(10),
            read_time: Duration::from_millis(3),
            longest_wait: Duration::from_secs(2),
            retry_after: Duration::from_secs(1),
            silent: 0.5,
        }
    }
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// 409: another writer wrote in between.
    Conflict,
    /// 429 with `Retry-After`.
    TooMany(Duration),
    /// No connection could be made.
    Unreachable,
    /// The connection broke.
    Broken,
}

/// What a write is conditional on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// That nothing of the object has changed since this version.
    Version(u64),
    /// That what it replaces is as it was seen. Each member is the only one to
    /// write that.
    Replaced,
}

/// A handle on the one server of a run.
#[derive(Clone)]
pub struct ApiServer(Arc<Shared>);

struct Shared {
    state: Mutex<ServerState>,
    /// The operator has something to answer.
    unanswered: Notify,
}

struct ServerState {
    capacity: Capacity,
    reads: Lane,
    writes: Lane,
    down: bool,
    objects: Vec<StoredObject>,
    /// What the operator has to answer, each once.
    unanswered: VecDeque<usize>,
    random: fastrand::Rng,
    ledger: Ledger,
}

#[derive(Clone, Default)]
struct StoredObject {
    version: u64,
    status: Option<Status>,
    /// Whether the operator has to answer what was written last.
    unanswered: bool,
}

/// Requests of one kind, one after the other.
struct Lane {
    each: Duration,
    free_at: Instant,
}

impl Lane {
    fn new(per_second: f64, now: Instant) -> Self {
        Lane { each: Duration::from_secs_f64(1.0 / per_second), free_at: now }
    }

    /// When a request that comes now has been served; `None` if it would wait
    /// too long.
    fn admit(&mut self, now: Instant, longest_wait: Duration) -> Option<Instant> {
        let begin = self.free_at.max(now);
        (begin - now <= longest_wait).then(|| {
            self.free_at = begin + self.each;
            self.free_at
        })
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
    /// A write of the operator, which takes its place among the others.
    Answer,
}

/// What becomes of a request.
enum Admission {
    /// Served by then.
    Served(Instant),
    Refused(RequestError),
    /// No answer, ever.
    Silence,
}

impl ApiServer {
    /// With this many objects, which the operator has made.
    pub fn new(capacity: Capacity, objects: usize, now: Instant) -> Self {
        let state = ServerState {
            capacity,
            reads: Lane::new(capacity.reads_per_second, now),
            writes: Lane::new(capacity.writes_per_second, now),
            down: false,
            objects: vec![StoredObject::default(); objects],
            unanswered: VecDeque::new(),
            random: fastrand::Rng::with_seed(0),
            ledger: Ledger::new(now, objects),
        };
        ApiServer(Arc::new(Shared { state: Mutex::new(state), unanswered: Notify::new() }))
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.0.state.lock().expect("nothing panics while it holds the state")
    }

    /// From before the run, an object holds this, and the operator has answered.
    pub fn hold(&self, id: usize, status: Status) {
        self.state().objects[id].status = Some(status);
    }

    /// Reads an object: its version and the status in it.
    ///
    /// # Errors
    ///
    /// When the server refuses or cannot be reached; never with a conflict.
    pub async fn read(&self, id: usize) -> Result<(u64, Option<Status>), RequestError> {
        self.serve(id, Kind::Read).await?;
        let state = self.state();
        let object = &state.objects[id];
        Ok((object.version, object.status.clone()))
    }

    /// Asks what a write would do, which takes no longer than a read.
    ///
    /// # Errors
    ///
    /// When the server refuses or cannot be reached; never with a conflict.
    pub async fn dry_run(&self, id: usize) -> Result<(), RequestError> {
        self.serve(id, Kind::Read).await
    }

    /// Stores a status if the object is as expected, and answers the new version.
    ///
    /// # Errors
    ///
    /// When the object is not as expected, the server refuses or cannot be
    /// reached.
    pub async fn write(&self, id: usize, expected: Expected, status: &Status) -> Result<u64, RequestError> {
        self.serve(id, Kind::Write).await?;
        let mut state = self.state();
        let object = &mut state.objects[id];
        if matches!(expected, Expected::Version(version) if object.version != version) {
            state.ledger.now().conflicts += 1;
            return Err(RequestError::Conflict);
        }
        object.version += 1;
        object.status = Some(status.clone());
        let version = object.version;
        if !std::mem::replace(&mut object.unanswered, true) {
            state.unanswered.push_back(id);
            self.0.unanswered.notify_one();
        }
        state.ledger.stored(id, status);
        Ok(version)
    }

    /// Waits for an object that the operator has to answer.
    pub async fn next_unanswered(&self) -> usize {
        loop {
            let next = self.state().unanswered.pop_front();
            match next {
                Some(id) => return id,
                None => self.0.unanswered.notified().await,
            }
        }
    }

    /// The operator writes to the object what it makes of its newest status.
    ///
    /// # Errors
    ///
    /// When the server refuses or cannot be reached; never with a conflict, for
    /// the operator's patches have no condition.
    pub async fn answer(&self, id: usize) -> Result<(), RequestError> {
        // What is written from here on is answered once more.
        self.state().objects[id].unanswered = false;
        self.serve(id, Kind::Answer).await?;
        let mut state = self.state();
        state.objects[id].version += 1;
        state.ledger.now().operator += 1;
        Ok(())
    }

    /// A request on its way through the server.
    async fn serve(&self, id: usize, kind: Kind) -> Result<(), RequestError> {
        let fate = self.state().arrive(id, kind);
        match fate {
            Admission::Served(at) => {
                sleep_until(at).await;
                if self.state().down { Err(RequestError::Broken) } else { Ok(()) }
            }
            Admission::Refused(refusal) => {
                sleep(Duration::from_millis(1)).await;
                Err(refusal)
            }
            Admission::Silence => std::future::pending().await,
        }
    }

    /// From now on it serves no client.
    pub fn go_down(&self) {
        self.state().down = true;
    }

    /// It serves again.
    pub fn come_back(&self) {
        let mut state = self.state();
        state.down = false;
        state.ledger.outage_ended();
    }

    /// A member of the fleet finds that something has changed, and is about to
    /// report it: the number of the change, which the report has to carry.
    pub fn changed(&self, id: usize) -> u32 {
        self.state().ledger.changed(id)
    }

    /// A report was given up.
    pub fn gave_up(&self) {
        self.state().ledger.now().given_up += 1;
    }

    /// What was seen; the server forgets it.
    pub fn ledger(&self) -> Ledger {
        let mut state = self.state();
        let empty = Ledger::new(Instant::now(), 0);
        std::mem::replace(&mut state.ledger, empty)
    }
}

impl ServerState {
    fn arrive(&mut self, id: usize, kind: Kind) -> Admission {
        let now = Instant::now();
        let capacity = self.capacity;
        let second = self.ledger.now();
        let (lane, time) = match kind {
            Kind::Read => {
                second.reads += 1;
                (&mut self.reads, capacity.read_time)
            }
            Kind::Write => {
                second.writes += 1;
                (&mut self.writes, capacity.write_time)
            }
            Kind::Answer => (&mut self.writes, capacity.write_time),
        };
        let of_fleet = u32::from(!matches!(kind, Kind::Answer));
        second.of_dead += of_fleet * u32::from(has_dead_backend(id));
        if self.down {
            second.broken += of_fleet;
            return if self.random.f64() < capacity.silent {
                Admission::Silence
            } else {
                Admission::Refused(RequestError::Unreachable)
            };
        }
        match lane.admit(now, capacity.longest_wait) {
            Some(served) => Admission::Served(served + time),
            None => {
                second.too_many += of_fleet;
                Admission::Refused(RequestError::TooMany(capacity.retry_after))
            }
        }
    }
}
