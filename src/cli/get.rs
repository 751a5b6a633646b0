use std::process::ExitCode;

use clap::Args;

use super::{Failure, Global};

/// Show what a vMCP reported
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// Which one; all without it
    name: Option<String>,
}

pub(crate) async fn get(_args: GetArgs, _global: &Global) -> Result<ExitCode, Failure> {
    Ok(ExitCode::SUCCESS)
}
