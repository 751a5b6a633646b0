//! Objects, as the administrator handles them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::source::Source;
use super::{NAMESPACE, PATIENCE, RealCluster, TOOLHIVE_GROUP, until};

const VMCP: &str = "VirtualMCPServer";

fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

fn to_object(value: Value) -> DynamicObject {
    serde_json::from_value(value).expect("it has a version, a kind and a name")
}

fn to_value(object: DynamicObject) -> Value {
    serde_json::to_value(object).expect("it serialises")
}

impl RealCluster {
    /// All objects of a kind in [`NAMESPACE`], as the administrator sees them.
    pub fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.admin.clone(), NAMESPACE, &resource(api_version, kind))
    }

    /// All objects of a kind of ToolHive.
    pub fn toolhive(&self, kind: &str) -> Api<DynamicObject> {
        self.api(&format!("{TOOLHIVE_GROUP}/v1beta1"), kind)
    }

    pub(super) fn cluster_wide(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.admin.clone(), &resource(api_version, kind))
    }

    fn vmcps(&self) -> Api<DynamicObject> {
        self.toolhive(VMCP)
    }

    fn api_of(&self, object: &Value) -> Api<DynamicObject> {
        let member = |name: &str| object[name].as_str().expect("it has a version and a kind");
        let resource = resource(member("apiVersion"), member("kind"));
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.admin.clone(), namespace, &resource),
            None => Api::all_with(self.admin.clone(), &resource),
        }
    }

    /// Applies any object, in its namespace if it names one, and returns it as it
    /// is stored.
    pub async fn apply(&self, object: Value) -> Value {
        let api = self.api_of(&object);
        let object = to_object(object);
        let name = object.name_any();
        let params = PatchParams::apply("testkit").force();
        match api.patch(&name, &params, &Patch::Apply(&object)).await {
            Ok(applied) => to_value(applied),
            Err(error) => panic!("{name} cannot be applied: {error}"),
        }
    }

    pub(super) async fn remove(&self, api_version: &str, kind: &str, name: &str) {
        remove(&self.cluster_wide(api_version, kind), name).await;
    }

    pub(super) async fn remove_in(&self, api_version: &str, kind: &str, name: &str) {
        remove(&self.api(api_version, kind), name).await;
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Value {
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(body.to_string().into_bytes()).expect("it is well formed");
        self.admin.request(request).await.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Applies definitions of custom resources and waits until they are
    /// established and served.
    pub async fn define(&self, definitions: Vec<Value>) {
        futures::future::join_all(definitions.into_iter().map(|crd| self.define_one(crd))).await;
    }

    async fn define_one(&self, crd: Value) {
        let names = &crd["spec"]["names"];
        let (kind, plural) = (names["kind"].as_str(), names["plural"].as_str());
        let (kind, plural) = (kind.expect("a CRD names its kind"), plural.expect("a CRD names its plural"));
        let group = crd["spec"]["group"].as_str().expect("a CRD names its group");
        let name = crd["metadata"]["name"].as_str().expect("a CRD has a name").to_owned();
        let versions = crd["spec"]["versions"].as_array().expect("a CRD has versions").iter();
        let served =
            versions.filter(|version| version["served"] == true).filter_map(|version| version["name"].as_str());
        let lists: Vec<Api<DynamicObject>> = served
            .map(|version| {
                let gvk = GroupVersionKind::gvk(group, version, kind);
                Api::namespaced_with(self.admin.clone(), NAMESPACE, &ApiResource::from_gvk_with_plural(&gvk, plural))
            })
            .collect();
        self.apply(crd.clone()).await;
        let crds = self.cluster_wide("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        until(&format!("{name} is established"), async || {
            let crd = to_value(crds.get(&name).await.ok()?);
            let mut conditions = crd["status"]["conditions"].as_array()?.iter();
            conditions.any(|it| it["type"] == "Established" && it["status"] == "True").then_some(())
        })
        .await;
        for list in lists {
            let one = ListParams::default().limit(1);
            until(&format!("{name} is served"), async || list.list(&one).await.ok().map(drop)).await;
        }
    }

    /// A Lease, if there is one of this name.
    pub async fn lease(&self, name: &str) -> Option<Value> {
        self.get("coordination.k8s.io/v1", "Lease", name).await
    }

    /// An object of any kind, if there is one of this name.
    pub async fn get(&self, api_version: &str, kind: &str, name: &str) -> Option<Value> {
        self.api(api_version, kind).get_opt(name).await.expect("the administrator may read everything").map(to_value)
    }

    /// Creates a `VirtualMCPServer` of the group `g`.
    pub async fn create(&self, name: &str) {
        self.create_in_group(name, "g").await;
    }

    /// Creates a `VirtualMCPServer` that refers to this group.
    pub async fn create_in_group(&self, name: &str, group: &str) {
        let object = to_object(json!({
            "apiVersion": format!("{TOOLHIVE_GROUP}/v1beta1"), "kind": VMCP, "metadata": {"name": name},
            "spec": {"groupRef": {"name": group}, "incomingAuth": {"type": "anonymous"}},
        }));
        if matches!(self.source, Source::Cluster(_)) {
            // An earlier test may have left one.
            remove(&self.vmcps(), name).await;
        }
        self.vmcps().create(&PostParams::default(), &object).await.expect("it can be created");
    }

    /// A `VirtualMCPServer`, if there is one of this name.
    pub async fn object(&self, name: &str) -> Option<Value> {
        self.vmcps().get_opt(name).await.expect("the administrator may read everything").map(to_value)
    }

    /// Waits until a `VirtualMCPServer` is as wanted, and returns it; panics with
    /// the object otherwise.
    pub async fn until_object(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            loop {
                if let Some(object) = self.object(name).await.filter(&wanted) {
                    return object;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let Ok(object) = timeout(PATIENCE, look).await else {
            panic!("{name} is not {what}: {:#}", self.object(name).await.unwrap_or_default());
        };
        object
    }

    /// Keeps every state of a `VirtualMCPServer` from now on, as a watcher sees
    /// them.
    pub async fn record(&self, name: &str, into: Arc<Mutex<Vec<Value>>>) {
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        let object = self.object(name).await.expect("it is there");
        let version = object["metadata"]["resourceVersion"].as_str().expect("it is stored").to_owned();
        into.lock().expect("no holder panics").push(object);
        let mut events = self.vmcps().watch(&params, &version).await.expect("it can be watched").boxed();
        tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event {
                    into.lock().expect("no holder panics").push(to_value(object));
                }
            }
        });
    }

    /// Merges into the status of a `VirtualMCPServer`, as another writer does.
    pub async fn merge_status(&self, name: &str, status: &Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.vmcps().patch_status(name, &PatchParams::default(), &patch).await.expect("it can be patched");
    }

    /// Merges into a `VirtualMCPServer`, save its status.
    pub async fn merge(&self, name: &str, patch: &Value) {
        self.vmcps().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("it can be patched");
    }

    /// Deletes a `VirtualMCPServer` and waits until it is gone. Its Secret goes
    /// too: nothing collects garbage here, and ToolHive's operator refuses a new
    /// object that finds the Secret of an old one.
    pub async fn delete(&self, name: &str) {
        remove(&self.vmcps(), name).await;
        self.remove_in("v1", "Secret", &format!("{name}-hmac-secret")).await;
    }
}

/// Deletes an object and waits until it is gone. It may be gone already.
async fn remove(api: &Api<DynamicObject>, name: &str) {
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => return,
        Err(error) => panic!("{name} cannot be deleted: {error}"),
    }
    until(&format!("{name} is gone"), async || {
        api.get_opt(name).await.expect("the administrator may read everything").is_none().then_some(())
    })
    .await;
}
