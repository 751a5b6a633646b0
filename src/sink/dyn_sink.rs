use futures::future::BoxFuture;

use super::{Advice, Refreshed, Sink, WriteOutcome};
use crate::error::SinkError;
use crate::status::{SizeLimit, Status};

/// [`Sink`] with boxed futures, so that a program can choose a sink at run time, and
/// the compiler builds the actor once.
trait DynSink: Send {
    fn read(&mut self) -> BoxFuture<'_, Result<Option<Status>, SinkError>>;
    fn write<'a>(&'a mut self, status: &'a Status) -> BoxFuture<'a, Result<WriteOutcome, SinkError>>;
    fn refresh<'a>(&'a mut self, status: &'a Status) -> BoxFuture<'a, Result<Refreshed, SinkError>>;
    fn size_limit(&self) -> Option<SizeLimit>;
    fn advice(&self) -> Advice;
}

impl<S: Sink> DynSink for S {
    fn read(&mut self) -> BoxFuture<'_, Result<Option<Status>, SinkError>> {
        Box::pin(Sink::read(self))
    }

    fn write<'a>(&'a mut self, status: &'a Status) -> BoxFuture<'a, Result<WriteOutcome, SinkError>> {
        Box::pin(Sink::write(self, status))
    }

    fn refresh<'a>(&'a mut self, status: &'a Status) -> BoxFuture<'a, Result<Refreshed, SinkError>> {
        Box::pin(Sink::refresh(self, status))
    }

    fn size_limit(&self) -> Option<SizeLimit> {
        Sink::size_limit(self)
    }

    fn advice(&self) -> Advice {
        Sink::advice(self)
    }
}

/// A sink of any kind, for a program that chooses at run time.
///
/// ```
/// use vmcp_status::{AnySink, FileSink, NoOpSink, StateFileError};
///
/// fn sink(name: Option<&str>) -> Result<AnySink, StateFileError> {
///     Ok(match name {
///         Some(name) => AnySink::new(FileSink::new(name)?),
///         None => AnySink::new(NoOpSink::silent()),
///     })
/// }
/// # assert!(sink(None).is_ok());
/// ```
pub struct AnySink(Box<dyn DynSink>);

impl AnySink {
    /// Wraps a sink and erases its type.
    pub fn new(sink: impl Sink) -> Self {
        AnySink(Box::new(sink))
    }
}

impl std::fmt::Debug for AnySink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnySink")
    }
}

impl Sink for AnySink {
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        self.0.read().await
    }

    async fn write(&mut self, status: &Status) -> Result<WriteOutcome, SinkError> {
        self.0.write(status).await
    }

    async fn refresh(&mut self, status: &Status) -> Result<Refreshed, SinkError> {
        self.0.refresh(status).await
    }

    fn size_limit(&self) -> Option<SizeLimit> {
        self.0.size_limit()
    }

    fn advice(&self) -> Advice {
        self.0.advice()
    }
}
