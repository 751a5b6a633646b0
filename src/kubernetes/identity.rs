//! The identity of the reported object, for parts that refer to it without reading it.

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
#[cfg(feature = "events")]
use tracing::Span;

use super::api::ObjectPath;
#[cfg(feature = "events")]
use super::api::vmcp_span;
use crate::custom_resource::KIND;

/// The identity of an object in a cluster, for Events about it. All clones share the
/// uid, which becomes known when the sink reads the object.
///
/// ```
/// use vmcp_status::ObjectIdentity;
///
/// let pod = ObjectIdentity::new("v1", "Pod", "my-namespace", "my-pod");
/// pod.set_uid(Some("0f7a3c52-6f0e-4d5b-9f0a-3a1f7a2f9d10"));
/// ```
#[derive(Clone, Debug)]
pub struct ObjectIdentity(Arc<Mutex<ObjectReference>>);

impl ObjectIdentity {
    /// Makes the identity of the object of this kind and name, without a uid.
    pub fn new(
        api_version: impl Into<String>,
        kind: impl Into<String>,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        ObjectIdentity(Arc::new(Mutex::new(ObjectReference {
            api_version: Some(api_version.into()),
            kind: Some(kind.into()),
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            ..ObjectReference::default()
        })))
    }

    pub(super) fn of(ObjectPath { group, version, namespace, name }: &ObjectPath) -> Self {
        ObjectIdentity::new(format!("{group}/{version}"), KIND, namespace, name)
    }

    /// Sets the uid that the server gave the object, which differs from that of another
    /// object of the same name; `None` while it is not known.
    pub fn set_uid(&self, uid: Option<&str>) {
        let mut reference = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reference.uid.as_deref() != uid {
            reference.uid = uid.map(String::from);
        }
    }

    /// Returns the span for log lines about the object.
    #[cfg(feature = "events")]
    pub(super) fn span(&self, role: Option<&str>) -> Span {
        let ObjectReference { namespace, name, .. } = self.reference();
        vmcp_span(&namespace.unwrap_or_default(), &name.unwrap_or_default(), role)
    }

    #[cfg(feature = "events")]
    pub(super) fn reference(&self) -> ObjectReference {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
