mod checker;
mod group;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args};
use vmcp_status::StatusHandle;
use vmcp_status_discovery::group::CheckOptions;
use vmcp_status_discovery::probe::Prober;

use self::checker::Checker;
use self::group::Group;
use super::config::Config;
use super::health::HealthArgs;
use super::target::{TargetArgs, exit_code};
use crate::get;
use crate::global::{Failure, Global};
use crate::signals::{EndSignals, HangUp, ReloadSignal};

const EXAMPLES: &str = "The configuration:
  name: my-vmcp                 # of the vMCP; --name and VMCP_NAME come first
  interval: 30s                 # between two checks of a backend; also healthCheckInterval
  timeout: 10s                  # for one check; also healthCheckTimeout
  degradedAbove: 2s             # a slower backend is degraded
  unhealthyThreshold: 3         # failed checks in a row that make it unavailable
  healthyThreshold: 1           # answered ones in a row that end that
  circuitBreaker:               # pauses the checks of a backend that keeps failing
    enabled: false
    failureThreshold: 5         # failed checks in a row that open the circuit
    timeout: 60s                # then no check for this long, and one that decides
  maxConcurrentChecks: 16
  caFile: extra-ca.pem          # trusted beside the system's certificates
  insecureSkipTlsVerify: false  # true: anybody on the way can read the tokens
  acceptRevisions: []           # of MCP, beside those that are known here
  backends:
  - name: weather
    url: https://weather.example/mcp
    authType: oauth2            # reported as it stands here
    authConfigRef: weather-auth
    bearerTokenEnv: WEATHER_TOKEN   # or bearerTokenFile; read before each check
    revision: 2025-11-25        # ask in this one only; 2024-11-05 is HTTP+SSE
    interval: 1m                # interval, timeout, degradedAbove, thresholds and
                                # circuitBreaker of its own

Examples:
  vmcp-status run -c vmcp.yaml
  vmcp-status run -c vmcp.yaml --once
  kill -HUP PID                 # after the configuration was changed: see --reload-on-hup
  vmcp-status run --kubernetes my-vmcp -n my-namespace           # the group that its spec names
  vmcp-status run --group my-group -n my-namespace               # to a state file
  vmcp-status run --group my-group -n my-namespace --once

Backends of a group are the MCPServers, MCPRemoteProxies and MCPServerEntries that
name it; they are followed as they change, and so is the spec of the
VirtualMCPServer: spec.config.operational.failureHandling says how they are
checked, spec.outgoingAuth with which credentials they are used. With a
configuration too, what it sets comes before the spec, and its own backends are
checked beside them. The rights for it: vmcp-status rbac --discovery.

Exit codes: 0 ended as asked and all is stored; 1 something failed; 2 wrong usage.";

/// Spreads the requests of ten thousand that start in one moment so that an API
/// server can take them: `benches/fleet` has the figures.
const START_JITTER: Duration = Duration::from_secs(5);

/// Check backends as an MCP client, and report how they are until SIGTERM or ctrl-C
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("in_cluster").multiple(true))]
pub(crate) struct RunArgs {
    /// The backends, in YAML; read again on SIGHUP (started in a terminal: with --reload-on-hup)
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Find the backends in this MCPGroup [default without --config: the one that the VirtualMCPServer names]
    #[arg(long, value_name = "GROUP", group = "in_cluster")]
    group: Option<String>,
    /// Check every backend once, store and print what was found, and end
    #[arg(long)]
    once: bool,
    /// Read the configuration again on SIGHUP even if the process was started in a terminal; otherwise SIGHUP ends it there, for a terminal that closes sends it
    #[arg(long, conflicts_with = "once")]
    reload_on_hup: bool,
    /// Wait up to this long before the cluster is asked first, so that many that start in one moment do not all ask in that moment [default: 5s in a cluster]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "once")]
    start_jitter: Option<Duration>,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    health: HealthArgs,
}

pub(crate) async fn run(args: RunArgs, global: &Global) -> Result<ExitCode, Failure> {
    let mut config = args.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
    if args.once {
        // No backend is checked twice while another's first check goes on.
        config.checks.interval = Some(Duration::MAX);
        config.backends.iter_mut().for_each(|backend| backend.interval = Duration::MAX);
    }
    let name = args.target.name(config.name.as_deref())?;
    let group = match (&args.group, &args.config) {
        (None, Some(_)) => None,
        (named, _) => Some(Group::find(&args.target, named.as_deref(), config.name.as_deref()).await?),
    };
    let prober = Prober::new(config.prober_options())?;
    let hang_up = if args.once { HangUp::Ends } else { HangUp::for_daemon(args.reload_on_hup) };
    let (mut signals, mut reloads) = (EndSignals::new(hang_up)?, ReloadSignal::new(hang_up)?);
    let bound = args.health.bind().await?;
    let window = if args.once { Duration::MAX } else { start_window(&config, group.as_ref()) };
    let builder = args.target.reporter(global, config.name.as_deref()).await?;
    let in_cluster = args.target.is_in_cluster(config.name.as_deref())?;
    let default_jitter = if in_cluster && !args.once { START_JITTER } else { Duration::ZERO };
    let jitter = args.start_jitter.unwrap_or(default_jitter);
    let (handle, reporter) = builder.derive_phase(true).start_window(window).start_jitter(jitter).start();
    let endpoints = bound.serve(&handle, args.target.readiness(config.name.as_deref())?);
    let mut checker = Checker::start(config, group, prober, &handle).await?;
    if args.once {
        tokio::select! {
            () = checker.first_round() => drop(handle.first_round_done()),
            signal = signals.wait() => tracing::info!(signal, "ending early"),
        }
    } else {
        keep_checking(&args, &name, &mut checker, &handle, &mut signals, &mut reloads).await;
    }
    checker.shutdown().await;
    let outcome = reporter.shutdown().await;
    endpoints.end().await;
    if args.once
        && let Some(status) = &outcome.stored
    {
        get::print(&name, status).await?;
    }
    Ok(exit_code(&outcome))
}

/// The time in which the first check of every backend ends, if they do not have
/// to wait for each other; law 8 wants nothing written meanwhile that a restart
/// would take back.
fn start_window(config: &Config, group: Option<&Group>) -> Duration {
    let of_spec = group.and_then(|group| group.spec.timeout);
    let of_members = config.checks.timeout.or(of_spec).unwrap_or(CheckOptions::DEFAULT_TIMEOUT);
    let longest = config.backends.iter().map(|backend| backend.timeout).chain([of_members]).max();
    longest.unwrap_or_default().saturating_mul(2).saturating_add(Duration::from_secs(2))
}

/// Until a signal asks to end.
async fn keep_checking(
    args: &RunArgs,
    name: &str,
    checker: &mut Checker,
    handle: &StatusHandle,
    signals: &mut EndSignals,
    reloads: &mut ReloadSignal,
) {
    let mut starting = true;
    let mut first_round = Box::pin(checker.first_round());
    loop {
        tokio::select! {
            signal = signals.wait() => {
                tracing::info!(signal, "ending");
                return;
            }
            () = &mut first_round, if starting => {
                starting = false;
                handle.first_round_done();
            }
            () = reloads.wait() => match &args.config {
                None => tracing::info!("there is no configuration to be read again"),
                Some(file) => match reload(file, args, name, checker).await {
                    Ok(()) => first_round = Box::pin(checker.first_round()),
                    Err(error) => tracing::error!(error = %error, "configuration not changed"),
                },
            },
        }
    }
}

/// Reads the configuration again, and does as it says.
async fn reload(file: &Path, args: &RunArgs, name: &str, checker: &mut Checker) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let (backends, named) = (config.backends.len(), args.target.name(config.name.as_deref())?);
    checker.apply(config).await?;
    tracing::info!(backends, "configuration read again");
    if named != name {
        tracing::warn!(name, configured = named, "another name takes a restart: the status goes where it went before");
    }
    Ok(())
}
