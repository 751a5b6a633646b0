//! The faults of a status: what a store would refuse.

/// A fault quotes at most this many characters, because the log remembers faults.
pub(super) const MAX_QUOTE: usize = 320;

/// One fault of a status, which a store would refuse, and what the reporter does about
/// it. A fault quotes at most 320 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A backend does not have a name, which is its key.
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
    #[error("the reason {reason:?} of condition {type_:?} is malformed and is repaired: use a CamelCase word")]
    MalformedReason {
        /// The condition.
        type_: String,
        /// The reason as it was given.
        reason: String,
    },
    /// A generation is below zero.
    #[error("the observed generation of {0} is negative: left out")]
    NegativeGeneration(String),
    /// A time is in a year that RFC 3339 cannot write: before 0 or after 9999.
    #[error("a time of {0} is in a year before 0 or after 9999: left out")]
    ImpossibleTime(String),
    /// A message has more than 32,768 characters.
    #[error("the message of {0} is longer than 32768 characters: its end is cut off")]
    LongMessage(String),
    /// A value in foreign JSON is not one that the field can have.
    #[error("the {field} of {subject} is not what it should be: left out")]
    OddValue {
        /// The JSON name of the field.
        field: String,
        /// The item that has the field.
        subject: String,
    },
    /// The store refuses a backend.
    #[error("the store refuses backend {name:?}, it is left out until it changes: {reason}")]
    RefusedBackend {
        /// The backend.
        name: String,
        /// Why, in the words of the store.
        reason: String,
    },
    /// Another text has more than 32,768 characters.
    #[error("the {field} of {subject} is longer than 32768 characters: its end is cut off")]
    LongText {
        /// The JSON name of the field.
        field: &'static str,
        /// The item that has the field.
        subject: String,
    },
}

impl Fault {
    /// The quoted parts of the caller's input.
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
            Fault::OddValue { field, subject } => vec![field, subject],
            Fault::RefusedBackend { name, reason } => vec![name, reason],
        }
    }
}

/// All faults of one value, in the order found.
///
/// ```
/// use vmcp_status::{Condition, ConditionStatus, Fault};
///
/// let faults = Condition::new("Ready", ConditionStatus::True, "not one word", "").unwrap_err();
/// assert!(matches!(faults.iter().next(), Some(Fault::MalformedReason { reason, .. }) if reason == "not one word"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// Iterates over the faults, in the order found.
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

/// Cuts a text to at most this many characters, and ends it with an ellipsis. Returns
/// whether it was longer.
pub(super) fn shorten(text: &mut String, most: usize) -> bool {
    let mut ends = text.char_indices().map(|(index, _)| index).skip(most - 1);
    let (Some(end), Some(_)) = (ends.next(), ends.next()) else { return false };
    text.truncate(end);
    text.push('…');
    true
}
