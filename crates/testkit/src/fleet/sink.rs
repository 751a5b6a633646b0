//! The sink of a reporter in the fleet: what the Kubernetes sink does, as far
//! as the model of the server can tell. A read is one request, and a write is
//! one that is conditional on the version last seen.

use vmcp_status::{Retry, Sink, SinkError, Status, WriteOutcome};

use super::server::{ApiServer, RequestError};

pub struct ModelSink {
    server: ApiServer,
    id: usize,
    version: Option<u64>,
}

impl ModelSink {
    pub fn new(server: ApiServer, id: usize) -> Self {
        ModelSink { server, id, version: None }
    }
}

impl Sink for ModelSink {
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        let (version, status) = self.server.read(self.id).await.map_err(error)?;
        self.version = Some(version);
        Ok(status)
    }

    async fn write(&mut self, status: &Status) -> Result<WriteOutcome, SinkError> {
        let version = self.version.expect("the reporter reads first");
        self.version = Some(self.server.write(self.id, version, status).await.map_err(error)?);
        Ok(WriteOutcome::Written)
    }
}

fn error(refusal: RequestError) -> SinkError {
    match refusal {
        RequestError::Conflict => SinkError::new(Retry::Conflict, "409"),
        RequestError::TooMany(pause) => SinkError::new(Retry::After(pause), "429"),
        RequestError::Broken => SinkError::new(Retry::Transient, "connection refused"),
    }
}
