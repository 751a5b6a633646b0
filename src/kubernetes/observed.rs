//! What the object held when it was last read or written. How to get from there
//! to what we want is in `patch`, the lists are in `list` and `item`.

mod item;
mod list;
mod overwritten;
mod patch;

use serde_json::Value;

use self::item::{Item, Keyed as _};
use self::list::List;
pub(super) use self::patch::{PatchOptions, PatchPlan, Times};
use super::api::Refusal;
use super::json_patch::Members;
use super::location::Home;
use crate::status::{Condition, ConditionStatus, DiscoveredBackend, Fault, Phase, Status, condition_type};

/// The reason of a condition that is not reported any more, where the home does
/// not let it be removed.
const NOT_REPORTED: &str = "NotReported";
#[derive(Clone, Debug)]
pub(super) struct ObservedObject {
    home: Home,
    version: String,
    uid: Option<String>,
    /// The objects around our fields that are not there yet, the outermost
    /// first.
    missing: Vec<Missing>,
    phase: Option<Phase>,
    /// The phase as it is stored; null where there is none.
    phase_text: Value,
    message: Option<String>,
    backend_count: Option<u32>,
    observed_generation: Option<i64>,
    conditions: List<Condition>,
    backends: List<DiscoveredBackend>,
    /// What a reporter has left in the other home, while this one is empty.
    inherited: Option<Box<Status>>,
    bytes_of_others: usize,
}

/// An object that has to be there before our fields can be.
#[derive(Clone, Copy, Debug)]
struct Missing {
    pointer: &'static str,
    /// Whether nothing at all is in its place.
    absent: bool,
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
        let missing = |&pointer: &&'static str| {
            let found = object.pointer(pointer);
            (!found.is_some_and(Value::is_object)).then_some(Missing { pointer, absent: found.is_none() })
        };
        Some(ObservedObject {
            home,
            version,
            uid: metadata.get("uid").and_then(Value::as_str).map(String::from),
            missing: home.parents().iter().filter_map(missing).collect(),
            phase_text: member("phase").cloned().unwrap_or_default(),
            phase: member("phase")
                .and_then(Value::as_str)
                .and_then(|text| Phase::ALL.into_iter().find(|phase| phase.as_str() == text)),
            message: member("message").and_then(Value::as_str).map(String::from),
            backend_count: member("backendCount").and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok()),
            observed_generation: member("observedGeneration").and_then(Value::as_i64).filter(|_| home.has_generation()),
            conditions: List::of(member("conditions")),
            backends: List::of(member("discoveredBackends")),
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

    /// What is stored, as far as it fits our model. `None` where there is
    /// nothing at all.
    pub(super) fn status(&self) -> Option<Status> {
        if !self.missing.is_empty() {
            return self.inherited.as_deref().cloned();
        }
        let conditions: Vec<Condition> =
            self.conditions.ours().filter(|ours| !self.is_dropped(ours)).map(|ours| Condition::clone(ours)).collect();
        let of_conditions = || {
            let ours = conditions.iter().filter(|ours| condition_type::OWNED.contains(&ours.type_.as_str()));
            ours.filter_map(|ours| ours.observed_generation).max()
        };
        Some(Status {
            phase: self.phase.unwrap_or_default(),
            message: self.message.clone().unwrap_or_default(),
            backend_count: self.backend_count.unwrap_or_default(),
            observed_generation: if self.home.has_generation() { self.observed_generation } else { of_conditions() },
            discovered_backends: self.backends.items.iter().filter_map(Item::readable).cloned().collect(),
            conditions,
            timestamp: None,
        })
    }

    /// The values of backends that do not fit our model.
    pub(super) fn odd_values(&self) -> impl Iterator<Item = &Fault> {
        self.backends.items.iter().flat_map(Item::faults)
    }

    /// Whether anything is stored in this home.
    pub(super) fn is_there(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether [`status`](Self::status) is all that is stored here.
    pub(super) fn is_exact(&self) -> bool {
        self.missing.is_empty() && self.phase.is_some() && self.backend_count.is_some() && self.backends.fits_model()
    }

    /// Whether this is a condition that a reporter has dropped, in the only way
    /// in which the home lets it go.
    fn is_dropped(&self, condition: &Condition) -> bool {
        condition.status == ConditionStatus::Unknown
            && condition.reason == NOT_REPORTED
            && !self.home.removes(&condition.type_)
    }

    /// The version of the object when this was last known to be all of it.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// What tells the object from an earlier one of its name.
    pub(super) fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    /// Bytes of the object that are neither ours nor grow with what is ours.
    pub(super) fn bytes_of_others(&self) -> usize {
        self.bytes_of_others
    }

    pub(super) fn at_version(mut self, version: String) -> Self {
        self.version = version;
        self
    }

    /// The backends that the server has refused in a write after which this would have
    /// been stored: the name of each and why.
    pub(super) fn refused_backends(&self, refusal: &Refusal) -> Vec<(String, String)> {
        let list = format!("{}/discoveredBackends", self.home.pointer()).replace('/', ".");
        let refused = refusal.refused_items(list.trim_start_matches('.')).into_iter();
        refused.filter_map(|(at, why)| Some((self.backends.items.get(at)?.key().to_owned(), why))).collect()
    }

    /// Members of backends that were written and are missing at the same version
    /// of the object: the CRD does not know them.
    pub(super) fn dropped_since(&self, before: &Self) -> Vec<&'static str> {
        if before.version != self.version || before.backends.items.len() != self.backends.items.len() {
            return Vec::new();
        }
        let pairs = before.backends.items.iter().zip(&self.backends.items);
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
