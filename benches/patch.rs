//! What it costs to find and encode one changed backend of 10, 1,000 and 10,000,
//! beside serialising the whole, as a PUT does:
//! `cargo bench --bench patch`.
//!
//! The diff has no public name. It is measured as what a write of the Kubernetes
//! sink costs with a server that answers at once from memory: the walk through
//! both lists, the patch and its JSON, kube's client, and reading the answer.

use vmcp_status_testkit::bench::memory;
use vmcp_status_testkit::bench::ratio;
use vmcp_status_testkit::bench::states;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use states::{NAME, NAMESPACE, Whole, rebuilt, status, with_one_changed};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use vmcp_status::{BackendStatus, KubernetesSink, Reporter, Sink, SinkError, Status, WriteOutcome};

const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn main() {
    let (mut criterion, ratios) = ratio::criterion(env!("CARGO_TARGET_TMPDIR"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    for backends in SIZES {
        equality(&mut criterion, backends);
        on_the_way_to_the_sink(&mut criterion, &runtime, backends);
        diff_and_encoding(&mut criterion, &runtime, backends);
    }
    ratios.print("equality", "compare, all shared", "serialise both", &SIZES);
    ratios.print("equality", "compare, nothing shared", "serialise both", &SIZES);
    ratios.print("change to sink", "upsert one", "serialise the whole", &SIZES);
    ratios.print("diff and encode", "patch, all shared", "PUT body", &SIZES);
    ratios.print("diff and encode", "patch, nothing shared", "PUT body", &SIZES);
    ratios.print("diff and encode", "no change", "PUT body", &SIZES);
    criterion.final_summary();
}

/// The two that are compared differ in nothing: there is no way out before the
/// end.
fn equality(criterion: &mut Criterion, backends: usize) {
    let old = status(backends);
    let (shared, rebuilt) = (old.clone(), rebuilt(&old));
    let mut group = criterion.benchmark_group("equality");
    group.bench_function(BenchmarkId::new("compare, all shared", backends), |b| {
        b.iter(|| assert!(black_box(&old).eq_ignoring_times(black_box(&shared))));
    });
    group.bench_function(BenchmarkId::new("compare, nothing shared", backends), |b| {
        b.iter(|| assert!(black_box(&old).eq_ignoring_times(black_box(&rebuilt))));
    });
    let bytes = |status: &Status| serde_json::to_vec(black_box(status)).expect("serialises");
    group.bench_function(BenchmarkId::new("serialise both", backends), |b| {
        b.iter(|| assert!(bytes(&old) == bytes(&rebuilt)));
    });
    group.finish();
}

/// A store that costs nothing.
struct Nowhere;

impl Sink for Nowhere {
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        Ok(None)
    }

    async fn write(&mut self, _: &Status) -> Result<WriteOutcome, SinkError> {
        Ok(WriteOutcome::Written)
    }
}

/// One increment through mailbox, fold, merge with what is stored and equality,
/// up to the sink and back.
fn on_the_way_to_the_sink(criterion: &mut Criterion, runtime: &Runtime, backends: usize) {
    let mut group = criterion.benchmark_group("change to sink");
    let whole = status(backends);
    let forms = both_forms(backends);
    let (handle, _reporter) = runtime.block_on(async {
        let (handle, reporter) = Reporter::builder(Nowhere).write_interval(Duration::ZERO).start();
        let _ = handle.report(whole.clone());
        handle.flush().await.expect("stored");
        (handle, reporter)
    });
    let mut turn = forms.iter().cycle();
    group.bench_function(BenchmarkId::new("upsert one", backends), |b| {
        b.iter(|| {
            let backend = turn.next().expect("endless");
            let _ = handle.upsert_backend(std::sync::Arc::clone(backend));
            runtime.block_on(handle.flush()).expect("stored");
        });
    });
    group.bench_function(BenchmarkId::new("serialise the whole", backends), |b| {
        b.iter(|| serde_json::to_vec(black_box(&whole)).expect("serialises"));
    });
    group.finish();
}

/// The backend in the middle, the way it is not and the way it is.
fn both_forms(backends: usize) -> [std::sync::Arc<vmcp_status::DiscoveredBackend>; 2] {
    [BackendStatus::Unavailable, BackendStatus::Ready].map(|status| states::backend(backends / 2, status))
}

fn diff_and_encoding(criterion: &mut Criterion, runtime: &Runtime, backends: usize) {
    let mut group = criterion.benchmark_group("diff and encode");
    let (ready, broken) =
        (status(backends), with_one_changed(&status(backends), backends / 2, BackendStatus::Unavailable));
    let mut sink = runtime.block_on(async {
        let client = memory::client(Whole::of(&ready).bytes());
        let mut sink = KubernetesSink::new(client, NAMESPACE, NAME).expect("good names");
        sink.read().await.expect("answered");
        sink
    });
    // The sink shares what it has written, so the first write of each round is
    // not measured: it is where the lists begin to be shared, or not.
    let mut write = |status: &Status| runtime.block_on(sink.write(status)).expect("answered");
    let shared = [with_one_changed(&ready, backends / 2, BackendStatus::Unavailable), ready.clone()];
    write(&shared[0]);
    write(&shared[1]);
    let mut turn = shared.iter().cycle();
    group.bench_function(BenchmarkId::new("patch, all shared", backends), |b| {
        b.iter(|| assert_eq!(write(turn.next().expect("endless")), WriteOutcome::Written));
    });
    // One that is rebuilt for each write shares nothing with what was stored.
    let mut odd = false;
    group.bench_function(BenchmarkId::new("patch, nothing shared", backends), |b| {
        b.iter_custom(|n| {
            (0..n)
                .map(|_| {
                    odd = !odd;
                    let next = rebuilt(if odd { &broken } else { &ready });
                    let start = Instant::now();
                    write(&next);
                    start.elapsed()
                })
                .sum()
        });
    });
    write(&ready);
    group.bench_function(BenchmarkId::new("no change", backends), |b| {
        b.iter(|| assert_eq!(write(&ready), WriteOutcome::Unchanged));
    });
    group.bench_function(BenchmarkId::new("PUT body", backends), |b| {
        b.iter(|| Whole::of(black_box(&broken)).bytes());
    });
    group.finish();
}
