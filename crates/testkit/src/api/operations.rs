//! The operations of a JSON Patch, as the API server's library takes them. It
//! departs from RFC 6902, and a reporter meets where it does:
//!
//! - `test` compares encoded text: `1` is not `1.0`, and since the server
//!   encodes as Go does, a stored `a&b` equals `"a\u0026b"` alone.
//! - `test` for null passes for a member that is absent, if its parent is
//!   there; an index out of range is an error all the same.
//! - `replace` makes a member of an object that is absent.
//! - an index can count from the end.
//!
//! Where a `test` follows an operation that has written the same text, the
//! real server compares with the text as written, the double with Go's.

use serde_json::Value;

use super::raw::Raw;

/// The patch does not fit the document.
pub struct Unfit;

/// Applies one operation to the document. `raw` is the operation's own text.
pub fn apply(document: &mut Value, operation: &Value, raw: &Raw<'_>) -> Result<(), Unfit> {
    let path = pointer(operation, "path")?;
    let value = || operation["value"].clone();
    match operation["op"].as_str() {
        Some("add") => add(document, path, value()),
        Some("remove") => remove(document, path).map(drop),
        Some("replace") => replace(document, path, value()),
        Some("move") => {
            let moved = remove(document, pointer(operation, "from")?)?;
            add(document, path, moved)
        }
        Some("copy") => {
            let copied = Place::find(document, pointer(operation, "from")?)?.get()?.unwrap_or_default();
            add(document, path, copied)
        }
        Some("test") => test(document, path, raw.member("value")),
        _ => Err(Unfit),
    }
}

fn pointer<'a>(operation: &'a Value, member: &str) -> Result<&'a str, Unfit> {
    operation[member].as_str().ok_or(Unfit)
}

/// Where a path leads: a member or an item, which need not be there, of an
/// object or a list that is.
struct Place<'a> {
    parent: &'a mut Value,
    key: String,
}

impl<'a> Place<'a> {
    fn find(document: &'a mut Value, path: &str) -> Result<Self, Unfit> {
        let (_, path) = path.split_once('/').ok_or(Unfit)?;
        let (parents, key) = path.rsplit_once('/').map_or((None, path), |(parents, key)| (Some(parents), key));
        let mut parent = document;
        for segment in parents.into_iter().flat_map(|parents| parents.split('/')) {
            let segment = unescape(segment);
            parent = match parent {
                Value::Object(members) => members.get_mut(&segment),
                Value::Array(items) => index(&segment, items.len()).and_then(|index| items.get_mut(index)),
                _ => None,
            }
            .ok_or(Unfit)?;
        }
        let key = unescape(key);
        if parent.is_object() || parent.is_array() { Ok(Place { parent, key }) } else { Err(Unfit) }
    }

    /// What is there: a member may be absent, an item must not.
    fn get(&self) -> Result<Option<Value>, Unfit> {
        match &*self.parent {
            Value::Array(items) => self.index(items.len()).map(|index| items.get(index).cloned()),
            parent => Ok(parent.get(&self.key).cloned()),
        }
    }

    fn index(&self, length: usize) -> Result<usize, Unfit> {
        index(&self.key, length).ok_or(Unfit)
    }
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), Unfit> {
    let place = Place::find(document, path)?;
    let Place { parent, key } = place;
    match parent {
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let index = index(&key, items.len() + 1).ok_or(Unfit)?;
            items.insert(index, value);
        }
        parent => parent[key] = value,
    }
    Ok(())
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), Unfit> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let place = Place::find(document, path)?;
    place.get()?;
    let Place { parent, key } = place;
    match parent {
        Value::Array(items) => {
            let index = index(&key, items.len()).ok_or(Unfit)?;
            items[index] = value;
        }
        parent => parent[key] = value,
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, Unfit> {
    let Place { parent, key } = Place::find(document, path)?;
    match parent {
        Value::Array(items) => index(&key, items.len()).map(|index| items.remove(index)),
        parent => parent.as_object_mut().and_then(|members| members.remove(&key)),
    }
    .ok_or(Unfit)
}

fn test(document: &mut Value, path: &str, wanted: Option<&Raw<'_>>) -> Result<(), Unfit> {
    let found = if path.is_empty() { Some(document.clone()) } else { Place::find(document, path)?.get()? };
    let found = found.filter(|found| !found.is_null());
    let same = match (found, wanted.filter(|wanted| !wanted.is_null())) {
        (None, None) => true,
        (Some(found), Some(wanted)) => wanted.is_text_of(&found),
        _ => false,
    };
    if same { Ok(()) } else { Err(Unfit) }
}

/// The place of an item, among `length`, that a segment of a path names.
fn index(segment: &str, length: usize) -> Option<usize> {
    let index: i64 = segment.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index + length } else { index };
    (0..length).contains(&index).then(|| usize::try_from(index).ok()).flatten()
}

fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}
