//! The patch from what was observed to what we want.
//!
//! It is conditional on what it replaces, not on the object as a whole: it begins
//! with tests of the object's uid and, for each item that it touches, of the
//! item's key and status in its place, and for phase, message and count of the
//! old phase. What another writer does to anything else is not a conflict, and
//! the server itself merges the patch into the newest object.

use std::sync::Arc;

use chrono::Utc;
use serde_json::{Value, json};

use super::item::{Item, Places, is_testable};
use super::list::List;
use super::{NOT_REPORTED, ObservedObject};
use crate::kubernetes::json_patch::Patch;
use crate::kubernetes::location::Home;
use crate::status::{Condition, ConditionStatus, DiscoveredBackend, Status, whole_seconds};

/// Below this many changed backends a patch carries nothing but these.
const FEW: usize = 8;
/// The API server takes 10,000 operations in one patch; the rest is room for
/// conditions.
const MAX_OPERATIONS: usize = 9_000;

/// How a patch is made.
#[derive(Clone, Copy, Debug)]
pub(in crate::kubernetes) struct PatchOptions<'a> {
    /// Members of backends that the CRD does not have.
    pub(in crate::kubernetes) pruned: &'a [&'static str],
    /// A home that goes.
    pub(in crate::kubernetes) remove: Option<Home>,
    pub(in crate::kubernetes) times: Times,
}

/// What becomes of backends of which only the times and counts of checks differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kubernetes) enum Times {
    /// They are left out of a patch that has something else to say.
    Left,
    /// The patch brings all of them up to date.
    All,
}

/// A patch, and what comes of it.
#[derive(Debug)]
pub(in crate::kubernetes) struct PatchPlan {
    pub(in crate::kubernetes) patch: Patch,
    /// What is stored after it.
    pub(in crate::kubernetes) after: ObservedObject,
    /// Whether it says something else than times and counts of checks.
    pub(in crate::kubernetes) is_news: bool,
}

impl ObservedObject {
    /// The patch to what we want; `None` where there is nothing to send. `wanted`
    /// must already be merged with
    /// [`status`](Self::status); whatever is missing is removed.
    pub(in crate::kubernetes) fn patch_to(&self, wanted: &Status, options: PatchOptions<'_>) -> Option<PatchPlan> {
        let mut after = self.clone();
        after.inherited = None;
        let mut patch = Patch::default();
        patch.test("/metadata/uid".into(), &self.uid.as_deref().map_or(Value::Null, Value::from));
        if let Some(outermost) = self.missing.first().filter(|missing| missing.absent) {
            patch.test(outermost.pointer.into(), &Value::Null);
        }
        for parent in after.missing.drain(..) {
            patch.add(parent.pointer.into(), json!({}));
        }
        self.patch_scalars(wanted, &mut patch, &mut after);
        self.patch_conditions(wanted, &mut patch, &mut after);
        let is_news = self.patch_backends(wanted, options, &mut patch, &mut after);
        if let Some(home) = options.remove {
            patch.remove(home.pointer().into());
        }
        if patch.is_empty() { None } else { Some(PatchPlan { patch, after, is_news }) }
    }

    fn patch_scalars(&self, wanted: &Status, patch: &mut Patch, after: &mut ObservedObject) {
        let mut edits = Patch::default();
        if self.phase != Some(wanted.phase) {
            edits.add(self.path("phase"), json!(wanted.phase));
            after.phase = Some(wanted.phase);
            after.phase_text = json!(wanted.phase);
        }
        if self.message.as_deref().unwrap_or_default() != wanted.message {
            edits.add(self.path("message"), json!(wanted.message));
            after.message = Some(wanted.message.clone());
        }
        if self.backend_count != Some(wanted.backend_count) {
            edits.add(self.path("backendCount"), json!(wanted.backend_count));
            after.backend_count = Some(wanted.backend_count);
        }
        if self.home.has_generation()
            && wanted.observed_generation.is_some()
            && self.observed_generation != wanted.observed_generation
        {
            edits.add(self.path("observedGeneration"), json!(wanted.observed_generation));
            after.observed_generation = wanted.observed_generation;
        }
        if !edits.is_empty() && self.is_there() && is_testable(&self.phase_text) {
            edits.test(self.path("phase"), &self.phase_text);
        }
        patch.append(edits);
    }

    fn path(&self, member: &str) -> String {
        format!("{}/{member}", self.home.pointer())
    }

    fn patch_conditions(&self, wanted: &Status, patch: &mut Patch, after: &mut ObservedObject) {
        let list = self.path("conditions");
        let items = &self.conditions.items;
        let mut places = Places::of(items);
        let mut changed: Vec<(usize, Condition)> = Vec::new();
        let mut new = Vec::new();
        for condition in &wanted.conditions {
            match places.find(condition) {
                Some(at) => changed.push((at, not_before(items[at].ours(), condition))),
                None => new.push(Arc::new(condition.clone())),
            }
        }
        let mut removed = Vec::new();
        for (at, item) in items.iter().enumerate() {
            // A condition that does not fit our model is not missing from what
            // we want.
            let Some(ours) = item.ours().filter(|ours| !places.found[at] && !self.is_dropped(ours)) else { continue };
            if self.home.removes(&ours.type_) {
                removed.push(at);
            } else {
                changed.push((at, not_reported(ours)));
            }
        }
        for (at, condition) in changed {
            let place = format!("{list}/{at}");
            let mut edits = Patch::default();
            items[at].edit(&mut edits, &place, &condition, &[]);
            if !edits.is_empty() {
                items[at].guard(&mut edits, &place);
                patch.append(edits);
            }
            after.conditions.items[at] = Item::written(Arc::new(condition));
        }
        after.conditions.remove(patch, &list, &removed);
        if !new.is_empty() && self.is_there() {
            self.conditions.guard_absence(patch, &list);
        }
        after.conditions.append(patch, &list, new, &[]);
    }

    /// Whether the patch says something else than times and counts of checks.
    fn patch_backends(
        &self,
        wanted: &Status,
        PatchOptions { pruned, times, .. }: PatchOptions<'_>,
        patch: &mut Patch,
        after: &mut ObservedObject,
    ) -> bool {
        let list = self.path("discoveredBackends");
        let items = &self.backends.items;
        let mut places = Places::of(items);
        let (mut changed, mut only_times, mut new) = (Vec::new(), Vec::new(), Vec::new());
        for backend in &wanted.discovered_backends {
            let Some(at) = places.find(&**backend) else {
                new.push(Arc::clone(backend));
                continue;
            };
            let Some(old) = items[at].ours() else {
                changed.push((at, backend));
                continue;
            };
            if Arc::ptr_eq(old, backend) {
                continue;
            }
            if **old == **backend {
                // The same content once in memory, and found at a glance from
                // then on.
                if let Item::Ours { value, .. } = &mut after.backends.items[at] {
                    *value = Arc::clone(backend);
                }
            } else if old.eq_ignoring_times(backend) {
                only_times.push((at, backend));
            } else {
                changed.push((at, backend));
            }
        }
        let removed: Vec<_> = (0..items.len()).filter(|&at| !places.found[at]).collect();
        let says_more = !patch.is_empty() || !changed.is_empty() || !new.is_empty() || !removed.is_empty();
        if times == Times::All || !says_more {
            changed.append(&mut only_times);
        }
        let touched = changed.len() + removed.len() + new.len();

        let mut by_item = Patch::default();
        for (at, backend) in changed {
            let place = format!("{list}/{at}");
            items[at].guard(&mut by_item, &place);
            items[at].edit(&mut by_item, &place, backend, pruned);
            after.backends.items[at] = Item::written(Arc::clone(backend));
        }
        after.backends.remove(&mut by_item, &list, &removed);
        if !new.is_empty() && self.is_there() {
            self.backends.guard_absence(&mut by_item, &list);
        }
        after.backends.append(&mut by_item, &list, new, pruned);
        if touched >= FEW
            && let Some((whole, replaced)) = self.whole_list_instead_of(&by_item, wanted, pruned)
        {
            by_item = whole;
            after.backends = replaced;
        }
        patch.append(by_item);
        says_more
    }

    /// The list as a whole, where that is smaller or the only way. Members that
    /// others put into our items would go with it, so it has to be the only way
    /// where there are such; and an empty list has no item to guard it by.
    fn whole_list_instead_of(
        &self,
        by_item: &Patch,
        wanted: &Status,
        pruned: &[&str],
    ) -> Option<(Patch, List<DiscoveredBackend>)> {
        let items = &self.backends.items;
        let too_many = by_item.len() > MAX_OPERATIONS;
        if !too_many && (items.is_empty() || self.backends.has_foreign_members) {
            return None;
        }
        let list = self.path("discoveredBackends");
        let mut whole = Patch::default();
        for (at, item) in items.iter().enumerate() {
            item.guard(&mut whole, &format!("{list}/{at}"));
        }
        if items.is_empty() || whole.len() > MAX_OPERATIONS {
            if !too_many {
                return None;
            }
            whole = Patch::default();
            whole.only_at(&self.version);
        }
        let mut replaced = self.backends.clone();
        replaced.replace(&mut whole, &list, wanted.discovered_backends.clone(), pruned);
        (too_many || whole.bytes() < by_item.bytes()).then_some((whole, replaced))
    }
}

/// The condition with a transition no earlier than the stored one. A condition
/// that was dropped and comes back has been merged with nothing.
fn not_before(stored: Option<&Arc<Condition>>, condition: &Condition) -> Condition {
    let since = stored.and_then(|stored| stored.last_transition_time);
    Condition { last_transition_time: condition.last_transition_time.max(since), ..condition.clone() }
}

/// What a condition becomes that is not reported any more.
fn not_reported(condition: &Condition) -> Condition {
    Condition {
        observed_generation: condition.observed_generation,
        last_transition_time: Some(whole_seconds(Utc::now())).max(condition.last_transition_time),
        ..Condition::unchecked(
            condition.type_.clone(),
            ConditionStatus::Unknown,
            NOT_REPORTED,
            "Not reported any more by the running process",
        )
    }
}
