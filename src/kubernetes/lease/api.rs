//! The requests of an election.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use tokio::time::timeout;

use super::elector::{Ask, LeaseAnswer};
use super::record::Lease;
use crate::custom_resource::APP_NAME;
use crate::kubernetes::api::JSON;
use crate::kubernetes::response::ApiResponse;

/// Where one lease is.
pub(super) struct LeaseApi {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) timeout: Duration,
}

impl LeaseApi {
    /// What the server answers; and in its words what is wrong, if anything is.
    pub(super) async fn send(&self, ask: Ask) -> (LeaseAnswer, Option<String>) {
        let Ok(received) = timeout(self.timeout, self.exchange(&ask)).await else {
            return (LeaseAnswer::Failed, Some(format!("no answer from the API server within {:?}", self.timeout)));
        };
        let received = match received {
            Ok(received) => received,
            Err(error) => return (LeaseAnswer::Failed, Some(format!("no answer from the API server: {error}"))),
        };
        let why = Some(received.said());
        match received.code() {
            code if code.is_success() => match received.json().and_then(Lease::from_object) {
                Some(lease) => (LeaseAnswer::Lease(lease), None),
                None => (LeaseAnswer::Failed, Some("the API server's answer is no Lease".into())),
            },
            StatusCode::NOT_FOUND => (LeaseAnswer::Missing, why.filter(|_| matches!(ask, Ask::Create(_)))),
            StatusCode::CONFLICT => (LeaseAnswer::Conflict, None),
            StatusCode::FORBIDDEN => (LeaseAnswer::Forbidden, why),
            _ => (LeaseAnswer::Failed, why),
        }
    }

    async fn exchange(&self, ask: &Ask) -> Result<ApiResponse, kube::Error> {
        let LeaseApi { namespace, name, .. } = self;
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        let (method, uri, lease) = match ask {
            Ask::Get => (Method::GET, format!("{leases}/{name}"), None),
            Ask::Create(lease) => (Method::POST, format!("{leases}?fieldManager={APP_NAME}"), Some(lease)),
            Ask::Update(lease) => (Method::PUT, format!("{leases}/{name}?fieldManager={APP_NAME}"), Some(lease)),
        };
        let body = lease.map(|lease| serde_json::to_vec(lease.object()).expect("JSON values serialise"));
        let request = Request::builder().method(method).uri(uri).header(ACCEPT, JSON).header(CONTENT_TYPE, JSON);
        let request = request.body(Body::from(body.unwrap_or_default())).expect("checked names make a valid request");
        let (head, body) = self.client.send(request).await?.into_parts();
        Ok(ApiResponse::new(head.status, &head.headers, body.collect().await?.to_bytes()))
    }
}
