//! The items of the two lists, each in its place, as our model has them and as
//! the server has them.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::kubernetes::json_patch::{Members, Patch};
use crate::status::{BackendStatus, Condition, ConditionStatus, DiscoveredBackend, Fault, Faults, odd_values};

/// The member that every writer of an item changes, of both kinds of item.
const STATUS: &str = "status";

/// An item of a list, in its place.
#[derive(Debug)]
pub(super) enum Item<T> {
    Ours {
        value: Arc<T>,
        /// Its key and status as they are stored, where we spell them otherwise.
        spelled: Option<Box<Spelled>>,
    },
    /// The item does not fit our model, so another writer made it.
    Unparsed(Box<Unparsed<T>>),
}

/// Two members of an item; null where there is none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spelled {
    key: Value,
    status: Value,
}

#[derive(Debug)]
pub(super) struct Unparsed<T> {
    key: String,
    value: Value,
    /// The item without its odd values, and these.
    readable: Option<Arc<T>>,
    faults: Faults,
}

// Derived, it would ask for a `T` that can be cloned.
impl<T> Clone for Item<T> {
    fn clone(&self) -> Self {
        match self {
            Item::Ours { value, spelled } => Item::Ours { value: Arc::clone(value), spelled: spelled.clone() },
            Item::Unparsed(odd) => {
                let Unparsed { key, value, readable, faults } = &**odd;
                Item::Unparsed(Box::new(Unparsed {
                    key: key.clone(),
                    value: value.clone(),
                    readable: readable.clone(),
                    faults: faults.clone(),
                }))
            }
        }
    }
}

impl<T> Item<T> {
    /// As we have written it.
    pub(super) fn written(value: Arc<T>) -> Self {
        Item::Ours { value, spelled: None }
    }
}

impl<T: Keyed> Item<T> {
    pub(super) fn from_value(value: &Value) -> Self {
        match T::deserialize(value) {
            Ok(ours) => {
                let stored = Spelled::of::<T>(value);
                let spelled = (stored != Spelled::by_us(&ours)).then(|| Box::new(stored));
                Item::Ours { value: Arc::new(ours), spelled }
            }
            Err(_) => {
                let key = value.get(T::KEY).and_then(Value::as_str).unwrap_or_default().to_owned();
                let (readable, faults) = T::without_odd_values(value).unzip();
                let (readable, faults) = (readable.map(Arc::new), faults.unwrap_or_default());
                Item::Unparsed(Box::new(Unparsed { key, value: value.clone(), readable, faults }))
            }
        }
    }

    /// Whether this item has members that our model does not have.
    pub(super) fn has_foreign_members(value: &Value) -> bool {
        let is_ours = |name: &String| name == T::KEY || name == STATUS || T::MEMBERS.contains(&name.as_str());
        value.as_object().is_some_and(|item| !item.keys().all(is_ours))
    }

    pub(super) fn key(&self) -> &str {
        match self {
            Item::Ours { value, .. } => value.key(),
            Item::Unparsed(odd) => &odd.key,
        }
    }

    pub(super) fn ours(&self) -> Option<&Arc<T>> {
        match self {
            Item::Ours { value, .. } => Some(value),
            Item::Unparsed(_) => None,
        }
    }

    /// The item as far as it fits our model.
    pub(super) fn readable(&self) -> Option<&Arc<T>> {
        match self {
            Item::Ours { value, .. } => Some(value),
            Item::Unparsed(odd) => odd.readable.as_ref(),
        }
    }

    /// The values that do not fit our model.
    pub(super) fn faults(&self) -> impl Iterator<Item = &Fault> {
        let faults = if let Item::Unparsed(odd) = self { Some(odd.faults.iter()) } else { None };
        faults.into_iter().flatten()
    }

    /// Lets the patch stand only while the item at this place is the one that
    /// was read: its key, and the one short member that every writer of it
    /// changes.
    pub(super) fn guard(&self, patch: &mut Patch, place: &str) {
        let Spelled { key, status } = match self {
            Item::Ours { value, spelled } => spelled.as_deref().cloned().unwrap_or_else(|| Spelled::by_us(&**value)),
            Item::Unparsed(odd) if odd.value.is_object() => Spelled::of::<T>(&odd.value),
            // No schema lets such an item in; there is no member to test.
            Item::Unparsed(_) => return,
        };
        for (member, value) in [(T::KEY, key), (STATUS, status)] {
            if is_testable(&value) {
                patch.test(format!("{place}/{member}"), &value);
            }
        }
    }

    /// The edits that make this item the new one. Members that the model does
    /// not know stay, whatever the item is like.
    pub(super) fn edit(&self, edits: &mut Patch, place: &str, new: &T, pruned: &[&str]) {
        let new = Members::of(new).without(pruned);
        match self {
            Item::Ours { value, spelled } => {
                let mut old = Members::of(&**value).without(pruned);
                if let Some(spelled) = spelled {
                    old.0.insert(STATUS.into(), spelled.status.clone());
                }
                edits.members(place, &old, &new);
            }
            Item::Unparsed(odd) => match odd.value.as_object() {
                Some(odd) => {
                    let mut odd = odd.clone();
                    odd.retain(|name, _| new.0.contains_key(name) || T::OPTIONAL.contains(&name.as_str()));
                    edits.members(place, &Members(odd).without(pruned), &new);
                }
                None => edits.replace(place.to_owned(), new.into_value()),
            },
        }
    }
}

impl Spelled {
    fn of<T: Keyed>(item: &Value) -> Self {
        let member = |name| item.get(name).cloned().unwrap_or_default();
        Spelled { key: member(T::KEY), status: member(STATUS) }
    }

    fn by_us<T: Keyed>(item: &T) -> Self {
        Spelled { key: json!(item.key()), status: item.status() }
    }
}

/// Whether a test of this value can pass: the server compares encoded text, of
/// which only that of short and plain values is known here.
pub(super) fn is_testable(value: &Value) -> bool {
    const LONGEST: usize = 316;
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::String(text) => text.len() <= LONGEST && !text.contains(|c: char| c.is_control()),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// How the two kinds of item are alike.
pub(super) trait Keyed: Serialize + DeserializeOwned {
    const KEY: &'static str;
    /// Every member that may be left out.
    const OPTIONAL: &'static [&'static str];
    /// Every member but the key and the status.
    const MEMBERS: &'static [&'static str];
    fn key(&self) -> &str;
    /// Its status as we spell it.
    fn status(&self) -> Value;
    /// Reads an item without its odd values, where it is certainly ours.
    fn without_odd_values(_item: &Value) -> Option<(Self, Faults)> {
        None
    }
}

impl Keyed for Condition {
    const KEY: &'static str = "type";
    const OPTIONAL: &'static [&'static str] = &["lastTransitionTime", "observedGeneration"];
    const MEMBERS: &'static [&'static str] = &["reason", "message", "lastTransitionTime", "observedGeneration"];
    fn key(&self) -> &str {
        &self.type_
    }
    fn status(&self) -> Value {
        ConditionStatus::as_str(self.status).into()
    }
}

impl Keyed for DiscoveredBackend {
    const KEY: &'static str = "name";
    const OPTIONAL: &'static [&'static str] = &[
        "url",
        "authType",
        "authConfigRef",
        "lastHealthCheck",
        "message",
        "circuitBreakerState",
        "circuitLastChanged",
        "consecutiveFailures",
        "mcpRevision",
    ];
    const MEMBERS: &'static [&'static str] = Self::OPTIONAL;
    fn key(&self) -> &str {
        &self.name
    }
    fn status(&self) -> Value {
        BackendStatus::as_str(self.status).into()
    }
    fn without_odd_values(item: &Value) -> Option<(Self, Faults)> {
        let (mut item, mut faults) = (item.clone(), Faults::default());
        odd_values::backend(&mut item, &mut faults);
        Some((Self::deserialize(item).ok()?, faults))
    }
}

/// Finds the items of a list one after the other, none twice. What we want is
/// mostly in the order of what is stored, so it looks first behind the item
/// found last, and makes an index only where that fails.
pub(super) struct Places<'a, T> {
    items: &'a [Item<T>],
    next: usize,
    pub(super) found: Vec<bool>,
    index: Option<HashMap<&'a str, Vec<usize>>>,
}

impl<'a, T: Keyed> Places<'a, T> {
    pub(super) fn of(items: &'a [Item<T>]) -> Self {
        Places { items, next: 0, found: vec![false; items.len()], index: None }
    }

    pub(super) fn find(&mut self, wanted: &T) -> Option<usize> {
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
/// and those first that fit our model. Only lists without keys know a key that
/// is there twice.
fn index<T: Keyed>(items: &[Item<T>]) -> HashMap<&str, Vec<usize>> {
    let (ours, odd): (Vec<_>, Vec<_>) = (0..items.len()).rev().partition(|&at| items[at].ours().is_some());
    let mut places: HashMap<&str, Vec<usize>> = HashMap::with_capacity(items.len());
    for at in odd.into_iter().chain(ours) {
        places.entry(items[at].key()).or_default().push(at);
    }
    places
}
