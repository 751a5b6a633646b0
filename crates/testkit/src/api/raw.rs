//! JSON whose scalars are kept as they were written, for a comparison of
//! texts.

use serde_json::Value;

pub enum Raw<'a> {
    Scalar(&'a str),
    Array(Vec<Raw<'a>>),
    Object(Vec<(String, Raw<'a>)>),
}

impl<'a> Raw<'a> {
    /// Reads a text that is known to be JSON.
    pub fn new(text: &'a str) -> Self {
        Reader { rest: text }.value()
    }

    pub fn member(&self, name: &str) -> Option<&Raw<'a>> {
        let Raw::Object(members) = self else { return None };
        // As Go and serde_json do, the last one of a name counts.
        members.iter().rev().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    pub fn items(&self) -> &[Raw<'a>] {
        if let Raw::Array(items) = self { items } else { &[] }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Raw::Scalar("null"))
    }

    /// Whether Go would encode `value` like this, white space and the order of
    /// members apart.
    pub fn is_text_of(&self, value: &Value) -> bool {
        match (self, value) {
            (Raw::Object(members), Value::Object(values)) => {
                members.len() == values.len()
                    && members.iter().all(|(name, raw)| values.get(name).is_some_and(|value| raw.is_text_of(value)))
            }
            (Raw::Array(items), Value::Array(values)) => {
                items.len() == values.len() && items.iter().zip(values).all(|(raw, value)| raw.is_text_of(value))
            }
            (Raw::Scalar(text), value) => !value.is_object() && !value.is_array() && *text == go(value),
            _ => false,
        }
    }
}

/// A scalar as Go encodes it: fit to be put into HTML and JavaScript.
fn go(value: &Value) -> String {
    [('&', "\\u0026"), ('<', "\\u003c"), ('>', "\\u003e"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")]
        .into_iter()
        .fold(value.to_string(), |text, (character, escaped)| text.replace(character, escaped))
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Raw<'a> {
        self.skip_space();
        match self.rest.as_bytes().first() {
            Some(b'{') => {
                let mut members = Vec::new();
                self.list('}', |reader| {
                    let name = serde_json::from_str(reader.scalar()).expect("the text is JSON");
                    reader.separator(':');
                    members.push((name, reader.value()));
                });
                Raw::Object(members)
            }
            Some(b'[') => {
                let mut items = Vec::new();
                self.list(']', |reader| items.push(reader.value()));
                Raw::Array(items)
            }
            _ => Raw::Scalar(self.scalar()),
        }
    }

    /// What stands between brackets, with commas in between.
    fn list(&mut self, end: char, mut item: impl FnMut(&mut Self)) {
        self.rest = &self.rest[1..];
        while !self.separator(end) {
            self.separator(',');
            item(self);
        }
    }

    fn scalar(&mut self) -> &'a str {
        self.skip_space();
        let mut escaped = false;
        let end = if self.rest.starts_with('"') {
            let is_end = |(_, c): &(usize, char)| {
                let end = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                end
            };
            self.rest.char_indices().skip(1).find(is_end).map(|(index, _)| index + 1)
        } else {
            self.rest.find(|c: char| matches!(c, ',' | ':' | ']' | '}') || c.is_ascii_whitespace())
        };
        let (scalar, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        scalar
    }

    /// Skips this character if it comes next.
    fn separator(&mut self, separator: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(separator);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
    }
}
