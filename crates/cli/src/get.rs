//! `vmcp-status get`: what was reported, for a person or a program. Where the
//! objects come from, how they look, and how they are followed are apart.

mod follow;
mod liveness;
mod output;
mod render;
mod source;
mod table;

use std::process::ExitCode;

use chrono::Utc;
use clap::{ArgGroup, Args};
use vmcp_status::custom_resource::API_VERSION;
use vmcp_status::{LeaseElection, Status, connect};

use self::liveness::{Liveness, Reporter, ReporterState, StaleAfter};
use self::render::{OutputFormat, View};
use self::source::{Cluster, Columns, Directory, LeaseQuery, Object, Source};
use super::target::{self, ClusterArgs, group_version};
use crate::global::{Failure, Global};

const HELP: &str = "\
State files are read, unless one of -n, -A, --context and --kubeconfig is given:
then the VirtualMCPServers of a cluster, which takes the verbs get, list and (for
-w) watch on virtualmcpservers.

Columns:
  BACKENDS   backends that requests are routed to / backends listed; the two
             apart, as 9900 (5000 listed), where the list was cut for size
  AGE        time since the state was last written; a live writer writes now
             and then though nothing changed
  UPDATED    time since what it says was found (-o wide)
  REPORTER   whether the reporter is alive, time since its last sign of life, and
             its process, in a cluster the holder of its Lease (-o wide)
  LAST CHECK time since the backend, in a list any backend, was last checked
In a cluster, columns are those of kubectl: AGE is the age of the object, READY
the status of its condition Ready.

A phase marked (stale) is the last word of a reporter that is gone: its process has
ended, or its Lease was not renewed for as long as the Lease says, by the clock of
this machine. So is that of a process that has been silent for three times as long as
it promised. Where there is no Lease, and no promise in the state file, a status is
stale ten minutes (--stale-after) after the newest check of a backend, a state file
after its own time if that is later.

JSON and YAML have each object as it is stored, and beside its other members one of
this program:
  vmcpStatus:
    stale: true                       # the mark (stale)
    staleReason: the reporter is …    # only of what is stale
    reporter:                         # only where something tells of it
      state: gone                     # alive, silent, gone
      lastSeen: 2026-11-24T21:35:10Z  # the last renewal, or write of the file
      identity: holder my-pod
    lastCheck: 2026-11-24T21:35:06Z   # of any backend

In a cluster, what is shown is what users see: the top level of the status. Where
the vMCP reports to status.runtime, ToolHive's operator copies it from there. A
phase marked (behind) belongs to a report that the operator has not copied within
5 seconds; with a NAME, the line Reported says when it was made and what it
says. JSON and YAML have both, without that mark.

Reporters that run with --leader-elect have a Lease. Reading it takes the verb get
(of a list: list) on leases of coordination.k8s.io. Without that verb the newest
check alone tells, and a note on standard error says so. A Lease that ended before
the newest check is a leftover and does not count.

With -w, tables are printed again when more than times changed, or redrawn
every second on a terminal; JSON and YAML print each object that changed.

Examples:
  vmcp-status get                       list what is there
  vmcp-status get my-vmcp -o wide       one with all its backends
  vmcp-status get -w                    follow all of them
  vmcp-status get my-vmcp -o json | jq -r .status.phase
  vmcp-status get -A                    what all namespaces of a cluster have
  vmcp-status get -n prod my-vmcp -w    follow one in a cluster
  vmcp-status get -A -o json | jq -r '.items[] | select(.vmcpStatus.stale) | .metadata.name'
  vmcp-status get -o name | xargs -n1 vmcp-status get

Exit codes: 0 shown, or no longer followed; 1 there is none of this name, or one
cannot be read; 2 wrong usage.";

/// Show what was reported: all states, or one with its backends and conditions
#[derive(Args, Debug)]
#[command(after_help = HELP)]
#[command(group = ArgGroup::new("cluster").args(["namespace", "all_namespaces", "context", "kubeconfig"]).multiple(true))]
pub(crate) struct GetArgs {
    /// Which one; all without it
    name: Option<String>,
    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
    /// Print again whenever something changes, until ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// Leave the headers of tables out
    #[arg(long)]
    no_headers: bool,
    /// Without a sign of life of the reporter, call a status stale when its newest check is older than this; 0 or off: never
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = StaleAfter::parse)]
    stale_after: StaleAfter,
    /// Read from a cluster: this namespace [default: that of the pod or context]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Read from a cluster: all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["name", "namespace"])]
    all_namespaces: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// API version of the CRD
    #[arg(long, value_name = "GROUP/VERSION", default_value = API_VERSION, requires = "cluster")]
    api_version: String,
    /// Name of the Lease by which its reporters elect one [default: vmcp-status- and the name]
    #[arg(long, value_name = "NAME", requires_all = ["name", "cluster"])]
    lease_name: Option<String>,
}

impl GetArgs {
    fn is_of_cluster(&self) -> bool {
        self.all_namespaces
            || self.namespace.is_some()
            || self.cluster.context.is_some()
            || self.cluster.kubeconfig.is_some()
    }

    async fn cluster(&self) -> Result<Cluster, Failure> {
        let version = group_version(&self.api_version)?;
        let client = connect(self.cluster.kubeconfig.as_deref(), self.cluster.context.as_deref()).await?;
        let namespace = match &self.namespace {
            _ if self.all_namespaces => None,
            Some(namespace) => Some(namespace.clone()),
            None => Some(client.default_namespace().to_owned()),
        };
        Ok(Cluster::new(client, version, namespace, self.name.as_deref(), self.leases(), self.stale_after)?)
    }

    /// The Leases that tell of what is shown.
    fn leases(&self) -> LeaseQuery {
        match (self.output, &self.name) {
            (OutputFormat::Name, _) => LeaseQuery::None,
            (_, None) => LeaseQuery::All,
            (_, Some(vmcp)) => {
                LeaseQuery::Named(self.lease_name.clone().unwrap_or_else(|| LeaseElection::lease_name(vmcp)))
            }
        }
    }
}

pub(crate) async fn get(args: GetArgs, global: &Global) -> Result<ExitCode, Failure> {
    let shown = if args.is_of_cluster() {
        show(&args, args.cluster().await?).await
    } else {
        show(&args, Directory::new(target::state_dir(global)?, args.stale_after)).await
    };
    match shown {
        // The reader has read enough.
        Err(error) if output::is_closed(&error) => Ok(ExitCode::SUCCESS),
        result => result,
    }
}

/// Prints on standard output; a reader that has gone is no failure.
pub(crate) async fn print_text(text: String) -> Result<(), Failure> {
    match output::print(text).await {
        Err(error) if output::is_closed(&error) => Ok(()),
        result => result,
    }
}

/// Prints what this process has just stored.
pub(crate) async fn print(name: &str, status: &Status) -> Result<(), Failure> {
    let reporter = Reporter {
        state: ReporterState::Alive { vouches: true },
        seen: status.timestamp,
        who: format!("pid {}, this process", std::process::id()),
    };
    let checked = status.discovered_backends.iter().filter_map(|backend| backend.last_health_check).max();
    let object = Object {
        name: name.to_owned(),
        status: status.clone(),
        written: status.timestamp,
        liveness: Liveness { reporter: Some(reporter), checked, ..Liveness::default() },
        ..Object::default()
    };
    let view = View { format: OutputFormat::Table, columns: Columns::Files, headers: true, single: true };
    output::print(view.text(&[object], Utc::now())?).await
}

async fn show(args: &GetArgs, mut source: impl Source) -> Result<ExitCode, Failure> {
    let name = args.name.as_deref();
    let view =
        View { format: args.output, columns: source.columns(), headers: !args.no_headers, single: name.is_some() };
    let found = source.read(name).await?;
    if let Some(name) = name
        && found.objects.is_empty()
    {
        // Found, but not readable?
        let Some(fault) = found.faults.first() else {
            return Err(unknown(name, &source).await?.into());
        };
        output::say(&format!("error: {}", fault.why));
        return Ok(ExitCode::FAILURE);
    }
    if args.watch {
        return follow::follow(&mut source, name, view, found).await;
    }
    output::print(view.text(&found.objects, Utc::now())?).await?;
    found.notes.iter().for_each(|note| output::say(note));
    for fault in &found.faults {
        output::say(&format!("error: {}", fault.why));
    }
    if found.objects.is_empty() && found.faults.is_empty() {
        output::say(&source.nothing());
    }
    Ok(if found.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The message for a name that is not there.
async fn unknown(name: &str, source: &impl Source) -> Result<String, Failure> {
    let place = source.place();
    Ok(match source.names().await? {
        None => format!("no {name:?} {place}; which there are may not be listed"),
        Some(names) if names.is_empty() => format!("no {name:?}: {}", source.nothing()),
        Some(names) => format!("no {name:?} {place}: choose one of {}", names.join(", ")),
    })
}
