//! The sink, what it holds as far as is known, and the call in flight.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::call_guard::CallGuard;
use crate::error::SinkError;
use crate::leadership::Leadership;
use crate::sink::{Advice, AnySink, Refreshed, Sink as _, WriteOutcome};
use crate::status::{SizeLimit, Status, json_size};

/// A call that has no answer after this time is worth a line before it times out.
const SLOW: Duration = Duration::from_secs(5);

pub(super) struct Store {
    /// Here while no call is in flight; travels with the call.
    sink: Option<AnySink>,
    call: Option<BoxFuture<'static, Returned>>,
    /// When the call in flight began.
    began: Option<Instant>,
    /// When to say that it has no answer yet.
    slow_at: Option<Instant>,
    /// Ends the call in flight, so that the sink comes back.
    give_up: CancellationToken,
    call_timeout: Duration,
    /// What the last write carried, until its failure is dealt with.
    pub(super) attempted: Option<Attempted>,
    /// What the store holds, as last read or written.
    pub(super) content: Option<Arc<Status>>,
    pub(super) limit: Option<SizeLimit>,
    pub(super) advice: Advice,
}

/// What a write carried, and the limit that it was made for.
pub(super) struct Attempted {
    pub(super) status: Arc<Status>,
    limit: Option<SizeLimit>,
}

impl Attempted {
    /// Whether the store has not lowered its limit since, or lowered it so far that it
    /// can only be exceeded: then this is the smallest that can be sent of `next`, what
    /// is to be sent within the new limit.
    pub(super) fn is_smallest(&self, next: &Status, limit: Option<SizeLimit>) -> bool {
        let is_lower = limit.is_some_and(|new| self.limit.is_none_or(|old| new.bytes < old.bytes));
        let fits = limit.is_some_and(|limit| json_size(next, limit) <= limit.bytes);
        next.eq_ignoring_times(&self.status) && !(is_lower && fits)
    }
}

struct Returned {
    sink: AnySink,
    finished: Finished,
}

/// A call has ended.
pub(super) struct Finished {
    pub(super) took: Duration,
    pub(super) result: Result<Done, SinkError>,
}

pub(super) enum Done {
    Read(Option<Status>),
    Refreshed(Refreshed),
    Wrote(WriteOutcome, Arc<Status>),
}

impl Store {
    pub(super) fn new(sink: AnySink, call_timeout: Duration) -> Self {
        Store {
            limit: sink.size_limit(),
            sink: Some(sink),
            call: None,
            began: None,
            slow_at: None,
            give_up: CancellationToken::new(),
            call_timeout,
            attempted: None,
            content: None,
            advice: Advice::default(),
        }
    }

    pub(super) fn read(&mut self, leadership: Option<Leadership>) {
        let (mut sink, guard) = self.begin(leadership);
        self.call = Some(Box::pin(async move {
            let began = Instant::now();
            let result = guard.guard(sink.read()).await.map(Done::Read);
            Returned { sink, finished: Finished { took: began.elapsed(), result } }
        }));
    }

    pub(super) fn write(&mut self, leadership: Option<Leadership>, status: Arc<Status>) {
        let (mut sink, guard) = self.begin(leadership);
        self.attempted = Some(Attempted { status: Arc::clone(&status), limit: self.limit });
        self.call = Some(Box::pin(async move {
            let began = Instant::now();
            let result = guard.guard(sink.write(&status)).await;
            let result = result.map(|outcome| Done::Wrote(outcome, status));
            Returned { sink, finished: Finished { took: began.elapsed(), result } }
        }));
    }

    pub(super) fn refresh(&mut self, leadership: Option<Leadership>, status: Arc<Status>) {
        let (mut sink, guard) = self.begin(leadership);
        self.call = Some(Box::pin(async move {
            let began = Instant::now();
            let result = guard.guard(sink.refresh(&status)).await.map(Done::Refreshed);
            Returned { sink, finished: Finished { took: began.elapsed(), result } }
        }));
    }

    fn begin(&mut self, leadership: Option<Leadership>) -> (AnySink, CallGuard) {
        self.attempted = None;
        let now = Instant::now();
        self.began = Some(now);
        self.slow_at = Some(now + SLOW);
        let sink = self.sink.take().expect("the schedule starts nothing while a call is in flight");
        (sink, CallGuard { time: self.call_timeout, give_up: self.give_up.clone(), leadership })
    }

    /// When the call in flight will have been without an answer for long; `None` while
    /// there is no such call, or [`take_slow`](Self::take_slow) has said it.
    pub(super) fn slow_at(&self) -> Option<Instant> {
        self.slow_at
    }

    /// Returns since when the call in flight has had no answer.
    pub(super) fn take_slow(&mut self) -> Option<Instant> {
        self.slow_at.take().and(self.began)
    }

    /// Waits for the end of the call in flight, for ever if there is none.
    ///
    /// # Cancellation safety
    ///
    /// The call goes on at the next wait.
    pub(super) async fn finished(&mut self) -> Finished {
        let Some(call) = &mut self.call else { return pending().await };
        let Returned { sink, finished } = call.await;
        self.call = None;
        self.slow_at = None;
        self.limit = sink.size_limit();
        self.advice = sink.advice();
        self.sink = Some(sink);
        finished
    }

    /// Ends the call in flight, if there is one; how it ended.
    pub(super) async fn give_up(&mut self) -> Option<Finished> {
        self.give_up.cancel();
        if self.call.is_some() { Some(self.finished().await) } else { None }
    }
}
