//! A read-only view of a reporter.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::control::Control;
use super::progress::Progress;
use crate::leadership::{Leadership, LeadershipState};
use crate::mailbox;
use crate::metrics::Metrics;
use crate::status::Status;

/// A read-only view of a reporter. It does not keep the reporter alive, which ends
/// with the last sender to its mailbox.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) mailbox: mailbox::Gauge,
    pub(super) control: mpsc::UnboundedSender<Control>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) metrics: Arc<Metrics>,
    pub(super) leadership: Option<Leadership>,
}

impl View {
    /// See [`StatusHandle::current`](super::StatusHandle::current).
    pub(crate) async fn current(&self) -> Option<Arc<Status>> {
        let (reply, answer) = oneshot::channel();
        self.control.send(Control::Current { reply }).ok()?;
        answer.await.ok()
    }

    /// See [`StatusHandle::leadership_state`](super::StatusHandle::leadership_state).
    pub(crate) fn leadership_state(&self) -> LeadershipState {
        self.leadership.as_ref().map_or(LeadershipState::Alone, Leadership::leadership_state)
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("mailbox_depth", &self.mailbox.depth()).finish_non_exhaustive()
    }
}
