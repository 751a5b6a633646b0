//! The wire: takes HTTP requests from a client, lets faults happen to them,
//! keeps a record, and sends the answers back.

use std::{future::pending, io};

use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use http::{Request, Response, header, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::Value;
use tower::{BoxError, service_fn, util::BoxCloneService};

use super::{
    Api, Role,
    answer::{Answer, Content},
    fault::Fault,
    request_info::RequestInfo,
    server,
};

/// The server as one client reaches it.
pub type ApiService = BoxCloneService<Request<Body>, Response<AnswerBody>, BoxError>;

pub type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// The server as a client with the rights of `role` reaches it.
pub fn service(api: Api, role: Role) -> ApiService {
    BoxCloneService::new(service_fn(move |request| serve(api.clone(), role, request)))
}

async fn serve(api: Api, role: Role, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    let entry = api.with(|state| state.log.request(&head, &body));
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let fault = api.with(|state| state.faults.next(head.method.as_str(), path));

    match &fault {
        Some(Fault::Latency(time)) => tokio::time::sleep(*time).await,
        Some(Fault::Hang) => pending().await,
        Some(Fault::CommitLate(after)) => {
            let after = *after;
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                server::answer(&api, role, &head, &body)
            });
            return pending().await;
        }
        Some(Fault::ResetBefore) => return Err(reset()),
        Some(Fault::Meanwhile(act)) => act(&api),
        _ => {}
    }
    let answer = fault.as_ref().and_then(Fault::answer);
    let answer = answer.unwrap_or_else(|| server::answer(&api, role, &head, &body));
    let mut broken = false;
    match &fault {
        Some(Fault::HangAfterCommit) => pending().await,
        Some(Fault::ResetAfterCommit) => return Err(reset()),
        Some(Fault::ResetAmidAnswer) => broken = true,
        Some(Fault::DeleteThenPass) => in_the_way(&api, &head, false),
        Some(Fault::RecreateThenPass) => in_the_way(&api, &head, true),
        _ => {}
    }

    let code = answer.code;
    let (response, length) = send(answer, &head, broken)?;
    api.with(|state| state.log.answer(entry, code, length));
    Ok(response)
}

/// Deletes the object that the request names, and perhaps makes another one.
fn in_the_way(api: &Api, head: &Parts, again: bool) {
    let Some(resource) = RequestInfo::new(&head.method, &head.uri).resource else { return };
    let (Some(namespace), Some(name)) = (resource.namespace, resource.name) else { return };
    let Some(mut object) = api.object(&namespace, &name) else { return };
    api.delete(&namespace, &name);
    if again {
        api.create(&namespace, &name, object["spec"].take());
    }
}

/// The answer as it goes on the wire, and how many bytes of it do.
fn send(answer: Answer, head: &Parts, broken: bool) -> Result<(Response<AnswerBody>, usize), BoxError> {
    let content_type = match answer.content {
        Content::Text(_) => "text/plain; charset=utf-8",
        Content::Json(_) | Content::Events(_) => "application/json",
    };
    let mut response = Response::builder().status(answer.code).header(header::CONTENT_TYPE, content_type);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let (frames, length) = match answer.content {
        Content::Json(value) => whole(json(&value, answer.code, head)?, broken),
        Content::Text(text) => whole(text.into_bytes(), broken),
        Content::Events(lines) => (lines.map(|line| Ok(Frame::data(line.into()))).boxed(), 0),
    };
    Ok((response.body(StreamBody::new(frames).boxed_unsync())?, length))
}

/// As the real server does, a `Status` is indented for whom asked for a table
/// or for metadata.
fn json(value: &Value, code: u16, head: &Parts) -> serde_json::Result<Vec<u8>> {
    let accept = head.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let indented = code >= 400 && accept.is_some_and(|accept| accept.contains("as="));
    let mut text = if indented { serde_json::to_vec_pretty(value)? } else { serde_json::to_vec(value)? };
    text.push(b'\n');
    Ok(text)
}

fn whole(text: Vec<u8>, broken: bool) -> (BoxStream<'static, Result<Frame<Bytes>, BoxError>>, usize) {
    let mut text = Bytes::from(text);
    if !broken {
        let length = text.len();
        return (stream::iter([Ok(Frame::data(text))]).boxed(), length);
    }
    text.truncate(text.len() / 2);
    let length = text.len();
    (stream::iter([Ok(Frame::data(text)), Err(reset())]).boxed(), length)
}

fn reset() -> BoxError {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer").into()
}
