//! What a store would refuse, in one place: the same rules list the faults of a
//! value (`validate`) and repair it before it is stored (law 12).

use std::collections::HashSet;

use chrono::{DateTime, Datelike as _, Utc};

use super::fault::{Fault, Faults, shorten};
use super::wire::whole_seconds;
use super::{Condition, DiscoveredBackend, Status};

/// The limits of `metav1.Condition`, in characters. The CRD does not limit other texts,
/// so they get the limit of a message.
const MAX_TYPE: usize = 316;
const MAX_REASON: usize = 1024;
const MAX_MESSAGE: usize = 32_768;

/// Replaces a reason that cannot be repaired.
const NO_REASON: &str = "Unspecified";

/// Whether something can be stored once it is repaired.
pub(crate) type Keep = bool;

/// Repairs one backend. It runs for every reported backend, so it is cheap where there
/// is nothing to repair.
pub(crate) fn backend(backend: &mut DiscoveredBackend, faults: &mut Faults) -> Keep {
    if backend.name.is_empty() {
        faults.push(Fault::NamelessBackend);
        return false;
    }
    if backend.name.len() > MAX_MESSAGE {
        faults.push(Fault::LongName(backend.name.clone()));
        return false;
    }
    if !is_short(&backend.name) {
        backend.name.shrink_to_fit();
    }
    if let Some(bare) = bare_url(&backend.url) {
        backend.url = bare;
        faults.push(Fault::RevealingUrl(backend.name.clone()));
    }
    let DiscoveredBackend {
        name,
        url,
        auth_type,
        auth_config_ref,
        last_health_check,
        message: text,
        circuit_last_changed,
        mcp_revision,
        ..
    } = backend;
    let subject = || format!("backend {name:?}");
    message(text, subject, faults);
    for (field, text) in
        [("url", url), ("authType", auth_type), ("authConfigRef", auth_config_ref), ("mcpRevision", mcp_revision)]
    {
        cut(text, || Fault::LongText { field, subject: subject() }, faults);
    }
    time(last_health_check, subject, faults);
    time(circuit_last_changed, subject, faults);
    true
}

/// Whether [`backend`] would change nothing, so that a shared backend stays shared.
pub(crate) fn backend_is_sound(backend: &DiscoveredBackend) -> bool {
    let whole =
        |time: Option<DateTime<Utc>>| time.is_none_or(|time| time == whole_seconds(time) && has_writable_year(time));
    let DiscoveredBackend { name, url, auth_type, auth_config_ref, message, mcp_revision, .. } = backend;
    !name.is_empty()
        && [name, url, auth_type, auth_config_ref, message, mcp_revision].into_iter().all(is_short)
        && whole(backend.last_health_check)
        && whole(backend.circuit_last_changed)
        && bare_url(&backend.url).is_none()
}

/// Repairs one condition.
pub(crate) fn condition(condition: &mut Condition, faults: &mut Faults) -> Keep {
    let Condition { type_, reason, message: text, .. } = &mut *condition;
    if !is_condition_type(type_) {
        faults.push(Fault::MalformedConditionType(type_.clone()));
        return false;
    }
    if !is_reason(reason) {
        let repaired = repair_reason(reason);
        faults.push(Fault::MalformedReason { type_: type_.clone(), reason: std::mem::replace(reason, repaired) });
    }
    for text in [&mut *type_, reason] {
        if !is_short(text) {
            text.shrink_to_fit();
        }
    }
    message(text, || format!("condition {type_:?}"), faults);
    if condition.observed_generation.is_some_and(i64::is_negative) {
        condition.observed_generation = None;
        faults.push(Fault::NegativeGeneration(format!("condition {:?}", condition.type_)));
    }
    time(&mut condition.last_transition_time, || format!("condition {:?}", condition.type_), faults);
    true
}

/// Cuts a time to whole seconds, or leaves it out if RFC 3339 cannot write it.
pub(crate) fn time(time: &mut Option<DateTime<Utc>>, subject: impl FnOnce() -> String, faults: &mut Faults) {
    if time.is_some_and(|time| !has_writable_year(time)) {
        *time = None;
        faults.push(Fault::ImpossibleTime(subject()));
    }
    *time = time.map(whole_seconds);
}

/// RFC 3339 has four digits for a year. An API server refuses the whole status
/// for one time with more.
fn has_writable_year(time: DateTime<Utc>) -> bool {
    (0..=9999).contains(&time.year())
}

/// Cuts a message to what a store takes, and frees the memory of the rest.
pub(crate) fn message(message: &mut String, subject: impl FnOnce() -> String, faults: &mut Faults) {
    cut(message, || Fault::LongMessage(subject()), faults);
}

fn cut(text: &mut String, fault: impl FnOnce() -> Fault, faults: &mut Faults) {
    if is_short(text) {
        return;
    }
    if shorten(text, MAX_MESSAGE) {
        faults.push(fault());
    }
    text.shrink_to_fit();
}

/// Whether a text is certainly short enough, without counting its characters. The
/// capacity counts, because a short text can hold much memory.
// Only a `String` has a capacity.
#[allow(clippy::ptr_arg)]
fn is_short(text: &String) -> bool {
    text.capacity() <= MAX_MESSAGE
}

/// Repairs a whole status.
pub(super) fn status(status: &mut Status, faults: &mut Faults) {
    message(&mut status.message, || "the status".into(), faults);
    if status.observed_generation.is_some_and(i64::is_negative) {
        status.observed_generation = None;
        faults.push(Fault::NegativeGeneration("the status".into()));
    }
    time(&mut status.timestamp, || "the status".into(), faults);

    status.conditions.retain_mut(|c| condition(c, faults));
    keep_last_of_each(&mut status.conditions, |c| c.type_.clone(), faults, Fault::DuplicateCondition);

    status
        .discovered_backends
        .retain_mut(|shared| backend_is_sound(shared) || backend(std::sync::Arc::make_mut(shared), faults));
    keep_last_of_each(&mut status.discovered_backends, |b| b.name.clone(), faults, Fault::DuplicateBackend);
}

fn keep_last_of_each<T>(
    list: &mut Vec<T>,
    key: impl Fn(&T) -> String,
    faults: &mut Faults,
    fault: impl Fn(String) -> Fault,
) {
    let mut seen = HashSet::with_capacity(list.len());
    let mut duplicates = Vec::new();
    list.reverse();
    list.retain(|item| {
        let key = key(item);
        let first = !seen.contains(&key);
        if first {
            seen.insert(key)
        } else {
            duplicates.push(fault(key));
            false
        }
    });
    list.reverse();
    for fault in duplicates {
        faults.push(fault);
    }
}

/// Returns the URL without user info, query and fragment, if it has any of them. It
/// works on a text that is not a URL too, so that no secret gets through.
fn bare_url(url: &str) -> Option<String> {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (start, authority_end) = match url[..end].find("://") {
        Some(scheme) => {
            let start = scheme + "://".len();
            (start, url[start..end].find(['/', '\\']).map_or(end, |slash| start + slash))
        }
        None => (0, end),
    };
    match url[start..authority_end].rfind('@') {
        Some(at) => Some([&url[..start], &url[start + at + 1..end]].concat()),
        None if end < url.len() => Some(url[..end].to_owned()),
        None => None,
    }
}

/// Whether a store takes a condition of this type.
pub(crate) fn is_condition_type(text: &str) -> bool {
    text.len() <= MAX_TYPE && is_qualified_name(text)
}

/// `metav1.Condition.type`: an optional DNS prefix and a slash, then a name.
fn is_qualified_name(text: &str) -> bool {
    let alphanumeric_ends = |part: &str| {
        let bytes = part.as_bytes();
        matches!((bytes.first(), bytes.last()), (Some(a), Some(b)) if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric())
    };
    let is_name = |name: &str| {
        alphanumeric_ends(name) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let is_label = |label: &str| {
        alphanumeric_ends(label) && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    match text.split_once('/') {
        Some((prefix, name)) => prefix.split('.').all(is_label) && is_name(name),
        None => is_name(text),
    }
}

/// `metav1.Condition.reason`.
fn is_reason(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.len() <= MAX_REASON
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(|&b| is_reason_end(b))
        && bytes.iter().all(|&b| is_reason_end(b) || matches!(b, b',' | b':'))
}

fn is_reason_end(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Returns the nearest reason that a store takes: the words joined in CamelCase.
fn repair_reason(text: &str) -> String {
    let mut repaired = String::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | ',' | ':')) {
        let mut letters = word.chars();
        if let Some(first) = letters.next() {
            repaired.push(first.to_ascii_uppercase());
            repaired.push_str(letters.as_str());
        }
    }
    let start = repaired.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(repaired.len());
    let end = repaired.len().min(start + MAX_REASON);
    let repaired = repaired[start..end].trim_end_matches([',', ':']);
    if repaired.is_empty() { NO_REASON.into() } else { repaired.into() }
}

#[cfg(test)]
mod tests;
