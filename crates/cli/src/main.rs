//! The program `vmcp-status`: the reporter for a process in any language, and
//! for people who want to see what it reported. One file for each subcommand;
//! wiring only.

// What clap prints is not Markdown.
#![allow(clippy::doc_markdown)]

mod check;
mod config;
mod crd;
mod format;
mod get;
mod global;
mod health;
mod homes;
mod logging;
mod parse_error;
mod rbac;
mod report;
mod run;
mod signals;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::global::{Failure, Global, print_error};

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
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
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
    fn run(self) -> Result<ExitCode, Failure> {
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(cli.global.log_level.as_ref(), cli.global.log_format);
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            print_error(error.as_ref());
            ExitCode::FAILURE
        }
    }
}
