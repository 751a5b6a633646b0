use vmcp_status::{NoOpSink, Reporter, StatusHandle};

use super::*;

fn silent(runtime: &Runtime) -> StatusHandle {
    let _inside = runtime.enter();
    Reporter::builder(NoOpSink::silent()).start().0
}

#[test]
fn report_allocates_one_box_whatever_the_size() {
    let runtime = runtime();
    let handle = silent(&runtime);
    // The channel allocates a block for each 32 messages: let it have some.
    (0..64).for_each(|_| assert!(handle.report(ready(1))));
    runtime.block_on(handle.flush()).expect("stored");
    for backends in [0, 3, 100, 3_000] {
        let status = ready(backends);
        let (accepted, cost) = counted(|| handle.report(status));
        assert!(accepted);
        assert_eq!(cost.count_total, 1, "{backends} backends");
        assert_eq!(cost.bytes_total, size_of::<Status>() as u64, "{backends} backends");
    }
}

#[test]
fn mailbox_of_many_reports_allocates_little_more_than_their_boxes() {
    let runtime = runtime();
    let handle = silent(&runtime);
    let statuses: Vec<Status> = (0..256).map(|_| ready(10)).collect();
    let ((), cost) = counted(|| statuses.into_iter().for_each(|status| assert!(handle.report(status))));
    assert!((256..=256 + 16).contains(&cost.count_total), "{cost:?}");
}
