//! Health endpoints over HTTP, for the probes of a pod, for Prometheus, and for a
//! person with `curl`.
//!
//! | path | answers |
//! |---|---|
//! | `/healthz`, `/health`, `/livez` | 200 while the reporter's loop turns |
//! | `/readyz` | 200 once a status is stored or another replica leads: see [`Readiness`] |
//! | `/status` | the current status as JSON, as it would be stored now; a URL in it has no credentials, query or fragment |
//! | `/metrics` | the registry in the text format of `OpenMetrics` |
//!
//! An endpoint that is not 200 answers 503, and says why in one line of text. It
//! allows GET and HEAD only. It does not authenticate clients: listen where only
//! probes and Prometheus reach it. Merge [`router`] into a server of your own, or run
//! the small one, [`serve`].

mod serve;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::time::timeout;

use crate::handle::{StatusHandle, View};
use crate::leadership::LeadershipState;
use crate::status::Status;

pub use serve::serve;

/// How long the reporter may take to answer. One turn of its loop takes
/// milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The media type that Prometheus asks for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// When `/readyz` answers 200. After the first 200 it keeps answering 200: a store
/// that fails later concerns the status, not the process. Taking a gateway out of
/// service for it would turn a fault of the report into an outage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// Ready once a status has been stored, or found stored already. A replica on
    /// standby is ready too: otherwise a rolling update would wait for ever for a
    /// replica that gets ready only after the others have ended.
    #[default]
    Stored,
    /// Ready at once, for a state file: on a laptop no probe waits for it.
    Always,
}

/// Returns the endpoints of one reporter, with the metrics of this registry; see
/// [`StatusHandle::register_metrics`]. The router does not keep the reporter alive.
///
/// `/healthz` checks only that the reporter answers within 2 s. A store that fails,
/// for however long, does not make it fail: a restart would not help, and would lose
/// what is reported.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use prometheus_client::registry::Registry;
/// use tokio_util::sync::CancellationToken;
/// use vmcp_status::http::{Readiness, router, serve};
/// use vmcp_status::{MetricsOptions, NoOpSink, Reporter};
///
/// # async fn example() -> std::io::Result<()> {
/// let (handle, reporter) = Reporter::builder(NoOpSink::logging()).start();
/// let mut registry = Registry::default();
/// handle.register_metrics(&mut registry, MetricsOptions::default());
/// let router = router(&handle, Arc::new(registry), Readiness::Stored);
///
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:9090").await?;
/// let end = CancellationToken::new();
/// let server = tokio::spawn(serve(listener, router, end.clone()));
///
/// // The reporter ends first, so that the server answers probes during its last write.
/// reporter.shutdown().await;
/// end.cancel();
/// server.await?;
/// # Ok(())
/// # }
/// ```
pub fn router(handle: &StatusHandle, registry: Arc<Registry>, readiness: Readiness) -> Router {
    let was_ready = AtomicBool::new(readiness == Readiness::Always);
    let state = Arc::new(Endpoints { view: handle.view(), registry, was_ready });
    Router::new()
        .route("/healthz", get(healthz))
        .route("/health", get(healthz))
        .route("/livez", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .layer(middleware::map_response(guarded))
        .with_state(state)
}

struct Endpoints {
    view: View,
    registry: Arc<Registry>,
    was_ready: AtomicBool,
}

impl Endpoints {
    /// Asks the reporter for the current status.
    async fn current(&self) -> Result<Arc<Status>, Unavailable> {
        match timeout(PATIENCE, self.view.current()).await {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(Unavailable("the reporter has ended")),
            Err(_elapsed) => Err(Unavailable("the reporter does not answer")),
        }
    }
}

/// Why an endpoint answers 503.
struct Unavailable(&'static str);

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", self.0)).into_response()
    }
}

async fn healthz(State(endpoints): State<Arc<Endpoints>>) -> Result<&'static str, Unavailable> {
    endpoints.current().await.map(|_| "ok\n")
}

async fn readyz(State(endpoints): State<Arc<Endpoints>>) -> Result<&'static str, Unavailable> {
    let Endpoints { view, was_ready, .. } = endpoints.as_ref();
    let ready = view.metrics.has_stored() || view.leadership_state() == LeadershipState::Standby;
    if was_ready.fetch_or(ready, Ordering::Relaxed) || ready {
        return Ok("ok\n");
    }
    Err(Unavailable(match view.leadership_state() {
        LeadershipState::Undecided => "it is not decided yet which replica leads",
        _ if view.progress.borrow().current.is_none() => "nothing has been reported yet",
        _ => "no status has been stored yet",
    }))
}

async fn status(State(endpoints): State<Arc<Endpoints>>) -> Result<Json<Arc<Status>>, Unavailable> {
    endpoints.current().await.map(Json)
}

async fn metrics(State(endpoints): State<Arc<Endpoints>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &endpoints.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        // Only a collector that the user registered can cause this.
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "a metric cannot be encoded\n").into_response(),
    }
}

/// Marks every response as valid for this moment only, and its type as the declared
/// one.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
