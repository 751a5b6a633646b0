//! Where an object is.

use tracing::Span;

use super::vmcp_span;
use crate::custom_resource::{GROUP, PLURAL, VERSION};
use crate::kubernetes::name::{NameError, check_name};

/// Where a `VirtualMCPServer` is. The names are checked, so that they need no
/// escape in a URL.
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
    /// The object of this name, in the group and version of
    /// [`custom_resource`](crate::custom_resource).
    ///
    /// # Errors
    ///
    /// When namespace or name cannot be that of an object.
    pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
        Ok(ObjectPath {
            group: GROUP.into(),
            version: VERSION.into(),
            namespace: check_name("namespace", namespace)?,
            name: check_name("name", name)?,
        })
    }

    /// The same object in another group or version.
    ///
    /// # Errors
    ///
    /// When either is not a name.
    pub fn group_version(self, group: &str, version: &str) -> Result<Self, NameError> {
        Ok(ObjectPath { group: check_name("group", group)?, version: check_name("version", version)?, ..self })
    }

    /// The API group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The version of the group.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The object's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The span in which what concerns the object is logged.
    pub(in crate::kubernetes) fn span(&self) -> Span {
        vmcp_span(&self.namespace, &self.name)
    }

    /// The path of the object on the server. `subresource` is empty or begins
    /// with a slash, `query` is empty or begins with a question mark.
    pub fn uri(&self, subresource: &str, query: &str) -> String {
        let ObjectPath { group, version, namespace, name } = self;
        format!("/apis/{group}/{version}/namespaces/{namespace}/{PLURAL}/{name}{subresource}{query}")
    }
}
