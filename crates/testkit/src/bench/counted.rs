//! A client that counts what goes through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use http_body_util::Full;
use kube::client::Body;
use tower::BoxError;

/// Requests, and bytes of bodies up and down.
#[derive(Clone, Default)]
pub struct ClientTraffic(Arc<[AtomicUsize; 3]>);

impl ClientTraffic {
    fn add(&self, what: usize, count: usize) {
        self.0[what].fetch_add(count, Ordering::Relaxed);
    }

    /// What has gone through since the last look.
    pub fn take(&self) -> [usize; 3] {
        [0, 1, 2].map(|what| self.0[what].swap(0, Ordering::Relaxed))
    }
}

/// Requests go on through `client`.
pub fn counted(client: kube::Client, traffic: ClientTraffic) -> kube::Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, traffic) = (client.clone(), traffic.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            traffic.add(0, 1);
            traffic.add(1, body.len());
            let (head, body) = client.send(Request::from_parts(head, Body::from(body))).await?.into_parts();
            let body = body.collect_bytes().await?;
            traffic.add(2, body.len());
            Ok::<_, BoxError>(Response::from_parts(head, Full::new(body)))
        }
    });
    kube::Client::new(service, "default")
}
