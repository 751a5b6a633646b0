//! Logs go to standard error; data alone to standard output.

use std::io::{IsTerminal as _, stderr};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::Global;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// What kube finds wrong comes back to us as an error, and is said once, with
/// what to do about it.
const DEFAULT: &str = "info,kube_client=off,kube_runtime=off";

pub(crate) fn init(global: &Global) {
    let filter = global.log_level.as_deref().unwrap_or(DEFAULT);
    let (filter, complaint) = match EnvFilter::try_new(filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(DEFAULT), Some(error)),
    };
    let terminal = stderr().is_terminal();
    let format = global.log_format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match format {
        Format::Text => subscriber.with_ansi(colour).with_target(false).init(),
        Format::Json => subscriber.json().flatten_event(true).init(),
    }
    if let Some(error) = complaint {
        tracing::warn!(error = %error, "log level not understood, using info");
    }
}
