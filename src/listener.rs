//! Listeners, which learn what a write has changed in the store.

use std::future::{Future, ready};
use std::pin::Pin;

use crate::leadership::LeadershipState;
use crate::status::Status;

/// What a write has changed in the store.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StoredChange<'a> {
    /// The status that a reporter had stored before, in this process or an earlier
    /// one; `None` where the store held no report.
    pub before: Option<&'a Status>,
    /// The status that the store holds now.
    pub after: &'a Status,
    /// Whether both list every backend. `false` where one of them was truncated to
    /// fit the store, or the store held entries that could not be read. Then a
    /// backend that one of them lacks need not have been added or removed.
    pub complete: bool,
}

/// Learns what a reporter stores, for example to make Kubernetes Events of it. Pass
/// it to [`ReporterBuilder::on_stored`](crate::ReporterBuilder::on_stored); it
/// works with any [`Sink`](crate::Sink).
///
/// The actor calls the methods itself, so they must not block: send what takes time
/// to a task.
///
/// A closure is a listener too:
///
/// ```
/// use vmcp_status::{NoOpSink, Phase, Reporter, StoredChange};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let (phases, stored) = std::sync::mpsc::channel();
/// let (handle, reporter) = Reporter::builder(NoOpSink::silent())
///     .on_stored(move |change: StoredChange<'_>| {
///         let _ = phases.send((change.before.map(|status| status.phase), change.after.phase));
///     })
///     .start();
/// assert!(handle.set_phase(Phase::Ready, "up"));
/// reporter.shutdown().await;
/// assert_eq!(stored.recv()?, (None, Phase::Ready));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait StoredListener: Send + 'static {
    /// The reporter calls this after a write has changed what the store holds. If the
    /// outcome of a write was not known, it calls this once a read shows that the
    /// write was stored.
    fn stored(&mut self, change: StoredChange<'_>);

    /// The reporter calls this when it changes whether this process writes. The
    /// default does nothing.
    fn leadership_changed(&mut self, _state: LeadershipState) {}

    /// The reporter calls this once after it has begun to lead among replicas, as soon
    /// as the store holds what it reports, whether it had to write that or not. The
    /// default does nothing.
    fn took_over(&mut self, _stored: &Status) {}

    /// The reporter calls this when it ends, after the last write: send what is left.
    /// It drops the future after what is left of the shutdown grace, at least a
    /// second. The default does nothing.
    fn close(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }
}

impl<F: FnMut(StoredChange<'_>) + Send + 'static> StoredListener for F {
    fn stored(&mut self, change: StoredChange<'_>) {
        self(change);
    }
}
