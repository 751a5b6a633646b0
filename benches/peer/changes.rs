//! One change after the other: a backend fails and recovers, and each time the
//! operator's top level shows it before the next.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};
use vmcp_status::{BackendStatus, Status};
use vmcp_status_testkit::cluster::{AuditMark, RealCluster, Traffic};

use crate::states;
use crate::watcher::Watcher;
use crate::writer::{Form, Kind, Stage, Writer};

/// Ten seconds after its first write our reporter looks once whether that has
/// stayed, which is not the cost of a change. It is waited for so long.
const LOOK: Duration = Duration::from_secs(12);

/// The operator's user.
const OPERATOR: &str = "thv-operator";

/// What the changes of one kind of reporter have cost.
#[derive(Default)]
pub struct Changes {
    pub count: usize,
    /// Backends that the operator's top level lists.
    pub listed: usize,
    /// Of all changes.
    pub requests: usize,
    /// Answers that something is not as it was seen.
    pub conflicts: usize,
    /// Reports that the reporter has given up.
    pub given_up: usize,
    /// What the operator has written to the object meanwhile.
    pub answers: usize,
    /// Bytes of the requests that are tokens.
    pub tokens: u64,
    pub traffic: Traffic,
    pub waited: Times,
    pub stored: Times,
    pub shown: Times,
}

#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted[sorted.len() / 2]
    }

    pub fn p99(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted.get((sorted.len() * 99 / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    pub fn longest(&self) -> Duration {
        self.0.iter().copied().max().unwrap_or_default()
    }
}

/// A reporter and its object.
pub struct Run<'a> {
    stage: Stage<'a>,
    writer: Writer,
    watcher: Watcher,
    changes: Changes,
    /// Where in the audit log the changes begin.
    since: AuditMark,
}

/// Measures each kind, in the order of [`Kind::ALL`].
pub async fn measure(cluster: &RealCluster, backends: usize, changes: usize) -> [Changes; 4] {
    let forms = [BackendStatus::Unavailable, BackendStatus::Ready].map(|first| {
        let rest = (1..backends).map(|i| states::backend(i, BackendStatus::Ready));
        Form::new(Status::derived_from(std::iter::once(states::backend(0, first)).chain(rest)))
    });
    let runs = join_all(Kind::ALL.map(|kind| Run::start(cluster, kind, "changes", &forms[1]))).await;
    let Ok([mut peer, mut ours, mut unlimited, mut unpaced]) = <[Run<'_>; 4]>::try_from(runs) else {
        unreachable!("one for each kind")
    };
    // As they are: each in a row, because both limits are about what was before.
    for run in [&mut peer, &mut ours] {
        run.begin();
        for change in 0..changes {
            assert!(run.change(&forms[change % 2]).await, "nobody else reports");
        }
        run.count();
    }
    // The work alone: in turn, so that both meet the same machine.
    let mut pair = [&mut unlimited, &mut unpaced];
    for run in &mut pair {
        run.begin();
    }
    for change in 0..changes {
        for run in &mut pair {
            assert!(run.change(&forms[change % 2]).await, "nobody else reports");
        }
    }
    for run in pair {
        run.count();
    }

    let ended = [peer, ours, unlimited, unpaced].map(Run::end);
    let mut ended = join_all(ended).await.into_iter();
    Kind::ALL.map(|_| ended.next().expect("one for each kind"))
}

impl<'a> Run<'a> {
    /// Starts a reporter and lets it do what it does once.
    pub async fn start(cluster: &'a RealCluster, kind: Kind, purpose: &str, ready: &Form) -> Run<'a> {
        let stage = Stage::set(cluster, kind, purpose).await;
        let (watcher, writer) = (Watcher::start(cluster, &stage.name).await, stage.writer().await);
        let mut run = Run { stage, writer, watcher, changes: Changes::default(), since: cluster.audit_mark() };
        assert!(run.change(ready).await, "nobody else reports");
        let mark = cluster.audit_mark();
        let until = Instant::now() + LOOK;
        while kind.is_ours() && Instant::now() < until && cluster.audit_since(kind.user(), mark).is_empty() {
            sleep(Duration::from_millis(100)).await;
        }
        run
    }

    /// From here on it is measured.
    pub fn begin(&mut self) {
        self.changes = Changes::default();
        self.since = self.stage.cluster.audit_mark();
        self.stage.proxy.take_traffic();
    }

    /// Whether the reporter has not given the change up; if it has, nothing was
    /// stored, and no time was measured.
    pub async fn change(&mut self, form: &Form) -> bool {
        let wanted = form.status.discovered_backends[0].status.as_str();
        let reported = self.writer.report(form).await;
        if reported.result.is_err() {
            self.changes.given_up += 1;
            return false;
        }
        let (stored, _) = self.watcher.until("stored", |it| it.reported() == Some(wanted)).await;
        let shown = self.watcher.until("at the operator's top level", |it| it.shown() == Some(wanted));
        let (shown, version) = shown.await;
        self.writer.until_stored(form).await.expect("it was seen");
        let changes = &mut self.changes;
        changes.count += 1;
        changes.listed = version.listed();
        changes.waited.push(reported.waited);
        changes.stored.push(stored - reported.at);
        changes.shown.push(shown - reported.at);
        true
    }

    /// Up to here it was measured.
    pub fn count(&mut self) {
        let Run { stage, changes, .. } = self;
        let requests = stage.cluster.audit_since(stage.kind.user(), self.since);
        changes.requests = requests.len();
        // A test that fails is answered with 422.
        changes.conflicts = requests.iter().filter(|request| matches!(request.code, 409 | 422)).count();
        let answers = stage.cluster.audit_since(OPERATOR, self.since);
        changes.answers = answers.iter().filter(|it| it.name == stage.name && it.writes_status()).count();
        changes.tokens = stage.token_bytes() * changes.requests as u64;
        changes.traffic = stage.proxy.take_traffic();
        assert_eq!(
            changes.traffic.requests, changes.requests as u64,
            "the proxy and the audit log have counted the same"
        );
    }

    /// What was measured, and an end to it.
    pub fn take(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    pub fn name(&self) -> &str {
        &self.stage.name
    }

    pub async fn end(self) -> Changes {
        self.writer.end().await;
        self.changes
    }
}
