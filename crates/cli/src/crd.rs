use std::process::ExitCode;

use clap::Args;

use crate::global::Failure;

/// Print a CRD of VirtualMCPServer for a development cluster without ToolHive
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  vmcp-status crd | kubectl apply -f -")]
pub(crate) struct CrdArgs {}

pub(crate) async fn crd(CrdArgs {}: CrdArgs) -> Result<ExitCode, Failure> {
    super::get::print_text(serde_saphyr::to_string(&vmcp_status::crd())?).await?;
    Ok(ExitCode::SUCCESS)
}
