mod odd_values;
mod status_file;
mod unknown_words;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader, stdin};
use vmcp_status::{Status, StatusHandle, Update};

use self::unknown_words::UnknownWords;
use super::health::HealthArgs;
use super::target::{TargetArgs, exit_code};
use crate::global::{Failure, Global, say};
use crate::parse_error;
use crate::signals::{EndSignals, HangUp};

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

A line has at most 8 MiB; a longer one is skipped and counts as bad.

After SIGTERM, ctrl-C or SIGHUP it reads on to the end of its input, for
--shutdown-grace at most, and stores what it has read.

Exit codes: 0 all is stored; 1 a line was bad or something is not stored; 2 wrong usage."#;

/// A line beyond this is not an update: 10,000 backends with long messages take
/// less.
const MAX_LINE_MIB: usize = 8;
const MAX_LINE: usize = MAX_LINE_MIB << 20;
/// A longer line gives its memory back once it has been read.
const KEPT_LINE: usize = 64 << 10;

/// Report updates from standard input, one JSON object a line, or one status from a file
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReportArgs {
    /// Report the one status in this file and end: a status, or an object with one, as get -o json prints (JSON or YAML; - is standard input)
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Derive phase, message and conditions from the backends until an update sets them
    #[arg(long)]
    derive: bool,
    /// Take a phase, or a status of a backend, that this version does not know for an error; otherwise it is logged and becomes Pending, or unknown
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    health: HealthArgs,
}

pub(crate) async fn report(args: ReportArgs, global: &Global) -> Result<ExitCode, Failure> {
    let mut words = UnknownWords::new(args.strict);
    let status = match &args.file {
        Some(file) => Some(read_status(file, &mut words).await?),
        None => None,
    };
    let mut signals = EndSignals::new(HangUp::Ends)?;
    let grace = args.target.shutdown_grace();
    let bound = args.health.bind().await?;
    let (handle, reporter) = args.target.reporter(global, None).await?.derive_phase(args.derive).start();
    let endpoints = bound.serve(&handle, args.target.readiness(None)?);
    let mut lines = Lines { bad: 0, words };
    let read = match status {
        Some(status) => {
            let _ = handle.report(status);
            Ok(())
        }
        None => lines.read_input(&handle, &mut signals, grace).await,
    };
    // What has been read is stored however the reading ended.
    let outcome = reporter.shutdown().await;
    endpoints.end().await;
    let code = exit_code(&outcome);
    read.map_err(|error| format!("cannot read standard input: {error}"))?;
    let bad = lines.bad;
    if bad > 0 {
        say(&format!("error: {bad} of the lines were no updates, the others were reported"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(code)
}

/// The lines of standard input.
struct Lines {
    /// How many were no updates.
    bad: u64,
    words: UnknownWords,
}

impl Lines {
    /// Passes on the updates of standard input until its end. A signal gives the
    /// sender, who may have got it too, the grace to say its last words.
    async fn read_input(
        &mut self,
        handle: &StatusHandle,
        signals: &mut EndSignals,
        grace: Duration,
    ) -> std::io::Result<()> {
        let mut reading = pin!(self.pass_on(BufReader::new(stdin()), handle));
        let signal = tokio::select! {
            biased;
            read = &mut reading => return read,
            signal = signals.wait() => signal,
        };
        if std::io::stdin().is_terminal() {
            tracing::info!(signal, "ending");
            return Ok(());
        }
        tracing::info!(signal, "ending once the input ends");
        // Reads before it looks at the time, so that a grace of zero reads what waits.
        tokio::time::timeout(grace, reading).await.unwrap_or_else(|_| {
            tracing::warn!("the input did not end within --shutdown-grace, what comes now is not read");
            Ok(())
        })
    }

    /// Passes on the updates of a stream, and counts the lines that are none.
    async fn pass_on(&mut self, mut lines: impl AsyncBufRead + Unpin, handle: &StatusHandle) -> std::io::Result<()> {
        let mut line = Vec::new();
        for number in 1u64.. {
            line.clear();
            line.shrink_to(KEPT_LINE);
            let whole = read_line(&mut lines, &mut line).await?;
            let Some(whole) = whole else { break };
            if line.iter().all(u8::is_ascii_whitespace) && whole {
                continue;
            }
            let parsed = if whole { self.parse(&line) } else { Err(format!("longer than {MAX_LINE_MIB} MiB")) };
            match parsed {
                Ok(update) => {
                    // What a reporter that has ended leaves unstored is in its outcome.
                    let _ = handle.send(update);
                }
                Err(reason) => {
                    self.bad += 1;
                    say(&format!("line {number}: not an update: {reason}"));
                }
            }
            // A fast sender must not keep the reporter from its work on a machine
            // with one core.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn parse(&mut self, line: &[u8]) -> Result<Update, String> {
        let update = parse_update(line)?;
        self.words.check(&update, || serde_json::from_slice(line).unwrap_or_default())?;
        Ok(update)
    }
}

/// Every line is one for the parser, so its own line number would only confuse.
fn parse_update(line: &[u8]) -> Result<Update, String> {
    let update = Update::from_json(line);
    let (update, faults) =
        update.map_err(|error| format!("{} at column {}", parse_error::json(&error), error.column()))?;
    odd_values::log(&faults);
    Ok(update)
}

/// Reads up to the end of a line: `Some(false)` for one that is too long, of
/// which nothing is kept; `None` at the end.
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
        } else {
            *line = Vec::new();
        }
        lines.consume(length + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}

async fn read_status(file: &Path, words: &mut UnknownWords) -> Result<Status, Failure> {
    let text = if file == Path::new("-") {
        let mut text = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stdin(), &mut text).await?;
        text
    } else {
        tokio::fs::read(file).await.map_err(|error| format!("cannot read {}: {error}", file.display()))?
    };
    status_file::parse(&text, words).map_err(|reason| format!("{} holds no status: {reason}", file.display()).into())
}

#[cfg(test)]
mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn lines_of(text: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut reader = BufReader::with_capacity(piece, text);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut lines = Vec::new();
            loop {
                let mut line = Vec::new();
                match read_line(&mut reader, &mut line).await.expect("bytes in memory") {
                    Some(whole) => assert!(whole, "none is too long"),
                    None => return lines,
                }
                lines.push(line);
            }
        })
    }

    fn strict() -> Lines {
        Lines { bad: 0, words: UnknownWords::new(true) }
    }

    /// A value in a place where it may not be.
    fn misplaced() -> impl Strategy<Value = String> {
        let value = prop::sample::select(vec![
            r#""http://me:s3cret@host/?s3cret""#,
            r#""s3cret, expected s3cret""#,
            r#""`s3cret`, expected one of `s3cret`""#,
            r#"{"http://me:s3cret@host":1}"#,
            r#"["s3cret"]"#,
            r#"{"name":"a","status":["s3cret"]}"#,
            r#"{"name":"a","lastHealthCheck":"s3cret"}"#,
            r#"{"name":"a","circuitBreakerState":"s3cret"}"#,
            r#"{"name":"a","consecutiveFailures":"s3cret"}"#,
            r#"{"name":"a","url":{"s3cret":"s3cret"}}"#,
            r#"{"phase":{"s3cret":1}}"#,
            r#"{"phase":"http://me:s3cret@host"}"#,
            r#"{"name":"http://me:s3cret@host","status":"http://me:s3cret@host"}"#,
            r#"{"discoveredBackends":"s3cret"}"#,
            r#"{"conditions":["s3cret"]}"#,
            r#"{"conditions":[{"type":"a","status":"s3cret"}]}"#,
            r#"{"type":"Ready","status":"s3cret"}"#,
            r#"{"source":"s","backends":"s3cret"}"#,
            r#""s3cret"#,
            "s3cret",
            "7",
            "null",
        ]);
        let kind = prop::sample::select(vec![
            "snapshot",
            "upsertBackend",
            "upsertBackendOf",
            "removeBackend",
            "replaceBackends",
            "setCondition",
            "setPhase",
            "derivePhase",
            "setObservedGeneration",
            "http://me:s3cret@host",
            "s3cret",
            "a`, expected `s3cret",
        ]);
        (kind, value, any::<bool>())
            .prop_map(|(kind, value, whole)| if whole { value.to_owned() } else { format!("{{\"{kind}\":{value}}}") })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn lines_are_the_same_in_any_pieces(text in vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..60), piece in 1usize..9) {
            let mut expected: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
            expected.pop_if(|last| last.is_empty());
            prop_assert_eq!(lines_of(&text, piece), expected);
        }

        #[test]
        fn any_bytes_are_an_update_or_refused(line in vec(any::<u8>(), 0..60)) {
            let mut lines = strict();
            let _ = lines.parse(&line);
            let _ = status_file::parse(&line, &mut lines.words);
        }

        #[test]
        fn a_line_that_is_no_update_is_refused_without_what_it_holds(line in misplaced()) {
            let mut lines = strict();
            if let Err(reason) = lines.parse(line.as_bytes()) {
                prop_assert!(!reason.contains("s3cret"), "{reason}: {line}");
            }
            if let Err(reason) = status_file::parse(line.as_bytes(), &mut lines.words) {
                prop_assert!(!reason.contains("s3cret"), "{reason}: {line}");
            }
        }
    }
}
