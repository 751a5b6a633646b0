//! A structural schema at work: unknown fields are pruned, absent ones get
//! their defaults, and what then breaks a rule is named, in the API server's
//! own words.

use std::{
    collections::{HashMap, HashSet},
    sync::{LazyLock, Mutex, PoisonError},
};

use regex::Regex;
use serde_json::{Map, Value, json};

/// One broken rule, as `details.causes` of a 422 lists it.
pub struct Cause {
    pub reason: &'static str,
    pub message: String,
    pub field: String,
}

/// Takes out what the schema does not know, and names it in `unknown`.
pub fn prune(schema: &Value, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    match value {
        Value::Object(members) => {
            let properties = &schema["properties"];
            members.retain(|name, _| {
                let known = properties.get(name).is_some();
                if !known {
                    unknown.push(member(path, name));
                }
                known
            });
            for (name, value) in members {
                prune(&properties[name], value, &member(path, name), unknown);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                prune(&schema["items"], item, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

/// Takes out members that are null: they count as absent. Items stay.
pub fn forget_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(forget_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_nulls),
        _ => {}
    }
}

/// Puts in what the schema has a default for.
pub fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, schema) in properties(schema) {
                if let Some(default) = schema.get("default") {
                    members.entry(name).or_insert_with(|| default.clone());
                }
                if let Some(value) = members.get_mut(name) {
                    self::default(schema, value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| default(&schema["items"], item)),
        _ => {}
    }
}

/// What breaks so much that rules written in CEL cannot be checked any more.
const BLOCKING: [&str; 4] =
    ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTypeInvalid"];

/// All rules that `value`, found at the field `root`, breaks.
pub fn validate(schema: &Value, value: &Value, root: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    Validator { root, causes: &mut causes }.check(schema, value, root);
    causes
}

/// What the server adds to `causes` where the definition has rules in CEL,
/// wherever they stand. The double does not check such rules.
pub fn unchecked_rules(schema: &Value, causes: &[Cause]) -> Option<Cause> {
    let blocked = causes.iter().any(|cause| BLOCKING.contains(&cause.reason));
    (blocked && has_cel_rules(schema)).then(|| Cause {
        reason: "FieldValueInvalid",
        message: "Invalid value: null: some validation rules were not checked because the object was invalid; \
                  correct the existing errors to complete validation"
            .to_owned(),
        field: "<nil>".to_owned(),
    })
}

fn has_cel_rules(schema: &Value) -> bool {
    schema.get("x-kubernetes-validations").is_some()
        || schema.get("items").is_some_and(has_cel_rules)
        || properties(schema).any(|(_, schema)| has_cel_rules(schema))
}

/// The keys of a list-map, none for any other list.
pub fn map_keys(schema: &Value) -> Vec<&str> {
    schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What makes an item of a list-map the one it is, as JSON: `{"name":"a"}`.
pub fn map_key(keys: &[&str], item: &Value) -> String {
    keys.iter().map(|key| ((*key).to_owned(), item[*key].clone())).collect::<Value>().to_string()
}

struct Validator<'a> {
    root: &'a str,
    causes: &'a mut Vec<Cause>,
}

impl Validator<'_> {
    fn check(&mut self, schema: &Value, value: &Value, field: &str) {
        let wanted = schema["type"].as_str().unwrap_or_default();
        let found = type_of(value);
        match (wanted, value) {
            ("object", Value::Object(members)) => self.check_object(schema, members, field),
            ("array", Value::Array(items)) => self.check_array(schema, items, field),
            ("string", Value::String(text)) => self.check_string(schema, text, field),
            ("integer", Value::Number(_)) if found == "integer" => self.check_integer(schema, value, field),
            ("integer", Value::Number(_)) => {
                self.wrong_type(schema["format"].as_str().unwrap_or(wanted), found, field);
                self.check_format(schema, value, field);
            }
            ("boolean", Value::Bool(_)) => {}
            _ => self.wrong_type(wanted, found, field),
        }
    }

    fn check_object(&mut self, schema: &Value, members: &Map<String, Value>, field: &str) {
        for (name, schema) in properties(schema) {
            if let Some(value) = members.get(name) {
                self.check(schema, value, &member(field, name));
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                self.add("FieldValueRequired", "Required value".to_owned(), &member(field, name));
            }
        }
    }

    fn check_array(&mut self, schema: &Value, items: &[Value], field: &str) {
        let keys = map_keys(schema);
        let mut seen = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let field = format!("{field}[{index}]");
            self.check(&schema["items"], item, &field);
            let has_keys = !keys.is_empty() && keys.iter().all(|key| item.get(key).is_some());
            if has_keys && !seen.insert(map_key(&keys, item)) {
                self.add("FieldValueDuplicate", format!("Duplicate value: {}", map_key(&keys, item)), &field);
            }
        }
    }

    fn check_string(&mut self, schema: &Value, text: &str, field: &str) {
        // Characters are counted, whatever the message says of bytes.
        let length = text.chars().count() as u64;
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.iter().any(|allowed| allowed == text)
        {
            let allowed = allowed.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
            let message = format!("Unsupported value: {}: supported values: {allowed}", json!(text));
            self.add("FieldValueNotSupported", message, field);
        }
        if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            self.add("FieldValueTooLong", format!("Too long: may not be more than {most} bytes"), field);
        }
        if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
            self.refuse(&json!(text), &format!("should be at least {least} chars long"), field);
        } else if let Some(pattern) = schema["pattern"].as_str()
            && !matches(pattern, text)
        {
            self.refuse(&json!(text), &format!("should match '{pattern}'"), field);
        }
        if schema["format"] == "date-time" && !is_date_time(text) {
            self.wrong_type("date-time", text, field);
        }
    }

    fn check_integer(&mut self, schema: &Value, value: &Value, field: &str) {
        if let Some(least) = schema["minimum"].as_i64()
            && value.as_i64().is_some_and(|value| value < least)
        {
            self.refuse(value, &format!("should be greater than or equal to {least}"), field);
        }
        self.check_format(schema, value, field);
    }

    fn check_format(&mut self, schema: &Value, value: &Value, field: &str) {
        if schema["format"] == "int32" && value.as_i64().is_none_or(|value| i32::try_from(value).is_err()) {
            let name = self.name_in_body(field);
            let message =
                format!("Invalid value: \"\": Checked value must be of type integer with format int32 in {name}");
            // The real server, too, names the whole instead of the field here.
            self.add("FieldValueInvalid", message, self.root);
        }
    }

    fn wrong_type(&mut self, wanted: &str, found: &str, field: &str) {
        let name = self.name_in_body(field);
        let message = format!("Invalid value: {found:?}: {name} in body must be of type {wanted}: {found:?}");
        self.add("FieldValueTypeInvalid", message, field);
    }

    fn refuse(&mut self, value: &Value, rule: &str, field: &str) {
        let name = self.name_in_body(field);
        self.add("FieldValueInvalid", format!("Invalid value: {value}: {name} in body {rule}"), field);
    }

    fn add(&mut self, reason: &'static str, message: String, field: &str) {
        self.causes.push(Cause { reason, message, field: field.to_owned() });
    }

    /// Messages name a field from below the root: the root has no name.
    fn name_in_body<'f>(&self, field: &'f str) -> &'f str {
        field.strip_prefix(self.root).unwrap_or(field).trim_start_matches('.')
    }
}

/// A pattern takes longer to compile than a request takes, so it is done once.
fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let compile = || Regex::new(pattern).expect("a pattern of the definition compiles");
    compiled.entry(pattern.to_owned()).or_insert_with(compile).is_match(text)
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn member(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() != 0.0) => "float64",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// RFC 3339 as the API server reads it: a zone must be there, a leap second
/// must not.
fn is_date_time(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                _ => byte.eq_ignore_ascii_case(&shape),
            })
    };
    let Some((seconds, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else { return false };
    let zone = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).map_or("", |start| &rest[start..]);
    let fraction = rest.strip_suffix(zone).unwrap_or_default();
    fits(seconds, "0000-00-00T00:00:00")
        && !seconds.ends_with("60")
        && (fraction.is_empty() || fraction.strip_prefix('.').is_some_and(digits))
        && ["Z", "+00:00", "-00:00"].iter().any(|shape| fits(zone, shape))
        && text.parse::<k8s_openapi::jiff::Timestamp>().is_ok()
}
