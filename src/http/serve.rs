use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Connections at once. Others wait to be accepted.
const MOST: usize = 64;
/// For the head of a request, and between two requests.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// A connection takes new requests for so long; then it ends with the one it is
/// at, which bounds how long a client that does not read holds its place.
const LIFE: Duration = Duration::from_secs(30);
/// For a request that is running when its connection is to end.
const LAST_REQUEST: Duration = Duration::from_secs(5);
/// For a request that is running when the server ends.
const GRACE: Duration = Duration::from_secs(1);
/// A request of ours has a few hundred bytes.
const MOST_HEAD: usize = 16 * 1024;

/// Serves this router on this socket until the token is cancelled, HTTP/1 only
/// and within bounds that suit probes and scrapes: 64 connections at once, 5 s
/// for the head of a request, half a minute for a connection. At the end it
/// accepts nothing more and gives running requests one second.
///
/// # Cancellation safety
///
/// Dropping the future ends the server and its connections at once.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(MOST));
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    // An answer in two parts would wait for a delayed acknowledgement.
                    let _ = stream.set_nodelay(true);
                    let serving = serve_connection(stream, router.clone(), shutdown.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // A client that has gone, or no file descriptor left: both pass.
                    tracing::debug!(error = %error, "connection not accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accepting).await;
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection for as long as its client is worth it.
async fn serve_connection<S>(stream: S, router: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MOST_HEAD);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // How a connection ends is its client's affair.
    let left = tokio::select! {
        _ = &mut connection => return,
        () = sleep(LIFE) => LAST_REQUEST,
        () = shutdown.cancelled() => GRACE,
    };
    connection.as_mut().graceful_shutdown();
    let _ = timeout(left, connection).await;
}
