//! The requests about one object.

use std::fmt;

use kube::Client;
use serde_json::Value;

use super::api::{
    ApiRequest, ApiResponse, JSON, JSON_PATCH, MERGE_PATCH, METADATA, ObjectPath, Refusal, RefusalKind, RequestError,
    TABLE,
};
use super::location::RuntimeSupport;
use super::operation::{Operation, ReadStrategy};
use crate::custom_resource::{PLURAL, STATUS_SUBRESOURCE};
use crate::error::{Retry, SinkError};

/// How a server calls the field when it warns that its CRD does not have it.
pub(super) const RUNTIME_FIELD: &str = "status.runtime";

pub(super) struct ObjectClient {
    client: Client,
    pub(super) object: ObjectPath,
    pub(super) field_manager: String,
    /// The way of reading that worked last.
    strategy: Option<ReadStrategy>,
}

/// What the server answers to a patch that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Little more than the version of the object.
    Version,
    /// The whole object.
    Object,
}

impl ObjectClient {
    pub(super) fn new(client: Client, object: ObjectPath, field_manager: &str) -> Self {
        ObjectClient { client, object, field_manager: field_manager.into(), strategy: None }
    }

    /// The status actor bounds the time of each read and write.
    async fn send(&self, operation: Operation, request: ApiRequest) -> Result<ApiResponse, SinkError> {
        request.send(&self.client, None).await.map_err(|error| {
            let retry = match error {
                RequestError::Connect(_) => Retry::Unreachable,
                _ => Retry::Transient,
            };
            let message = format!("cannot {operation} {self}: no answer from the API server, is it reachable?");
            SinkError::new(retry, message).caused_by(error)
        })
    }

    /// Reads the object: in the way that worked last, then in the others while
    /// rights are missing.
    pub(super) async fn read(&mut self) -> Result<Value, SinkError> {
        let remembered = self.strategy;
        let others = ReadStrategy::ALL.into_iter().filter(|strategy| Some(*strategy) != remembered);
        let mut denied = None;
        for strategy in remembered.into_iter().chain(others) {
            let response = self.read_by(strategy).await?;
            let object = Operation::Read(strategy).object_of(&response, &self.to_string());
            match response.refusal().map(Refusal::kind) {
                Some(RefusalKind::Denied) => denied = object.err(),
                Some(kind) if kind.is_forbidden() => {}
                _ => {
                    let object = object?;
                    self.strategy = Some(strategy);
                    return Ok(object);
                }
            }
        }
        self.strategy = None;
        if let Some(denied) = denied {
            return Err(denied);
        }
        let message = format!(
            "not allowed to read {self}: give the service account the verb patch on {STATUS_SUBRESOURCE}, see RBAC.md"
        );
        Err(SinkError::new(Retry::Blocked, message))
    }

    async fn read_by(&self, strategy: ReadStrategy) -> Result<ApiResponse, SinkError> {
        let request = match strategy {
            ReadStrategy::Status => ApiRequest::get(self.object.uri("/status", "")),
            ReadStrategy::Object => ApiRequest::get(self.object.uri("", "")),
            ReadStrategy::EmptyPatch => {
                ApiRequest::patch(self.object.uri("/status", &self.query("")), MERGE_PATCH, b"{}".to_vec())
            }
        };
        self.send(Operation::Read(strategy), request).await
    }

    /// Asks the server whether its CRD has `status.runtime`, by a patch that is
    /// not carried out: it needs no other right than the one to write.
    pub(super) async fn ask_for_runtime(&self) -> Result<RuntimeSupport, SinkError> {
        let uri = self.object.uri("/status", &self.query("&dryRun=All&fieldValidation=Warn"));
        let question = br#"{"status":{"runtime":{}}}"#.to_vec();
        let request = ApiRequest::patch(uri, MERGE_PATCH, question).accept(METADATA);
        let response = self.send(Operation::Ask, request).await?;
        let Some(refusal) = response.refusal() else {
            let is_dropped = response.warns_of(RUNTIME_FIELD);
            return Ok(if is_dropped { RuntimeSupport::Unknown } else { RuntimeSupport::Known });
        };
        match refusal.kind() {
            // A webhook that does not support dry runs, or a policy.
            RefusalKind::DryRunUnsupported | RefusalKind::Invalid | RefusalKind::PatchMismatch => {
                Ok(RuntimeSupport::Refused(Refusal::summary(refusal)))
            }
            kind if kind.is_forbidden() => Ok(RuntimeSupport::Refused(Refusal::summary(refusal))),
            _ => Operation::Ask.object_of(&response, &self.to_string()).map(|_| RuntimeSupport::Known),
        }
    }

    /// Sends a JSON Patch of the status. A CRD without `runtime` drops it without
    /// a word, so the server is asked to warn.
    pub(super) async fn patch(&self, body: Vec<u8>, answer: Answer) -> Result<ApiResponse, SinkError> {
        let (query, accept) = match answer {
            Answer::Version => ("&fieldValidation=Warn&includeObject=None", TABLE),
            Answer::Object => ("&fieldValidation=Warn", JSON),
        };
        let uri = self.object.uri("/status", &self.query(query));
        self.send(Operation::Write, ApiRequest::patch(uri, JSON_PATCH, body).accept(accept)).await
    }

    fn query(&self, more: &str) -> String {
        format!("?fieldManager={}{more}", self.field_manager)
    }
}

impl fmt::Display for ObjectClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PLURAL}.{} {}/{}", self.object.group(), self.object.namespace(), self.object.name())
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::fixtures::unreachable;
    use super::*;

    #[tokio::test]
    async fn server_that_is_away_is_told_by_its_innermost_cause_once() {
        let object = ObjectPath::new("default", "demo").expect("good names");
        let mut client = ObjectClient::new(unreachable(), object, "test");
        let error = client.read().await.expect_err("away");
        assert_eq!(error.chain().matches("refused").count(), 1, "{}", error.chain());
        assert_eq!(error.retry(), Retry::Unreachable);
    }
}
