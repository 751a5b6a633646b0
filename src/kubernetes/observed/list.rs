//! One of the two lists, whose items have a key.

use std::sync::Arc;

use serde_json::Value;

use super::item::{Item, Keyed};
use crate::kubernetes::json_patch::{Members, Patch};

#[derive(Clone, Debug)]
pub(super) struct List<T> {
    pub(super) items: Vec<Item<T>>,
    presence: Presence,
    /// Whether an item has members that our model does not have.
    pub(super) has_foreign_members: bool,
}

/// What is in the place of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Absent,
    /// Items can be added.
    List,
    Other,
}

impl<T: Keyed> List<T> {
    pub(super) fn of(value: Option<&Value>) -> Self {
        let presence = match value {
            None | Some(Value::Null) => Presence::Absent,
            Some(Value::Array(_)) => Presence::List,
            Some(_) => Presence::Other,
        };
        let values = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        List {
            items: values.iter().map(Item::from_value).collect(),
            presence,
            has_foreign_members: values.iter().any(Item::<T>::has_foreign_members),
        }
    }

    /// The items that fit our model, in their order.
    pub(super) fn ours(&self) -> impl Iterator<Item = &Arc<T>> {
        self.items.iter().filter_map(Item::ours)
    }

    /// Whether all items fit our model.
    pub(super) fn fits_model(&self) -> bool {
        self.items.iter().all(|item| item.ours().is_some())
    }

    /// Removes these items, from the end, so that the places before each stay
    /// what they are.
    pub(super) fn remove(&mut self, patch: &mut Patch, list: &str, places: &[usize]) {
        for &at in places.iter().rev() {
            let place = format!("{list}/{at}");
            self.items[at].guard(patch, &place);
            patch.remove(place);
            self.items.remove(at);
        }
    }

    /// Adds these items at the end.
    pub(super) fn append(&mut self, patch: &mut Patch, list: &str, new: Vec<Arc<T>>, pruned: &[&str]) {
        let values = new.iter().map(|item| Members::of(&**item).without(pruned).into_value());
        if self.presence == Presence::List {
            values.for_each(|value| patch.add(format!("{list}/-"), value));
        } else if !new.is_empty() {
            patch.add(list.to_owned(), values.collect());
        }
        if !new.is_empty() {
            self.presence = Presence::List;
        }
        self.items.extend(new.into_iter().map(Item::written));
    }

    /// Lets the patch stand only while the list is as absent as it was read.
    pub(super) fn guard_absence(&self, patch: &mut Patch, list: &str) {
        if self.presence == Presence::Absent {
            patch.test(list.to_owned(), &Value::Null);
        }
    }

    /// Replaces the list as a whole, with what others put into its items.
    pub(super) fn replace(&mut self, patch: &mut Patch, list: &str, new: Vec<Arc<T>>, pruned: &[&str]) {
        self.items.clear();
        self.presence = Presence::Absent;
        self.has_foreign_members = false;
        self.append(patch, list, new, pruned);
    }
}
