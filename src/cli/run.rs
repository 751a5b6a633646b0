use std::process::ExitCode;

use clap::Args;

use super::{Failure, Global};

/// Check backends and report how they are
#[derive(Args, Debug)]
pub(crate) struct RunArgs {}

pub(crate) async fn run(_args: RunArgs, _global: &Global) -> Result<ExitCode, Failure> {
    Ok(ExitCode::SUCCESS)
}
