//! What a report costs its caller, and what a bare send costs.

use std::hint::black_box;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use vmcp_status::{NoOpSink, Reporter, Status, StatusHandle};

/// As many as the mailbox holds: a caller that the actor keeps up with never
/// finds it full.
const BURST: usize = 256;

/// Times `send` for as many statuses as asked, in bursts; what happens between
/// the bursts is not the caller's time. The backends are shared, so that a burst
/// of large ones fits into memory; the caller moves the same bytes either way.
fn in_bursts(iterations: u64, status: &Status, send: impl Fn(Status), mut between: impl FnMut()) -> Duration {
    let mut left = usize::try_from(iterations).expect("fits");
    let mut spent = Duration::ZERO;
    while left > 0 {
        let burst: Vec<Status> = (0..left.min(BURST)).map(|_| status.clone()).collect();
        left -= burst.len();
        let start = Instant::now();
        for status in burst {
            send(black_box(status));
        }
        spent += start.elapsed();
        between();
    }
    spent
}

/// The naive counterpart: a channel, and nothing behind it.
pub struct Bare {
    sender: mpsc::Sender<Box<Status>>,
    receiver: mpsc::Receiver<Box<Status>>,
    status: Status,
}

impl Bare {
    pub fn new(status: Status) -> Self {
        let (sender, receiver) = mpsc::channel(BURST);
        Bare { sender, receiver, status }
    }

    pub fn time(&mut self, iterations: u64) -> Duration {
        let Bare { sender, receiver, status } = self;
        in_bursts(
            iterations,
            status,
            |status| sender.try_send(Box::new(status)).expect("there is room"),
            || while receiver.try_recv().is_ok() {},
        )
    }
}

/// A reporter.
pub struct Reporting {
    runtime: Runtime,
    handle: StatusHandle,
    status: Status,
}

impl Reporting {
    pub fn new(status: Status) -> Self {
        // Runs only between the bursts: what the receiver does on another core
        // would be measured too where cores are few.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let handle = {
            let _inside = runtime.enter();
            Reporter::builder(NoOpSink::silent()).mailbox_size(BURST).start().0
        };
        Reporting { runtime, handle, status }
    }

    pub fn time(&mut self, iterations: u64) -> Duration {
        let Reporting { runtime, handle, status } = self;
        in_bursts(
            iterations,
            status,
            |status| assert!(handle.report(status)),
            || runtime.block_on(handle.flush()).expect("stored"),
        )
    }
}
