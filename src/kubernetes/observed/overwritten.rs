//! Which of our fields hold something else than we left in them.

use std::collections::BTreeMap;

use super::ObservedObject;
use crate::kubernetes::api::item_field;
use crate::kubernetes::location::Home;
use crate::status::{Condition, DiscoveredBackend, Status, condition_type};

impl ObservedObject {
    /// Returns the fields that hold something else than `left`; empty while nothing at
    /// all is stored in this home.
    ///
    /// Of an item of a list its finding counts, which each writer of it changes. At the
    /// top level, conditions that no reporter makes are not ours. Nor is
    /// `observedGeneration`, which the operator stamps too.
    pub(in crate::kubernetes) fn overwritten_since(&self, left: &Self) -> Vec<String> {
        if !self.missing.is_empty() || !left.missing.is_empty() || self.home != left.home {
            return Vec::new();
        }
        let statuses = self.status().zip(left.status());
        statuses.map(|(now, left)| differences(&now, &left, self.home)).unwrap_or_default()
    }
}

fn differences(now: &Status, left: &Status, home: Home) -> Vec<String> {
    let scalars = [
        ("phase", now.phase != left.phase),
        ("message", now.message != left.message),
        ("backendCount", now.backend_count != left.backend_count),
    ];
    let scalars = scalars.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field.to_owned());
    let is_ours = |type_: &str| {
        condition_type::OWNED.contains(&type_) || (home == Home::Runtime && left.condition(type_).is_some())
    };
    let conditions = changed_keys(conditions(now), conditions(left)).into_iter().filter(|type_| is_ours(type_));
    let backends = changed_keys(backends(now), backends(left));
    scalars
        .chain(conditions.map(|type_| item_field("conditions", type_)))
        .chain(backends.into_iter().map(|name| item_field("discoveredBackends", name)))
        .collect()
}

fn conditions(status: &Status) -> impl Iterator<Item = (&str, impl PartialEq + use<'_>)> {
    let finding = |condition: &'_ Condition| (condition.status, condition.reason.clone(), condition.message.clone());
    status.conditions.iter().map(move |condition| (condition.type_.as_str(), finding(condition)))
}

fn backends(status: &Status) -> impl Iterator<Item = (&str, impl PartialEq + use<'_>)> {
    let finding = |backend: &'_ DiscoveredBackend| (backend.status, backend.message.clone());
    status.discovered_backends.iter().map(move |backend| (backend.name.as_str(), finding(backend)))
}

/// Returns the keys that only one of both has, or with another value.
fn changed_keys<'a, T: PartialEq>(
    now: impl Iterator<Item = (&'a str, T)>,
    left: impl Iterator<Item = (&'a str, T)>,
) -> Vec<&'a str> {
    let mut left: BTreeMap<_, _> = left.collect();
    let mut changed: Vec<_> =
        now.filter_map(|(key, value)| (left.remove(key).as_ref() != Some(&value)).then_some(key)).collect();
    changed.extend(left.into_keys());
    changed
}
