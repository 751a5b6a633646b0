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

/// Maximum number of connections at once. The server accepts others later.
const MOST: usize = 64;
/// Time for the head of a request, and between two requests.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection takes new requests. Then it ends with the running one, which
/// bounds how long a client that does not read occupies a connection.
const LIFE: Duration = Duration::from_secs(30);
/// Time for a request that is running when its connection has to end.
const LAST_REQUEST: Duration = Duration::from_secs(5);
/// Time for a request that is running when the server ends.
const GRACE: Duration = Duration::from_secs(1);
/// Maximum size of a request's head. A probe sends a few hundred bytes.
const MOST_HEAD: usize = 16 * 1024;

/// Serves this router on this socket until the token is cancelled. It speaks HTTP/1
/// only, within bounds that suit probes and scrapes: 64 connections at once, 5 s for
/// the head of a request, half a minute for a connection. Once the token is cancelled
/// it accepts no more connections, and gives running requests one second.
///
/// ```no_run
/// use vmcp_status::axum::Router;
/// use vmcp_status::axum::routing::get;
/// use vmcp_status::http::serve;
/// use vmcp_status::tokio_util::sync::CancellationToken;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let router = Router::new().route("/", get(async || "here\n"));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let end = CancellationToken::new();
/// let server = tokio::spawn(serve(listener, router, end.clone()));
/// // …
/// end.cancel();
/// server.await?;
/// # Ok(())
/// # }
/// ```
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
                    // A response in two parts would wait for a delayed acknowledgement.
                    let _ = stream.set_nodelay(true);
                    let serving = serve_connection(stream, router.clone(), shutdown.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // The client has disconnected, or no file descriptor is left: both pass.
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

/// Serves one connection for a bounded time.
async fn serve_connection<S>(stream: S, router: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MOST_HEAD);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // An error of the connection concerns its client alone.
    let left = tokio::select! {
        _ = &mut connection => return,
        () = sleep(LIFE) => LAST_REQUEST,
        () = shutdown.cancelled() => GRACE,
    };
    connection.as_mut().graceful_shutdown();
    let _ = timeout(left, connection).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    /// A client that has sent this, to a server with routes of its own.
    async fn client(sent: &str) -> (DuplexStream, JoinHandle<()>, CancellationToken) {
        let router = Router::new()
            .route("/quick", get(|| async { "quick" }))
            .route("/large", get(|| async { "x".repeat(1 << 20) }))
            .route("/slow", get(|| sleep(GRACE / 2)))
            .route("/never", get(std::future::pending::<()>));
        let (mut client, server) = duplex(4096);
        client.write_all(sent.as_bytes()).await.expect("there is room");
        let shutdown = CancellationToken::new();
        (client, tokio::spawn(serve_connection(server, router, shutdown.clone())), shutdown)
    }

    fn request(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
    }

    /// How long the server serves a client that sent this and then does nothing.
    async fn life_after(sent: &str) -> u64 {
        let start = Instant::now();
        let (client, server, _shutdown) = client(sent).await;
        server.await.expect("no panic");
        drop(client);
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_does_nothing_is_disconnected_in_time() {
        for (sent, expected) in [
            ("", HEAD_TIME),
            ("GET /qui", HEAD_TIME),
            (request("/quick").as_str(), HEAD_TIME),
            (request("/large").as_str(), LIFE + LAST_REQUEST),
            (request("/never").as_str(), LIFE + LAST_REQUEST),
        ] {
            assert_eq!(life_after(sent).await, expected.as_secs(), "{sent}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn head_that_comes_byte_by_byte_gets_no_more_time() {
        let start = Instant::now();
        let (mut client, server, _shutdown) = client("GET /quick?").await;
        while client.write_all(b"x").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        server.await.expect("no panic");
        assert!(start.elapsed() <= HEAD_TIME + Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn head_without_end_is_refused() {
        let (mut client, server, _shutdown) = client("GET /quick HTTP/1.1\r\na: ").await;
        while client.write_all(&[b'x'; 1000]).await.is_ok() {}
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        server.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn running_request_at_shutdown_is_answered_if_it_is_quick() {
        for (path, answered) in [("/slow", true), ("/never", false)] {
            let (mut client, server, shutdown) = client(&request(path)).await;
            tokio::task::yield_now().await;
            let start = Instant::now();
            shutdown.cancel();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("it ends");
            assert_eq!(answer.starts_with("HTTP/1.1 200 OK\r\n"), answered, "{answer}");
            server.await.expect("no panic");
            assert!(start.elapsed() <= GRACE + Duration::from_millis(10), "{:?}", start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connection_serves_one_request_after_the_other() {
        let (mut client, _server, _shutdown) = client(&request("/quick")).await;
        for _ in 0..10 {
            let mut answer = [0; 1000];
            let mut length = 0;
            while !answer[..length].ends_with(b"quick") {
                length += client.read(&mut answer[length..]).await.expect("it answers");
            }
            client.write_all(request("/quick").as_bytes()).await.expect("it goes on");
        }
    }
}
