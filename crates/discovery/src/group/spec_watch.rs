//! Watches objects for changes of their spec.
//!
//! Each report changes the status of the vMCP, and the operator answers with a change
//! of its own: a watch of the whole object would bring every backend with each. So
//! the watch asks for metadata alone, and an object is read where its generation has
//! changed.

use std::future::ready;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::Api;
use kube::api::{DynamicObject, ObjectMeta};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::time::timeout;

/// An object that is not read within this time has no answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The events of these objects, save those that leave the spec as it was. Needs the
/// verbs get, list and watch.
pub(super) fn watch_specs(
    api: Api<DynamicObject>,
    metadata: Api<PartialObjectMeta<DynamicObject>>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<DynamicObject>>> + Send {
    let mut seen = None;
    let news = move |event: &watcher::Result<Event<PartialObjectMeta<DynamicObject>>>| {
        let is_new = match event {
            Ok(Event::Apply(object)) => seen != Some(version(&object.metadata)),
            _ => true,
        };
        if let Ok(Event::Apply(object) | Event::InitApply(object)) = event {
            seen = Some(version(&object.metadata));
        }
        ready(is_new)
    };
    watcher(metadata, config).filter(news).filter_map(move |event| {
        let api = api.clone();
        async move {
            match event {
                Ok(Event::Apply(object)) => read(&api, object).await.map(|read| read.map(Event::Apply)),
                Ok(Event::InitApply(object)) => read(&api, object).await.map(|read| read.map(Event::InitApply)),
                Ok(Event::Delete(object)) => {
                    let (metadata, data) = (object.metadata, Value::Null);
                    Some(Ok(Event::Delete(DynamicObject { types: None, metadata, data })))
                }
                Ok(Event::Init) => Some(Ok(Event::Init)),
                Ok(Event::InitDone) => Some(Ok(Event::InitDone)),
                Err(error) => Some(Err(error)),
            }
        }
    })
}

/// What changes with the spec; an object of the same name may begin anew.
fn version(metadata: &ObjectMeta) -> (Option<String>, Option<i64>) {
    (metadata.uid.clone(), metadata.generation)
}

/// The whole object; none where it has gone meanwhile, which the watch tells too.
async fn read(
    api: &Api<DynamicObject>,
    seen: PartialObjectMeta<DynamicObject>,
) -> Option<watcher::Result<DynamicObject>> {
    let name = seen.metadata.name.unwrap_or_default();
    match timeout(PATIENCE, api.get_opt(&name)).await {
        Ok(Ok(found)) => found.map(Ok),
        Ok(Err(error)) => Some(Err(watcher::Error::InitialListFailed(error))),
        Err(elapsed) => Some(Err(watcher::Error::InitialListFailed(kube::Error::Service(elapsed.into())))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;

    use super::super::resource::Resource;
    use super::*;

    fn metadata(generation: u64, version: &str) -> Value {
        json!({"name": "v", "namespace": "n", "uid": "u", "generation": generation, "resourceVersion": version})
    }

    fn answer(value: &str) -> Response<Body> {
        Response::new(Body::from(value.to_owned().into_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn object_is_read_at_first_and_when_its_generation_changes_but_not_when_its_status_does() {
        let (reads, watches) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (read_so_far, of_server) = (reads.clone(), watches.clone());
        let server = tower::service_fn(move |request: Request<Body>| {
            let (reads, watches) = (reads.clone(), of_server.clone());
            async move {
                if request.uri().path().ends_with("/v") {
                    let count = reads.fetch_add(1, Ordering::SeqCst);
                    return Ok(answer(&json!({"metadata": metadata(1, "1"), "spec": {"read": count}}).to_string()));
                }
                let accept = request.headers()["accept"].to_str().expect("text");
                assert!(accept.contains("as=PartialObjectMetadata"), "{accept}");
                if !request.uri().query().unwrap_or_default().contains("watch=true") {
                    let item = json!({"metadata": metadata(1, "1")});
                    return Ok(answer(&json!({"metadata": {"resourceVersion": "1"}, "items": [item]}).to_string()));
                }
                if watches.fetch_add(1, Ordering::SeqCst) > 0 {
                    return std::future::pending::<Result<Response<Body>, kube::Error>>().await;
                }
                let events = [(1, "2"), (1, "3"), (2, "4"), (2, "5")].map(|(generation, version)| {
                    let object = json!({
                        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                        "metadata": metadata(generation, version),
                    });
                    format!("{}\n", json!({"type": "MODIFIED", "object": object}))
                });
                Ok(answer(&events.concat()))
            }
        });
        let (client, kind) = (Client::new(server, "n"), Resource::Vmcp.api("toolhive.stacklok.dev", "v1beta1"));
        let api = Api::namespaced_with(client.clone(), "n", &kind);
        let metadata = Api::namespaced_with(client, "n", &kind);
        let events = watch_specs(api, metadata, watcher::Config::default());
        let seen: Vec<_> = events.take_until(tokio::time::sleep(PATIENCE)).collect().await;
        let told: Vec<_> = seen
            .into_iter()
            .map(|event| match event.expect("no error") {
                Event::Init => "init".to_owned(),
                Event::InitApply(object) => format!("first {}", object.data["spec"]["read"]),
                Event::InitDone => "done".to_owned(),
                Event::Apply(object) => format!("then {}", object.data["spec"]["read"]),
                Event::Delete(_) => "deleted".to_owned(),
            })
            .collect();
        assert_eq!(told, ["init", "first 0", "done", "then 1"]);
        assert_eq!(read_so_far.load(Ordering::SeqCst), 2);
    }
}
