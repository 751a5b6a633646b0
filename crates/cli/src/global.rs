//! What all subcommands share: options, how they fail, and how they say so.

use std::path::PathBuf;

use clap::Args;
use vmcp_status::error_chain;

use crate::{format, logging};

/// Whatever ends a command early; `main` prints it with its causes.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What all subcommands understand.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Directory of the state files [default: $XDG_STATE_HOME/toolhive/vmcp]
    #[arg(long, global = true, value_name = "DIR", env = "VMCP_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// What to log: off, error, warn, info, debug, trace, or a filter such as info,vmcp_status=debug [default: info]
    #[arg(long, global = true, value_name = "LEVEL", env = "RUST_LOG")]
    pub(crate) log_level: Option<logging::LogFilter>,
    /// How to log on standard error [default: text on a terminal, else json]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<logging::LogFormat>,
}

/// Prints an error and every cause behind it in one line.
pub(crate) fn print_error(error: &(dyn std::error::Error + 'static)) {
    say(&format!("error: {}", error_chain(error)));
}

/// Prints a line on standard error. What it quotes may be foreign.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    // Standard error may be closed, and then there is no way to say so.
    let _ = writeln!(anstream::stderr(), "{}", format::plain(line));
}
