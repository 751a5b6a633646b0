//! Fixtures that several tests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use kube::Client;
use kube::client::Body;
use proptest::prelude::*;

pub(in crate::kubernetes) const CHUNK: usize = 1 << 20;
/// Enough to be seen as too much, and no more than a test can afford.
const CHUNKS: usize = 64;
static BLANK: &[u8] = &[b' '; CHUNK];

/// A client of a server whose responses do not end soon, and how many bytes have
/// been read of them.
pub(in crate::kubernetes) fn endless() -> (Client, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let service = tower::service_fn(move |_: Request<Body>| {
        let counter = Arc::clone(&counter);
        let chunks = (0..CHUNKS).map(move |_| {
            counter.fetch_add(CHUNK, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(BLANK)))
        });
        std::future::ready(Ok::<_, std::io::Error>(Response::new(StreamBody::new(stream::iter(chunks)))))
    });
    (Client::new(service, "default"), read)
}

/// Values of the header `Retry-After`, good and bad.
pub(in crate::kubernetes) fn retry_after() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,20}",
        "[+-]?[0-9]{1,25}(\\.[0-9]+)?",
        "((Sun|Mon|Foo), )?[0-9]{1,2} (Jan|Feb|Nov|Foo) [0-9]{1,5} [0-2][0-9]:[0-5][0-9]:[0-6][0-9] (GMT|UT|[+-][0-9]{4}|[A-Z])",
    ]
}

/// A client of a server that is not there.
pub(in crate::kubernetes) fn unreachable() -> Client {
    // A port that was free a moment ago.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let url = format!("http://127.0.0.1:{port}").parse().expect("a URL");
    Client::try_from(kube::Config::new(url)).expect("a client")
}
