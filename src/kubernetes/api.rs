//! What all who ask the API server share: which resource they mean, where an
//! object is, in what form bodies go and come, and how an object can be read.

use tracing::Span;

/// The group of ToolHive's CRDs.
pub(super) const GROUP: &str = "toolhive.stacklok.dev";
/// The version in which they are stored.
pub(super) const VERSION: &str = "v1beta1";
pub(super) const KIND: &str = "VirtualMCPServer";
/// The name under which the server remembers who set a field.
pub(super) const FIELD_MANAGER: &str = "vmcp-status";

pub(super) const PLURAL: &str = "virtualmcpservers";
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
    /// The span in which what concerns the object is logged.
    pub(super) fn span(&self) -> Span {
        vmcp_span(&self.namespace, &self.name)
    }

    pub(super) fn uri(&self, subresource: &str, query: &str) -> String {
        let ObjectPath { group, version, namespace, name } = self;
        format!("/apis/{group}/{version}/namespaces/{namespace}/{PLURAL}/{name}{subresource}{query}")
    }
}

/// At the highest level, so that a filter for warnings keeps its fields.
pub(super) fn vmcp_span(namespace: &str, name: &str) -> Span {
    tracing::error_span!("vmcp", vmcp = name, namespace)
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
