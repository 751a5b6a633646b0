//! What a user of one gateway sees while a timeline is played: for each of its
//! backends and for the whole, one word after the other.

use std::collections::BTreeMap;
use std::fmt;

/// Where a gateway says nothing.
const NOTHING: &str = "–";

/// Something that a user looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Of a backend, in the words of the CRD, from the first that is known.
    Status,
    /// Why, in the end.
    Cause,
    /// The revision of MCP, in the end.
    Revision,
    /// The circuit breaker.
    Circuit,
    /// Of the whole, from the first that is known.
    Phase,
    /// How many backends route.
    Routable,
}

impl Aspect {
    pub const ALL: [Aspect; 6] =
        [Aspect::Status, Aspect::Cause, Aspect::Revision, Aspect::Circuit, Aspect::Phase, Aspect::Routable];

    pub const fn as_str(self) -> &'static str {
        match self {
            Aspect::Status => "status",
            Aspect::Cause => "cause",
            Aspect::Revision => "revision",
            Aspect::Circuit => "circuit",
            Aspect::Phase => "phase",
            Aspect::Routable => "routable",
        }
    }

    /// What stands for "not known yet". When it is seen depends on when one looks, so
    /// a sequence begins after it.
    const fn unknown(self) -> Option<&'static str> {
        match self {
            Aspect::Status => Some("unknown"),
            Aspect::Phase => Some("Pending"),
            Aspect::Circuit => Some(NOTHING),
            _ => None,
        }
    }

    /// Whether the end alone is compared: of what is only said in passing, each
    /// gateway has its own.
    const fn is_final(self) -> bool {
        matches!(self, Aspect::Cause | Aspect::Revision)
    }
}

/// What was seen of one aspect, without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence(Vec<String>);

impl Sequence {
    /// The sequence that is written like this.
    pub fn parse(text: &str) -> Self {
        Sequence(text.split('→').map(|word| word.trim().to_owned()).collect())
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" → "))
    }
}

/// One look at one aspect.
pub type Sight = (Aspect, String);

/// Everything that was seen in one timeline.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<Aspect, Vec<String>>);

impl Seen {
    /// Adds a look; returns whether it shows anything new.
    pub fn add(&mut self, aspect: Aspect, word: String) -> bool {
        // An empty cell of a table could as well be a forgotten one.
        let word = if word.is_empty() { NOTHING.to_owned() } else { word };
        let words = self.0.entry(aspect).or_default();
        let is_new = words.last() != Some(&word);
        if is_new {
            words.push(word);
        }
        is_new
    }

    /// The last that was seen of this.
    pub fn last(&self, aspect: Aspect) -> Option<&str> {
        self.0.get(&aspect)?.last().map(String::as_str)
    }

    /// What is compared.
    pub fn sequences(&self) -> BTreeMap<Aspect, Sequence> {
        let compared = |(aspect, words): (&Aspect, &Vec<String>)| {
            let last = words.len().saturating_sub(1);
            let known = words.iter().position(|word| Some(word.as_str()) != aspect.unknown());
            let first = if aspect.is_final() { last } else { known.unwrap_or(last) };
            (*aspect, Sequence(words[first..].to_vec()))
        };
        self.0.iter().map(compared).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(aspect: Aspect, words: &[&str]) -> String {
        let mut seen = Seen::default();
        for word in words {
            seen.add(aspect, (*word).to_owned());
        }
        seen.sequences()[&aspect].to_string()
    }

    #[test]
    fn sequence_has_no_repeats_and_begins_with_what_is_known() {
        let words = ["unknown", "ready", "ready", "unknown", "ready"];
        assert_eq!(sequence(Aspect::Status, &words), "ready → unknown → ready");
        assert_eq!(sequence(Aspect::Status, &["unknown", "unknown"]), "unknown");
        assert_eq!(sequence(Aspect::Circuit, &["", "closed", "open"]), "closed → open");
    }

    #[test]
    fn cause_is_the_last_one() {
        assert_eq!(sequence(Aspect::Cause, &["", "a", "b", "b"]), "b");
        assert_eq!(sequence(Aspect::Cause, &["a", ""]), "–");
    }
}
