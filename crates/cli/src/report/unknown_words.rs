//! Words of an update that this version does not know. The model reads them as a
//! default, so that a status stays readable; the sender should hear of it.

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;
use vmcp_status::{BackendStatus, DiscoveredBackend, Phase, Status, Update};

use crate::parse_error;

/// So many different words are remembered as logged.
const MAX_LOGGED: usize = 100;

/// A word in a place where only some have a meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnknownWord {
    member: &'static str,
    word: String,
    /// Where it stands: the first one, if there are several.
    place: String,
    became: &'static str,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownWord { member, word, place, .. } = self;
        write!(
            f,
            "unknown {member}{} in {place}, expected one of {}",
            parse_error::name(word),
            known(member).join(", ")
        )
    }
}

/// What happens to unknown words.
#[derive(Debug, Default)]
pub(super) struct UnknownWords {
    strict: bool,
    logged: HashSet<(&'static str, String)>,
}

impl UnknownWords {
    /// `strict`: they are errors, else each is logged once.
    pub(super) fn new(strict: bool) -> Self {
        UnknownWords { strict, logged: HashSet::new() }
    }

    /// Looks for them in what this update was read from.
    ///
    /// # Errors
    ///
    /// Fails on the first one if they are errors.
    pub(super) fn check(&mut self, update: &Update, text: impl FnOnce() -> Value) -> Result<(), String> {
        // Only such an update can have lost a word, so a usual one is read once.
        if has_default(update) { self.found(of_update(&text())) } else { Ok(()) }
    }

    /// The same for a whole status.
    pub(super) fn check_status(&mut self, status: &Status, text: &Value) -> Result<(), String> {
        if status_has_default(status) { self.found(of_status(text)) } else { Ok(()) }
    }

    fn found(&mut self, words: Vec<UnknownWord>) -> Result<(), String> {
        if self.strict
            && let Some(word) = words.first()
        {
            return Err(word.to_string());
        }
        for unknown in words {
            let key = (unknown.member, unknown.word.clone());
            if self.logged.len() < MAX_LOGGED && self.logged.insert(key) {
                tracing::warn!(became = unknown.became, "{unknown}");
            }
        }
        Ok(())
    }
}

fn known(member: &str) -> Vec<&'static str> {
    match member {
        "phase" => Phase::ALL.map(Phase::as_str).to_vec(),
        _ => BackendStatus::ALL.map(BackendStatus::as_str).to_vec(),
    }
}

fn has_default(update: &Update) -> bool {
    match update {
        Update::Snapshot(status) => status_has_default(status),
        Update::UpsertBackend(backend) | Update::UpsertBackendOf { backend, .. } => is_unknown(backend),
        Update::ReplaceBackends { backends, .. } => backends.iter().any(|backend| is_unknown(backend)),
        Update::SetPhase { phase, .. } => *phase == Phase::default(),
        _ => false,
    }
}

fn status_has_default(status: &Status) -> bool {
    status.phase == Phase::default() || status.discovered_backends.iter().any(|backend| is_unknown(backend))
}

fn is_unknown(backend: &DiscoveredBackend) -> bool {
    backend.status == BackendStatus::default()
}

fn of_update(update: &Value) -> Vec<UnknownWord> {
    let Some((kind, content)) = update.as_object().and_then(|update| update.iter().next()) else {
        return Vec::new();
    };
    match kind.as_str() {
        "snapshot" => of_status(content),
        "setPhase" => of_phase(content).into_iter().collect(),
        "upsertBackend" => of_backends([content]),
        "upsertBackendOf" => of_backends(content.get("backend")),
        "replaceBackends" => of_backends(items(content, "backends")),
        _ => Vec::new(),
    }
}

fn of_status(status: &Value) -> Vec<UnknownWord> {
    let backends = of_backends(items(status, "discoveredBackends"));
    of_phase(status).into_iter().chain(backends).collect()
}

fn of_phase(owner: &Value) -> Option<UnknownWord> {
    let place = || "the status of the vMCP".to_owned();
    unknown("phase", owner.get("phase"), Phase::default().as_str(), place)
}

fn of_backends<'a>(backends: impl IntoIterator<Item = &'a Value>) -> Vec<UnknownWord> {
    let unknown = |(index, backend): (usize, &Value)| {
        let place = || format!("backend {}", label(backend, index));
        unknown("status", backend.get("status"), BackendStatus::default().as_str(), place)
    };
    backends.into_iter().enumerate().filter_map(unknown).collect()
}

fn items<'a>(owner: &'a Value, member: &str) -> &'a [Value] {
    owner.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn unknown(
    member: &'static str,
    word: Option<&Value>,
    became: &'static str,
    place: impl FnOnce() -> String,
) -> Option<UnknownWord> {
    let word = word?.as_str()?;
    let is_known = word.is_empty() || known(member).iter().any(|known| known.eq_ignore_ascii_case(word));
    (!is_known).then(|| UnknownWord { member, word: word.to_owned(), place: place(), became })
}

/// Its name, if that may be shown: what stands there may be a URL with a password.
fn label(backend: &Value, index: usize) -> String {
    let name = backend.get("name").and_then(Value::as_str).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let may_be_shown = !name.is_empty() && name.len() <= 253 && name.bytes().all(plain);
    if may_be_shown { name.to_owned() } else { format!("number {}", index + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &mut UnknownWords, line: &str) -> Result<(), String> {
        let update = serde_json::from_str(line).expect("an update");
        words.check(&update, || serde_json::from_str(line).expect("JSON"))
    }

    #[test]
    fn unknown_word_in_any_kind_of_update_is_an_error_that_names_it_its_place_and_what_is_known() {
        for (line, error) in [
            (
                r#"{"setPhase":{"phase":"Reddy"}}"#,
                "unknown phase `Reddy` in the status of the vMCP, expected one of Pending, Ready, Degraded, Failed",
            ),
            (
                r#"{"snapshot":{"phase":"Ready","discoveredBackends":[{"name":"a"},{"name":"b","status":"redy"}]}}"#,
                "unknown status `redy` in backend b, expected one of ready, degraded, unavailable, unauthenticated, unknown",
            ),
            (r#"{"upsertBackend":{"name":"b","status":"redy"}}"#, "`redy` in backend b"),
            (r#"{"upsertBackendOf":{"source":"s","backend":{"name":"b","status":"redy"}}}"#, "`redy` in backend b"),
            (r#"{"replaceBackends":{"source":"s","backends":[{"name":"b","status":"redy"}]}}"#, "`redy` in backend b"),
            (
                r#"{"upsertBackend":{"name":"http://me:s3cret@b","status":"http://me:s3cret@b"}}"#,
                "unknown status in backend number 1,",
            ),
        ] {
            let said = check(&mut UnknownWords::new(true), line).expect_err(line);
            assert!(said.contains(error) && !said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn known_words_in_any_case_and_those_left_out_are_no_errors() {
        for line in [
            r#"{"setPhase":{"phase":"pending"}}"#,
            r#"{"snapshot":{"phase":null,"discoveredBackends":[{"name":"a","status":""},{"name":"b","status":"UNKNOWN"}]}}"#,
            r#"{"upsertBackend":{"name":"b"}}"#,
            r#"{"removeBackend":"b"}"#,
            r#"{"derivePhase":{}}"#,
        ] {
            assert_eq!(check(&mut UnknownWords::new(true), line), Ok(()), "{line}");
        }
    }
}
