//! Which of several replicas may write.

use std::future::{Future, ready};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

/// Whether this process is the one that writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeadershipState {
    /// There is no election: every process that reports writes.
    #[default]
    Alone,
    /// This process does not know, or no longer knows, which replica leads. It does
    /// not write.
    Undecided,
    /// This process leads.
    Leading,
    /// Another replica leads; this one keeps its desired state up to date.
    Standby,
}

impl LeadershipState {
    /// Whether this process writes.
    pub fn may_write(self) -> bool {
        matches!(self, LeadershipState::Alone | LeadershipState::Leading)
    }

    /// Returns what this process is among its replicas, for a field of a log line:
    /// `leader`, `standby` or `undecided`; `None` without an election.
    pub fn role(self) -> Option<&'static str> {
        match self {
            LeadershipState::Alone => None,
            LeadershipState::Undecided => Some("undecided"),
            LeadershipState::Leading => Some("leader"),
            LeadershipState::Standby => Some("standby"),
        }
    }
}

/// An election in which this process takes part, as a reporter uses it: see
/// [`ReporterBuilder::leadership`](crate::ReporterBuilder::leadership).
///
/// A bare [`Leadership`] is an election too, for a process that runs its election
/// elsewhere: the reporter does not end it.
pub trait Election: Send + 'static {
    /// Returns the view of whether this process leads. The builder asks once.
    fn leadership(&self) -> Leadership;

    /// Gives up the leadership, so that another replica can lead at once. The
    /// reporter calls this once, after its last write. It drops the future after
    /// what is left of the shutdown grace, at least a second.
    fn release(self) -> impl Future<Output = ()> + Send + 'static;
}

impl Election for Leadership {
    fn leadership(&self) -> Leadership {
        self.clone()
    }

    fn release(self) -> impl Future<Output = ()> + Send + 'static {
        ready(())
    }
}

/// Whether this process leads. All clones share one state.
///
/// A reporter that was [built with it](crate::ReporterBuilder::leadership) reads
/// and writes only while this process leads, whatever the sink.
///
/// ```
/// use std::time::Duration;
///
/// use vmcp_status::{Leadership, LeadershipState, NoOpSink, Reporter};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// // The election holds one end, the reporter the other.
/// let (election, leadership) = Leadership::new();
/// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).leadership(leadership.clone()).start();
/// assert_eq!(leadership.leadership_state(), LeadershipState::Undecided);
/// election.lead_until(tokio::time::Instant::now() + Duration::from_secs(10));
/// assert!(leadership.leadership_state().may_write());
/// election.stand_by();
/// assert!(leadership.time_left().is_zero());
/// assert_eq!(handle.leadership_state(), LeadershipState::Standby);
/// # reporter.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<State>);

/// The sending end of a [`Leadership`], for the task that takes part in the
/// election. Dropping it freezes the last state; a leader still stops at the end
/// of its term.
#[derive(Clone, Debug)]
pub struct LeadershipSender(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Undecided,
    Alone,
    Standby,
    Leading {
        until: Instant,
        /// The same deadline on the wall clock, which advances during suspend.
        until_wall: SystemTime,
    },
}

impl State {
    fn leadership_state(self) -> LeadershipState {
        match self {
            State::Alone => LeadershipState::Alone,
            State::Standby => LeadershipState::Standby,
            State::Leading { .. } if !self.time_left().is_zero() => LeadershipState::Leading,
            State::Leading { .. } | State::Undecided => LeadershipState::Undecided,
        }
    }

    fn time_left(self) -> Duration {
        match self {
            State::Alone => Duration::MAX,
            State::Standby | State::Undecided => Duration::ZERO,
            State::Leading { until, until_wall } => {
                let left = until.saturating_duration_since(Instant::now());
                left.min(until_wall.duration_since(SystemTime::now()).unwrap_or_default())
            }
        }
    }
}

impl Leadership {
    /// Returns both ends. The state is [`LeadershipState::Undecided`] at first.
    pub fn new() -> (LeadershipSender, Leadership) {
        let (sender, state) = watch::channel(State::default());
        (LeadershipSender(Arc::new(sender)), Leadership(state))
    }

    /// Returns the state at this moment. After the end of a term it is
    /// [`LeadershipState::Undecided`].
    pub fn leadership_state(&self) -> LeadershipState {
        self.0.borrow().leadership_state()
    }

    /// Returns for how long this process may write unless its term is extended;
    /// zero if it may not write.
    pub fn time_left(&self) -> Duration {
        self.0.borrow().time_left()
    }

    /// Waits until the state differs from the one seen last. The end of a term does
    /// not wake it, so look at the state before each write.
    ///
    /// # Cancellation safety
    ///
    /// Dropping the future loses no change: the next call returns at once.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The sender is gone, so the state stays as it is.
            std::future::pending::<()>().await;
        }
    }
}

impl LeadershipSender {
    /// Sets [`LeadershipState::Alone`]: there is no election, and this process writes.
    pub fn stand_alone(&self) {
        self.set(State::Alone);
    }

    /// Sets [`LeadershipState::Standby`]: another replica leads.
    pub fn stand_by(&self) {
        self.set(State::Standby);
    }

    /// Sets [`LeadershipState::Undecided`]: this process does not know which replica
    /// leads.
    pub fn undecided(&self) {
        self.set(State::Undecided);
    }

    /// Sets [`LeadershipState::Leading`] until this time; a later call extends the
    /// term. The term also ends if the machine is suspended past it.
    pub fn lead_until(&self, until: Instant) {
        let until_wall = SystemTime::now() + until.saturating_duration_since(Instant::now());
        self.set(State::Leading { until, until_wall });
    }

    /// Extending the term does not wake `changed()`.
    fn set(&self, new: State) {
        self.0.send_if_modified(|state| {
            let before = std::mem::replace(state, new).leadership_state();
            before != new.leadership_state()
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const TERM: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn term_that_has_run_out_may_not_write() {
        let (sender, leadership) = Leadership::new();
        assert_eq!(
            (leadership.leadership_state(), leadership.time_left()),
            (LeadershipState::Undecided, Duration::ZERO)
        );
        sender.lead_until(Instant::now() + TERM);
        assert_eq!(leadership.leadership_state(), LeadershipState::Leading);
        assert!(leadership.time_left() <= TERM && leadership.time_left() > TERM / 2);
        tokio::time::advance(TERM).await;
        assert_eq!(
            (leadership.leadership_state(), leadership.time_left()),
            (LeadershipState::Undecided, Duration::ZERO)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn term_that_ended_while_the_machine_slept_may_not_write() {
        let (sender, leadership) = Leadership::new();
        let until_wall = SystemTime::now() - Duration::from_secs(1);
        sender.set(State::Leading { until: Instant::now() + TERM, until_wall });
        assert_eq!(leadership.leadership_state(), LeadershipState::Undecided);
    }

    #[tokio::test(start_paused = true)]
    async fn changed_after_a_renewal_waits_and_after_a_gap_returns() {
        let (sender, mut leadership) = Leadership::new();
        sender.lead_until(Instant::now() + TERM);
        leadership.changed().await;
        sender.lead_until(Instant::now() + TERM * 2);
        assert_eq!(leadership.changed().now_or_never(), None);
        tokio::time::advance(TERM * 3).await;
        sender.lead_until(Instant::now() + TERM);
        leadership.changed().await;
        sender.stand_by();
        leadership.changed().await;
        assert_eq!(leadership.leadership_state(), LeadershipState::Standby);
    }
}
