//! An API server that answers at once, from memory: what is left is the cost of
//! the reporter and of kube's client.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use kube::client::Body;
use tower::BoxError;

/// What a write is answered with, as the real server does in more words.
const TABLE: &str = r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"}}"#;

/// A client of a server that has this object, and keeps it whatever is written.
/// Needs a running tokio runtime.
pub fn client(object: Vec<u8>) -> kube::Client {
    let object = Bytes::from(object);
    let service = tower::service_fn(move |request: Request<Body>| {
        let read = request.method() == Method::GET;
        let answer = if read { object.clone() } else { Bytes::from_static(TABLE.as_bytes()) };
        async move {
            request.into_body().collect_bytes().await?;
            Ok::<_, BoxError>(Response::new(Full::new(answer)))
        }
    });
    kube::Client::new(service, "default")
}
