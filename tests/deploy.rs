//! The manifests in `deploy/`, applied to a real API server as `kubectl apply -n
//! my-namespace -k` does.

use kube::api::{DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use vmcp_status::custom_resource::API_VERSION;
use vmcp_status::{
    BackendStatus, DiscoveredBackend, ElectionOptions, EventOptions, KubernetesEvents, KubernetesSink, LeadershipState,
    LeaseElection, Reporter, crd,
};
use vmcp_status_testkit::cluster::{RealCluster, until};
use vmcp_status_testkit::manifests::{folder, kustomized, objects};

const NAMESPACE: &str = "my-namespace";
const ACCOUNT: &str = "my-vmcp";

/// A cluster with a namespace that takes no pods but restricted ones.
async fn cluster() -> RealCluster {
    let cluster = RealCluster::start(crd()).await;
    cluster
        .apply(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }))
        .await;
    cluster
}

fn api(client: &Client, object: &Value) -> Api<DynamicObject> {
    let member = |name: &str| object[name].as_str().expect("it has a version and a kind");
    let (group, version) = member("apiVersion").rsplit_once('/').unwrap_or(("", member("apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, member("kind")));
    if member("kind").starts_with("ClusterRole") {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), NAMESPACE, &resource)
    }
}

/// Applies it; the server refuses a field that it does not know.
async fn apply(client: &Client, object: &Value) -> Value {
    let name = object["metadata"]["name"].as_str().expect("it has a name");
    let params =
        PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("kubectl").force() };
    match api(client, object).patch(name, &params, &Patch::Apply(object)).await {
        Ok(stored) => serde_json::to_value(stored).expect("it serialises"),
        Err(error) => panic!("{} {name} cannot be applied: {error}", object["kind"]),
    }
}

async fn apply_all(client: &Client, objects: &[Value]) {
    for object in objects {
        apply(client, object).await;
    }
}

/// The pod that the Deployment would make.
fn pod(objects: &[Value]) -> Value {
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").expect("there is one");
    let mut pod = deployment["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("a-pod");
    pod
}

/// A client that may do what the service account may do.
async fn as_account(cluster: &RealCluster) -> Client {
    let admin = std::fs::read_to_string(cluster.kubeconfig("admin")).expect("it was written at the start");
    let mut kubeconfig: Value = serde_json::from_str(&admin).expect("it was written as JSON");
    kubeconfig["users"][0]["user"]["as"] = json!(format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}"));
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).expect("it is well formed");
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("it names its user");
    config.default_retry = false;
    Client::try_from(config).expect("the certificate can be read")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn manifests_apply_unchanged_and_their_pods_are_restricted() {
    let cluster = cluster().await;
    let admin = cluster.client("admin").await;
    for kustomization in ["base", "overlays/replicas", "overlays/group"] {
        let objects = kustomized(kustomization);
        apply_all(&admin, &objects).await;
        let pod = pod(&objects);
        let pods = api(&admin, &pod);
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let pod: DynamicObject = serde_json::from_value(pod).expect("it has a name");
        // The server sees the service account a moment after it was applied.
        until(&format!("{kustomization}: a pod is admitted"), async || pods.create(&params, &pod).await.ok()).await;
        let mut root = pod.clone();
        root.data["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        let refused = pods.create(&params, &root).await.expect_err("the namespace takes restricted pods alone");
        assert!(refused.to_string().contains("PodSecurity"), "{refused}");
    }
    apply_all(&admin, &objects(&folder().join("cluster-wide.yaml"))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn role_of_the_replicas_allows_election_writes_and_events() {
    let cluster = cluster().await;
    let admin = cluster.client("admin").await;
    apply_all(&admin, &kustomized("overlays/replicas")).await;
    let vmcp = json!({
        "apiVersion": API_VERSION,
        "kind": "VirtualMCPServer", "metadata": {"name": ACCOUNT}, "spec": {},
    });
    apply(&admin, &vmcp).await;

    let client = as_account(&cluster).await;
    let sink = KubernetesSink::new(client.clone(), NAMESPACE, ACCOUNT).expect("the names are names");
    let events = KubernetesEvents::new(client.clone(), sink.identity(), EventOptions::default());
    let election = LeaseElection::start(client, NAMESPACE, ACCOUNT, ElectionOptions::default());
    let election = election.expect("the names are names");
    let (handle, reporter) = Reporter::builder(sink).leadership(election).on_stored(events).derive_phase(true).start();
    let backend = DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named("weather") };
    assert!(handle.upsert_backend(backend));
    until("this replica leads", async || (handle.leadership_state() == LeadershipState::Leading).then_some(())).await;
    handle.flush().await.expect("the role allows it");
    let events = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event"});
    let events = api(&admin, &events);
    until("an Event is there", async || {
        let events = events.list(&kube::api::ListParams::default()).await.expect("the administrator may");
        events.items.iter().any(|event| event.data["regarding"]["name"] == ACCOUNT).then_some(())
    })
    .await;

    let outcome = reporter.shutdown().await;
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(outcome.leadership_state, LeadershipState::Leading);
    let stored = api(&admin, &vmcp).get(ACCOUNT).await.expect("it is there");
    assert_eq!(
        stored.data["status"]["phase"].as_str().or(stored.data["status"]["runtime"]["phase"].as_str()),
        Some("Ready")
    );
}
