use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader, stdin};
use vmcp_status::{Status, StatusHandle, Update};

use super::health::HealthArgs;
use super::target::{EndSignals, TargetArgs, exit_code};
use super::{Failure, Global, say};

const EXAMPLES: &str = r#"Updates, one a line:
  {"snapshot":{"phase":"Ready","message":"…","discoveredBackends":[{"name":"b1","status":"ready"}]}}
  {"upsertBackend":{"name":"b1","url":"http://b1:8080/mcp","status":"degraded"}}
  {"removeBackend":"b1"}
  {"replaceBackends":{"source":"s","backends":[{"name":"b1","status":"ready"}]}}
  {"upsertBackendOf":{"source":"s","backend":{"name":"b2","status":"ready"}}}
  {"setCondition":{"type":"Ready","status":"True","reason":"ServerReady","message":"…"}}
  {"removeCondition":"Degraded"}
  {"setPhase":{"phase":"Ready","message":"…"}}
  {"derivePhase":{}}
  {"setObservedGeneration":3}

Examples:
  echo '{"upsertBackend":{"name":"b1","status":"ready"}}' | vmcp-status report --derive
  my-gateway --status-updates | vmcp-status report --name my-vmcp
  vmcp-status report --name my-vmcp -f status.json

Exit codes: 0 all is stored; 1 a line was bad or something is not stored; 2 wrong usage."#;

/// A line beyond this is no update.
const MAX_LINE: usize = 64 * 1024 * 1024;

/// Report updates from standard input, one JSON object a line, or one status from a file
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReportArgs {
    /// Report the one status object in this file (JSON or YAML; - is standard input) and end
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Derive phase, message and conditions from the backends until an update sets them
    #[arg(long)]
    derive: bool,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    health: HealthArgs,
}

pub(crate) async fn report(args: ReportArgs, global: &Global) -> Result<ExitCode, Failure> {
    let status = match &args.file {
        Some(file) => Some(read_status(file).await?),
        None => None,
    };
    let mut signals = EndSignals::new()?;
    let bound = args.health.bind().await?;
    let (handle, reporter) = args.target.reporter(global, None).await?.derive_phase(args.derive).start();
    let endpoints = bound.serve(&handle, args.target.readiness(None)?);
    let bad_lines = match status {
        Some(status) => {
            handle.report(status);
            0
        }
        None => tokio::select! {
            bad = pass_on(BufReader::new(stdin()), &handle) => bad?,
            signal = signals.wait() => {
                tracing::info!(signal, "ending");
                0
            }
        },
    };
    let outcome = reporter.shutdown().await;
    endpoints.end().await;
    let code = exit_code(&outcome);
    if bad_lines > 0 {
        say(&format!("error: {bad_lines} of the lines were no updates, the others were reported"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(code)
}

/// Passes on the updates of a stream; returns how many lines were none.
async fn pass_on(mut lines: impl AsyncBufRead + Unpin, handle: &StatusHandle) -> std::io::Result<u64> {
    let mut bad = 0;
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let whole = read_line(&mut lines, &mut line).await?;
        let Some(whole) = whole else { break };
        if line.iter().all(u8::is_ascii_whitespace) && whole {
            continue;
        }
        let parsed = if whole {
            serde_json::from_slice::<Update>(&line).map_err(|error| error.to_string())
        } else {
            Err(format!("longer than {MAX_LINE} bytes"))
        };
        match parsed {
            Ok(update) => {
                handle.send(update);
            }
            Err(reason) => {
                bad += 1;
                say(&format!("line {number}: not an update: {}", without_position(&reason)));
            }
        }
        // A fast sender must not keep the reporter from its work on a machine
        // with one core.
        tokio::task::yield_now().await;
    }
    Ok(bad)
}

/// Every line is one for the parser, so its own line number only confuses.
fn without_position(reason: &str) -> String {
    reason.replace(" at line 1 column ", " at column ")
}

/// Reads up to the end of a line: `Some(false)` for one that is too long, of
/// which the rest is skipped; `None` at the end.
async fn read_line(lines: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> std::io::Result<Option<bool>> {
    let (mut some, mut whole) = (false, true);
    loop {
        let chunk = lines.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(some.then_some(whole));
        }
        some = true;
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let length = end.unwrap_or(chunk.len());
        whole &= line.len() + length <= MAX_LINE;
        if whole {
            line.extend_from_slice(&chunk[..length]);
        }
        lines.consume(length + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}

async fn read_status(file: &Path) -> Result<Status, Failure> {
    let text = if file == Path::new("-") {
        let mut text = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stdin(), &mut text).await?;
        text
    } else {
        tokio::fs::read(file).await.map_err(|error| format!("cannot read {}: {error}", file.display()))?
    };
    // YAML contains JSON, but says less clearly what is wrong with it.
    let status = match serde_json::from_slice(&text) {
        Ok(status) => Ok(status),
        Err(error) if text.trim_ascii_start().starts_with(b"{") => Err(error.to_string()),
        Err(_) => serde_saphyr::from_slice(&text).map_err(|error| error.to_string()),
    };
    status.map_err(|error| format!("{} holds no status: {error}", file.display()).into())
}
