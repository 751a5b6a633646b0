//! From `report` to stored on a real API server, beside a bare PATCH round trip
//! and beside GET and PUT of the whole object, all in turn in the same run:
//!
//! ```sh
//! export $(crates/testkit/cluster/build.sh)
//! cargo bench --bench e2e
//! ```
//!
//! `-- --quick` makes fewer changes. Ends with 1 where a write took more than
//! 1.5 times the bare PATCH.
//!
//! The bare PATCH is a JSON Patch of one field without any condition, of an
//! object with the same content, through a client of the same kind, and asks for
//! the same small answer. The reporter's pace is set to 1 ms, and `flush` skips
//! it: what is measured is the work, not the wait.

use vmcp_status_testkit::bench::counted;
use vmcp_status_testkit::bench::states;
use vmcp_status_testkit::client as cluster;

use std::process::ExitCode;
use std::time::Duration;

use cluster::{RealCluster, client};
use counted::{ClientTraffic, counted};
use http::Request;
use kube::Client;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use states::{NAMESPACE, status, with_one_changed};
use tokio::time::Instant;
use vmcp_status::{BackendStatus, KubernetesSink, Reporter, Status, StatusHandle};

const SIZES: [usize; 4] = [10, 100, 1_000, 5_000];
const GOAL: f64 = 1.5;
/// Three objects of the same content, so that nobody's write is another's
/// conflict.
const OURS: &str = "ours";
const BARE: &str = "bare";
const WHOLE: &str = "whole";

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let changes = if quick { 40 } else { 300 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let lines: Vec<Line> = runtime.block_on(async {
        let server = cluster::start().await;
        for name in [OURS, BARE, WHOLE] {
            server.create(name).await;
        }
        let mut lines = Vec::new();
        for backends in SIZES {
            lines.push(measure(&server, backends, changes).await);
        }
        lines
    });
    print(&lines);
    let missed: Vec<_> = lines.iter().filter(|line| line.ratio() > GOAL).map(|line| line.backends).collect();
    if missed.is_empty() {
        println!("held: at most {GOAL} times the bare PATCH at every size");
        ExitCode::SUCCESS
    } else {
        println!("MISSED: over {GOAL} times the bare PATCH with {missed:?} backends");
        ExitCode::FAILURE
    }
}

/// What one size has cost.
struct Line {
    backends: usize,
    /// How many of them are stored: the rest did not fit.
    listed: usize,
    ours: Times,
    bare: Times,
    whole: Times,
    /// Requests, bytes up and bytes down for one change.
    traffic: [usize; 3],
    whole_traffic: [usize; 3],
    /// Of this process, for one change: writing, and receiving the answer.
    cpu: Duration,
    bare_cpu: Duration,
    resident_mib: f64,
}

impl Line {
    fn ratio(&self) -> f64 {
        self.ours.median().div_duration_f64(self.bare.median())
    }
}

#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    async fn time(&mut self, what: impl Future<Output = ()>) {
        let start = Instant::now();
        what.await;
        self.0.push(start.elapsed());
    }

    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted[((sorted.len() - 1) * percent).div_ceil(100)]
    }

    fn median(&self) -> Duration {
        self.percentile(50)
    }

    fn p99(&self) -> Duration {
        self.percentile(99)
    }
}

fn reporter(client: Client, name: &str) -> (StatusHandle, Reporter) {
    let sink = KubernetesSink::new(client, NAMESPACE, name).expect("good names");
    Reporter::builder(sink).write_interval(Duration::from_millis(1)).start()
}

async fn report(handle: &StatusHandle, status: Status) {
    assert!(handle.report(status));
    handle.flush_within(Duration::from_secs(60)).await.expect("stored");
}

async fn measure(server: &RealCluster, backends: usize, changes: usize) -> Line {
    let ready = status(backends);
    let forms = [with_one_changed(&ready, 0, BackendStatus::Unavailable), ready];
    for name in [OURS, BARE, WHOLE] {
        let (handle, reporter) = reporter(client(server, "admin").await, name);
        report(&handle, forms[1].clone()).await;
        reporter.shutdown().await;
    }
    let listed =
        server.object(BARE).await.expect("it is there")["status"]["discoveredBackends"].as_array().map_or(0, Vec::len);

    // A client each, so that each has a connection of its own.
    let (bare, whole) = (client(server, "admin").await, client(server, "admin").await);
    let (handle, running) = reporter(client(server, "admin").await, OURS);
    // The first read and the connections are not what is measured.
    for form in &forms {
        report(&handle, form.clone()).await;
        patch(&bare, form).await;
        get_and_put(&whole, form).await;
    }
    let mut times: [Times; 3] = Default::default();
    let mut cpu = [Duration::ZERO; 2];
    for change in 0..changes {
        let form = &forms[change % 2];
        let before = cpu_time();
        times[0].time(report(&handle, form.clone())).await;
        let between = cpu_time();
        times[1].time(patch(&bare, form)).await;
        cpu[0] += between.saturating_sub(before);
        cpu[1] += cpu_time().saturating_sub(between);
        // Slow, and only to compare.
        if change % 10 == 0 {
            times[2].time(get_and_put(&whole, form)).await;
        }
    }
    let resident_mib = resident_mib();
    running.shutdown().await;

    const COUNTED: usize = 10;
    let traffic = ClientTraffic::default();
    let client = counted(client(server, "admin").await, traffic.clone());
    let (handle, running) = reporter(client.clone(), OURS);
    report(&handle, forms[0].clone()).await;
    report(&handle, forms[1].clone()).await;
    traffic.take();
    for change in 0..COUNTED {
        report(&handle, forms[change % 2].clone()).await;
    }
    let ours = traffic.take();
    running.shutdown().await;
    traffic.take();
    for change in 0..COUNTED {
        get_and_put(&client, &forms[change % 2]).await;
    }
    let replaced = traffic.take();

    let each = |counts: [usize; 3]| counts.map(|count| count.div_ceil(COUNTED));
    let [ours_times, bare_times, whole_times] = times;
    Line {
        backends,
        listed,
        ours: ours_times,
        bare: bare_times,
        whole: whole_times,
        traffic: each(ours),
        whole_traffic: each(replaced),
        cpu: cpu[0] / u32::try_from(changes).expect("fits"),
        bare_cpu: cpu[1] / u32::try_from(changes).expect("fits"),
        resident_mib,
    }
}

fn path(name: &str) -> String {
    format!("/apis/toolhive.stacklok.dev/v1beta1/namespaces/{NAMESPACE}/virtualmcpservers/{name}")
}

async fn patch(client: &Client, form: &Status) {
    let value = form.discovered_backends[0].status;
    let patch = json!([{"op": "replace", "path": "/status/discoveredBackends/0/status", "value": value}]);
    let request = Request::patch(format!("{}/status?fieldManager=bare&includeObject=None", path(BARE)))
        .header("content-type", "application/json-patch+json")
        .header("accept", "application/json;as=Table;g=meta.k8s.io;v=v1, application/json")
        .body(serde_json::to_vec(&patch).expect("serialises"))
        .expect("a request");
    client.request_text(request).await.expect("patched");
}

/// What a controller does that replaces the status as a whole.
async fn get_and_put(client: &Client, form: &Status) {
    let get = Request::get(path(WHOLE)).body(Vec::new()).expect("a request");
    let mut object: Value = client.request(get).await.expect("read");
    let stored = object["status"]["discoveredBackends"].as_array().map_or(0, Vec::len);
    let mut status = form.clone();
    // Not more than fits.
    status.discovered_backends.truncate(stored);
    object["status"] = serde_json::to_value(status).expect("serialises");
    let put = Request::put(format!("{}/status", path(WHOLE))).header("content-type", "application/json");
    let put = put.body(serde_json::to_vec(&object).expect("serialises")).expect("a request");
    client.request::<Value>(put).await.expect("replaced");
}

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("not negative")
}

/// Of this process, which has three clients and their buffers.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

fn print(lines: &[Line]) {
    let milli = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "\n| backends | listed | ratio | report to stored, median | p99 | bare PATCH, median | p99 | GET and PUT, median | times ours |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for line in lines {
        let Line { backends, listed, ours, bare, whole, .. } = line;
        println!(
            "| {backends} | {listed} | {:.2} | {:.2} ms | {:.2} ms | {:.2} ms | {:.2} ms | {:.2} ms | {:.1} |",
            line.ratio(),
            milli(ours.median()),
            milli(ours.p99()),
            milli(bare.median()),
            milli(bare.p99()),
            milli(whole.median()),
            whole.median().div_duration_f64(ours.median()),
        );
    }
    println!("\nFor one change, bytes of bodies; CPU time of the client's process:\n");
    println!(
        "| backends | requests | bytes up | bytes down | CPU | bare PATCH: CPU | GET and PUT: requests | bytes up | bytes down | resident |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for Line { backends, traffic, whole_traffic, cpu, bare_cpu, resident_mib, .. } in lines {
        let ([requests, up, down], [whole_requests, whole_up, whole_down]) = (traffic, whole_traffic);
        println!(
            "| {backends} | {requests} | {up} | {down} | {:.2} ms | {:.2} ms | {whole_requests} | {whole_up} | {whole_down} | {resident_mib:.0} MiB |",
            milli(*cpu),
            milli(*bare_cpu),
        );
    }
    println!();
}
