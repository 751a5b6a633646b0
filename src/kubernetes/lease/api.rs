//! The requests of an election.

use std::time::Duration;

use kube::Client;

use super::elector::{Ask, LeaseAnswer};
use super::record::Lease;
use crate::custom_resource::APP_NAME;
use crate::error::error_chain;
use crate::human_duration::human_duration;
use crate::kubernetes::api::{ApiRequest, RefusalKind, RequestError};

/// The API of one Lease.
pub(super) struct LeaseApi {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) timeout: Duration,
}

impl LeaseApi {
    /// Sends the request. Returns the answer and, if it failed, why.
    pub(super) async fn send(&self, ask: Ask) -> (LeaseAnswer, Option<String>) {
        let response = match self.request(&ask).send(&self.client, Some(self.timeout)).await {
            Ok(response) => response,
            Err(RequestError::TimedOut(within)) => {
                return (
                    LeaseAnswer::Failed,
                    Some(format!("no answer from the API server within {}", human_duration(within))),
                );
            }
            Err(error) => {
                return (LeaseAnswer::Failed, Some(format!("no answer from the API server: {}", error_chain(&error))));
            }
        };
        let Some(refusal) = response.refusal() else {
            return match response.json().ok().and_then(Lease::from_object) {
                Some(lease) => (LeaseAnswer::Lease(lease), None),
                None => (LeaseAnswer::Failed, Some("the API server's answer is not a Lease".into())),
            };
        };
        let why = Some(refusal.summary());
        match refusal.kind() {
            kind if kind.is_not_found() => (LeaseAnswer::Missing, why.filter(|_| matches!(ask, Ask::Create(_)))),
            kind if kind.is_forbidden() => (LeaseAnswer::Forbidden, why),
            RefusalKind::Conflict => (LeaseAnswer::Conflict, None),
            _ => (LeaseAnswer::Failed, why),
        }
    }

    fn request(&self, ask: &Ask) -> ApiRequest {
        let LeaseApi { namespace, name, .. } = self;
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        let json = |lease: &Lease| serde_json::to_vec(lease.object()).expect("JSON values serialise");
        match ask {
            Ask::Get => ApiRequest::get(format!("{leases}/{name}")),
            Ask::Create(lease) => ApiRequest::post(format!("{leases}?fieldManager={APP_NAME}"), json(lease)),
            Ask::Update(lease) => ApiRequest::put(format!("{leases}/{name}?fieldManager={APP_NAME}"), json(lease)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::kubernetes::api::MAX_RESPONSE_BYTES;
    use crate::kubernetes::api::fixtures::{CHUNK, endless, unreachable};

    #[tokio::test]
    async fn server_that_is_away_is_told_by_its_innermost_cause_once() {
        let api = LeaseApi {
            client: unreachable(),
            namespace: "default".into(),
            name: "lease".into(),
            timeout: Duration::from_secs(5),
        };
        let why = api.send(Ask::Get).await.1.expect("a reason");
        assert_eq!(why.matches("refused").count(), 1, "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn answer_without_end_fails_and_is_read_no_further_than_the_limit() {
        let (client, read) = endless();
        let api =
            LeaseApi { client, namespace: "default".into(), name: "lease".into(), timeout: Duration::from_secs(5) };
        let (answer, why) = api.send(Ask::Get).await;
        assert!(matches!(answer, LeaseAnswer::Failed), "{answer:?}");
        let read = read.load(Ordering::Relaxed);
        assert!(read <= MAX_RESPONSE_BYTES + CHUNK, "{read} bytes were read");
        let why = why.expect("a reason");
        assert!(why.contains("more than 16 MiB"), "{why}");
    }
}
