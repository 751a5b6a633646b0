use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use vmcp_status::discovery::Checks;
use vmcp_status::discovery::probe::{Prober, ProberOptions};
use vmcp_status::{Phase, StatusHandle};

use super::config::Config;
use super::health::HealthArgs;
use super::target::{EndSignals, TargetArgs, exit_code};
use super::{Failure, Global, get};

const EXAMPLES: &str = "The configuration:
  name: my-vmcp                 # of the vMCP; --name and VMCP_NAME come first
  interval: 30s                 # time between two checks of a backend
  timeout: 10s                  # for one check
  degradedAbove: 2s             # a slower backend is degraded
  maxConcurrentChecks: 16
  caFile: extra-ca.pem          # trusted beside the system's certificates
  insecureSkipTlsVerify: false  # true: anybody on the way can read the tokens
  backends:
  - name: weather
    url: https://weather.example/mcp
    authType: oauth2            # reported as it stands here
    authConfigRef: weather-auth
    bearerTokenEnv: WEATHER_TOKEN   # or bearerTokenFile; read before each check
    interval: 1m                # interval, timeout and degradedAbove of its own

Examples:
  vmcp-status run -c vmcp.yaml
  vmcp-status run -c vmcp.yaml --once
  kill -HUP PID                 # after the configuration was changed

Exit codes: 0 ended as asked and all is stored; 1 something failed; 2 wrong usage.";

/// Check backends as an MCP client, and report how they are until SIGTERM or ctrl-C
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    /// The backends, in YAML; read again on SIGHUP
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Check every backend once, store and print what was found, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    health: HealthArgs,
}

pub(crate) async fn run(args: RunArgs, global: &Global) -> Result<ExitCode, Failure> {
    let mut config = Config::load(&args.config)?;
    if args.once {
        // No backend is checked twice while another's first check goes on.
        config.backends.iter_mut().for_each(|backend| backend.interval = Duration::MAX);
    }
    let name = args.target.name(config.name.as_deref())?;
    let prober = Prober::new(ProberOptions {
        accept_invalid_certs: config.insecure_skip_tls_verify,
        extra_ca: config.extra_ca.clone(),
        ..ProberOptions::default()
    })?;
    let mut signals = EndSignals::new()?;
    let bound = args.health.bind().await?;
    let (handle, reporter) = args.target.reporter(global, config.name.as_deref()).await?.start();
    let endpoints = bound.serve(&handle, args.target.readiness(config.name.as_deref())?);
    let mut checks = Checks::new(prober, handle.source("config"), config.max_concurrent_checks);

    let count = config.backends.len();
    // Until each has been looked at once the whole is neither good nor bad.
    handle.set_phase(Phase::Pending, format!("Starting, checking {count} backends"));
    checks.set(config.backends).await;
    if args.once {
        tokio::select! {
            () = checks.first_round() => {}
            signal = signals.wait() => tracing::info!(signal, "ending early"),
        }
        handle.derive_phase();
    } else {
        keep_checking(&args.config, &mut checks, &handle, &mut signals).await?;
    }
    checks.end().await;
    let outcome = reporter.shutdown().await;
    endpoints.end().await;
    if args.once
        && let Some(status) = &outcome.stored
    {
        get::print(&name, status).await?;
    }
    Ok(exit_code(&outcome))
}

/// Until a signal asks to end.
async fn keep_checking(
    config: &Path,
    checks: &mut Checks,
    handle: &StatusHandle,
    signals: &mut EndSignals,
) -> std::io::Result<()> {
    let mut reload = signal(SignalKind::hangup())?;
    let mut starting = true;
    let mut first_round = Box::pin(checks.first_round());
    loop {
        tokio::select! {
            signal = signals.wait() => {
                tracing::info!(signal, "ending");
                return Ok(());
            }
            () = &mut first_round, if starting => {
                starting = false;
                handle.derive_phase();
            }
            _ = reload.recv() => match Config::load(config) {
                Ok(new) => {
                    tracing::info!(backends = new.backends.len(), "configuration read again");
                    checks.set(new.backends).await;
                    first_round = Box::pin(checks.first_round());
                }
                Err(error) => {
                    tracing::error!(error = %error, "configuration not changed");
                }
            },
        }
    }
}
