//! What is wrong with a foreign text, without what it says: a value that is in
//! the wrong place may be a token, or a URL with a password.

use serde_json::error::Category;
use serde_saphyr::Error as YamlError;

/// Why this YAML is not what was wanted. The parser's own words would show the
/// lines around the place.
pub(crate) fn yaml(error: &YamlError) -> String {
    let what = match error.without_snippet() {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            format!("unknown member{}, expected one of {}", name(field), expected.join(", "))
        }
        YamlError::SerdeMissingField { field, .. } => format!("{field} is missing"),
        YamlError::SerdeInvalidType { expected, .. } | YamlError::SerdeInvalidValue { expected, .. } => {
            format!("not what it should be: {expected}")
        }
        YamlError::InvalidScalar { ty, .. } => format!("not what it should be: {ty}"),
        YamlError::DuplicateMappingKey { .. } => "a member is given twice".into(),
        YamlError::Eof { .. } => "it ends too early".into(),
        _ => "not the YAML that is expected here".into(),
    };
    match error.location() {
        Some(at) => format!("{what}, at line {} column {}", at.line(), at.column()),
        None => what,
    }
}

/// Why this JSON is not what was wanted, without the place.
pub(crate) fn json(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = error.to_string();
    let reason = reason.strip_suffix(&place).unwrap_or(&reason);
    if error.classify() != Category::Data {
        // The parser's own words, none of the text's.
        return reason.to_owned();
    }
    let (said, expected) = reason.rsplit_once(", expected ").unwrap_or((reason, ""));
    let mut what = match said.split_once('`') {
        Some((what @ ("unknown variant " | "unknown field "), found)) => {
            format!("{}{}", what.trim_end(), name(found.trim_end_matches('`')))
        }
        // Members are named by us.
        _ if said.starts_with("missing field `") || said.starts_with("duplicate field `") => said.to_owned(),
        _ => match said.split_once(": ") {
            // Of what was found, its kind alone.
            Some((what @ ("invalid type" | "invalid value"), found)) => {
                format!("{what}: {}", found.split([' ', '`']).next().unwrap_or_default())
            }
            _ => "invalid value".into(),
        },
    };
    if !expected.is_empty() {
        what.push_str(", expected ");
        what.push_str(expected);
    }
    what
}

/// A name that may be shown: one that a person has misspelt, and no more.
pub(crate) fn name(name: &str) -> String {
    let is_word = name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_word { format!(" `{name}`") } else { String::new() }
}
