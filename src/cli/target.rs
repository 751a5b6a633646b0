//! Where a command's status is stored, and the reporter that stores it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use vmcp_status::{FileSink, Outcome, Reporter, ReporterBuilder, StateFile, StateFileError};

use super::{Failure, Global};

const DEFAULT_NAME: &str = "vmcp";

/// What the commands that report understand.
#[derive(Args, Clone, Debug)]
pub(crate) struct TargetArgs {
    /// Name of the vMCP [default: the configuration's, else vmcp]
    #[arg(long, value_name = "NAME", env = "VMCP_NAME")]
    name: Option<String>,
    /// Write at most once in this time
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    write_interval: Duration,
    /// Compare with the store and bring times up to date this often; 0s: never
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    refresh: Duration,
    /// How long the last write may take at the end
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    shutdown_grace: Duration,
}

impl TargetArgs {
    /// The name given here, else the one in the configuration.
    pub(crate) fn name<'a>(&'a self, configured: Option<&'a str>) -> &'a str {
        self.name.as_deref().or(configured).unwrap_or(DEFAULT_NAME)
    }

    /// A reporter to the store that arguments and environment name.
    pub(crate) fn reporter(&self, global: &Global, name: &str) -> Result<ReporterBuilder, Failure> {
        let refresh = Some(self.refresh).filter(|refresh| !refresh.is_zero());
        let sink = FileSink::in_dir(&state_dir(global)?, name)?.refreshed_every(refresh);
        tracing::debug!(path = %sink.path().display(), "reporting to a state file");
        Ok(Reporter::builder(sink)
            .write_interval(self.write_interval)
            .periodic_interval(refresh)
            .shutdown_grace(self.shutdown_grace))
    }
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
            anstream::eprintln!("error: the last status is not stored: {}", unstored.why);
            ExitCode::FAILURE
        }
    }
}

/// The signals that ask a process to end.
pub(crate) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(EndSignals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for SIGTERM or ctrl-C; returns which.
    pub(crate) async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "ctrl-C",
        }
    }
}
