//! Which of several replicas may write.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

/// Whether this process is the one that writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeadershipState {
    /// There is no election: whoever reports writes.
    #[default]
    Alone,
    /// Not known yet, or not any more: nobody has said who leads. Nothing is
    /// written.
    Undecided,
    /// This process leads.
    Leading,
    /// Another replica leads; this one keeps its desired state up to date.
    Standby,
}

impl LeadershipState {
    /// Whether this process is one that writes.
    pub fn may_write(self) -> bool {
        matches!(self, LeadershipState::Alone | LeadershipState::Leading)
    }
}

/// Whether this process leads, as one who writes sees it. All clones see the
/// same.
///
/// A sink that has one returns it from
/// [`Sink::leadership`](crate::Sink::leadership); the reporter then writes only
/// while it leads.
///
/// ```
/// use std::time::Duration;
///
/// use vmcp_status::{Leadership, LeadershipState};
///
/// // The election holds one end, the reporter the other.
/// let (election, leadership) = Leadership::new();
/// assert_eq!(leadership.leadership_state(), LeadershipState::Undecided);
/// election.lead_until(tokio::time::Instant::now() + Duration::from_secs(10));
/// assert!(leadership.leadership_state().may_write());
/// election.stand_by();
/// assert!(leadership.time_left().is_zero());
/// ```
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<State>);

/// The other end of a [`Leadership`]: for whoever holds the election. Dropping
/// it freezes the last state, which for a leader ends with its term.
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
    /// Undecided at first.
    pub fn new() -> (LeadershipSender, Leadership) {
        let (switch, state) = watch::channel(State::default());
        (LeadershipSender(Arc::new(switch)), Leadership(state))
    }

    /// Who writes just now. A term that has run out is [`LeadershipState::Undecided`].
    pub fn leadership_state(&self) -> LeadershipState {
        self.0.borrow().leadership_state()
    }

    /// For how long this process may write without being told again; nothing if
    /// it may not.
    pub fn time_left(&self) -> Duration {
        self.0.borrow().time_left()
    }

    /// Waits for another standing than the one seen last. A term that runs out
    /// is not told: look before each write.
    ///
    /// # Cancellation safety
    ///
    /// Nothing is lost.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left to say anything.
            std::future::pending::<()>().await;
        }
    }
}

impl LeadershipSender {
    /// There is no election.
    pub fn stand_alone(&self) {
        self.set(State::Alone);
    }

    /// Another replica leads.
    pub fn stand_by(&self) {
        self.set(State::Standby);
    }

    /// It is not known who leads.
    pub fn undecided(&self) {
        self.set(State::Undecided);
    }

    /// This process leads until then, unless it is told again before.
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
        let (switch, leadership) = Leadership::new();
        assert_eq!(
            (leadership.leadership_state(), leadership.time_left()),
            (LeadershipState::Undecided, Duration::ZERO)
        );
        switch.lead_until(Instant::now() + TERM);
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
        let (switch, leadership) = Leadership::new();
        let until_wall = SystemTime::now() - Duration::from_secs(1);
        switch.set(State::Leading { until: Instant::now() + TERM, until_wall });
        assert_eq!(leadership.leadership_state(), LeadershipState::Undecided);
    }

    #[tokio::test(start_paused = true)]
    async fn renewal_is_no_news_and_a_new_term_after_a_gap_is() {
        let (switch, mut leadership) = Leadership::new();
        switch.lead_until(Instant::now() + TERM);
        leadership.changed().await;
        switch.lead_until(Instant::now() + TERM * 2);
        assert_eq!(leadership.changed().now_or_never(), None);
        tokio::time::advance(TERM * 3).await;
        switch.lead_until(Instant::now() + TERM);
        leadership.changed().await;
        switch.stand_by();
        leadership.changed().await;
        assert_eq!(leadership.leadership_state(), LeadershipState::Standby);
    }
}
