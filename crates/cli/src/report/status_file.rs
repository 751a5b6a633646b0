//! The one status in a file: by itself, or in the object that `get -o json` and
//! `kubectl get -o yaml` print.

use serde_json::Value;
use vmcp_status::Status;

use super::odd_values;
use super::unknown_words::UnknownWords;
use crate::parse_error;

/// The members of a status, one of which a file has to have.
const MEMBERS: [&str; 7] =
    ["phase", "message", "conditions", "discoveredBackends", "backendCount", "observedGeneration", "timestamp"];

/// Reads the status in a text.
///
/// # Errors
///
/// Says what is wrong, without what the text holds.
pub(super) fn parse(text: &[u8], words: &mut UnknownWords) -> Result<Status, String> {
    let whole: Value = read(text)?;
    let found = locate(&whole)?;
    let json = serde_json::to_vec(found).expect("JSON values serialise");
    let status = match Status::from_json(&json) {
        Ok((status, faults)) => {
            odd_values::log(&faults);
            status
        }
        // Only what is read from the text knows the place of a fault.
        Err(_) if std::ptr::eq(found, &raw const whole) => read(text)?,
        Err(error) => return Err(parse_error::json(&error)),
    };
    words.check_status(&status, found)?;
    Ok(status)
}

fn read<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    // YAML contains JSON, but says less clearly what is wrong with it.
    match serde_json::from_slice(text) {
        Ok(read) => Ok(read),
        Err(error) if text.trim_ascii_start().starts_with(b"{") => {
            Err(format!("{} at line {} column {}", parse_error::json(&error), error.line(), error.column()))
        }
        Err(_) => serde_saphyr::from_slice(text).map_err(|error| parse_error::yaml(&error)),
    }
}

/// Finds the status: what was reported of an object that has two.
fn locate(whole: &Value) -> Result<&Value, String> {
    let object = match whole.get("items").and_then(Value::as_array).map(Vec::as_slice) {
        None => whole,
        Some([only]) => only,
        Some(items) => return Err(format!("it is a list of {} objects: give one of them", items.len())),
    };
    let is_status = |value: &Value| MEMBERS.iter().any(|member| value.get(member).is_some());
    let places = [object.pointer("/status/runtime"), object.get("status"), Some(object)];
    let found = places.into_iter().flatten().find(|place| is_status(place));
    found.ok_or_else(|| format!("no {} in it, nor in a member status of it", MEMBERS[..4].join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Result<String, String> {
        parse(text.as_bytes(), &mut UnknownWords::new(false)).map(|status| status.message)
    }

    #[test]
    fn status_is_found_by_itself_in_an_object_in_runtime_and_in_a_list_of_one() {
        for text in [
            r#"{"message":"here"}"#,
            "message: here",
            r#"{"kind":"VirtualMCPServer","status":{"message":"here"},"writer":{"pid":1}}"#,
            r#"{"status":{"message":"the operator's","runtime":{"message":"here"}}}"#,
            r#"{"status":{"message":"here","runtime":null}}"#,
            r#"{"kind":"List","items":[{"status":{"message":"here"}}]}"#,
            "kind: List\nitems:\n- status: {message: here}\n",
        ] {
            assert_eq!(message(text).as_deref(), Ok("here"), "{text}");
        }
    }

    #[test]
    fn odd_value_costs_itself() {
        assert_eq!(message(r#"{"message":7,"phase":"Ready"}"#).as_deref(), Ok(""));
    }

    #[test]
    fn text_without_a_status_or_with_several_is_refused_with_what_is_wrong() {
        for (text, error) in [
            ("{}", "no phase, message, conditions, discoveredBackends in it"),
            (r#"{"kind":"VirtualMCPServer","metadata":{"name":"a"}}"#, "no phase"),
            (r#"{"kind":"List","items":[]}"#, "a list of 0 objects"),
            (r#"{"items":[{"status":{"phase":"Ready"}},{"status":{"phase":"Ready"}}]}"#, "a list of 2 objects"),
            ("7", "no phase"),
            (r#"{"message":"#, "line 1 column 11"),
            ("message: [", "line 1"),
        ] {
            let said = message(text).expect_err(text);
            assert!(said.contains(error), "{text}: {said}");
        }
    }
}
