//! How many increments a second get from 1 and from 8 tasks through the actor
//! into the state that it would store, beside a bare channel drained into a map
//! and a list behind a lock that is copied at each change:
//! `cargo bench --bench state`.

use vmcp_status_testkit::bench::increments;
use vmcp_status_testkit::bench::ratio;

use std::time::Duration;

use criterion::{BenchmarkId, Throughput};
use increments::Increments;

const TASKS: [u64; 2] = [1, 8];
const COUNT: u64 = 100_000;
/// The list behind a lock is slow.
const FEW: u64 = 2_000;

fn main() {
    let (mut criterion, ratios) = ratio::criterion(env!("CARGO_TARGET_TMPDIR"));
    let increments = Increments::new();
    let mut group = criterion.benchmark_group("increments");
    group.sample_size(20);
    for tasks in TASKS {
        let mut time = |name: &str, count: u64, run: &dyn Fn(u64, u64) -> Duration| {
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new(name, tasks), |b| {
                // Of one increment, in runs long enough to get going.
                b.iter_custom(|n| {
                    let runs = n.div_ceil(count);
                    let spent: Duration = (0..runs).map(|_| run(tasks, count)).sum();
                    let share = spent.as_nanos() * u128::from(n) / u128::from(runs * count);
                    Duration::from_nanos(u64::try_from(share).expect("not for centuries"))
                });
            });
        };
        time("through the actor", COUNT, &|tasks, count| increments.through_the_actor(tasks, count));
        time("bare channel to a map", COUNT, &|tasks, count| increments.through_a_channel(tasks, count));
        time("locked list", FEW, &|tasks, count| increments.through_a_locked_list(tasks, count));
    }
    group.finish();
    ratios.print("increments", "through the actor", "bare channel to a map", &TASKS);
    ratios.print("increments", "through the actor", "locked list", &TASKS);
    criterion.final_summary();
}
