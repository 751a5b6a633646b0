//! The program `vmcp-status`: the reporter for a process in any language, and
//! for people who want to see what it reported.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    cli::logging::init(&cli.global);
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            cli::print_error(error.as_ref());
            ExitCode::FAILURE
        }
    }
}
