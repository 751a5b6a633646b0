//! Those who want to know what a write has changed in the store.

use std::future::{Future, ready};
use std::pin::Pin;

use crate::leadership::LeadershipState;
use crate::status::Status;

/// What a write has changed in the store.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StoredChange<'a> {
    /// What a reporter had stored before, in this process or an earlier one;
    /// `None` where the store held no report.
    pub before: Option<&'a Status>,
    /// What the store holds now.
    pub after: &'a Status,
    /// Whether both list every backend. `false` where one of them was cut to
    /// fit the store, or the store held entries that could not be read: then a
    /// backend that one of them lacks has neither come nor gone.
    pub complete: bool,
}

/// Learns what a reporter stores, as Kubernetes Events do. Pass it to
/// [`ReporterBuilder::on_stored`](crate::ReporterBuilder::on_stored); it works
/// with any [`Sink`](crate::Sink).
///
/// The actor calls the methods itself, so they must not block: hand over what
/// takes time to a task.
///
/// A closure is a listener too:
///
/// ```
/// use vmcp_status::{NoOpSink, Phase, Reporter, StoredChange};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let (phases, told) = std::sync::mpsc::channel();
/// let (handle, reporter) = Reporter::builder(NoOpSink::silent())
///     .on_stored(move |change: StoredChange<'_>| {
///         let _ = phases.send((change.before.map(|status| status.phase), change.after.phase));
///     })
///     .start();
/// assert!(handle.set_phase(Phase::Ready, "up"));
/// reporter.shutdown().await;
/// assert_eq!(told.recv()?, (None, Phase::Ready));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait StoredListener: Send + 'static {
    /// A write has changed what the store holds. A write whose outcome was not
    /// known counts as soon as a read shows that it was stored.
    fn stored(&mut self, change: StoredChange<'_>);

    /// Whether this process writes has changed. By default ignored.
    fn leadership_changed(&mut self, _state: LeadershipState) {}

    /// The reporter ends, and nothing more is stored: the time to send what is
    /// left. Has what is left of the shutdown grace, at least a second; then the
    /// future is dropped. By default there is nothing to do.
    fn close(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }
}

impl<F: FnMut(StoredChange<'_>) + Send + 'static> StoredListener for F {
    fn stored(&mut self, change: StoredChange<'_>) {
        self(change);
    }
}
