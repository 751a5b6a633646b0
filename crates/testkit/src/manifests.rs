//! The manifests that users apply: the folder `deploy/`, read as `kubectl apply
//! -k` reads it.
//!
//! Of kustomize it knows what the folder uses, `resources` and JSON patches, and
//! refuses the rest, so that nothing is left out silently.

use std::path::{Path, PathBuf};

use serde_json::Value;

const KNOWN: [&str; 4] = ["apiVersion", "kind", "resources", "patches"];

/// The folder `deploy/` of the repository.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

/// The objects of this kustomization in `deploy/`, such as `overlays/replicas`,
/// in the order in which they are listed.
pub fn kustomized(kustomization: &str) -> Vec<Value> {
    built(&folder().join(kustomization))
}

/// Every object of this file.
pub fn objects(file: &Path) -> Vec<Value> {
    let text = text(file);
    let documents = text.split("\n---\n").map(|document| yaml(document, file));
    documents.filter(|document| !document.is_null()).collect()
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn yaml(text: &str, file: &Path) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn built(dir: &Path) -> Vec<Value> {
    let file = dir.join("kustomization.yaml");
    let kustomization = yaml(&text(&file), &file);
    for member in kustomization.as_object().expect("a kustomization is a mapping").keys() {
        assert!(KNOWN.contains(&member.as_str()), "{}: {member} is not understood here", file.display());
    }
    let mut built: Vec<Value> = list(&kustomization["resources"]).flat_map(|name| resource(&dir.join(name))).collect();
    for patch in kustomization["patches"].as_array().into_iter().flatten() {
        let file = dir.join(patch["path"].as_str().expect("each patch is a file"));
        let operations: json_patch::Patch =
            serde_json::from_value(yaml(&text(&file), &file)).expect("each patch is a JSON patch");
        let target = &patch["target"];
        let mut targets = built
            .iter_mut()
            .filter(|object| object["kind"] == target["kind"] && object["metadata"]["name"] == target["name"]);
        let object = targets.next().unwrap_or_else(|| panic!("{}: no such target", file.display()));
        json_patch::patch(object, &operations).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(targets.next().is_none(), "{}: one target", file.display());
    }
    built
}

fn resource(path: &Path) -> Vec<Value> {
    if path.is_dir() { built(path) } else { objects(path) }
}

fn list(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().map(|name| name.as_str().expect("a name"))
}
