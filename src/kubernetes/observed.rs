//! What the object held when it was last read or written, and how to get from
//! there to what we want.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::Utc;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::diff::{Members, Patch, only_at};
use super::location::Home;
use crate::status::{Condition, ConditionStatus, DiscoveredBackend, Phase, Status, condition_type, whole_seconds};

/// Times of checks alone ride along with a change as far as the patch stays
/// below this.
const SMALL_PATCH: usize = 900;
/// The API server takes 10,000 operations in one patch.
const MAX_OPERATIONS: usize = 9_000;
/// What a condition says that was reported and is not any more, where it cannot
/// be removed.
const NOT_REPORTED: &str = "NotReported";
/// Of a backend: what changes with each check.
const CHECK_TIME: &str = "lastHealthCheck";

#[derive(Clone, Debug)]
pub(super) struct ObservedObject {
    home: Home,
    version: String,
    uid: Option<String>,
    /// The objects around our fields that are not there yet, the outermost
    /// first, and whether the two lists are, to which items can be added only
    /// then.
    missing: Vec<&'static str>,
    has_conditions: bool,
    has_backends: bool,
    phase: Option<Phase>,
    message: Option<String>,
    backend_count: Option<u32>,
    observed_generation: Option<i64>,
    conditions: Vec<Item<Condition>>,
    backends: Vec<Item<DiscoveredBackend>>,
    /// What a reporter has left in the other home, while this one is empty.
    inherited: Option<Box<Status>>,
    bytes_of_others: usize,
}

/// An item of a list, in its place.
#[derive(Debug)]
enum Item<T> {
    Ours(Arc<T>),
    /// Not as our model has it, so that somebody else made it.
    Unparsed(Box<Unparsed>),
}

#[derive(Clone, Debug)]
struct Unparsed {
    key: String,
    value: Value,
}

// Derived, it would ask for a `T` that can be cloned.
impl<T> Clone for Item<T> {
    fn clone(&self) -> Self {
        match self {
            Item::Ours(value) => Item::Ours(Arc::clone(value)),
            Item::Unparsed(odd) => Item::Unparsed(odd.clone()),
        }
    }
}

impl<T: Keyed> Item<T> {
    fn from_value(value: &Value) -> Self {
        match T::deserialize(value) {
            Ok(ours) => Item::Ours(Arc::new(ours)),
            Err(_) => {
                let key = value.get(T::KEY).and_then(Value::as_str).unwrap_or_default().to_owned();
                Item::Unparsed(Box::new(Unparsed { key, value: value.clone() }))
            }
        }
    }

    fn key(&self) -> &str {
        match self {
            Item::Ours(value) => value.key(),
            Item::Unparsed(odd) => &odd.key,
        }
    }

    fn ours(&self) -> Option<&Arc<T>> {
        match self {
            Item::Ours(value) => Some(value),
            Item::Unparsed(_) => None,
        }
    }
}

/// How the two kinds of item are alike.
trait Keyed: Serialize + DeserializeOwned {
    const KEY: &'static str;
    /// Every member that may be left out.
    const OPTIONAL: &'static [&'static str];
    fn key(&self) -> &str;
}

impl Keyed for Condition {
    const KEY: &'static str = "type";
    const OPTIONAL: &'static [&'static str] = &["lastTransitionTime", "observedGeneration"];
    fn key(&self) -> &str {
        &self.type_
    }
}

impl Keyed for DiscoveredBackend {
    const KEY: &'static str = "name";
    const OPTIONAL: &'static [&'static str] = &[
        "url",
        "authType",
        "authConfigRef",
        CHECK_TIME,
        "message",
        "circuitBreakerState",
        "circuitLastChanged",
        "consecutiveFailures",
        "mcpRevision",
    ];
    fn key(&self) -> &str {
        &self.name
    }
}

fn items<T: Keyed>(list: Option<&Value>) -> Vec<Item<T>> {
    list.and_then(Value::as_array).map(|list| list.iter().map(Item::from_value).collect()).unwrap_or_default()
}

impl ObservedObject {
    /// What the object has in this home. `None` where it has no version.
    pub(super) fn from_object(object: &Value, home: Home) -> Option<Self> {
        let mut seen = Self::from_home(object, home)?;
        if home == Home::Runtime && !seen.missing.is_empty() {
            seen.inherited = Self::from_home(object, Home::TopLevel).and_then(|top| top.as_inheritance()).map(Box::new);
        }
        Some(seen)
    }

    fn from_home(object: &Value, home: Home) -> Option<Self> {
        let metadata = object.get("metadata")?;
        let version = metadata.get("resourceVersion")?.as_str()?.to_owned();
        let ours = object.pointer(home.pointer()).filter(|ours| ours.is_object());
        let member = |name: &str| ours.and_then(|ours| ours.get(name));
        let is_missing = |parent: &&str| !object.pointer(parent).is_some_and(Value::is_object);
        Some(ObservedObject {
            home,
            version,
            uid: metadata.get("uid").and_then(Value::as_str).map(String::from),
            missing: home.parents().iter().copied().filter(is_missing).collect(),
            has_conditions: member("conditions").is_some_and(Value::is_array),
            has_backends: member("discoveredBackends").is_some_and(Value::is_array),
            phase: member("phase")
                .and_then(Value::as_str)
                .and_then(|text| Phase::ALL.into_iter().find(|phase| phase.as_str() == text)),
            message: member("message").and_then(Value::as_str).map(String::from),
            backend_count: member("backendCount").and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok()),
            observed_generation: member("observedGeneration").and_then(Value::as_i64).filter(|_| home.has_generation()),
            conditions: items(member("conditions")),
            backends: items(member("discoveredBackends")),
            inherited: None,
            bytes_of_others: bytes_of_others(object, home),
        })
    }

    /// What a reporter in the other home may take over from this one: findings,
    /// and since when our own conditions hold. Generations are left out, since
    /// the operator has stamped its own on them.
    fn as_inheritance(&self) -> Option<Status> {
        let mut status = self.status().filter(Status::is_reported)?;
        status.observed_generation = None;
        status.conditions.retain(|condition| condition_type::OWNED.contains(&condition.type_.as_str()));
        status.conditions.iter_mut().for_each(|condition| condition.observed_generation = None);
        Some(status)
    }

    /// What is stored, as far as our model can say it. `None` where there is
    /// nothing at all.
    pub(super) fn status(&self) -> Option<Status> {
        if !self.missing.is_empty() {
            return self.inherited.as_deref().cloned();
        }
        let conditions: Vec<Condition> = self
            .conditions
            .iter()
            .filter_map(Item::ours)
            .filter(|ours| !self.is_dropped(ours))
            .map(|ours| Condition::clone(ours))
            .collect();
        let of_conditions = || {
            let ours = conditions.iter().filter(|ours| condition_type::OWNED.contains(&ours.type_.as_str()));
            ours.filter_map(|ours| ours.observed_generation).max()
        };
        Some(Status {
            phase: self.phase.unwrap_or_default(),
            message: self.message.clone().unwrap_or_default(),
            backend_count: self.backend_count.unwrap_or_default(),
            observed_generation: if self.home.has_generation() { self.observed_generation } else { of_conditions() },
            discovered_backends: self.backends.iter().filter_map(Item::ours).cloned().collect(),
            conditions,
            timestamp: None,
        })
    }

    /// Whether anything is stored in this home.
    pub(super) fn is_there(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether [`status`](Self::status) is all that is stored here.
    pub(super) fn is_exact(&self) -> bool {
        self.missing.is_empty()
            && self.phase.is_some()
            && self.backend_count.is_some()
            && self.backends.iter().all(|item| item.ours().is_some())
    }

    /// Whether this is a condition that a reporter has dropped, in the only way
    /// in which the home lets it go.
    fn is_dropped(&self, condition: &Condition) -> bool {
        condition.status == ConditionStatus::Unknown
            && condition.reason == NOT_REPORTED
            && !self.home.removes(&condition.type_)
    }

    /// What tells the object from an earlier one of its name.
    pub(super) fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    /// Whether the two differ in what a reporter writes, times and counts aside.
    pub(super) fn says_other_than(&self, other: &Self) -> bool {
        match (self.status(), other.status()) {
            (Some(ours), Some(theirs)) => !ours.eq_ignoring_times(&theirs),
            (ours, theirs) => ours.is_some() != theirs.is_some(),
        }
    }

    /// Bytes of the object that are neither ours nor grow with what is ours.
    pub(super) fn bytes_of_others(&self) -> usize {
        self.bytes_of_others
    }

    pub(super) fn at_version(mut self, version: String) -> Self {
        self.version = version;
        self
    }

    /// Members of backends that were written and are not there, though nobody
    /// has written since: the CRD does not know them.
    pub(super) fn dropped_since(&self, before: &Self) -> Vec<&'static str> {
        if before.version != self.version || before.backends.len() != self.backends.len() {
            return Vec::new();
        }
        let pairs = before.backends.iter().zip(&self.backends);
        let mut dropped = Vec::new();
        for (written, found) in pairs.filter_map(|(a, b)| a.ours().zip(b.ours())) {
            let (written, found) = (Members::of(written), Members::of(found));
            for &member in DiscoveredBackend::OPTIONAL {
                if written.0.contains_key(member) && !found.0.contains_key(member) && !dropped.contains(&member) {
                    dropped.push(member);
                }
            }
        }
        dropped
    }

    /// The patch to what we want, and what is stored after it; `None` where
    /// there is nothing to send. `wanted` must already be merged with
    /// [`status`](Self::status); whatever is missing is removed, and so is the
    /// home `remove`.
    pub(super) fn patch_to(
        &self,
        wanted: &Status,
        pruned: &[&str],
        remove: Option<Home>,
    ) -> Option<(Patch, ObservedObject)> {
        let mut after = self.clone();
        after.inherited = None;
        let mut patch = Patch::default();
        for parent in after.missing.drain(..) {
            patch.add(parent.into(), json!({}));
        }
        self.scalars(wanted, &mut patch, &mut after);
        self.patch_conditions(wanted, &mut patch, &mut after);
        let times = self.patch_backends(wanted, pruned, &mut patch, &mut after);
        let only_times = patch.is_empty();
        let mut size = patch.bytes();
        for (index, backend, operations) in times {
            size += operations.bytes();
            let room = patch.operations.len() + operations.operations.len() <= MAX_OPERATIONS;
            if room && (only_times || size <= SMALL_PATCH) {
                patch.append(operations);
                after.backends[index] = Item::Ours(backend);
            }
        }
        if let Some(home) = remove {
            patch.remove(home.pointer().into());
        }
        if patch.is_empty() {
            return None;
        }
        patch.operations.insert(0, only_at(&self.version));
        Some((patch, after))
    }

    fn scalars(&self, wanted: &Status, patch: &mut Patch, after: &mut ObservedObject) {
        if self.phase != Some(wanted.phase) {
            patch.add(self.path("phase"), json!(wanted.phase));
            after.phase = Some(wanted.phase);
        }
        if self.message.as_deref().unwrap_or_default() != wanted.message {
            patch.add(self.path("message"), json!(wanted.message));
            after.message = Some(wanted.message.clone());
        }
        if self.backend_count != Some(wanted.backend_count) {
            patch.add(self.path("backendCount"), json!(wanted.backend_count));
            after.backend_count = Some(wanted.backend_count);
        }
        if self.home.has_generation()
            && wanted.observed_generation.is_some()
            && self.observed_generation != wanted.observed_generation
        {
            patch.add(self.path("observedGeneration"), json!(wanted.observed_generation));
            after.observed_generation = wanted.observed_generation;
        }
    }

    fn path(&self, member: &str) -> String {
        format!("{}/{member}", self.home.pointer())
    }

    fn patch_conditions(&self, wanted: &Status, patch: &mut Patch, after: &mut ObservedObject) {
        let list = self.path("conditions");
        let mut places = Places::of(&self.conditions);
        let (mut edits, mut new) = (Patch::default(), Vec::new());
        for condition in &wanted.conditions {
            match places.find(condition) {
                Some(at) => {
                    let condition = not_before(self.conditions[at].ours(), condition);
                    edit(&mut edits, &format!("{list}/{at}"), &self.conditions[at], &condition, &[]);
                    after.conditions[at] = Item::Ours(Arc::new(condition));
                }
                None => new.push(Arc::new(condition.clone())),
            }
        }
        // One that our model could not say is not missing from what we want.
        let is_missing = |at: usize, item: &Item<Condition>| {
            item.ours().is_some_and(|ours| !places.found[at] && !self.is_dropped(ours))
        };
        for (at, item) in self.conditions.iter().enumerate() {
            if let Some(ours) = item.ours()
                && is_missing(at, item)
                && !self.home.removes(&ours.type_)
            {
                let unknown = not_reported(ours);
                edit(&mut edits, &format!("{list}/{at}"), item, &unknown, &[]);
                after.conditions[at] = Item::Ours(Arc::new(unknown));
            }
        }
        patch.append(edits);
        remove(patch, &list, &mut after.conditions, |at, _| {
            let item = &self.conditions[at];
            is_missing(at, item) && self.home.removes(item.key())
        });
        append(patch, &list, &mut after.has_conditions, &mut after.conditions, new, &[]);
    }

    /// Adds what differs in more than the time of a check, and returns what
    /// differs in that alone.
    fn patch_backends(
        &self,
        wanted: &Status,
        pruned: &[&str],
        patch: &mut Patch,
        after: &mut ObservedObject,
    ) -> Vec<(usize, Arc<DiscoveredBackend>, Patch)> {
        let list = self.path("discoveredBackends");
        let mut places = Places::of(&self.backends);
        let (mut times, mut new) = (Vec::new(), Vec::new());
        let begin = patch.operations.len();
        for backend in &wanted.discovered_backends {
            let Some(at) = places.find(&**backend) else {
                new.push(Arc::clone(backend));
                continue;
            };
            let old = self.backends[at].ours();
            if old.is_some_and(|old| Arc::ptr_eq(old, backend)) {
                continue;
            }
            if old.is_some_and(|old| **old == **backend) {
                // The same content once in memory, and found at a glance from then on.
                after.backends[at] = Item::Ours(Arc::clone(backend));
                continue;
            }
            let mut edits = Patch::default();
            edit(&mut edits, &format!("{list}/{at}"), &self.backends[at], &**backend, pruned);
            if old.is_some_and(|old| old.eq_ignoring_times(backend)) {
                times.push((at, Arc::clone(backend), edits));
            } else {
                patch.append(edits);
                after.backends[at] = Item::Ours(Arc::clone(backend));
            }
        }
        // Paths count items: what stays in place is edited before anything is
        // removed, so the times have to find their places again.
        if places.found.contains(&false) {
            for (at, backend, edits) in times.drain(..) {
                patch.append(edits);
                after.backends[at] = Item::Ours(backend);
            }
        }
        remove(patch, &list, &mut after.backends, |at, _| !places.found[at]);
        append(patch, &list, &mut after.has_backends, &mut after.backends, new, pruned);
        if patch.operations.len() > MAX_OPERATIONS {
            // More changes than one patch can hold: the list as a whole. Only
            // here do members go that somebody else put into our items.
            patch.operations.truncate(begin);
            after.backends.clear();
            after.has_backends = false;
            append(
                patch,
                &list,
                &mut after.has_backends,
                &mut after.backends,
                wanted.discovered_backends.clone(),
                pruned,
            );
            times.clear();
        }
        times
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

/// Bytes of the object that are neither ours nor grow with what is ours.
fn bytes_of_others(object: &Value, home: Home) -> usize {
    let size = |pointer: &str| object.pointer(pointer).map_or(0, |value| value.to_string().len());
    let mut ours = size("/metadata/managedFields");
    if home == Home::Runtime {
        // What is at the top level is a copy of it, and has its own half.
        ours += size("/status/runtime");
    }
    ours += ["conditions", "discoveredBackends", "message"]
        .map(|name| size(&format!("/status/{name}")))
        .iter()
        .sum::<usize>();
    object.to_string().len().saturating_sub(ours)
}

/// Finds the items of a list one after the other, none twice. What we want is
/// mostly in the order of what is stored, so it looks first behind the item
/// found last, and makes an index only where that fails.
struct Places<'a, T> {
    items: &'a [Item<T>],
    next: usize,
    found: Vec<bool>,
    index: Option<HashMap<&'a str, Vec<usize>>>,
}

impl<'a, T: Keyed> Places<'a, T> {
    fn of(items: &'a [Item<T>]) -> Self {
        Places { items, next: 0, found: vec![false; items.len()], index: None }
    }

    fn find(&mut self, wanted: &T) -> Option<usize> {
        let same = |item: &Item<T>| {
            item.ours().is_some_and(|ours| std::ptr::eq(&raw const **ours, wanted) || ours.key() == wanted.key())
        };
        let follows = self.items.get(self.next).is_some_and(same) && !self.found[self.next];
        let at = if follows { self.next } else { self.look_up(wanted.key())? };
        self.found[at] = true;
        self.next = at + 1;
        Some(at)
    }

    fn look_up(&mut self, key: &str) -> Option<usize> {
        let places = self.index.get_or_insert_with(|| index(self.items)).get_mut(key)?;
        std::iter::from_fn(|| places.pop()).find(|&at| !self.found[at])
    }
}

/// Where the items of each key are, to be taken from the end: in their order,
/// and those first that our model can say. A key that is there twice is known
/// to lists without keys only.
fn index<T: Keyed>(items: &[Item<T>]) -> HashMap<&str, Vec<usize>> {
    let (ours, odd): (Vec<_>, Vec<_>) = (0..items.len()).rev().partition(|&at| items[at].ours().is_some());
    let mut places: HashMap<&str, Vec<usize>> = HashMap::with_capacity(items.len());
    for at in odd.into_iter().chain(ours) {
        places.entry(items[at].key()).or_default().push(at);
    }
    places
}

/// Members that the model does not know stay, whatever the item is like.
fn edit<T: Keyed>(edits: &mut Patch, path: &str, old: &Item<T>, new: &T, pruned: &[&str]) {
    let new = Members::of(new).without(pruned);
    let odd = match old {
        Item::Ours(old) => return edits.members(path, &Members::of(&**old).without(pruned), &new),
        Item::Unparsed(odd) => &odd.value,
    };
    match odd.as_object() {
        Some(odd) => {
            let mut odd = odd.clone();
            odd.retain(|name, _| new.0.contains_key(name) || T::OPTIONAL.contains(&name.as_str()));
            edits.members(path, &Members(odd).without(pruned), &new);
        }
        None => edits.replace(path.to_owned(), new.into_value()),
    }
}

/// From the end, so that the places before it stay what they are.
fn remove<T>(patch: &mut Patch, list: &str, items: &mut Vec<Item<T>>, gone: impl Fn(usize, &Item<T>) -> bool) {
    for at in (0..items.len()).rev() {
        if gone(at, &items[at]) {
            patch.remove(format!("{list}/{at}"));
            items.remove(at);
        }
    }
}

fn append<T: Keyed>(
    patch: &mut Patch,
    list: &str,
    exists: &mut bool,
    items: &mut Vec<Item<T>>,
    new: Vec<Arc<T>>,
    pruned: &[&str],
) {
    let values = new.iter().map(|item| Members::of(&**item).without(pruned).into_value());
    if *exists {
        values.for_each(|value| patch.add(format!("{list}/-"), value));
    } else if !new.is_empty() {
        patch.add(list.to_owned(), values.collect());
        *exists = true;
    }
    items.extend(new.into_iter().map(Item::Ours));
}
