//! The path of an object on the API server.

use tracing::Span;

use super::vmcp_span;
use crate::custom_resource::{GROUP, PLURAL, VERSION};
use crate::kubernetes::name::{NameError, check_name};

/// The path of a `VirtualMCPServer` on the API server. Its names are checked, so that
/// they need no escape in a URL.
///
/// ```
/// use vmcp_status::api_server::ObjectPath;
///
/// let object = ObjectPath::new("my-namespace", "my-vmcp")?;
/// assert_eq!(
///     object.uri("/status", "?dryRun=All"),
///     "/apis/toolhive.stacklok.dev/v1beta1/namespaces/my-namespace/virtualmcpservers/my-vmcp/status?dryRun=All",
/// );
/// # Ok::<(), vmcp_status::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPath {
    pub(in crate::kubernetes) group: String,
    pub(in crate::kubernetes) version: String,
    pub(in crate::kubernetes) namespace: String,
    pub(in crate::kubernetes) name: String,
}

impl ObjectPath {
    /// Makes the path of the object of this name, in the group and version of
    /// [`custom_resource`](crate::custom_resource).
    ///
    /// # Errors
    ///
    /// Fails when namespace or name cannot be that of an object.
    pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
        Ok(ObjectPath {
            group: GROUP.into(),
            version: VERSION.into(),
            namespace: check_name("namespace", namespace)?,
            name: check_name("name", name)?,
        })
    }

    /// Returns the path of the same object in another group or version.
    ///
    /// # Errors
    ///
    /// Fails when either is not a name.
    pub fn group_version(self, group: &str, version: &str) -> Result<Self, NameError> {
        Ok(ObjectPath { group: check_name("group", group)?, version: check_name("version", version)?, ..self })
    }

    /// Returns the API group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Returns the version of the group.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the object's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the object's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the span for log lines about the object.
    pub(in crate::kubernetes) fn span(&self, role: Option<&str>) -> Span {
        vmcp_span(&self.namespace, &self.name, role)
    }

    /// Returns the path and query of a request about the object. `subresource` is empty
    /// or begins with a slash; `query` is empty or begins with a question mark.
    pub fn uri(&self, subresource: &str, query: &str) -> String {
        let ObjectPath { group, version, namespace, name } = self;
        format!("/apis/{group}/{version}/namespaces/{namespace}/{PLURAL}/{name}{subresource}{query}")
    }
}
