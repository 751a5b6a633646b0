//! Logs go to standard error; data alone to standard output.

use std::io::{IsTerminal as _, stderr};

use clap::ValueEnum;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt, registry};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object a line.
    Json,
}

const DEFAULT: &str = "info";
/// Crates that log what servers answer, word for word. What they find wrong comes
/// back as an error, which the program prints once with what to do about it, so
/// these crates stay silent whatever the filter.
const REVEALING: [&str; 2] = ["kube_client", "kube_runtime"];

pub(crate) fn init(level: Option<&str>, format: Option<LogFormat>) {
    let filter = level.unwrap_or(DEFAULT);
    let (filter, complaint) = match EnvFilter::try_new(filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(DEFAULT), Some(error)),
    };
    let terminal = stderr().is_terminal();
    let format = format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let reveals = |target: &str| REVEALING.contains(&target.split("::").next().unwrap_or_default());
    let filter = filter.and(filter_fn(move |metadata| !reveals(metadata.target())));
    let layer = fmt::layer().with_writer(stderr);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(colour).with_target(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    };
    registry().with(layer.with_filter(filter)).init();
    if let Some(error) = complaint {
        tracing::warn!(error = %error, "log level not understood, using info");
    }
}
