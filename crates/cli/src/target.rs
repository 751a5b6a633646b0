//! Where a command's status is stored, and the reporter that stores it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use kube::Client;
use vmcp_status::custom_resource::API_VERSION;
use vmcp_status::http::Readiness;
use vmcp_status::{
    ElectionOptions, EventOptions, FileSink, KubernetesEvents, KubernetesSink, LeaseElection, Mode, Outcome, Reporter,
    ReporterBuilder, StateFile, StateFileError, StatusLocation, connect,
};

use crate::global::{Failure, Global, say};

const DEFAULT_NAME: &str = "vmcp";

/// What the commands that report understand.
#[derive(Args, Clone, Debug)]
pub(crate) struct TargetArgs {
    /// Name of the vMCP and its state file [default: the configuration's, else $VMCP_NAME, else vmcp]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Report to this VirtualMCPServer of a cluster [default: $VMCP_NAME, if $VMCP_NAMESPACE is set too]
    #[arg(long, value_name = "NAME", conflicts_with = "name", group = "in_cluster")]
    kubernetes: Option<String>,
    /// Its namespace [default: $VMCP_NAMESPACE, else that of the pod or context]
    #[arg(short, long, value_name = "NAMESPACE", requires = "in_cluster")]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// API version of the CRD
    #[arg(long, value_name = "GROUP/VERSION", default_value = API_VERSION)]
    api_version: String,
    #[command(flatten)]
    location: LocationArgs,
    /// Of several replicas let one write, elected by a Lease
    #[arg(long, env = "VMCP_LEADER_ELECT", hide_env_values = true, value_parser = FalseyValueParser::new())]
    leader_elect: bool,
    /// Let another replica take over from one that was silent for this long, 1s to 1h
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = lease_duration, requires = "leader_elect")]
    lease_duration: Duration,
    /// Name of the Lease [default: vmcp-status- and the name of the object]
    #[arg(long, value_name = "NAME", requires = "leader_elect")]
    lease_name: Option<String>,
    /// Write at most once in this time
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    write_interval: Duration,
    /// Compare with the store and bring times up to date this often; 0s: never [default: 30s with a state file; in a cluster 5m, and 1h while --leader-elect has a Lease, whose renewals are the sign of life]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    refresh: Option<Duration>,
    /// How long the last write may take at the end; before it, report reads what is left of its input for as long
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    shutdown_grace: Duration,
    /// Write the state file even if another process writes it too
    #[arg(long, conflicts_with = "in_cluster")]
    force: bool,
    /// Make Kubernetes Events about what changes; the role must allow them: see vmcp-status rbac --events
    #[arg(long, env = "VMCP_EVENTS", value_parser = FalseyValueParser::new())]
    events: bool,
}

/// Which cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterArgs {
    /// Context of the kubeconfig [default: the pod's own credentials, else the current context]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The kubeconfig file [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// In which of its two homes the status of a `VirtualMCPServer` lives.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct LocationArgs {
    /// Where in the object the status is written
    #[arg(
        long,
        value_name = "WHERE",
        value_enum,
        env = "VMCP_STATUS_LOCATION",
        hide_env_values = true,
        default_value_t
    )]
    status_location: LocationName,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LocationName {
    /// status.runtime where the CRD has it and what is written there stays, else
    /// the top level.
    // A variable that is set to nothing is not set.
    #[default]
    #[value(alias = "")]
    Auto,
    /// status.runtime, from which ToolHive's operator fills the top level.
    Runtime,
    /// The top level of the status. A status.runtime that is there is removed,
    /// for the operator would overwrite the top level from it.
    TopLevel,
}

impl LocationArgs {
    pub(crate) fn location(self) -> StatusLocation {
        match self.status_location {
            LocationName::Auto => StatusLocation::Auto,
            LocationName::Runtime => StatusLocation::Runtime,
            LocationName::TopLevel => StatusLocation::TopLevel,
        }
    }
}

/// A place in a cluster.
pub(crate) struct ClusterContext {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// The object that is reported to, if the status goes there.
    pub(crate) object: Option<String>,
    pub(crate) api_version: String,
}

/// How often to refresh by default where no Lease is the sign of life. Readers call
/// times that are twice as old stale.
const REFRESH_WITHOUT_LEASE: Duration = Duration::from_secs(300);

/// Where a status goes.
#[derive(Debug)]
enum Destination {
    File { name: String },
    Kubernetes { namespace: Option<String>, name: String },
}

impl Destination {
    /// How often to refresh by default. In a cluster each refresh writes, since
    /// times have moved: at 30 s these writes would be a hundred times what changes
    /// cost, and each makes ToolHive's operator send its whole list again. Where a
    /// Lease is renewed every few seconds, the renewals show that the reporter is
    /// alive.
    fn refresh(&self, leader_elect: bool) -> Duration {
        match self {
            Destination::File { .. } => Duration::from_secs(30),
            Destination::Kubernetes { .. } if leader_elect => Duration::from_secs(3600),
            Destination::Kubernetes { .. } => REFRESH_WITHOUT_LEASE,
        }
    }
}

impl TargetArgs {
    /// What arguments, configuration and environment say together.
    fn destination(&self, configured: Option<&str>) -> Result<Destination, Failure> {
        if let Some(name) = &self.kubernetes {
            let namespace = self.namespace.clone().or_else(|| variable("VMCP_NAMESPACE"));
            return Ok(Destination::Kubernetes { namespace, name: name.clone() });
        }
        if let Some(name) = &self.name {
            return Ok(Destination::File { name: name.clone() });
        }
        match (variable("VMCP_NAME"), variable("VMCP_NAMESPACE")) {
            (Some(name), Some(namespace)) => Ok(Destination::Kubernetes { namespace: Some(namespace), name }),
            (None, Some(_)) => Err(Mode::from_env().expect_err("half of it is not set").into()),
            (name, None) => {
                let name = configured.map(String::from).or(name).unwrap_or_else(|| DEFAULT_NAME.into());
                Ok(Destination::File { name })
            }
        }
    }

    /// How often to refresh; `None`: never.
    fn refresh_interval(&self, destination: &Destination) -> Option<Duration> {
        let interval = self.refresh.unwrap_or_else(|| destination.refresh(self.leader_elect));
        Some(interval).filter(|interval| !interval.is_zero())
    }

    /// How often to refresh where the role does not allow Leases; `None`: as often as
    /// with one, for that was asked for.
    fn unelected_interval(&self) -> Option<Duration> {
        self.refresh.is_none().then_some(REFRESH_WITHOUT_LEASE)
    }

    fn election(&self) -> ElectionOptions {
        let (lease_duration, lease_name) = (self.lease_duration, self.lease_name.clone());
        ElectionOptions { lease_duration, lease_name, ..ElectionOptions::default() }
    }

    /// How long each step of an orderly end may take.
    pub(crate) fn shutdown_grace(&self) -> Duration {
        self.shutdown_grace
    }

    /// Whether the status goes to a cluster.
    pub(crate) fn is_in_cluster(&self, configured: Option<&str>) -> Result<bool, Failure> {
        Ok(matches!(self.destination(configured)?, Destination::Kubernetes { .. }))
    }

    /// The name of the vMCP.
    pub(crate) fn name(&self, configured: Option<&str>) -> Result<String, Failure> {
        let (Destination::File { name } | Destination::Kubernetes { name, .. }) = self.destination(configured)?;
        Ok(name)
    }

    /// When a process that reports there is ready.
    pub(crate) fn readiness(&self, configured: Option<&str>) -> Result<Readiness, Failure> {
        Ok(match self.destination(configured)? {
            Destination::File { .. } => Readiness::Always,
            Destination::Kubernetes { .. } => Readiness::Stored,
        })
    }

    /// Whether the status goes to a cluster.
    pub(crate) fn is_cluster(&self, configured: Option<&str>) -> Result<bool, Failure> {
        Ok(matches!(self.destination(configured)?, Destination::Kubernetes { .. }))
    }

    /// The cluster, wherever the status goes.
    pub(crate) async fn cluster(&self, configured: Option<&str>) -> Result<ClusterContext, Failure> {
        let (namespace, object) = match self.destination(configured)? {
            Destination::Kubernetes { namespace, name } => (namespace, Some(name)),
            Destination::File { .. } => (self.namespace.clone().or_else(|| variable("VMCP_NAMESPACE")), None),
        };
        let client = connect(self.cluster.kubeconfig.as_deref(), self.cluster.context.as_deref()).await?;
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        Ok(ClusterContext { client, namespace, object, api_version: self.api_version.clone() })
    }

    /// A reporter to the store that arguments, configuration and environment
    /// name.
    pub(crate) async fn reporter(&self, global: &Global, configured: Option<&str>) -> Result<ReporterBuilder, Failure> {
        let destination = self.destination(configured)?;
        let refresh = self.refresh_interval(&destination);
        let builder = match destination {
            Destination::File { .. } if self.leader_elect => {
                let advice = "name an object with --kubernetes, or leave --leader-elect and VMCP_LEADER_ELECT out";
                return Err(format!("leaders are elected in a cluster only: {advice}").into());
            }
            Destination::File { name } => {
                let sink = FileSink::in_dir(&state_dir(global)?, &name)?.refreshed_every(refresh);
                let sink = if self.force { sink.without_lock() } else { sink };
                // What else keeps the lock from being written keeps the state from it too,
                // and the reporter retries that.
                if let Err(error @ StateFileError::InUse { .. }) = sink.lock() {
                    return Err(format!("{error}, or go on beside it with --force").into());
                }
                tracing::debug!(path = %sink.path().display(), "reporting to a state file");
                let span = sink.span();
                Reporter::builder(sink).span(span)
            }
            Destination::Kubernetes { name, .. } => {
                let ClusterContext { client, namespace, .. } = self.cluster(configured).await?;
                tracing::debug!(namespace, name, "reporting to Kubernetes");
                self.reporter_to(client, &namespace, &name)?
            }
        };
        let builder = builder.periodic_interval(refresh).unelected_interval(self.unelected_interval());
        Ok(builder.write_interval(self.write_interval).shutdown_grace(self.shutdown_grace))
    }

    fn reporter_to(&self, client: Client, namespace: &str, name: &str) -> Result<ReporterBuilder, Failure> {
        let (group, version) = group_version(&self.api_version)?;
        let sink = KubernetesSink::new(client.clone(), namespace, name)?
            .group_version(group, version)?
            .location(self.location.location());
        let (identity, span) = (sink.identity(), sink.span());
        let mut builder = Reporter::builder(sink).span(span);
        if self.events {
            builder = builder.on_stored(KubernetesEvents::new(client.clone(), identity, EventOptions::from_env()));
        }
        if self.leader_elect {
            builder = builder.leadership(LeaseElection::start(client, namespace, name, self.election())?);
        }
        Ok(builder)
    }
}

/// The two parts of an `--api-version`.
pub(crate) fn group_version(api_version: &str) -> Result<(&str, &str), Failure> {
    api_version.split_once('/').ok_or_else(|| "--api-version wants GROUP/VERSION".into())
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let sensible = Duration::from_secs(1)..=Duration::from_secs(3600);
    if sensible.contains(&duration) { Ok(duration) } else { Err("use a time between 1s and 1h".into()) }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The directory that arguments and environment name.
pub(crate) fn state_dir(global: &Global) -> Result<PathBuf, StateFileError> {
    global.state_dir.clone().map_or_else(StateFile::default_dir, Ok)
}

/// The exit code after a shutdown; says what is not stored.
pub(crate) fn exit_code(outcome: &Outcome) -> ExitCode {
    match &outcome.unstored {
        None => ExitCode::SUCCESS,
        Some(unstored) => {
            say(&format!("error: the last status is not stored: {}", unstored.why));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        target: TargetArgs,
    }

    fn refresh(args: &[&str]) -> Option<Duration> {
        let Program { target } = Program::parse_from([&["program"], args].concat());
        let destination = target.destination(None).expect("a name is given");
        target.refresh_interval(&destination)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn refresh_is_hourly_only_where_a_lease_is_the_sign_of_life() {
        assert_eq!(refresh(&["--name", "a"]), Some(30 * SECOND));
        assert_eq!(refresh(&["--kubernetes", "a"]), Some(300 * SECOND));
        assert_eq!(refresh(&["--kubernetes", "a", "--leader-elect"]), Some(3600 * SECOND));
    }

    #[test]
    fn refresh_without_a_lease_is_at_least_every_five_minutes_unless_told_otherwise() {
        let unelected = |args: &[&str]| {
            let Program { target } = Program::parse_from([&["program", "--kubernetes", "a"], args].concat());
            target.unelected_interval()
        };
        assert_eq!(unelected(&["--leader-elect"]), Some(300 * SECOND));
        for time in ["0s", "1h"] {
            assert_eq!(unelected(&["--leader-elect", "--refresh", time]), None, "as asked for");
        }
        for args in [&["--name", "a"][..], &["--kubernetes", "a"]] {
            assert!(refresh(args).is_some_and(|interval| interval <= 300 * SECOND), "{args:?}");
        }
    }

    #[test]
    fn refresh_that_is_asked_for_is_taken_with_and_without_a_lease() {
        for more in [&[][..], &["--leader-elect"]] {
            let with = |time| refresh(&[&["--kubernetes", "a", "--refresh", time], more].concat());
            assert_eq!(with("45s"), Some(45 * SECOND));
            assert_eq!(with("0s"), None);
        }
    }
}
