use vmcp_status::{NoOpSink, Reporter};

use super::*;

#[test]
fn idle_actor_with_a_small_status_takes_under_16_kib() {
    const ACTORS: usize = 1_000;
    let runtime = runtime();
    let start = async || {
        let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
        assert!(handle.report(ready(3)));
        handle.flush().await.expect("stored");
        (handle, reporter)
    };
    // What the runtime and the thread keep for all of them.
    let _first = runtime.block_on(start());
    let (kept, cost) = counted(|| {
        runtime.block_on(async {
            let mut kept = Vec::with_capacity(ACTORS);
            while kept.len() < ACTORS {
                kept.push(start().await);
            }
            kept
        })
    });
    let each = cost.bytes_current / i64::try_from(kept.len()).expect("fits");
    println!("an idle actor with 3 backends: {each} bytes");
    assert!(each < 16 << 10, "{each}");
}
