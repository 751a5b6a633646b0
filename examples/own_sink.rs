//! A store of your own: a sink that keeps the status as one line of text in a service
//! that is sometimes busy and has a size limit. The reporter provides pace, retries,
//! merging and the last write; the sink returns what went wrong and when to try again.
//!
//! ```text
//! cargo run --example own_sink
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vmcp_status::{
    BackendStatus, DiscoveredBackend, Reporter, Retry, Sink, SinkError, SizeLimit, Status, WriteOutcome,
};

/// The service: holds one document, and refuses every third request.
#[derive(Default)]
struct Service {
    document: Option<String>,
    requests: u32,
}

impl Service {
    fn request(&mut self) -> Result<&mut Option<String>, Busy> {
        self.requests += 1;
        if self.requests.is_multiple_of(3) { Err(Busy) } else { Ok(&mut self.document) }
    }
}

/// The answer of the service when it is busy.
#[derive(Debug, thiserror::Error)]
#[error("too many requests, come back in 200 ms")]
struct Busy;

/// Keeps the status in a [`Service`].
struct ServiceSink(Arc<Mutex<Service>>);

impl ServiceSink {
    /// Sends one request. The client of a real service would await its answer here, and
    /// must not hold a lock across the await.
    fn with<T>(&self, what: &'static str, request: impl FnOnce(&mut Option<String>) -> T) -> Result<T, SinkError> {
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match service.request() {
            Ok(document) => Ok(request(document)),
            Err(busy) => {
                println!("   ({what}: {busy})");
                Err(SinkError::new(Retry::After(Duration::from_millis(200)), what).caused_by(busy))
            }
        }
    }
}

impl Sink for ServiceSink {
    /// Returns what is stored, so that a restart keeps the times of transitions and does
    /// not write the same again.
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        let document = self.with("cannot read the status", |document| document.clone())?;
        // The next write replaces a document that is not a status.
        Ok(document.and_then(|document| serde_json::from_str(&document).ok()))
    }

    async fn write(&mut self, status: &Status) -> Result<WriteOutcome, SinkError> {
        let text = serde_json::to_string(status)
            .map_err(|error| SinkError::new(Retry::Refused, "cannot write the status as JSON").caused_by(error))?;
        self.with("cannot write the status", |document| *document = Some(text))?;
        println!("   stored: {}: {}", status.phase, status.message);
        Ok(WriteOutcome::Written)
    }

    /// The reporter truncates a larger status, and keeps unhealthy backends.
    fn size_limit(&self) -> Option<SizeLimit> {
        Some(SizeLimit::new(64 * 1024))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let service = Arc::new(Mutex::new(Service::default()));
    let (handle, reporter) = Reporter::builder(ServiceSink(Arc::clone(&service)))
        .derive_phase(true)
        .write_interval(Duration::from_millis(100))
        .start();

    println!("== a thousand backends come, one by one");
    for number in 0..1000 {
        let backend =
            DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named(number.to_string()) };
        assert!(handle.upsert_backend(backend), "the reporter runs");
    }
    handle.flush().await?;

    println!("== one of them fails");
    let failed = DiscoveredBackend { status: BackendStatus::Unavailable, ..DiscoveredBackend::named("7") };
    assert!(handle.upsert_backend(failed), "the reporter runs");
    handle.flush().await?;

    println!("== the same again: nothing to store");
    assert!(handle.derive_phase(), "the reporter runs");
    handle.flush().await?;

    let outcome = reporter.shutdown().await;
    let requests = service.lock().unwrap_or_else(PoisonError::into_inner).requests;
    println!(
        "== everything stored: {}; {} updates were {requests} requests",
        outcome.is_complete(),
        outcome.counts.received
    );
    Ok(())
}
