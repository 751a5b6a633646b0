//! What a store would refuse, in one place: the same rules list the faults of
//! a value (`validate`) and mend it on its way to the store (law 12).

use std::collections::HashSet;

use chrono::{DateTime, Datelike as _, Utc};

use super::wire::whole_seconds;
use super::{Condition, DiscoveredBackend, Status};

/// The limits of `metav1.Condition`, in characters. Other texts have no limit
/// of their own in the CRD; they get that of its message.
const MAX_TYPE: usize = 316;
const MAX_REASON: usize = 1024;
const MAX_MESSAGE: usize = 32_768;
/// A fault quotes so many characters: faults are remembered.
const MAX_QUOTE: usize = 320;

/// What stands for a reason of which nothing can be saved.
const NO_REASON: &str = "Unspecified";

/// One thing that a store would have refused, and what the reporter makes of it.
/// What it quotes is cut to 320 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A backend has no name, and the name is the key.
    #[error("a backend without a name is left out: give it a name")]
    NamelessBackend,
    /// The name of a backend has more than 32,768 bytes.
    #[error("backend {0:?} has a name longer than 32768 bytes, it is left out: give it a short name")]
    LongName(String),
    /// Two backends of one list have the same name.
    #[error("backend {0:?} is listed more than once: the last entry counts")]
    DuplicateBackend(String),
    /// The URL of a backend carries credentials, a query or a fragment.
    #[error("the URL of backend {0:?} has user info, a query or a fragment: cut off, they may hold secrets")]
    RevealingUrl(String),
    /// The type of a condition is not a Kubernetes qualified name of at most
    /// 316 characters.
    #[error("condition type {0:?} is malformed, the condition is left out: use a CamelCase word")]
    MalformedConditionType(String),
    /// Two conditions of one list have the same type.
    #[error("condition {0:?} is given more than once: the last one counts")]
    DuplicateCondition(String),
    /// A reason does not match `^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`, or
    /// has more than 1,024 characters.
    #[error("the reason {reason:?} of condition {type_:?} is malformed and is mended: use a CamelCase word")]
    MalformedReason {
        /// The condition.
        type_: String,
        /// The reason as it was given.
        reason: String,
    },
    /// A generation below zero.
    #[error("the observed generation of {0} is negative: left out")]
    NegativeGeneration(String),
    /// A time in a year that RFC 3339 cannot write: before 0 or after 9999.
    #[error("a time of {0} is in a year before 0 or after 9999: left out")]
    ImpossibleTime(String),
    /// A message has more than 32,768 characters.
    #[error("the message of {0} is longer than 32768 characters: its end is cut off")]
    LongMessage(String),
    /// Another text has more than 32,768 characters.
    #[error("the {field} of {subject} is longer than 32768 characters: its end is cut off")]
    LongText {
        /// Which one, by its JSON name.
        field: &'static str,
        /// Of what.
        subject: String,
    },
}

impl Fault {
    /// What it repeats of what was given.
    fn quoted(&mut self) -> Vec<&mut String> {
        match self {
            Fault::NamelessBackend => Vec::new(),
            Fault::LongName(text)
            | Fault::DuplicateBackend(text)
            | Fault::RevealingUrl(text)
            | Fault::MalformedConditionType(text)
            | Fault::DuplicateCondition(text)
            | Fault::NegativeGeneration(text)
            | Fault::ImpossibleTime(text)
            | Fault::LongMessage(text)
            | Fault::LongText { subject: text, .. } => vec![text],
            Fault::MalformedReason { type_, reason } => vec![type_, reason],
        }
    }
}

/// Every fault of one value, in the order found.
///
/// ```
/// use vmcp_status::{Condition, ConditionStatus, Fault};
///
/// let faults = Condition::new("Ready", ConditionStatus::True, "not one word", "").unwrap_err();
/// assert!(matches!(faults.iter().next(), Some(Fault::MalformedReason { reason, .. }) if reason == "not one word"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The faults, in the order found.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Fault> {
        self.0.iter()
    }

    pub(crate) fn push(&mut self, mut fault: Fault) {
        for quoted in fault.quoted() {
            shorten(quoted, MAX_QUOTE);
            quoted.shrink_to_fit();
        }
        self.0.push(fault);
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Fault> {
        self.0.drain(..)
    }

    pub(super) fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// Whether something can be stored once it is mended.
pub(crate) type Keep = bool;

/// Mends one backend. Cheap where there is nothing to mend: it runs for every
/// backend that is reported.
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

/// Whether `backend` would change something. Lets a shared backend stay shared.
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

/// Mends one condition.
pub(crate) fn condition(condition: &mut Condition, faults: &mut Faults) -> Keep {
    let Condition { type_, reason, message: text, .. } = &mut *condition;
    if !is_condition_type(type_) {
        faults.push(Fault::MalformedConditionType(type_.clone()));
        return false;
    }
    if !is_reason(reason) {
        let repaired = mend_reason(reason);
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

/// Cuts a time to what the wire has, or leaves it out.
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

/// Cuts a message to what a store takes, in memory too.
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

/// Whether a text need not be looked at: it has at least as many bytes as
/// characters, and what it takes in memory can be more than it says.
// Only a `String` has a capacity.
#[allow(clippy::ptr_arg)]
fn is_short(text: &String) -> bool {
    text.capacity() <= MAX_MESSAGE
}

/// Cuts a text to so many characters, the last of which says that it was cut.
fn shorten(text: &mut String, most: usize) -> bool {
    let mut ends = text.char_indices().map(|(index, _)| index).skip(most - 1);
    let (Some(end), Some(_)) = (ends.next(), ends.next()) else { return false };
    text.truncate(end);
    text.push('…');
    true
}

/// Mends a whole status.
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
    let mut doubled = Vec::new();
    list.reverse();
    list.retain(|item| {
        let key = key(item);
        let first = !seen.contains(&key);
        if first {
            seen.insert(key)
        } else {
            doubled.push(fault(key));
            false
        }
    });
    list.reverse();
    for fault in doubled {
        faults.push(fault);
    }
}

/// The URL without user info, query and fragment, where it has any of them.
/// Works on what is no URL too: nothing that may be a secret gets through.
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

/// Whether a condition of this type can be stored.
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

/// The nearest reason that a store takes: words joined in CamelCase.
fn mend_reason(text: &str) -> String {
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
mod tests {
    use super::*;
    use crate::status::{BackendStatus, ConditionStatus};
    use proptest::prelude::*;

    #[test]
    fn validate_lists_every_fault_of_a_status() {
        let status = Status {
            message: "x".repeat(40_000),
            observed_generation: Some(-1),
            conditions: vec![
                Condition::unchecked("", ConditionStatus::True, "Fine", ""),
                Condition::unchecked("Ready", ConditionStatus::True, "because I say so", ""),
                Condition::unchecked("Ready", ConditionStatus::True, "ServerReady", ""),
            ],
            ..Status::from_backends([
                DiscoveredBackend::named(""),
                DiscoveredBackend::named("a"),
                DiscoveredBackend { url: "http://me:pw@a/mcp?key=1".into(), ..DiscoveredBackend::named("a") },
            ])
        };
        let faults = status.validate().expect_err("it is full of faults");
        assert_eq!(
            faults.iter().cloned().collect::<Vec<_>>(),
            [
                Fault::LongMessage("the status".into()),
                Fault::NegativeGeneration("the status".into()),
                Fault::MalformedConditionType(String::new()),
                Fault::MalformedReason { type_: "Ready".into(), reason: "because I say so".into() },
                Fault::DuplicateCondition("Ready".into()),
                Fault::NamelessBackend,
                Fault::RevealingUrl("a".into()),
                Fault::DuplicateBackend("a".into()),
            ]
        );
    }

    #[test]
    fn long_texts_of_a_backend_are_cut_and_a_long_name_costs_it() {
        let long = || "x".repeat(MAX_MESSAGE + 1);
        let given = DiscoveredBackend {
            url: long(),
            auth_type: long(),
            auth_config_ref: long(),
            message: long(),
            mcp_revision: long(),
            ..DiscoveredBackend::named("a")
        };
        assert!(!backend_is_sound(&given));
        let (mut repaired, mut faults) = (given, Faults::default());
        assert!(backend(&mut repaired, &mut faults));
        let DiscoveredBackend { url, auth_type, auth_config_ref, message, mcp_revision, .. } = &repaired;
        for text in [url, auth_type, auth_config_ref, message, mcp_revision] {
            assert_eq!(text.chars().count(), MAX_MESSAGE);
            assert!(text.ends_with('…') && text.capacity() < MAX_MESSAGE + 8);
        }
        assert_eq!(faults.0.len(), 5);
        assert_eq!(repaired.validate(), Ok(()));

        let mut faults = Faults::default();
        assert!(!backend(&mut DiscoveredBackend::named(long()), &mut faults));
        let [Fault::LongName(quoted)] = &faults.0[..] else { panic!("{faults:?}") };
        assert_eq!(quoted.chars().count(), MAX_QUOTE);
    }

    #[test]
    fn of_doubled_backends_the_last_is_kept() {
        let mut status_ = Status::from_backends([
            DiscoveredBackend::named("a"),
            DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named("a") },
        ]);
        status(&mut status_, &mut Faults::default());
        assert_eq!(status_.discovered_backends.len(), 1);
        assert_eq!(status_.backend("a").map(|b| b.status), Some(BackendStatus::Ready));
    }

    #[test]
    fn urls_lose_what_may_be_secret_and_nothing_else() {
        for (url, bare) in [
            ("http://a:8080/mcp", None),
            ("", None),
            ("http://u:p@a:1/mcp", Some("http://a:1/mcp")),
            ("http://u:p%40x@a/", Some("http://a/")),
            ("http://u@p@a/", Some("http://a/")),
            ("http://a/mcp?token=s#f", Some("http://a/mcp")),
            ("http://a/@scope/pkg", None),
            ("http://a?x=@b", Some("http://a")),
            ("user:secret@host", Some("host")),
            ("http:\\\\u:p@h", Some("h")),
        ] {
            assert_eq!(bare_url(url).as_deref(), bare, "{url}");
        }
    }

    #[test]
    fn times_that_rfc_3339_cannot_write_are_left_out() {
        for impossible in [DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC] {
            let late_or_early = DiscoveredBackend {
                last_health_check: Some(impossible),
                circuit_last_changed: Some(DateTime::UNIX_EPOCH),
                ..DiscoveredBackend::named("a")
            };
            assert!(!backend_is_sound(&late_or_early));
            let (mut repaired, mut faults) = (late_or_early, Faults::default());
            assert!(backend(&mut repaired, &mut faults));
            assert_eq!((repaired.last_health_check, repaired.circuit_last_changed), (None, Some(DateTime::UNIX_EPOCH)));
            assert_eq!(faults.0, [Fault::ImpossibleTime("backend \"a\"".into())]);

            let mut repaired = Condition {
                last_transition_time: Some(impossible),
                ..Condition::unchecked("Ready", ConditionStatus::True, "Fine", "")
            };
            assert!(condition(&mut repaired, &mut Faults::default()));
            assert_eq!(repaired.last_transition_time, None);
        }
    }

    #[test]
    fn types_follow_the_pattern_of_the_crd() {
        for good in ["Ready", "a", "A.b-c_d", "toolhive.dev/Ready", "9"] {
            assert!(is_qualified_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "/a", "A.b/c", "a//b", "a/", "é", "a\n"] {
            assert!(!is_qualified_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn reasons_are_mended_to_the_nearest_word() {
        for (given, repaired) in [
            ("not one word", "NotOneWord"),
            ("", "Unspecified"),
            ("…", "Unspecified"),
            ("42 is it", "IsIt"),
            ("Trailing:", "Trailing"),
            ("ok-ish", "OkIsh"),
        ] {
            assert!(!is_reason(given));
            assert_eq!(mend_reason(given), repaired);
        }
    }

    proptest! {
        #[test]
        fn what_was_mended_has_no_fault_left(
            type_ in ".{0,12}", reason in "\\PC{0,40}|[A-Za-z,:]{0,5}|[a-z]{1100}", text in ".{0,20}",
            url in ".{0,30}|https?://[a-z:@/?#]{0,20}", generation in any::<Option<i64>>(),
        ) {
            let mut faults = Faults::default();
            let mut repaired = Condition {
                observed_generation: generation,
                ..Condition::unchecked(type_, ConditionStatus::True, reason, text)
            };
            if condition(&mut repaired, &mut faults) {
                prop_assert_eq!(repaired.validate(), Ok(()));
            }
            let mut repaired = DiscoveredBackend { url, ..DiscoveredBackend::named("a") };
            prop_assert!(backend(&mut repaired, &mut faults));
            prop_assert_eq!(repaired.validate(), Ok(()));
            prop_assert!(!repaired.url.contains('?'));
        }

        #[test]
        fn a_long_message_is_cut_at_a_character(text in "[aé€😀]{0,10}") {
            let long = text.repeat(20_000);
            let mut cut = long.clone();
            message(&mut cut, String::new, &mut Faults::default());
            prop_assert!(cut.chars().count() <= MAX_MESSAGE);
            prop_assert!(long == cut || cut.ends_with('…'));
        }
    }
}
