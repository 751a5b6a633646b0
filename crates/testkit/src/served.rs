//! The double of the API server on a port, for programs of their own, and a
//! kubeconfig that leads there.

#![allow(dead_code, reason = "each user takes the part it needs")]

use std::path::PathBuf;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tower::{BoxError, Service, ServiceExt as _};

use crate::api::{AnswerBody, Api, Role};

/// Serves until it is dropped.
pub struct Served {
    dir: TempDir,
    runtime: Option<Runtime>,
}

impl Served {
    /// Serves this double; every client has the rights of `role`.
    pub fn new(api: &Api, role: Role) -> Self {
        Served::with(api.service(role))
    }

    /// Serves what this service answers.
    pub fn with<S: Answers>(service: S) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(accept(listener, service));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "double",
            "clusters": [{"name": "double", "cluster": {"server": format!("http://{address}")}}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": ""}}],
        });
        std::fs::write(dir.path().join("kubeconfig"), config.to_string()).expect("written");
        Served { dir, runtime: Some(runtime) }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A test that is asynchronous itself must not wait for the tasks.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// What answers as an API server does.
pub trait Answers:
    Service<Request<Body>, Response = Response<AnswerBody>, Error = BoxError, Future: Send> + Clone + Send + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Body>, Response = Response<AnswerBody>, Error = BoxError, Future: Send> + Clone + Send + 'static
{
}

async fn accept(listener: std::net::TcpListener, service: impl Answers) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    while let Ok((connection, _)) = listener.accept().await {
        let service = service_fn({
            let service = service.clone();
            move |request| pass_on(service.clone(), request)
        });
        // A client may go away in the middle.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

async fn pass_on(service: impl Answers, request: Request<Incoming>) -> Result<Response<AnswerBody>, BoxError> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    service.oneshot(Request::from_parts(head, Body::from(body.to_vec()))).await
}
