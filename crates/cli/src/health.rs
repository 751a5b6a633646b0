//! The health endpoints of a command that reports.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vmcp_status::http::{Readiness, router, serve};
use vmcp_status::{MetricsOptions, StatusHandle};

use crate::global::Failure;

/// Where the health endpoints are.
#[derive(Args, Clone, Debug)]
pub(crate) struct HealthArgs {
    /// Serve /healthz, /readyz, /status and /metrics here, such as 0.0.0.0:9090 [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT", env = "VMCP_LISTEN", value_parser = parse)]
    listen: Option<Listen>,
}

#[derive(Clone, Copy, Debug)]
enum Listen {
    /// An empty variable counts as not set.
    Nowhere,
    At(SocketAddr),
}

fn parse(text: &str) -> Result<Listen, &'static str> {
    if text.is_empty() {
        return Ok(Listen::Nowhere);
    }
    let wanted = "give an IP address and a port, such as 0.0.0.0:9090, 127.0.0.1:9090 or [::]:9090";
    text.parse().map(Listen::At).map_err(|_| wanted)
}

/// The port, taken before anything is reported.
pub(crate) struct Bound(Option<TcpListener>);

/// The endpoints, if they are wanted.
pub(crate) struct Endpoints(Option<(JoinHandle<()>, CancellationToken)>);

impl HealthArgs {
    pub(crate) async fn bind(&self) -> Result<Bound, Failure> {
        let Some(Listen::At(address)) = self.listen else { return Ok(Bound(None)) };
        let cannot = |error| format!("cannot listen on {address}: {error}");
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        tracing::info!(address = %listener.local_addr()?, "serving /healthz, /readyz, /status and /metrics");
        Ok(Bound(Some(listener)))
    }
}

impl Bound {
    pub(crate) fn serve(self, handle: &StatusHandle, readiness: Readiness) -> Endpoints {
        Endpoints(self.0.map(|listener| {
            let mut registry = Registry::default();
            handle.register_metrics(&mut registry, MetricsOptions::default());
            let end = CancellationToken::new();
            let router = router(handle, Arc::new(registry), readiness);
            (tokio::spawn(serve(listener, router, end.clone())), end)
        }))
    }
}

impl Endpoints {
    /// To be called after the reporter has ended, so that probes are answered
    /// during its last write.
    pub(crate) async fn end(self) {
        if let Some((server, end)) = self.0 {
            end.cancel();
            // A panic in it has been printed.
            let _ = server.await;
        }
    }
}
