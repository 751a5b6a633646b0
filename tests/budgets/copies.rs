use std::sync::Mutex;
use std::time::Duration;

use vmcp_status::{Reporter, Sink, SinkError, WriteOutcome};

use super::*;

/// What a list of all backends takes for each: a pointer to it.
const POINTER: u64 = size_of::<Arc<DiscoveredBackend>>() as u64;
/// The one that changed, messages, and what a runtime needs.
const FIXED: u64 = 8 << 10;

/// Keeps what it was given last, and shows it to the test.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Option<Status>>>);

impl Kept {
    fn last(&self) -> Status {
        self.0.lock().expect("no panic").clone().expect("something was written")
    }
}

impl Sink for Kept {
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        Ok(self.0.lock().expect("no panic").clone())
    }

    async fn write(&mut self, status: &Status) -> Result<WriteOutcome, SinkError> {
        *self.0.lock().expect("no panic") = Some(status.clone());
        Ok(WriteOutcome::Written)
    }
}

#[test]
fn backends_reach_the_sink_without_a_copy() {
    let kept = Kept::default();
    runtime().block_on(async {
        let (handle, _reporter) = Reporter::builder(kept.clone()).start();
        let said = ready(100);
        assert!(handle.report(said.clone()));
        handle.flush().await.expect("stored");
        let shared = |a: &Status, b: &Status| {
            let both = a.discovered_backends.iter().zip(&b.discovered_backends);
            both.filter(|(a, b)| Arc::ptr_eq(a, b)).count()
        };
        assert_eq!(shared(&said, &kept.last()), 100);
        assert!(handle.upsert_backend(backend(7, BackendStatus::Unavailable)));
        handle.flush().await.expect("stored");
        assert_eq!(kept.last().discovered_backends[7].status, BackendStatus::Unavailable);
        assert_eq!(shared(&said, &kept.last()), 99, "all but the one that changed");
    });
}

#[test]
fn rebuilt_snapshot_shares_unchanged_backends() {
    let kept = Kept::default();
    runtime().block_on(async {
        let (handle, _reporter) = Reporter::builder(kept.clone()).start();
        assert!(handle.report(ready(100)));
        handle.flush().await.expect("stored");
        let first = kept.last();
        let mut anew = ready(101);
        anew.discovered_backends.remove(3);
        anew.discovered_backends[7] = Arc::new(backend(8, BackendStatus::Unavailable));
        assert!(handle.report(anew));
        handle.flush().await.expect("stored");
        let kept = kept.last().discovered_backends;
        let old: Vec<_> = first.discovered_backends.iter().map(Arc::as_ptr).collect();
        assert_eq!(kept.iter().filter(|backend| old.contains(&Arc::as_ptr(backend))).count(), 98);
    });
}

/// What a change of one backend allocates once everything is warm.
fn change(backends: usize) -> AllocationInfo {
    let runtime = runtime();
    let (handle, _reporter) = {
        let _inside = runtime.enter();
        Reporter::builder(Kept::default()).write_interval(Duration::ZERO).start()
    };
    assert!(handle.report(ready(backends)));
    runtime.block_on(handle.flush()).expect("stored");
    let change = || {
        assert!(handle.upsert_backend(backend(7, BackendStatus::Unavailable)));
        runtime.block_on(handle.flush()).expect("stored");
    };
    counted(change).1
}

#[test]
fn change_of_one_backend_allocates_two_lists_of_pointers_and_no_other_backend() {
    let few = change(10);
    for backends in [1_000, 10_000] {
        let cost = change(backends);
        assert_eq!(cost.count_total, few.count_total, "as often with {backends} backends as with 10");
        // One for the status that is written and one that the sink here keeps.
        let most = 2 * POINTER * backends as u64 + FIXED;
        assert!(cost.bytes_total <= most, "{backends} backends: {cost:?}");
    }
}

mod kubernetes {
    use vmcp_status::KubernetesSink;

    use super::memory_server::client;
    use super::states::{NAME, NAMESPACE, Whole};
    use super::*;

    /// Of a write of one changed backend by the Kubernetes sink, as its diff,
    /// its patch and the request.
    fn write(backends: usize) -> AllocationInfo {
        let runtime = runtime();
        let before = ready(backends);
        let mut sink = runtime.block_on(async {
            let client = client(Whole::of(&before).bytes());
            let mut sink = KubernetesSink::new(client, NAMESPACE, NAME).expect("good names");
            sink.read().await.expect("answered");
            sink
        });
        let changed = |status| {
            let mut changed = before.clone();
            changed.discovered_backends[7] = Arc::new(backend(7, status));
            changed
        };
        let mut write = |status: &Status| runtime.block_on(sink.write(status)).expect("answered");
        write(&changed(BackendStatus::Degraded));
        let next = changed(BackendStatus::Unavailable);
        let (effect, cost) = counted(|| write(&next));
        assert_eq!(effect, WriteOutcome::Written);
        cost
    }

    #[test]
    fn patch_of_one_backend_allocates_no_other_backend() {
        let few = write(10);
        for backends in [1_000, 10_000] {
            let cost = write(backends);
            assert_eq!(cost.count_total, few.count_total, "as often with {backends} backends as with 10");
            // What is stored after it, and which of them are still wanted.
            let most = 3 * POINTER * backends as u64 + 2 * FIXED;
            assert!(cost.bytes_total <= most, "{backends} backends: {cost:?}");
        }
    }
}
