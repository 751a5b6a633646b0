//! A whole write, from `report` to stored, against the API double, beside a GET
//! and a PUT of the whole object through the same client:
//! `cargo bench --bench write`.
//!
//! The double checks like the real server and does not take the time that one
//! takes: `cargo bench --bench e2e` measures that.

use vmcp_status_testkit::api;
use vmcp_status_testkit::bench::ratio;
use vmcp_status_testkit::bench::states;

use std::time::Duration;

use api::{Api, Role};
use criterion::BenchmarkId;
use http::Request;
use serde_json::{Value, json};
use states::{NAME, NAMESPACE, status, with_one_changed};
use vmcp_status::{BackendStatus, KubernetesSink, Reporter, Status};

const SIZES: [usize; 3] = [10, 100, 1_000];

fn main() {
    let (mut criterion, ratios) = ratio::criterion(env!("CARGO_TARGET_TMPDIR"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut lines = Vec::new();
    let mut group = criterion.benchmark_group("write");
    group.sample_size(30);
    for backends in SIZES {
        let ready = status(backends);
        let forms = [with_one_changed(&ready, backends / 2, BackendStatus::Unavailable), ready];
        let api = Api::with_old_crd();
        api.create(NAMESPACE, NAME, json!({"groupRef": {"name": "group"}}));
        let client = {
            let _inside = runtime.enter();
            api.client(Role::Operator)
        };

        let (handle, reporter) = runtime.block_on(async {
            let sink = KubernetesSink::new(client.clone(), NAMESPACE, NAME).expect("good names");
            Reporter::builder(sink).write_interval(Duration::ZERO).start()
        });
        let mut turn = forms.iter().cycle();
        let mut write = || {
            let _ = handle.report(turn.next().expect("endless").clone());
            runtime.block_on(handle.flush()).expect("stored");
            api.clear_requests();
        };
        // The first ones read and write the whole.
        write();
        write();
        group.bench_function(BenchmarkId::new("report to stored", backends), |b| b.iter(&mut write));
        let _ = handle.report(with_one_changed(&forms[1], 0, BackendStatus::Degraded));
        runtime.block_on(handle.flush()).expect("stored");
        lines.push(format!("cost: {backends} backends: {}", cost(&api)));
        runtime.block_on(reporter.shutdown());

        let mut turn = forms.iter().cycle();
        let mut replace = || {
            runtime.block_on(get_and_put(&client, turn.next().expect("endless")));
            api.clear_requests();
        };
        group.bench_function(BenchmarkId::new("GET and PUT", backends), |b| b.iter(&mut replace));
        runtime.block_on(get_and_put(&client, &forms[0]));
        lines.push(format!("cost: {backends} backends, GET and PUT: {}", cost(&api)));
    }
    group.finish();
    ratios.print("write", "report to stored", "GET and PUT", &SIZES);
    for line in lines {
        println!("{line}");
    }
    criterion.final_summary();
}

/// What a controller does that replaces the status as a whole.
async fn get_and_put(client: &kube::Client, status: &Status) {
    let path = format!("/apis/toolhive.stacklok.dev/v1beta1/namespaces/{NAMESPACE}/virtualmcpservers/{NAME}");
    let get = Request::get(&path).body(Vec::new()).expect("a request");
    let mut object: Value = client.request(get).await.expect("read");
    object["status"] = serde_json::to_value(status).expect("serialises");
    let put = Request::put(format!("{path}/status")).header("content-type", "application/json");
    let put = put.body(serde_json::to_vec(&object).expect("serialises")).expect("a request");
    client.request::<Value>(put).await.expect("replaced");
}

/// Of what has been sent since the log was cleared.
fn cost(api: &Api) -> String {
    let requests = api.requests();
    let up: usize = requests.iter().map(|request| request.bytes_up).sum();
    let down: usize = requests.iter().map(|request| request.bytes_down).sum();
    api.clear_requests();
    format!("{} requests, {up} bytes up, {down} bytes down", requests.len())
}
