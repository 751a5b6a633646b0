//! What all who ask the API server share: which resource they mean, where an
//! object is, in what form bodies go and come, and how an object can be read.

use crate::custom_resource::PLURAL;

pub(super) const JSON: &str = "application/json";
pub(super) const JSON_PATCH: &str = "application/json-patch+json";
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
/// An answer without the object: a small table whose metadata has the version.
pub(super) const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1, application/json";

/// An answer of metadata alone.
pub(super) const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json";

/// No object comes near this. What answers with more is no API server.
pub(super) const MAX_ANSWER: usize = 16 << 20;

/// Where the object is.
#[derive(Clone, Debug)]
pub(super) struct ObjectPath {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectPath {
    pub(super) fn uri(&self, subresource: &str, query: &str) -> String {
        let ObjectPath { group, version, namespace, name } = self;
        format!("/apis/{group}/{version}/namespaces/{namespace}/{PLURAL}/{name}{subresource}{query}")
    }
}

/// How the object can be read, the cheapest right first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadStrategy {
    /// GET of `/status`.
    Status,
    /// GET of the object.
    Object,
    /// An empty patch of `/status`, which changes nothing and answers with the
    /// object.
    EmptyPatch,
}

impl ReadStrategy {
    pub(super) const ALL: [ReadStrategy; 3] = [ReadStrategy::Status, ReadStrategy::Object, ReadStrategy::EmptyPatch];
}
