//! What a write of the state file costs, beside a plain write of the same JSON,
//! which can be seen half written and is lost in a power failure, and beside one
//! that is at least synced: `cargo bench --bench file`.

use vmcp_status_testkit::bench::ratio;
use vmcp_status_testkit::bench::states;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use criterion::BenchmarkId;
use states::{NAME, status};
use vmcp_status::{FileSink, Sink as _, StateFile, WriteOutcome};

const SIZES: [usize; 3] = [3, 100, 1_000];

fn main() {
    let (mut criterion, ratios) = ratio::criterion(env!("CARGO_TARGET_TMPDIR"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    // Where the build is, so that it is a disk: a temporary directory may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut group = criterion.benchmark_group("file");
    group.sample_size(30);
    for backends in SIZES {
        let status = status(backends);
        let mut sink = FileSink::in_dir(dir.path(), NAME).expect("a good name");
        group.bench_function(BenchmarkId::new("file sink", backends), |b| {
            b.iter(|| assert_eq!(runtime.block_on(sink.write(&status)).expect("stored"), WriteOutcome::Written));
        });
        let state = StateFile::load(sink.path()).expect("written above");
        let plain = dir.path().join("plain");
        group.bench_function(BenchmarkId::new("plain write", backends), |b| {
            b.iter(|| fs::write(&plain, json(&state)).expect("written"));
        });
        group.bench_function(BenchmarkId::new("write and sync", backends), |b| {
            b.iter(|| write_and_sync(&plain, &state));
        });
    }
    group.finish();
    ratios.print("file", "file sink", "plain write", &SIZES);
    ratios.print("file", "file sink", "write and sync", &SIZES);
    criterion.final_summary();
}

fn json(state: &StateFile) -> Vec<u8> {
    serde_json::to_vec_pretty(state).expect("serialises")
}

fn write_and_sync(path: &Path, state: &StateFile) {
    let mut file = File::create(path).expect("created");
    file.write_all(&json(state)).expect("written");
    file.sync_all().expect("synced");
}
