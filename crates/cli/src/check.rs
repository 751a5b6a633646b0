//! `vmcp-status check`: would a reporter work, and if not, what is to be done?
//! Asking is apart from judging, which is pure.

mod diagnose;
mod finding;
mod locate;
mod probe;
mod writers;

use std::fmt::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use chrono::Utc;
use clap::Args;
use vmcp_status::api_server::ObjectPath;
use vmcp_status::custom_resource::API_VERSION;
use vmcp_status::{connect, error_chain};

use self::diagnose::judge;
use self::finding::{Finding, Verdict};
use self::probe::ask;
use super::format::plain;
use super::target::{ClusterArgs, LocationArgs, group_version};
use crate::get;
use crate::global::Failure;

const EXAMPLES: &str = "Nothing is written: reads change nothing, and writes are dry runs.

location tells where a reporter with this --status-location would write, and
operator, where the object has a status.runtime, whether ToolHive's operator shows
at the top level, which users see, the backends that are reported there. writers
names who has written there: of several at a time, each overwrites the others.

Examples:
  vmcp-status check my-vmcp -n my-namespace
  vmcp-status check my-vmcp --context staging
  kubectl exec deploy/my-vmcp -- vmcp-status check     # as the pod, named by its environment

Exit codes: 0 a reporter would work; 1 it would not; 2 wrong usage.";

/// Ask a cluster whether a reporter would work, and say what to do if not
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    /// The VirtualMCPServer
    #[arg(env = "VMCP_NAME")]
    name: String,
    /// Its namespace; without it, that of the pod or context
    #[arg(short, long, value_name = "NAMESPACE", env = "VMCP_NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// API version of the CRD
    #[arg(long, value_name = "GROUP/VERSION", default_value = API_VERSION)]
    api_version: String,
    #[command(flatten)]
    location: LocationArgs,
}

pub(crate) async fn check(args: CheckArgs) -> Result<ExitCode, Failure> {
    let findings = findings(&args).await?;
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    get::print_text(findings.iter().map(line).collect()).await?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn findings(args: &CheckArgs) -> Result<Vec<Finding>, Failure> {
    let (group, version) = group_version(&args.api_version)?;
    let client = match connect(args.cluster.kubeconfig.as_deref(), args.cluster.context.as_deref()).await {
        Ok(client) => client,
        // What this error says ends with what to do.
        Err(error) => return Ok(vec![Finding::fail("cluster", error_chain(&error))]),
    };
    let namespace = args.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let namespace = namespace.unwrap_or_else(|| client.default_namespace()).to_owned();
    let target = ObjectPath::new(&namespace, &args.name)?.group_version(group, version)?;
    let answers = ask(&client, &target).await;
    Ok(judge(&target, args.location.location(), &answers, Utc::now()))
}

/// A finding, with what to do under it.
fn line(finding: &Finding) -> String {
    let (mark, colour) = match finding.verdict {
        Verdict::Ok => ("ok  ", AnsiColor::Green),
        Verdict::Warn => ("warn", AnsiColor::Yellow),
        Verdict::Fail => ("FAIL", AnsiColor::Red),
    };
    let style = Style::new().fg_color(Some(colour.into()));
    let mut line = format!("{style}{mark}{style:#} {:<11} {}\n", finding.question, plain(&finding.found));
    if let Some(advice) = &finding.advice {
        writeln!(line, "{:16} {}", "", plain(advice)).expect("a string takes it");
    }
    line
}
