//! A model of an API server and of the objects in it: it bears so many requests
//! a second, lets those that come too fast wait, and refuses what would wait
//! too long.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use vmcp_status::Status;

use super::ledger::Ledger;
use super::random;

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
    /// Time between two writes of the operator to one object, on average.
    pub operator: Duration,
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
            operator: Duration::from_secs(5 * 60),
            silent: 0.5,
        }
    }
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// 409: written by somebody else in between.
    Conflict,
    /// 429 with `Retry-After`.
    TooMany(Duration),
    /// No connection, or one that broke.
    Broken,
}

/// A handle on the one server of a run.
#[derive(Clone)]
pub struct ApiServer(Arc<Mutex<ServerState>>);

struct ServerState {
    capacity: Capacity,
    reads: Lane,
    writes: Lane,
    down: bool,
    objects: Vec<StoredObject>,
    random: fastrand::Rng,
    ledger: Ledger,
}

struct StoredObject {
    version: u64,
    status: Option<Status>,
    operator: OtherWriter,
}

/// Somebody else who writes to the object now and then.
struct OtherWriter {
    next: Instant,
    random: fastrand::Rng,
}

impl OtherWriter {
    /// How often it has written by now.
    fn writes(&mut self, now: Instant, mean: Duration) -> u64 {
        let mut writes = 0;
        while self.next <= now {
            self.next += mean.mul_f64(-(1.0 - self.random.f64()).ln());
            writes += 1;
        }
        writes
    }
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
        // What the operator writes is not left for the others.
        let operator = objects as f64 / capacity.operator.as_secs_f64();
        let writes_per_second = (capacity.writes_per_second - operator).max(1.0);
        let object = |id| {
            let mut operator = OtherWriter { next: now, random: random(id, 1) };
            operator.writes(now, capacity.operator);
            StoredObject { version: 1, status: None, operator }
        };
        ApiServer(Arc::new(Mutex::new(ServerState {
            capacity,
            reads: Lane::new(capacity.reads_per_second, now),
            writes: Lane::new(writes_per_second, now),
            down: false,
            objects: (0..objects).map(object).collect(),
            random: fastrand::Rng::with_seed(0),
            ledger: Ledger::new(now, objects),
        })))
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.0.lock().expect("nothing panics while it holds the state")
    }

    /// Reads an object: its version and the status in it.
    ///
    /// # Errors
    ///
    /// When the server refuses or cannot be reached; never with a conflict.
    pub async fn read(&self, id: usize) -> Result<(u64, Option<Status>), RequestError> {
        self.serve(Kind::Read).await?;
        let mut state = self.state();
        let object = state.object(id);
        Ok((object.version, object.status.clone()))
    }

    /// Stores a status on condition that the object still has this version, and
    /// answers the new version.
    ///
    /// # Errors
    ///
    /// When it has another version, the server refuses or cannot be reached.
    pub async fn write(&self, id: usize, version: u64, status: &Status) -> Result<u64, RequestError> {
        self.serve(Kind::Write).await?;
        let mut state = self.state();
        let object = state.object(id);
        if object.version != version {
            state.ledger.now().conflicts += 1;
            return Err(RequestError::Conflict);
        }
        object.version += 1;
        object.status = Some(status.clone());
        state.ledger.stored(id, status);
        Ok(version + 1)
    }

    /// A request on its way through the server.
    async fn serve(&self, kind: Kind) -> Result<(), RequestError> {
        let fate = self.state().arrive(kind);
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

    /// From now on it serves nobody.
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
    fn arrive(&mut self, kind: Kind) -> Admission {
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
        };
        if self.down {
            second.broken += 1;
            return if self.random.f64() < capacity.silent {
                Admission::Silence
            } else {
                Admission::Refused(RequestError::Broken)
            };
        }
        match lane.admit(now, capacity.longest_wait) {
            Some(served) => Admission::Served(served + time),
            None => {
                second.too_many += 1;
                Admission::Refused(RequestError::TooMany(capacity.retry_after))
            }
        }
    }

    /// The object as it is by now.
    fn object(&mut self, id: usize) -> &mut StoredObject {
        let (now, mean) = (Instant::now(), self.capacity.operator);
        let object = &mut self.objects[id];
        object.version += object.operator.writes(now, mean);
        object
    }
}
