//! The sink of a reporter in the fleet: what the Kubernetes sink does, as far
//! as the model of the server can tell.

use std::time::Duration;

use vmcp_status::{Advice, Refreshed, Retry, Sink, SinkError, Status, WriteOutcome};

use super::server::{ApiServer, Expected, RequestError};

/// After the first write of a process the Kubernetes sink looks once whether it
/// has stayed.
const LOOK: Duration = Duration::from_secs(10);

/// What a write is conditional on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// What it replaces, as the Kubernetes sink does it.
    Replaced,
    /// The version of the object, as it did until that: whatever the operator
    /// writes is a conflict, and a refresh is a read and a write.
    Version,
}

pub struct ModelSink {
    server: ApiServer,
    id: usize,
    precondition: Precondition,
    version: Option<u64>,
    /// What is stored as far as is known.
    stored: Option<Status>,
    has_written: bool,
    look: Option<Duration>,
}

impl ModelSink {
    pub fn new(server: ApiServer, id: usize, precondition: Precondition) -> Self {
        ModelSink { server, id, precondition, version: None, stored: None, has_written: false, look: None }
    }
}

impl Sink for ModelSink {
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        self.look = None;
        let (version, status) = self.server.read(self.id).await.map_err(error)?;
        if self.version.is_none() && status.is_none() {
            // Whether the CRD has `status.runtime` is not seen yet.
            self.server.dry_run(self.id).await.map_err(error)?;
        }
        self.version = Some(version);
        self.stored.clone_from(&status);
        Ok(status)
    }

    async fn write(&mut self, status: &Status) -> Result<WriteOutcome, SinkError> {
        let expected = match self.precondition {
            Precondition::Replaced => Expected::Replaced,
            Precondition::Version => Expected::Version(self.version.expect("the reporter reads first")),
        };
        self.version = Some(self.server.write(self.id, expected, status).await.map_err(error)?);
        self.stored = Some(status.clone());
        self.look = (!std::mem::replace(&mut self.has_written, true)).then_some(LOOK);
        Ok(WriteOutcome::Written)
    }

    async fn refresh(&mut self, status: &Status) -> Result<Refreshed, SinkError> {
        if self.precondition == Precondition::Version {
            return Ok(Refreshed { stored: self.read().await?, outcome: None });
        }
        if self.stored.as_ref().is_some_and(|stored| stored.discovered_backends == status.discovered_backends) {
            return Ok(Refreshed { stored: self.read().await?, outcome: Some(WriteOutcome::Unchanged) });
        }
        let outcome = Some(self.write(status).await?);
        self.look = None;
        Ok(Refreshed { stored: self.stored.clone(), outcome })
    }

    fn advice(&self) -> Advice {
        let mut advice = Advice::default();
        // In `status.runtime` the operator would make `Degraded` of it.
        advice.no_early_pending = true;
        advice.look_again = self.look;
        advice
    }
}

fn error(refusal: RequestError) -> SinkError {
    match refusal {
        RequestError::Conflict => SinkError::new(Retry::Conflict, "409"),
        RequestError::TooMany(pause) => SinkError::new(Retry::After(pause), "429"),
        RequestError::Unreachable => SinkError::new(Retry::Unreachable, "connection refused"),
        RequestError::Broken => SinkError::new(Retry::Transient, "connection reset"),
    }
}
