//! What a report costs its caller, beside a bare send of a boxed value of the
//! same size: `cargo bench --bench report`.

use vmcp_status_testkit::bench::callers;
use vmcp_status_testkit::bench::ratio;
use vmcp_status_testkit::bench::states;

use callers::{Bare, Reporting};
use criterion::BenchmarkId;

const SIZES: [usize; 3] = [3, 100, 3000];

fn main() {
    let (mut criterion, ratios) = ratio::criterion(env!("CARGO_TARGET_TMPDIR"));
    let mut group = criterion.benchmark_group("report");
    for backends in SIZES {
        let mut bare = Bare::new(states::status(backends));
        group.bench_function(BenchmarkId::new("bare mpsc send", backends), |b| b.iter_custom(|n| bare.time(n)));
        let mut reporting = Reporting::new(states::status(backends));
        group.bench_function(BenchmarkId::new("report", backends), |b| b.iter_custom(|n| reporting.time(n)));
    }
    group.finish();
    ratios.print("report", "report", "bare mpsc send", &SIZES);
    criterion.final_summary();
}
