use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The plainest fold there is, written without a look at the real one.
#[derive(Default)]
struct Plain {
    backends: BTreeMap<String, (DiscoveredBackend, Option<String>)>,
    conditions: BTreeMap<String, ConditionStatus>,
    phase: Phase,
    message: String,
    generation: Option<i64>,
}

impl Plain {
    fn apply(&mut self, update: Update) {
        match update {
            Update::Snapshot(status) => {
                self.phase = status.phase;
                self.message = status.message;
                self.generation = self.generation.max(status.observed_generation);
                self.conditions = status.conditions.into_iter().map(|c| (c.type_, c.status)).collect();
                let backends = status.discovered_backends;
                self.backends = backends.iter().map(|b| (b.name.clone(), ((**b).clone(), None))).collect();
            }
            Update::UpsertBackend(backend) => {
                let owner = self.backends.get(&backend.name).and_then(|(_, owner)| owner.clone());
                self.backends.insert(backend.name.clone(), ((*backend).clone(), owner));
            }
            Update::UpsertBackendOf { source, backend } => {
                self.backends.insert(backend.name.clone(), ((*backend).clone(), Some(source.to_string())));
            }
            Update::RemoveBackend(name) => drop(self.backends.remove(&name)),
            Update::ReplaceBackends { source, backends } => {
                self.backends.retain(|_, (_, owner)| owner.as_deref() != Some(&*source));
                for backend in backends {
                    self.apply(Update::UpsertBackendOf { source: source.clone(), backend });
                }
            }
            Update::SetCondition(c) => drop(self.conditions.insert(c.type_, c.status)),
            Update::RemoveCondition(type_) => drop(self.conditions.remove(&type_)),
            Update::SetPhase { phase, message } => (self.phase, self.message) = (phase, message),
            Update::SetObservedGeneration(generation) => self.generation = self.generation.max(Some(generation)),
            other => unreachable!("not generated: {other:?}"),
        }
    }
}

fn backend() -> impl Strategy<Value = Arc<DiscoveredBackend>> {
    ("[a-e]", "[0-8]").prop_map(|(name, mcp_revision)| Arc::new(DiscoveredBackend { mcp_revision, ..ready(name) }))
}

fn update() -> impl Strategy<Value = Update> {
    let source = || "[st]".prop_map(Arc::from);
    let backends = || prop::collection::vec(backend(), 0..4);
    let condition = ("Ready|Mine", any::<bool>())
        .prop_map(|(type_, holds)| Condition::unchecked(type_, ConditionStatus::from(holds), "Why", ""));
    prop_oneof![
        1 => (backends(), "[xyz]").prop_map(|(backends, message)| {
            Update::Snapshot(Box::new(Status { message, ..Status::from_backends(backends) }))
        }),
        4 => backend().prop_map(Update::UpsertBackend),
        4 => (source(), backend()).prop_map(|(source, backend)| Update::UpsertBackendOf { source, backend }),
        2 => "[a-e]".prop_map(Update::RemoveBackend),
        4 => (source(), backends()).prop_map(|(source, backends)| Update::ReplaceBackends { source, backends }),
        1 => condition.prop_map(Update::SetCondition),
        1 => "Ready|Mine".prop_map(Update::RemoveCondition),
        1 => "[mn]".prop_map(|message| Update::SetPhase { phase: Phase::Failed, message }),
        1 => (0i64..9).prop_map(Update::SetObservedGeneration),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_interleaving_stores_what_a_plain_fold_of_the_updates_gives(
        updates in prop::collection::vec((update(), 0u8..8), 1..60),
        mailbox in 1usize..6,
        latency in 0u64..3000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let store = Store::slow(Duration::from_millis(latency));
            let (handle, reporter) = start_with(&store, |b| {
                // Time for the write in flight and one more.
                b.mailbox_size(mailbox).shutdown_grace(Duration::from_secs(9))
            });
            let clones = [handle.clone(), handle.clone(), handle];
            let mut plain = Plain::default();
            for (index, (update, then)) in updates.into_iter().enumerate() {
                plain.apply(update.clone());
                assert!(clones[index % 3].send(update));
                match then {
                    0 => yield_now().await,
                    1 => sleep(Duration::from_millis(400)).await,
                    _ => {}
                }
            }
            let outcome = reporter.shutdown().await;
            prop_assert!(outcome.is_complete());
            let stored = store.state().stored.clone().unwrap_or_default();
            let backends: BTreeMap<_, _> =
                stored.discovered_backends.iter().map(|b| (b.name.clone(), (**b).clone())).collect();
            prop_assert_eq!(backends.len(), stored.discovered_backends.len());
            prop_assert_eq!(backends, plain.backends.into_iter().map(|(n, (b, _))| (n, b)).collect());
            let conditions: BTreeMap<_, _> =
                stored.conditions.iter().map(|c| (c.type_.clone(), c.status)).collect();
            prop_assert_eq!(conditions, plain.conditions);
            prop_assert_eq!((stored.phase, stored.message), (plain.phase, plain.message));
            prop_assert_eq!(stored.observed_generation, plain.generation);
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn sources_replace_only_their_own_backends() {
    let store = Store::default();
    let (handle, _reporter) = start(&store);
    let (one, two) = (handle.source("one"), handle.source("two"));
    assert!(one.replace_backends([ready("a"), ready("b")]));
    assert!(two.replace_backends([ready("c")]));
    assert!(handle.upsert_backend(DiscoveredBackend::named("b")));
    assert!(one.replace_backends([ready("a")]));
    handle.flush().await.expect("stored");
    let names: Vec<_> = store.stored().discovered_backends.iter().map(|b| b.name.clone()).collect();
    assert_eq!(names, ["a", "c"], "an update without a source left b with source one");
}

#[tokio::test(start_paused = true)]
async fn queue_longer_than_a_batch_comes_before_what_did_not_fit_in() {
    let store = Store::default();
    let (handle, _reporter) = start_with(&store, |b| b.mailbox_size(1000));
    for i in 0..1100 {
        assert!(handle.report(said(i.to_string())));
    }
    sleep(INTERVAL * 3).await;
    assert_eq!(store.stored().message, "1099");
}
