//! An update of the status subresource: of what is asked for, the status is
//! taken, the version and the uid are checked, and the rest is ignored.

use std::sync::Arc;

use serde_json::{Value, error::Category, json};

use super::{
    ApiState,
    answer::{self, Answer},
    crd::{GROUP, KIND, PLURAL},
    options::FieldValidation,
    patch::Patch,
    schema,
    store::Key,
};

pub struct Update<'a> {
    pub key: Key,
    pub api_version: String,
    pub schema: Value,
    pub change: Change<'a>,
    pub validation: FieldValidation,
    pub manager: String,
    pub dry_run: bool,
}

pub enum Change<'a> {
    Patch(Patch<'a>),
    /// A whole object in the place of the one there is.
    Put(Value),
}

impl Update<'_> {
    /// The object afterwards, and the fields to warn of.
    pub fn run(&self, state: &mut ApiState) -> Result<(Arc<Value>, Vec<String>), Answer> {
        let name = &self.key.1;
        let old = state.store.get(&self.key).cloned().ok_or_else(|| answer::not_found(GROUP, PLURAL, name))?;
        let mut wanted = match &self.change {
            Change::Patch(patch) => {
                let mut seen = Value::clone(&old);
                seen["apiVersion"] = json!(self.api_version);
                patch.apply(seen, state.limits.operations)?
            }
            Change::Put(object) => object.clone(),
        };

        let unknown = self.prune(&mut wanted)?;
        if let Some(webhook) = state.webhook.as_ref().filter(|_| self.dry_run) {
            return Err(answer::no_dry_run(webhook));
        }
        self.check_identity(&wanted)?;
        if matches!(self.change, Change::Put(_)) {
            check_uid(&wanted, &old, &self.key)?;
        }
        check_resource_version(&wanted, &old, name)?;

        let schema = &self.schema["properties"]["status"];
        let status = wanted.as_object_mut().and_then(|wanted| wanted.remove("status"));
        let status = status.filter(|status| !status.is_null()).map(|mut status| {
            schema::forget_nulls(&mut status);
            schema::default(schema, &mut status);
            status
        });
        if let Some(status) = &status {
            let mut causes = schema::validate(schema, status, "status");
            causes.extend(schema::unchecked_rules(&self.schema, &causes));
            if !causes.is_empty() {
                return Err(answer::invalid(name, &causes));
            }
        }
        if old.get("status") == status.as_ref() {
            return Ok((old, unknown));
        }

        let mut new = json!({"apiVersion": old["apiVersion"], "kind": KIND, "metadata": old["metadata"]});
        let writer = state.store.writer(&self.manager, &self.api_version, Some("status"));
        writer.record(&mut new["metadata"], "status", schema, old.get("status"), status.as_ref());
        new["spec"] = old["spec"].clone();
        if let Some(status) = status {
            new["status"] = status;
        }
        state.limits.check_object(&new)?;
        let new = if self.dry_run { Arc::new(new) } else { state.store.replace(self.key.clone(), new) };
        Ok((new, unknown))
    }

    /// Takes out unknown fields of the status, and says which they were if
    /// that is wanted.
    fn prune(&self, wanted: &mut Value) -> Result<Vec<String>, Answer> {
        // Only a strict refusal repeats the object, and it does so as it came.
        let whole = if self.validation == FieldValidation::Strict { wanted.to_string() } else { String::new() };
        let mut unknown = Vec::new();
        if let Some(status) = wanted.get_mut("status") {
            schema::prune(&self.schema["properties"]["status"], status, "status", &mut unknown);
        }
        unknown.sort();
        match self.validation {
            FieldValidation::Strict if !unknown.is_empty() => {
                let fields = unknown.iter().map(|field| format!("unknown field {field:?}")).collect::<Vec<_>>();
                Err(self.unreadable(&whole, &format!("strict decoding error: {}", fields.join(", "))))
            }
            FieldValidation::Ignore => Ok(Vec::new()),
            FieldValidation::Warn | FieldValidation::Strict => Ok(unknown),
        }
    }

    fn unreadable(&self, whole: &str, why: &str) -> Answer {
        if matches!(self.change, Change::Patch(_)) {
            return answer::unreadable_patch(whole, why);
        }
        let version = self.api_version.rsplit('/').next().unwrap_or_default();
        answer::bad_request(format!("{KIND} in version {version:?} cannot be handled as a {KIND}: {why}"))
    }

    fn check_identity(&self, wanted: &Value) -> Result<(), Answer> {
        let (namespace, name) = &self.key;
        let metadata = &wanted["metadata"];
        if let Some(other) = metadata["name"].as_str().filter(|other| other != name) {
            let message = format!("the name of the object ({other}) does not match the name on the URL ({name})");
            return Err(answer::bad_request(message));
        }
        if metadata["namespace"].as_str().is_some_and(|other| other != namespace) {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(answer::bad_request(message));
        }
        match &metadata["resourceVersion"] {
            Value::String(_) | Value::Null => Ok(()),
            _ => Err(self.unreadable(
                &wanted.to_string(),
                "json: cannot unmarshal number into Go struct field ObjectMeta.resourceVersion of type string",
            )),
        }
    }
}

/// The object that is put, if it is one of this version.
pub fn decode(body: &[u8], api_version: &str) -> Result<Value, Answer> {
    let text = String::from_utf8_lossy(body);
    let object: Value = serde_json::from_slice(body).map_err(|error| {
        let why = match error.classify() {
            Category::Eof => "unexpected end of JSON input".to_owned(),
            _ => error.to_string(),
        };
        answer::bad_request(format!(
            "the object provided is unrecognized (must be of type {KIND}): couldn't get version/kind; json parse \
             error: {why} ({text})"
        ))
    })?;
    for field in ["kind", "apiVersion"] {
        if object[field].as_str().is_none_or(str::is_empty) {
            return Err(answer::bad_request(format!("Object '{field}' is missing in '{text}'")));
        }
    }
    if object["apiVersion"] != api_version {
        return Err(answer::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            object["apiVersion"].as_str().unwrap_or_default(),
            api_version
        )));
    }
    Ok(object)
}

/// A uid guards a put alone: in a patch it is ignored, as all metadata but the
/// version is.
fn check_uid(wanted: &Value, old: &Value, (namespace, name): &Key) -> Result<(), Answer> {
    let (wanted, found) = (&wanted["metadata"]["uid"], &old["metadata"]["uid"]);
    match wanted.as_str() {
        Some(uid) if !uid.is_empty() && wanted != found => {
            let found = found.as_str().unwrap_or_default();
            let key = format!("/registry/{GROUP}/{PLURAL}/{namespace}/{name}");
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: \
                 Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
            );
            Err(answer::conflict(name, &why))
        }
        _ => Ok(()),
    }
}

fn check_resource_version(wanted: &Value, old: &Value, name: &str) -> Result<(), Answer> {
    let wanted = wanted["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if wanted.is_empty() || wanted == "0" {
        return Err(answer::missing_resource_version(name));
    }
    if wanted.parse::<u64>().is_err() {
        return Err(answer::internal_error(format!("strconv.ParseUint: parsing {wanted:?}: invalid syntax")));
    }
    if old["metadata"]["resourceVersion"] != wanted {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(answer::conflict(name, why));
    }
    Ok(())
}
