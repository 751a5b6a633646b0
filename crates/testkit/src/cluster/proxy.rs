//! A proxy before the API server that counts what passes and can hold it back.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tower::BoxError;

use super::{PATIENCE, RealCluster, kubeconfig};

/// What has passed a [`Proxy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Requests that came, answered or not.
    pub requests: u64,
    /// Bytes of requests, heads included, as they are without TLS.
    pub up: u64,
    /// Bytes of answers, likewise.
    pub down: u64,
    /// Bytes of the bodies of requests.
    pub body_up: u64,
    /// Bytes of the bodies of answers, compressed where client and server have
    /// agreed on that.
    pub body_down: u64,
}

/// Listens on this machine for HTTP/1.1 without TLS and passes each request on
/// to the API server over TLS. Clients authenticate themselves, as they would
/// without it. It ends when this is dropped, and breaks all connections.
pub struct Proxy {
    url: String,
    dir: PathBuf,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// Requests that a [`Proxy`] holds back, until this is dropped.
pub struct Hold {
    _open: watch::Sender<()>,
    held: watch::Receiver<usize>,
}

type Which = Box<dyn Fn(&Parts) -> bool + Send + Sync>;
type ProxyBody = UnsyncBoxBody<Bytes, hyper::Error>;

struct Gate {
    which: Which,
    /// Its sender goes when the hold ends.
    closed: watch::Receiver<()>,
    held: watch::Sender<usize>,
}

struct Shared {
    server: Uri,
    tls: TlsConnector,
    counts: Counts,
    gates: Mutex<Vec<Gate>>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    body_up: AtomicU64,
    body_down: AtomicU64,
}

impl RealCluster {
    /// Starts a proxy before the API server.
    pub async fn proxy(&self) -> Proxy {
        let config = kubeconfig::config_of(&self.kubeconfig("nobody")).await;
        let tls = config.rustls_client_config().expect("the certificate can be read");
        let shared = Arc::new(Shared {
            server: config.cluster_url,
            tls: TlsConnector::from(Arc::new(tls)),
            counts: Counts::default(),
            gates: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("it listens").port();
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Proxy { url: format!("http://127.0.0.1:{port}"), dir: self.dir().to_owned(), shared, task }
    }
}

impl Proxy {
    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// As [`RealCluster::kubeconfig`], by way of this proxy.
    pub fn kubeconfig(&self, cluster: &RealCluster, user: &str) -> PathBuf {
        let direct = std::fs::read(cluster.kubeconfig(user)).expect("it was written just now");
        let mut config: Value = serde_json::from_slice(&direct).expect("it was written as JSON");
        config["clusters"][0]["cluster"] = json!({"server": self.url});
        let port = self.url.rsplit(':').next().unwrap_or_default();
        let path = self.dir.join(format!("{user}.{port}.kubeconfig"));
        std::fs::write(&path, config.to_string()).expect("the folder is ours");
        path
    }

    /// As [`RealCluster::client`], by way of this proxy.
    pub async fn client(&self, cluster: &RealCluster, user: &str) -> kube::Client {
        kubeconfig::client_of(&self.kubeconfig(cluster, user)).await
    }

    /// What has passed since the last look.
    pub fn take_traffic(&self) -> Traffic {
        let Counts { requests, up, down, body_up, body_down } = &self.shared.counts;
        let [requests, up, down, body_up, body_down] =
            [requests, up, down, body_up, body_down].map(|count| count.swap(0, Ordering::Relaxed));
        Traffic { requests, up, down, body_up, body_down }
    }

    /// Holds back, from now on, requests like these: they have come and have not
    /// reached the server. Dropping the hold lets them go on.
    pub fn hold(&self, which: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Hold {
        let (open, closed) = watch::channel(());
        let (sender, held) = watch::channel(0);
        lock(&self.shared.gates).push(Gate { which: Box::new(which), closed, held: sender });
        Hold { _open: open, held }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hold {
    /// Waits until so many requests have been held back, in all.
    pub async fn has_held(&mut self, requests: usize) {
        let held = timeout(PATIENCE, self.held.wait_for(|held| *held >= requests)).await;
        let held = held.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {requests} requests to hold back"));
        drop(held.expect("the proxy runs"));
    }
}

impl Shared {
    /// What holds this request back, if anything does.
    fn gate_of(&self, request: &Parts) -> Option<watch::Receiver<()>> {
        let mut gates = lock(&self.gates);
        gates.retain(|gate| gate.closed.has_changed().is_ok());
        let gate = gates.iter().find(|gate| (gate.which)(request))?;
        gate.held.send_modify(|held| *held += 1);
        Some(gate.closed.clone())
    }

    /// Passes the request on once nothing holds it back, even if its client has
    /// gone by then: what is on its way arrives.
    async fn pass_on_late(
        self: Arc<Self>,
        request: Request<Bytes>,
        mut gate: watch::Receiver<()>,
    ) -> Result<Response<ProxyBody>, BoxError> {
        // Nothing is ever sent: an error, when the hold is dropped, is the end.
        while gate.changed().await.is_ok() {}
        let mut sender = self.connect().await?;
        sender.ready().await?;
        let request = request.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync());
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        self.counts.body_down.fetch_add(body.len() as u64, Ordering::Relaxed);
        Ok(Response::from_parts(head, Full::new(body).map_err(|never| match never {}).boxed_unsync()))
    }

    async fn connect(&self) -> Result<SendRequest<ProxyBody>, BoxError> {
        let host = self.server.host().expect("a server has a host");
        let stream = TcpStream::connect((host, self.server.port_u16().unwrap_or(443))).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from(host.to_owned())?, stream).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn pass_on(
        self: &Arc<Self>,
        request: Request<Incoming>,
        server: &Mutex<Option<SendRequest<ProxyBody>>>,
    ) -> Result<Response<ProxyBody>, BoxError> {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let (head, body) = request.into_parts();
        if let Some(gate) = self.gate_of(&head) {
            let body = body.collect().await?.to_bytes();
            self.counts.body_up.fetch_add(body.len() as u64, Ordering::Relaxed);
            let late = Arc::clone(self).pass_on_late(Request::from_parts(head, body), gate);
            return tokio::spawn(late).await?;
        }
        let request = Request::from_parts(head, self.counting(body, |counts| &counts.body_up));
        // A connection has one request at a time, so no other request wants it.
        let kept = lock(server).take().filter(|sender| !sender.is_closed());
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        *lock(server) = Some(sender);
        Ok(Response::from_parts(head, self.counting(body, |counts| &counts.body_down)))
    }

    fn counting(self: &Arc<Self>, body: Incoming, count: fn(&Counts) -> &AtomicU64) -> ProxyBody {
        let shared = Arc::clone(self);
        let counted = body.map_frame(move |frame| {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            count(&shared.counts).fetch_add(bytes as u64, Ordering::Relaxed);
            frame
        });
        counted.boxed_unsync()
    }
}

/// A panic while it was held (of a test's own closure) leaves the value whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves each connection of a client with a connection of its own to the server.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Aborts the connections when the proxy ends.
    let mut connections = JoinSet::new();
    loop {
        // A client that has gone before it was accepted is no concern of others.
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // Without it small answers wait for more to come.
            let _ = stream.set_nodelay(true);
            let stream = TokioIo::new(Counted { stream, shared: Arc::clone(&shared) });
            let server = Mutex::new(None);
            let service = service_fn(|request| shared.pass_on(request, &server));
            // What breaks between the proxy and the server breaks between the
            // client and the proxy.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
        });
    }
}

/// A client's connection, whose bytes are counted.
struct Counted {
    stream: TcpStream,
    shared: Arc<Shared>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.shared.counts.up.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl Counted {
    fn count_down(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.shared.counts.down.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count_down(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count_down(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
