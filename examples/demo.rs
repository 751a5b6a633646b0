//! Everything on one machine: five MCP servers on loopback, a reporter that checks them,
//! and the state file as it changes. The demo ends by itself.
//!
//! ```text
//! cargo run --example demo
//! ```

use vmcp_status_testkit::mcp;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mcp::{Behaviour, McpServer};
use tokio::sync::watch;
use vmcp_status::{BackendStatus, FileSink, Phase, Progress, Reporter, StateFile, Status};
use vmcp_status_discovery::probe::{Prober, ProberOptions};
use vmcp_status_discovery::{CheckedBackend, HealthChecker};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let weather = McpServer::start(Behaviour::Modern).await;
    let mut files = McpServer::start(Behaviour::Legacy).await;
    let search = McpServer::start(Behaviour::Slow(Duration::from_millis(400))).await;
    let mail = McpServer::start(Behaviour::WantsBearer("a token that we do not have".into())).await;
    let mut tickets = McpServer::start(Behaviour::Modern).await;
    tickets.stop().await;

    let dir = tempfile::tempdir()?;
    let sink = FileSink::in_dir(dir.path(), "demo")?;
    let file = sink.path().to_owned();
    println!("The state is in {}; in another terminal:", file.display());
    println!("  cargo run -p vmcp-status-cli -- get demo --state-dir {}\n", dir.path().display());

    let (handle, reporter) = Reporter::builder(sink).write_interval(Duration::from_millis(300)).start();
    let mut checks = HealthChecker::new(Prober::new(ProberOptions::default())?, handle.source("demo"), 16);
    let servers =
        [("files", &files), ("mail", &mail), ("search", &search), ("tickets", &tickets), ("weather", &weather)];
    let backends: Vec<CheckedBackend> =
        servers.into_iter().map(|(name, server)| backend(name, server)).collect::<Result<_, _>>()?;
    let mut state = Live { watch: handle.watch(), file: &file, shown: None };

    println!("== five backends, none checked yet");
    let _ = handle.set_phase(Phase::Pending, "Starting, checking 5 backends");
    checks.set(backends).await;
    state.shows(|status| status.phase == Phase::Pending).await?;

    println!("== each has been checked: one is slow, one wants credentials, one is down");
    checks.first_round().await;
    let _ = handle.derive_phase();
    state.shows(|status| status.phase == Phase::Degraded).await?;

    println!("== tickets comes up");
    tickets.restart().await;
    state.shows(|status| is(status, "tickets", BackendStatus::Ready)).await?;

    println!("== files goes down");
    files.stop().await;
    state.shows(|status| is(status, "files", BackendStatus::Unavailable)).await?;

    println!("== files is back, and search has become fast");
    files.restart().await;
    search.set(Behaviour::Modern);
    state.shows(|status| status.phase == Phase::Ready).await?;

    checks.shutdown().await;
    let outcome = reporter.shutdown().await;
    let counts = outcome.counts;
    println!("== shut down; everything is stored: {}", outcome.is_complete());
    println!(
        "{} updates: {} began a write, {} went along with one, {} changed nothing",
        counts.received, counts.written, counts.merged, counts.equal
    );
    Ok(())
}

fn backend(name: &str, server: &McpServer) -> Result<CheckedBackend, Failure> {
    Ok(CheckedBackend {
        interval: Duration::from_millis(500),
        timeout: Duration::from_secs(2),
        degraded_above: Duration::from_millis(200),
        ..CheckedBackend::new(name, server.url().parse()?)
    })
}

fn is(status: &Status, name: &str, wanted: BackendStatus) -> bool {
    status.backend(name).is_some_and(|backend| backend.status == wanted)
}

/// The state file, read again whenever something new is stored.
struct Live<'a> {
    watch: watch::Receiver<Progress>,
    file: &'a Path,
    shown: Option<Arc<Status>>,
}

impl Live<'_> {
    /// Prints each new state until one is as wanted.
    async fn shows(&mut self, wanted: impl Fn(&Status) -> bool) -> Result<(), Failure> {
        loop {
            let stored = self.watch.borrow_and_update().stored.clone();
            if stored.is_some() && stored != self.shown {
                let state = StateFile::load(self.file)?;
                print(&state.status);
                self.shown = stored;
                if wanted(&state.status) {
                    return Ok(());
                }
            }
            self.watch.changed().await?;
        }
    }
}

fn print(status: &Status) {
    let Status { phase, message, discovered_backends, .. } = status;
    println!("{phase}: {message}");
    for backend in discovered_backends {
        println!("  {:<8} {:<16} {:<11} {}", backend.name, backend.status, backend.mcp_revision, backend.message);
    }
    println!();
}
