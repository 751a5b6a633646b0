//! The group whose members are checked.

use std::time::Duration;

use clap::Command;
use clap::error::ErrorKind;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;
use tokio::time::timeout;
use vmcp_status::StatusHandle;
use vmcp_status::api_server::{Refusal, RefusalKind};
use vmcp_status::custom_resource::{KIND, PLURAL};
use vmcp_status_discovery::CheckLimit;
use vmcp_status_discovery::group::{CheckOptions, GroupDiscovery, GroupOptions, checks_of, group_of};
use vmcp_status_discovery::probe::Prober;

use super::super::config::Config;
use super::super::target::{ClusterContext, TargetArgs, group_version};
use crate::global::Failure;

/// A server that takes longer to answer does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A group of a cluster.
pub(super) struct Group {
    cluster: ClusterContext,
    name: String,
    /// Whether the spec of the vMCP names it.
    is_of_spec: bool,
    /// How that spec wants its members checked, as far as it was read to name it.
    pub(super) spec: CheckOptions,
}

impl Group {
    /// The group that was named, or the one that the spec of the
    /// `VirtualMCPServer` names that is reported to.
    pub(super) async fn find(
        target: &TargetArgs,
        named: Option<&str>,
        configured: Option<&str>,
    ) -> Result<Self, Failure> {
        if named.is_none() && !target.is_cluster(configured)? {
            let nothing = "nothing to check: give backends with --config, or a group of a cluster with --group";
            Command::new("vmcp-status run").error(ErrorKind::MissingRequiredArgument, nothing).exit();
        }
        let cluster = target.cluster(configured).await?;
        let (name, spec) = match (named, &cluster.object) {
            (Some(name), _) => (name.to_owned(), CheckOptions::default()),
            (None, Some(object)) => named_by(&cluster, object).await?,
            (None, None) => return Err("give the group with --group".into()),
        };
        tracing::info!(group = name, namespace = cluster.namespace, "backends are those of the group");
        Ok(Group { cluster, name, is_of_spec: named.is_none(), spec })
    }

    pub(super) fn start(
        self,
        config: &Config,
        prober: Prober,
        limit: CheckLimit,
        handle: &StatusHandle,
    ) -> Result<GroupDiscovery, Failure> {
        let Group { cluster, name, is_of_spec, .. } = self;
        let ClusterContext { client, namespace, object, api_version } = cluster;
        let (api_group, api_version) = group_version(&api_version)?;
        let options = GroupOptions {
            checks: config.checks.clone(),
            vmcp: object,
            follow_group: is_of_spec,
            limit,
            api_group: api_group.to_owned(),
            api_version: api_version.to_owned(),
            reserved: config.names().collect(),
        };
        Ok(GroupDiscovery::start(client, &namespace, &name, handle, prober, options)?)
    }
}

/// The group that the spec of this object names, and how its members are checked.
async fn named_by(cluster: &ClusterContext, object: &str) -> Result<(String, CheckOptions), Failure> {
    let (group, version) = group_version(&cluster.api_version)?;
    let kind = GroupVersionKind::gvk(group, version, KIND);
    let resource = ApiResource::from_gvk_with_plural(&kind, PLURAL);
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let what = format!("{KIND} {}/{object}", cluster.namespace);
    let fault = |why: &str| format!("cannot read which group {what} names: {why}");
    let found: Value = match timeout(PATIENCE, api.get(object)).await {
        Ok(Ok(found)) => found.data,
        Ok(Err(kube::Error::Api(status))) => {
            let grant = format!(
                "give the group with --group, or grant the verb get on {PLURAL} \
                 (vmcp-status rbac --discovery prints the role)"
            );
            return Err(fault(match Refusal::from(&*status).kind() {
                RefusalKind::Unauthorized => "the credentials are not accepted: have they expired?",
                kind if kind.is_forbidden() => &grant,
                kind if kind.is_not_found() => {
                    "there is no such object, or no such --api-version: create it, or give the group with --group"
                }
                _ => "the API server refuses: give the group with --group",
            })
            .into());
        }
        Ok(Err(error)) => return Err(Unreadable { what: fault("no answer from the API server"), source: error }.into()),
        Err(_) => return Err(fault(&format!("no answer from the API server in {PATIENCE:?}")).into()),
    };
    let named = group_of(&found).map(|group| (group.to_owned(), checks_of(&found)));
    named.ok_or_else(|| format!("{what} names no group: give backends with --config, or a group with --group").into())
}

#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Unreadable {
    what: String,
    source: kube::Error,
}
