//! Eight writers of one kind on one object, each reporting as soon as its last
//! report is done.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use vmcp_status::Status;

use crate::changes::Times;
use crate::states;
use crate::watcher::{Watcher, version_of};
use crate::writer::{Form, Stage, Writer};

const WRITERS: usize = 8;

/// What became of their reports.
pub struct Crowd {
    pub reports: usize,
    /// Reports that no version of the object ever had.
    pub lost: usize,
    /// Those whose caller was told that they were given up.
    pub given_up: usize,
    pub requests: usize,
    pub waited: Times,
    /// From the first report to the end of the last.
    pub took: Duration,
}

/// Each report says who reports and which report it is, in its message.
fn form(base: &Status, writer: usize, report: usize) -> Form {
    Form::new(Status { message: format!("writer {writer}, report {report}"), ..base.clone() })
}

pub async fn measure(stage: &Stage<'_>, backends: usize, reports: usize) -> Crowd {
    let base = states::status(backends);
    let mut watcher = Watcher::start(stage.cluster, &stage.name).await;
    // One after the other, so that connections and first reads are done.
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (mut running, first) = (stage.writer().await, form(&base, writer, 0));
        running.report(&first).await.result.expect("nobody else reports yet");
        running.until_stored(&first).await.expect("nobody else reports yet");
        writers.push(running);
    }
    let mark = stage.cluster.audit_mark();
    let begin = Instant::now();
    let all = writers.into_iter().enumerate().map(|(i, writer)| write(i, writer, &base, reports));
    let (writers, results): (Vec<_>, Vec<_>) = join_all(all).await.into_iter().unzip();
    let took = begin.elapsed();
    let requests = stage.cluster.audit_since(stage.kind.user(), mark).len();

    let last = version_of(stage.cluster, &stage.name).await;
    let mut seen = HashSet::new();
    let all_seen = watcher.until("all that was stored", |object| {
        seen.insert(object.message().to_owned());
        object.version() == last
    });
    all_seen.await;
    join_all(writers.into_iter().map(Writer::end)).await;

    let mut crowd =
        Crowd { reports: WRITERS * reports, lost: 0, given_up: 0, requests, waited: Times::default(), took };
    for (message, waited, result) in results.into_iter().flatten() {
        crowd.lost += usize::from(!seen.contains(&message));
        crowd.given_up += usize::from(result.is_err());
        crowd.waited.push(waited);
    }
    crowd
}

/// The reports of one writer, in order: message, how long the caller waited, and
/// what became of it as far as this process knows.
async fn write(
    writer: usize,
    mut running: Writer,
    base: &Status,
    reports: usize,
) -> (Writer, Vec<(String, Duration, Result<(), String>)>) {
    let mut results = Vec::new();
    for report in 1..=reports {
        let form = form(base, writer, report);
        let reported = running.report(&form).await;
        let result = match reported.result {
            Ok(()) => running.until_stored(&form).await,
            Err(error) => Err(error),
        };
        results.push((form.status.message, reported.waited, result));
    }
    (running, results)
}
