//! The query parameters of a write.

use serde_json::json;

use super::{
    answer::{self, Answer},
    request_info::RequestInfo,
    schema::Cause,
};

pub struct Options {
    /// All is checked and answered, and nothing is stored.
    pub dry_run: bool,
    pub validation: FieldValidation,
}

/// What is said about fields that the schema does not know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl Options {
    /// The options of this request, each value that means nothing named.
    pub fn new(info: &RequestInfo) -> Result<Self, Answer> {
        let mut causes = Vec::new();
        let dry_runs: Vec<_> = info.queries("dryRun").collect();
        if dry_runs.iter().any(|dry_run| *dry_run != "All") {
            // The parameter is a list, and the server repeats all of it.
            causes.push(unsupported("dryRun", &json!(dry_runs).to_string(), "\"All\""));
        }
        let validation = match info.query("fieldValidation").unwrap_or_default() {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = "\"\", \"Ignore\", \"Strict\", \"Warn\"";
                causes.push(unsupported("fieldValidation", &format!("{other:?}"), supported));
                FieldValidation::Warn
            }
        };
        if causes.is_empty() {
            return Ok(Options { dry_run: !dry_runs.is_empty(), validation });
        }
        let kind = if info.verb == "patch" { "PatchOptions" } else { "UpdateOptions" };
        Err(answer::invalid_options(kind, &causes))
    }
}

fn unsupported(field: &str, value: &str, supported: &str) -> Cause {
    Cause {
        reason: "FieldValueNotSupported",
        message: format!("Unsupported value: {value}: supported values: {supported}"),
        field: field.to_owned(),
    }
}
