//! What became of one question, and how an answer is put into words.

use vmcp_status::custom_resource::STATUS_SUBRESOURCE;

use super::probe::Answer;

/// How much of a server's words is repeated.
const MAX_WORDS: usize = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    /// A reporter may work all the same.
    Warn,
    /// It would not.
    Fail,
}

/// What became of one question.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    pub(super) question: &'static str,
    pub(super) found: String,
    /// What to do.
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn new(verdict: Verdict, question: &'static str, found: impl Into<String>) -> Self {
        Finding { verdict, question, found: found.into(), advice: None }
    }

    pub(super) fn ok(question: &'static str, found: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, question, found)
    }

    pub(super) fn warn(question: &'static str, found: impl Into<String>) -> Self {
        Self::new(Verdict::Warn, question, found)
    }

    pub(super) fn fail(question: &'static str, found: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, question, found)
    }

    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        Finding { advice: Some(advice.into()), ..self }
    }
}

/// A right, as a person grants it.
pub(super) fn right(verb: &str, resource: &str) -> String {
    format!("{verb} on {resource}")
}

/// The one right that no reporter can do without.
pub(super) fn patch_status() -> String {
    right("patch", STATUS_SUBRESOURCE)
}

/// An answer in words.
pub(super) fn described(answer: &Answer) -> String {
    let words: String = answer.message().chars().take(MAX_WORDS).collect();
    match answer {
        Answer::Got { response, .. } if words.is_empty() => format!("the server answered {}", response.code()),
        Answer::Got { response, .. } => format!("the server answered {}: {words}", response.code()),
        Answer::Nothing(_) => format!("no answer: {words}"),
    }
}
