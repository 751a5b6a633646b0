//! The command line: one file for each subcommand. Wiring only.

// What clap prints is not Markdown.
#![allow(clippy::doc_markdown)]

mod check;
mod config;
mod crd;
mod get;
mod health;
mod homes;
pub(crate) mod logging;
mod rbac;
mod report;
mod run;
mod target;
mod words;
mod wrong;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Whatever ends a command early; `main` prints it with its causes.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

const EXAMPLES: &str = "Examples:
  vmcp-status run -c vmcp.yaml               check backends until SIGTERM
  vmcp-status run -c vmcp.yaml --once        check them once and print the result
  my-gateway | vmcp-status report --derive   report what another process says
  vmcp-status get                            what was reported, all of it
  vmcp-status get my-vmcp -w                 one vMCP, as it changes
  vmcp-status get -n my-namespace            what was reported to a cluster
  vmcp-status check my-vmcp -n my-namespace  whether reporting there would work
  vmcp-status check my-vmcp                  would reporting to a cluster work?

Exit codes: 0 all went well; 1 something failed at run time; 2 wrong usage.";

/// Reports which backends a virtual MCP server found and how they are.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What all subcommands understand.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Directory of the state files [default: $XDG_STATE_HOME/toolhive/vmcp]
    #[arg(long, global = true, value_name = "DIR", env = "VMCP_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or a filter as in RUST_LOG [default: info]
    #[arg(long, global = true, value_name = "LEVEL", env = "RUST_LOG")]
    pub(crate) log_level: Option<String>,
    /// How to log on standard error [default: text on a terminal, else json]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<logging::Format>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Report(report::ReportArgs),
    Get(get::GetArgs),
    Check(check::CheckArgs),
    Rbac(rbac::RbacArgs),
    Crd(crd::CrdArgs),
}

impl Cli {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Cli { global, command } = self;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let code = runtime.block_on(async {
            match command {
                Command::Run(args) => run::run(args, &global).await,
                Command::Report(args) => report::report(args, &global).await,
                Command::Get(args) => get::get(args, &global).await,
                Command::Check(args) => check::check(args).await,
                Command::Rbac(args) => rbac::rbac(args).await,
                Command::Crd(args) => crd::crd(args).await,
            }
        });
        // A thread may hang in a read of standard input.
        runtime.shutdown_background();
        code
    }
}

/// Prints an error and every cause behind it in one line.
pub(crate) fn print_error(error: &dyn std::error::Error) {
    let mut line = format!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    say(&line);
}

/// Prints a line on standard error. What it quotes may be foreign.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    // Nobody may be listening, and then there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{}", words::plain(line));
}
