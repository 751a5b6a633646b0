//! Increments from many tasks to one state.

#![allow(dead_code, reason = "each bench takes the part it needs")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use vmcp_status::{BackendStatus, DiscoveredBackend, NoOpSink, Reporter};

use super::states::backend;

/// How many backends the increments are about.
pub const BACKENDS: usize = 100;

/// What the tasks send: each goes through all backends again and again, and each
/// increment changes one.
pub struct Increments {
    runtime: Runtime,
    forms: Vec<[Arc<DiscoveredBackend>; 2]>,
}

impl Increments {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("a runtime");
        let both = |i| [BackendStatus::Ready, BackendStatus::Unavailable].map(|status| backend(i, status));
        Increments { runtime, forms: (0..BACKENDS).map(both).collect() }
    }

    /// What a task sends as its `i`th increment.
    fn of(forms: &[[Arc<DiscoveredBackend>; 2]], i: u64) -> Arc<DiscoveredBackend> {
        let i = usize::try_from(i).expect("fits");
        Arc::clone(&forms[i % BACKENDS][i / BACKENDS % 2])
    }

    /// Starts the tasks; `send` gets what each has to send.
    async fn tasks<F: Future<Output = ()> + Send + 'static>(
        &self,
        tasks: u64,
        count: u64,
        send: impl Fn(Box<dyn Iterator<Item = Arc<DiscoveredBackend>> + Send>) -> F,
    ) {
        let share = |task| count / tasks + u64::from(task < count % tasks);
        let started = (0..tasks).map(|task| {
            let forms = self.forms.clone();
            tokio::spawn(send(Box::new((0..share(task)).map(move |i| Self::of(&forms, i)))))
        });
        for ended in join_all(started).await {
            ended.expect("no panic");
        }
    }

    /// Through the actor, until all are in the state that it would store.
    pub fn through_the_actor(&self, tasks: u64, count: u64) -> Duration {
        self.runtime.block_on(async {
            let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
            let start = Instant::now();
            self.tasks(tasks, count, |increments| {
                let handle = handle.clone();
                async move { increments.for_each(|backend| assert!(handle.upsert_backend(backend))) }
            })
            .await;
            let state = handle.current().await.expect("it lives");
            let spent = start.elapsed();
            assert_eq!(handle.counts().received, count);
            assert_eq!(state.discovered_backends.len(), BACKENDS);
            reporter.shutdown().await;
            spent
        })
    }

    /// Through a bare bounded channel into a map. It has no order across
    /// sources, no pace and no store, and its senders wait when it is full.
    pub fn through_a_channel(&self, tasks: u64, count: u64) -> Duration {
        self.runtime.block_on(async {
            let (sender, mut receiver) = mpsc::channel::<Arc<DiscoveredBackend>>(256);
            let start = Instant::now();
            let collected = tokio::spawn(async move {
                let (mut state, mut batch) = (HashMap::new(), Vec::new());
                while receiver.recv_many(&mut batch, 256).await > 0 {
                    state.extend(batch.drain(..).map(|backend| (backend.name.clone(), backend)));
                }
                state
            });
            self.tasks(tasks, count, |increments| {
                let sender = sender.clone();
                async move {
                    for backend in increments {
                        sender.send(backend).await.expect("it is received");
                    }
                }
            })
            .await;
            drop(sender);
            let state = collected.await.expect("no panic");
            let spent = start.elapsed();
            assert_eq!(state.len(), BACKENDS);
            spent
        })
    }

    /// Into a list behind a lock, copied at each change for the task that stores it.
    pub fn through_a_locked_list(&self, tasks: u64, count: u64) -> Duration {
        self.runtime.block_on(async {
            let list: Arc<Mutex<Vec<DiscoveredBackend>>> = Arc::default();
            let start = Instant::now();
            self.tasks(tasks, count, |increments| {
                let list = Arc::clone(&list);
                async move {
                    for backend in increments {
                        let mut list = list.lock().expect("no panic");
                        match list.iter_mut().find(|old| old.name == backend.name) {
                            Some(old) => old.clone_from(&backend),
                            None => list.push(DiscoveredBackend::clone(&backend)),
                        }
                        std::hint::black_box(list.clone());
                    }
                }
            })
            .await;
            start.elapsed()
        })
    }
}
