//! Logs go to standard error; data alone to standard output.

use std::io::{IsTerminal as _, stderr};
use std::str::FromStr;

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
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A filter for log lines, as in `RUST_LOG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = String;

    /// Reads a level, or parts such as `vmcp_status=debug`, separated by commas.
    ///
    /// [`EnvFilter`] takes every single word that is not a level for the name of a
    /// crate, so a misspelt level would silence everything else.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        let is_part = |part: &str| part.is_empty() || is_level(part) || part.contains(['=', '[']);
        if text.split(',').all(is_part) && EnvFilter::try_new(text).is_ok() {
            return Ok(LogFilter(text.to_owned()));
        }
        Err(format!(
            "use a level ({}), or a filter such as info,vmcp_status=debug; --log-level comes before RUST_LOG",
            LEVELS.join(", ")
        ))
    }
}

/// Crates that log what servers answer, word for word. What they find wrong comes
/// back as an error, which the program prints once with what to do about it, so
/// these crates stay silent whatever the filter.
const REVEALING: [&str; 2] = ["kube_client", "kube_runtime"];

pub(crate) fn init(filter: Option<&LogFilter>, format: Option<LogFormat>) {
    // A variable that is set to nothing is not set.
    let filter = filter.map(|filter| filter.0.as_str()).filter(|filter| !filter.trim().is_empty());
    let filter = EnvFilter::new(filter.unwrap_or(DEFAULT));
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_that_env_filter_would_take_for_the_name_of_a_crate_is_refused() {
        for wrong in ["inof", "wran", "info,wran", "vmcp_status=inof", "info;debug", "vmcp_status"] {
            let error = wrong.parse::<LogFilter>().expect_err(wrong);
            assert!(LEVELS.iter().all(|level| error.contains(level)), "{error}");
        }
    }

    #[test]
    fn level_in_any_case_and_filter_with_targets_and_spans_are_accepted() {
        for right in ["", "info", "WARN", "off", "info,hyper=off", "warn,vmcp_status=debug", "[vmcp{vmcp=a}]=trace"] {
            assert!(right.parse::<LogFilter>().is_ok(), "{right}");
        }
    }
}
