use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use vmcp_status::custom_resource::{APP_NAME, GROUP, PLURAL, STATUS_SUBRESOURCE};
use vmcp_status::{NameError, check_name};

use crate::global::Failure;

const EXAMPLES: &str = "Examples:
  vmcp-status rbac -n my-namespace --service-account my-vmcp | kubectl apply -f -
  vmcp-status rbac -n my-namespace --service-account my-vmcp --discovery
  vmcp-status rbac -n my-namespace --service-account my-vmcp --discovery --vmcp my-vmcp
  vmcp-status rbac -n my-namespace --service-account my-vmcp --cluster-wide

Afterwards, vmcp-status check tells whether the rights are enough; RBAC.md says
what each is for.

Exit codes: 0 printed; 1 nobody could take it; 2 wrong usage.";

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
/// Where the backends of a group are described.
const DISCOVERED: [&str; 5] =
    ["mcpgroups", "mcpservers", "mcpremoteproxies", "mcpserverentries", "mcpexternalauthconfigs"];

/// Print the manifests of the role that a reporter needs, and of its binding
// Each is a flag of its own.
#[allow(clippy::struct_excessive_bools)]
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RbacArgs {
    /// Rights in all namespaces, not in one
    #[arg(long, requires = "namespace")]
    cluster_wide: bool,
    /// With the rights to find backends in the group of the vMCP
    #[arg(long)]
    discovery: bool,
    /// On this VirtualMCPServer alone, not on all of the namespace
    #[arg(long, value_name = "NAME", value_parser = checked)]
    vmcp: Option<String>,
    /// With the rights to make Events about what changes
    #[arg(long)]
    events: bool,
    /// With the rights to elect one of several replicas
    #[arg(long)]
    leader_elect: bool,
    /// Namespace of the service account, and of the role [default: the one it is applied to]
    #[arg(short, long, value_parser = checked)]
    namespace: Option<String>,
    /// Service account of the vMCP's pod
    #[arg(long, value_name = "NAME", default_value = APP_NAME, value_parser = checked)]
    service_account: String,
    /// Name of role and binding
    #[arg(long, value_name = "NAME", default_value = APP_NAME, value_parser = checked)]
    name: String,
}

pub(crate) async fn rbac(args: RbacArgs) -> Result<ExitCode, Failure> {
    let manifests = [args.role(), args.binding()];
    let texts = manifests.iter().map(serde_saphyr::to_string).collect::<Result<Vec<_>, _>>()?;
    super::get::print_text(texts.join("---\n")).await?;
    Ok(ExitCode::SUCCESS)
}

impl RbacArgs {
    fn role(&self) -> Value {
        json!({
            "apiVersion": format!("{RBAC_GROUP}/v1"),
            "kind": self.role_kind(),
            "metadata": self.metadata(),
            "rules": self.rules(),
        })
    }

    fn binding(&self) -> Value {
        let mut subject = json!({"kind": "ServiceAccount", "name": self.service_account});
        // A RoleBinding without one means its own namespace.
        if let Some(namespace) = &self.namespace {
            subject["namespace"] = json!(namespace);
        }
        json!({
            "apiVersion": format!("{RBAC_GROUP}/v1"),
            "kind": format!("{}Binding", self.role_kind()),
            "metadata": self.metadata(),
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": self.role_kind(), "name": self.name},
            "subjects": [subject],
        })
    }

    fn role_kind(&self) -> &'static str {
        if self.cluster_wide { "ClusterRole" } else { "Role" }
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({"name": self.name, "labels": {"app.kubernetes.io/name": APP_NAME}});
        if let Some(namespace) = self.namespace.as_ref().filter(|_| !self.cluster_wide) {
            metadata["namespace"] = json!(namespace);
        }
        metadata
    }

    fn rules(&self) -> Vec<Value> {
        let mut rules = vec![self.limited(rule(GROUP, &[STATUS_SUBRESOURCE], &["patch"]))];
        if self.discovery {
            // The spec of the vMCP itself names the group and says how its members are
            // checked. Asked for by its name, list and watch too are limited to it.
            rules.push(self.limited(rule(GROUP, &[PLURAL], &["get", "list", "watch"])));
            rules.push(rule(GROUP, &DISCOVERED, &["get", "list", "watch"]));
            // Certificates that entries say to trust.
            rules.push(rule("", &["configmaps"], &["list", "watch"]));
        }
        if self.events {
            // A new leader looks whether the last Event told the present phase.
            let verbs: &[&str] = if self.leader_elect { &["create", "patch", "list"] } else { &["create", "patch"] };
            rules.push(rule("events.k8s.io", &["events"], verbs));
        }
        if self.leader_elect {
            rules.push(rule("coordination.k8s.io", &["leases"], &["get", "create", "update"]));
        }
        rules
    }

    /// The same rule, for the one vMCP that is named.
    fn limited(&self, mut rule: Value) -> Value {
        if let Some(vmcp) = &self.vmcp {
            rule["resourceNames"] = json!([vmcp]);
        }
        rule
    }
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

/// A name that the API server would take: what is printed can be applied.
fn checked(name: &str) -> Result<String, NameError> {
    check_name("name", name)
}
