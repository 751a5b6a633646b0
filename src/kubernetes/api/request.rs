//! One request, bounded in size and time.

use std::error::Error;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper_util::client::legacy;
use kube::Client;
use kube::client::Body;
use tokio::time::timeout;

use super::{ApiResponse, JSON, MAX_RESPONSE_BYTES};
use crate::error::error_causes;

/// A request to the API server.
///
/// It is sent once: the client must not repeat requests by itself, and
/// [`connect`](crate::connect()) makes a client that does not.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct ApiRequest {
    method: Method,
    uri: String,
    accept: &'static str,
    /// The body and its media type.
    body: Option<(&'static str, Vec<u8>)>,
}

impl ApiRequest {
    /// Makes a read of this path and query.
    pub fn get(uri: impl Into<String>) -> Self {
        ApiRequest { method: Method::GET, uri: uri.into(), accept: JSON, body: None }
    }

    /// Makes a creation of an object, given as JSON, in the collection at this path.
    pub fn post(uri: impl Into<String>, object: Vec<u8>) -> Self {
        ApiRequest { method: Method::POST, body: Some((JSON, object)), ..Self::get(uri) }
    }

    /// Makes a replacement of the object at this path, given as JSON.
    pub fn put(uri: impl Into<String>, object: Vec<u8>) -> Self {
        ApiRequest { method: Method::PUT, body: Some((JSON, object)), ..Self::get(uri) }
    }

    /// Makes a patch of the object at this path. `media_type` is the kind of patch, such
    /// as [`JSON_PATCH`](super::JSON_PATCH).
    pub fn patch(uri: impl Into<String>, media_type: &'static str, patch: Vec<u8>) -> Self {
        ApiRequest { method: Method::PATCH, body: Some((media_type, patch)), ..Self::get(uri) }
    }

    /// Sets the media type of the response, [`JSON`] by default.
    pub fn accept(self, media_type: &'static str) -> Self {
        ApiRequest { accept: media_type, ..self }
    }

    /// Sends the request and reads the response to its end, within this time. If
    /// `within` is `None`, the caller has to bound the time.
    ///
    /// # Cancellation safety
    ///
    /// Dropping the future stops sending and reading. The server may have carried out
    /// the request or not.
    ///
    /// # Errors
    ///
    /// Fails when no whole response came: see [`RequestError`]. A refusal is a response,
    /// not an error.
    pub async fn send(self, client: &Client, within: Option<Duration>) -> Result<ApiResponse, RequestError> {
        match within {
            Some(within) => timeout(within, self.exchange(client)).await.map_err(|_| RequestError::TimedOut(within))?,
            None => self.exchange(client).await,
        }
    }

    async fn exchange(self, client: &Client) -> Result<ApiResponse, RequestError> {
        let mut request = Request::builder().method(self.method).uri(self.uri).header(ACCEPT, self.accept);
        let mut body = Vec::new();
        if let Some((media_type, bytes)) = self.body {
            request = request.header(CONTENT_TYPE, media_type);
            body = bytes;
        }
        let request = request.body(Body::from(body)).map_err(RequestError::Malformed)?;
        let (head, body) = client.send(request).await.map_err(RequestError::from_client)?.into_parts();
        let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { RequestError::TooLarge } else { RequestError::Receive(error) }
        })?;
        Ok(Response::from_parts(head, body.to_bytes()).into())
    }
}

/// Why a request got no whole response. Only after [`Malformed`] and [`Connect`] is it
/// certain that the server has not carried out the request.
///
/// [`Malformed`]: RequestError::Malformed
/// [`Connect`]: RequestError::Connect
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The path is not valid. Nothing was sent.
    #[error("the request has no valid path")]
    Malformed(#[source] http::Error),
    /// No connection to the server could be made. Nothing was sent.
    #[error(transparent)]
    Connect(kube::Error),
    /// The connection broke, or the server did not begin to answer.
    #[error(transparent)]
    Send(kube::Error),
    /// The response broke off.
    #[error(transparent)]
    Receive(Box<dyn std::error::Error + Send + Sync>),
    /// The response is larger than [`MAX_RESPONSE_BYTES`].
    #[error("more than {} MiB came, is it an API server?", MAX_RESPONSE_BYTES >> 20)]
    TooLarge,
    /// No whole response came within the time that the caller gave.
    #[error("nothing within {0:?}")]
    TimedOut(Duration),
}

impl RequestError {
    fn from_client(error: kube::Error) -> Self {
        let is_connect = |cause: &(dyn Error + 'static)| {
            cause.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
        };
        if error_causes(&error).any(is_connect) { RequestError::Connect(error) } else { RequestError::Send(error) }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;
    use std::sync::atomic::Ordering;

    use super::super::fixtures::{CHUNK, endless};
    use super::*;

    #[tokio::test]
    async fn response_without_end_is_read_no_further_than_the_limit() {
        let (client, read) = endless();
        let error = ApiRequest::get("/version").send(&client, None).await.expect_err("too large");
        assert!(matches!(error, RequestError::TooLarge), "{error}");
        let read = read.load(Ordering::Relaxed);
        assert!(read <= MAX_RESPONSE_BYTES + CHUNK, "{read} bytes were read");
    }

    #[tokio::test(start_paused = true)]
    async fn silent_server_ends_the_request_after_the_time_of_the_caller() {
        let silent = tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
        let client = Client::new(silent, "default");
        let within = Duration::from_secs(7);
        let start = tokio::time::Instant::now();
        let error = ApiRequest::get("/version").send(&client, Some(within)).await.expect_err("silent");
        assert!(matches!(error, RequestError::TimedOut(_)), "{error}");
        assert_eq!((start.elapsed(), error.to_string().as_str()), (within, "nothing within 7s"));
    }

    #[tokio::test]
    async fn invalid_path_is_an_error_and_nothing_is_sent() {
        let (client, read) = endless();
        let error = ApiRequest::get("not a path").send(&client, None).await.expect_err("no path");
        assert!(matches!(error, RequestError::Malformed(_)), "{error}");
        assert_eq!(read.load(Ordering::Relaxed), 0);
    }
}
