//! What a report costs its caller, beside a bare send of a boxed value of the
//! same size. Run with `cargo bench --bench report`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use vmcp_status::{BackendStatus, DiscoveredBackend, NoOpSink, Reporter, Status, StatusHandle};

/// As many as the mailbox holds: a caller that the actor keeps up with never
/// finds it full.
const BURST: usize = 256;

fn backend(i: usize) -> Arc<DiscoveredBackend> {
    Arc::new(DiscoveredBackend {
        url: format!("http://backend-{i}.default.svc:8080/mcp"),
        status: BackendStatus::Ready,
        ..DiscoveredBackend::named(format!("backend-{i}"))
    })
}

fn status(backends: usize) -> Status {
    Status::of_backends((0..backends).map(backend))
}

/// Runs only between the bursts: what the receiver does on another core would
/// be measured too where cores are few.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// Times `send` for as many statuses as asked, in bursts; what happens between
/// the bursts is not the caller's time.
fn in_bursts(iterations: u64, make: impl Fn() -> Status, send: impl Fn(Status), mut between: impl FnMut()) -> Duration {
    let mut left = usize::try_from(iterations).expect("fits");
    let mut spent = Duration::ZERO;
    while left > 0 {
        let burst: Vec<Status> = (0..left.min(BURST)).map(|_| make()).collect();
        left -= burst.len();
        let start = Instant::now();
        for status in burst {
            send(black_box(status));
        }
        spent += start.elapsed();
        between();
    }
    spent
}

fn start(runtime: &Runtime) -> StatusHandle {
    let _inside = runtime.enter();
    Reporter::builder(NoOpSink::silent()).mailbox_size(BURST).start().0
}

fn report(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("report");
    for backends in [3, 100, 3000] {
        let full = status(backends);
        // Its backends are shared with the others, so that a burst of large
        // ones fits into memory; the caller moves the same bytes either way.
        let make = || full.clone();

        let (bare, mut received) = mpsc::channel::<Box<Status>>(BURST);
        group.bench_with_input(BenchmarkId::new("bare mpsc send", backends), &backends, |b, _| {
            b.iter_custom(|iterations| {
                in_bursts(
                    iterations,
                    make,
                    |status| bare.try_send(Box::new(status)).expect("there is room"),
                    || while received.try_recv().is_ok() {},
                )
            });
        });

        let handle = start(&runtime);
        group.bench_with_input(BenchmarkId::new("report", backends), &backends, |b, _| {
            b.iter_custom(|iterations| {
                in_bursts(
                    iterations,
                    make,
                    |status| assert!(handle.report(status)),
                    || runtime.block_on(handle.flush()).expect("stored"),
                )
            });
        });
    }
    group.finish();
}

criterion_group!(benches, report);
criterion_main!(benches);
