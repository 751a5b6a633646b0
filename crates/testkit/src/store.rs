//! A store in memory that does what a test tells it to.

#![allow(dead_code, reason = "each user takes the part it needs")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vmcp_status::{Advice, Retry, Sink, SinkError, SizeLimit, Status, WriteOutcome};

/// What happens to one write.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// It fails so, and nothing is stored.
    Fails(Retry),
    /// It is stored, and then reported as failed.
    StoredButFails(Retry),
    /// It never ends.
    Hangs,
    Panics,
}

#[derive(Default)]
pub struct StoreState {
    pub stored: Option<Status>,
    /// When each write began, and what it carried.
    pub attempts: Vec<(Instant, Status)>,
    /// When each write was stored.
    pub writes: Vec<(Instant, Status)>,
    pub reads: usize,
    /// The fates of the next writes; then they succeed.
    pub fates: VecDeque<Fate>,
    /// The fate of every write, while it is set.
    pub always: Option<Fate>,
    pub read_fails: Option<Retry>,
    pub latency: Duration,
    pub limit: Option<SizeLimit>,
    /// What it tells beside what is stored. A look is asked for once.
    pub advice: Advice,
}

/// A handle on the store for the test, and the sink for the reporter.
#[derive(Clone, Default)]
pub struct Store(Arc<Mutex<StoreState>>);

impl Store {
    pub fn state(&self) -> MutexGuard<'_, StoreState> {
        self.0.lock().expect("no test panics while it holds the state")
    }

    pub fn holding(stored: Status) -> Self {
        let store = Store::default();
        store.state().stored = Some(stored);
        store
    }

    pub fn failing(fates: impl IntoIterator<Item = Fate>) -> Self {
        let store = Store::default();
        store.state().fates.extend(fates);
        store
    }

    pub fn slow(latency: Duration) -> Self {
        let store = Store::default();
        store.state().latency = latency;
        store
    }

    pub fn stored(&self) -> Status {
        self.state().stored.clone().expect("something is stored")
    }

    /// How often it was read, and how many writes were tried.
    pub fn calls(&self) -> (usize, usize) {
        let state = self.state();
        (state.reads, state.attempts.len())
    }

    pub fn messages(&self) -> Vec<String> {
        self.state().writes.iter().map(|(_, status)| status.message.clone()).collect()
    }

    /// When each write began, from `start` on.
    pub fn attempt_times(&self, start: Instant) -> Vec<Duration> {
        self.state().attempts.iter().map(|(at, _)| *at - start).collect()
    }

    fn store(&self, status: &Status) {
        let mut state = self.state();
        state.writes.push((Instant::now(), status.clone()));
        state.stored = Some(status.clone());
    }
}

fn error(retry: Retry) -> SinkError {
    SinkError::new(retry, format!("the test wants {retry:?}"))
}

impl Sink for Store {
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        let mut state = self.state();
        state.reads += 1;
        match state.read_fails {
            Some(retry) => Err(error(retry)),
            None => Ok(state.stored.clone()),
        }
    }

    async fn write(&mut self, status: &Status) -> Result<WriteOutcome, SinkError> {
        let (fate, latency) = {
            let mut state = self.state();
            state.attempts.push((Instant::now(), status.clone()));
            (state.fates.pop_front().or(state.always), state.latency)
        };
        if !latency.is_zero() {
            sleep(latency).await;
        }
        match fate {
            None => {
                self.store(status);
                Ok(WriteOutcome::Written)
            }
            Some(Fate::Fails(retry)) => {
                if retry == Retry::TooLarge {
                    let mut state = self.state();
                    state.limit = state.limit.map(|limit| SizeLimit { bytes: limit.bytes / 2, ..limit });
                }
                Err(error(retry))
            }
            Some(Fate::StoredButFails(retry)) => {
                self.store(status);
                Err(error(retry))
            }
            Some(Fate::Hangs) => std::future::pending().await,
            Some(Fate::Panics) => panic!("the test wants a panic"),
        }
    }

    fn size_limit(&self) -> Option<SizeLimit> {
        self.state().limit
    }

    fn advice(&self) -> Advice {
        let mut state = self.state();
        let advice = state.advice.clone();
        state.advice.look_again = None;
        advice
    }
}
