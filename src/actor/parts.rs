//! What the actor is made of, and what it leaves behind.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::backoff::BackoffPolicy;
use crate::handle::{Control, Progress};
use crate::leadership::{Leadership, LeadershipState};
use crate::listener::StoredListener;
use crate::mailbox::Mailbox;
use crate::metrics::{Counts, Metrics};
use crate::sink::Location;
use crate::status::Status;

/// Where the time of day comes from; tokio's clock has none.
pub(crate) type WallClock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The span of the log lines, for each state of the leadership.
pub(crate) type Spans = Box<dyn Fn(LeadershipState) -> Span + Send>;

/// What the reporter's builder sets.
pub(crate) struct Settings {
    pub(crate) write_interval: Duration,
    pub(crate) periodic_interval: Option<Duration>,
    pub(crate) unelected_interval: Option<Duration>,
    pub(crate) write_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) backoff: BackoffPolicy,
    pub(crate) derive: bool,
    pub(crate) start_window: Duration,
    pub(crate) start_jitter: Duration,
    pub(crate) wall_clock: WallClock,
}

/// The ends of the channels on which the actor receives.
pub(crate) struct Channels {
    pub(crate) mailbox: Mailbox,
    pub(crate) control: mpsc::UnboundedReceiver<Control>,
    pub(crate) shutdown: CancellationToken,
}

/// What observes the actor.
pub(crate) struct Observers {
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) listeners: Vec<Box<dyn StoredListener>>,
}

/// The actor's part in an election.
pub(crate) struct Candidacy {
    pub(crate) leadership: Leadership,
    /// Hands the leadership over.
    pub(crate) release: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>,
}

/// What the actor leaves behind.
pub(crate) struct ActorExit {
    pub(crate) stored: Option<Arc<Status>>,
    /// What is not stored, and why.
    pub(crate) unstored: Option<(Arc<Status>, String)>,
    /// What the first round had found when the process ended inside it.
    pub(crate) held_back: Option<Arc<Status>>,
    pub(crate) location: Option<Location>,
    pub(crate) leadership_state: LeadershipState,
    pub(crate) counts: Counts,
}
