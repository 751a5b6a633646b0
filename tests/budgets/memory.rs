use vmcp_status::{Condition, ConditionStatus, NoOpSink, Phase, Reporter};

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

/// What no store takes.
const LONG: usize = 50 << 20;
/// A message that is cut has 32,768 characters.
const CUT: i64 = 1 << 16;

fn long() -> String {
    "x".repeat(LONG)
}

#[test]
fn too_long_texts_are_freed() {
    let runtime = runtime();
    let (handle, _reporter) = {
        let _inside = runtime.enter();
        Reporter::builder(NoOpSink::silent()).start()
    };
    let _ = handle.report(ready(6));
    runtime.block_on(handle.flush()).expect("stored");
    let stays = |what: &str, texts: i64, send: &dyn Fn()| {
        let ((), cost) = counted(|| {
            send();
            runtime.block_on(handle.flush()).expect("stored");
        });
        println!("{what}: {} bytes stay of {} MiB", cost.bytes_current, cost.bytes_max >> 20);
        assert!(cost.bytes_current <= texts * CUT + (64 << 10), "{what}: {} bytes", cost.bytes_current);
    };
    stays("six messages", 6, &|| {
        for i in 0..6 {
            let _ = handle.upsert_backend(DiscoveredBackend { message: long(), ..backend(i, BackendStatus::Degraded) });
        }
    });
    stays("the other texts of a backend", 4, &|| {
        let _ = handle.upsert_backend(DiscoveredBackend {
            url: long(),
            auth_type: long(),
            auth_config_ref: long(),
            mcp_revision: long(),
            ..backend(0, BackendStatus::Ready)
        });
    });
    stays("a name", 0, &|| {
        let _ = handle.upsert_backend(DiscoveredBackend::named(long()));
    });
    stays("a condition", 1, &|| {
        let _ = handle.set_condition(Condition::unchecked("Mine", ConditionStatus::True, "Why", long()));
    });
    stays("a reason", 0, &|| {
        let _ = handle.set_condition(Condition::unchecked("Mine", ConditionStatus::False, long(), ""));
    });
    stays("the type of a condition", 0, &|| {
        let _ = handle.set_condition(Condition::unchecked(long(), ConditionStatus::True, "Why", ""));
    });
    stays("the message of the whole", 1, &|| {
        let _ = handle.set_phase(Phase::Ready, long());
    });
    stays("a short text in a large buffer", 0, &|| {
        let mut message = String::with_capacity(LONG);
        message.push_str("short");
        let _ = handle.upsert_backend(DiscoveredBackend { message, ..backend(5, BackendStatus::Degraded) });
    });
    let mut snapshot = ready(6);
    for backend in &mut snapshot.discovered_backends {
        Arc::make_mut(backend).message = "short".into();
    }
    stays("a snapshot", 7, &|| {
        let mut snapshot = snapshot.clone();
        snapshot.message = long();
        for backend in &mut snapshot.discovered_backends {
            Arc::make_mut(backend).message = long();
        }
        let _ = handle.report(snapshot);
    });
}

#[test]
fn too_long_texts_are_freed_after_a_full_mailbox() {
    let runtime = runtime();
    let (handle, _reporter) = {
        let _inside = runtime.enter();
        Reporter::builder(NoOpSink::silent()).mailbox_size(1).start()
    };
    let _ = handle.report(ready(6));
    runtime.block_on(handle.flush()).expect("stored");
    let ((), cost) = counted(|| {
        for i in 0..6 {
            let _ =
                handle.set_condition(Condition::unchecked(format!("{i} {}", long()), ConditionStatus::True, "Why", ""));
            let _ = handle.upsert_backend(DiscoveredBackend { message: long(), ..backend(i, BackendStatus::Degraded) });
        }
        runtime.block_on(handle.flush()).expect("stored");
    });
    assert!(cost.bytes_current <= 6 * CUT + (64 << 10), "{} bytes", cost.bytes_current);
}
