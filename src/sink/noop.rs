use super::{Sink, WriteOutcome};
use crate::error::SinkError;
use crate::status::Status;

/// Stores nothing: for a gateway whose status has no reader, and for tests. A handle
/// can still watch what was reported.
///
/// ```
/// # tokio_test(async {
/// use vmcp_status::{NoOpSink, Reporter, Status};
///
/// let (handle, reporter) = Reporter::builder(NoOpSink::logging()).start();
/// assert!(handle.report(Status::default()));
/// assert!(reporter.shutdown().await.is_complete());
/// # });
/// # fn tokio_test(f: impl Future<Output = ()>) {
/// #     tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(f)
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct NoOpSink {
    logging: bool,
    last: Option<Status>,
}

impl NoOpSink {
    /// Makes a sink that logs nothing.
    pub const fn silent() -> Self {
        NoOpSink { logging: false, last: None }
    }

    /// Makes a sink that logs each status at debug level.
    pub const fn logging() -> Self {
        NoOpSink { logging: true, last: None }
    }
}

impl Sink for NoOpSink {
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        Ok(self.last.clone())
    }

    async fn write(&mut self, status: &Status) -> Result<WriteOutcome, SinkError> {
        if self.logging {
            tracing::debug!(
                phase = %status.phase,
                summary = status.message,
                routable = status.backend_count,
                backends = status.discovered_backends.len(),
                conditions = status.conditions.len(),
                "status update, not stored"
            );
        }
        self.last = Some(status.clone());
        Ok(WriteOutcome::Written)
    }
}
