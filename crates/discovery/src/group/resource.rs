//! The kinds of object that a group is made of.

use kube::core::{ApiResource, GroupVersionKind};
use vmcp_status::custom_resource::{KIND, PLURAL};

/// One kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resource {
    Server,
    RemoteProxy,
    Entry,
    AuthConfig,
    Group,
    /// The vMCP itself.
    Vmcp,
    /// A kind of Kubernetes itself. Not among [`Resource::ALL`]: single objects of it are watched.
    ConfigMap,
}

impl Resource {
    pub(super) const ALL: [Resource; 6] = [
        Resource::Server,
        Resource::RemoteProxy,
        Resource::Entry,
        Resource::AuthConfig,
        Resource::Group,
        Resource::Vmcp,
    ];
    /// Those whose objects are backends. Where two have the same name, the
    /// kind that comes first here keeps it.
    pub(super) const BACKENDS: [Resource; 3] = [Resource::Server, Resource::RemoteProxy, Resource::Entry];

    pub(super) const fn kind(self) -> &'static str {
        match self {
            Resource::Server => "MCPServer",
            Resource::RemoteProxy => "MCPRemoteProxy",
            Resource::Entry => "MCPServerEntry",
            Resource::AuthConfig => "MCPExternalAuthConfig",
            Resource::Group => "MCPGroup",
            Resource::Vmcp => KIND,
            Resource::ConfigMap => "ConfigMap",
        }
    }

    /// Also the name of the source of its backends.
    pub(super) const fn plural(self) -> &'static str {
        match self {
            Resource::Server => "mcpservers",
            Resource::RemoteProxy => "mcpremoteproxies",
            Resource::Entry => "mcpserverentries",
            Resource::AuthConfig => "mcpexternalauthconfigs",
            Resource::Group => "mcpgroups",
            Resource::Vmcp => PLURAL,
            Resource::ConfigMap => "configmaps",
        }
    }

    /// Several of them, in a sentence.
    pub(super) const fn many(self) -> &'static str {
        match self {
            Resource::Server => "MCPServers",
            Resource::RemoteProxy => "MCPRemoteProxies",
            Resource::Entry => "MCPServerEntries",
            Resource::AuthConfig => "MCPExternalAuthConfigs",
            Resource::Group => "MCPGroups",
            Resource::Vmcp => "VirtualMCPServers",
            Resource::ConfigMap => "ConfigMaps",
        }
    }

    pub(super) fn api(self, group: &str, version: &str) -> ApiResource {
        let (group, version) = if self == Resource::ConfigMap { ("", "v1") } else { (group, version) };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, self.kind()), self.plural())
    }

    /// The name of a backend whose plain name is taken: no object has a slash
    /// in its name, so no other backend has it.
    pub(super) fn qualified(self, name: &str) -> String {
        format!("{}/{name}", self.kind().to_ascii_lowercase())
    }
}
