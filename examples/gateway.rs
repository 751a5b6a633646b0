//! A gateway that links the reporter: three discovery tasks that each know only their
//! part, a reported configuration generation, and a graceful shutdown.
//!
//! ```text
//! cargo run --example gateway                  # stores nothing, ends by itself
//! cargo run --example gateway -- my-vmcp       # a state file: vmcp-status get my-vmcp
//! ```
//!
//! Where `VMCP_NAME` and `VMCP_NAMESPACE` are set, and the feature `kubernetes`
//! is on, `vmcp_status::from_env` gives the sink of that object instead.

use std::time::Duration;

use vmcp_status::{
    AnySink, BackendStatus, Condition, ConditionStatus, DiscoveredBackend, FileSink, NoOpSink, Reporter, SourceHandle,
    Status, StatusHandle, condition_type,
};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let sink = match std::env::args().nth(1) {
        Some(name) => AnySink::new(FileSink::new(&name)?),
        None => AnySink::new(NoOpSink::silent()),
    };
    let (handle, reporter) = Reporter::builder(sink)
        .derive_phase(true)
        // Until each backend has been checked once, a restart writes nothing over
        // what an earlier process has stored.
        .start_window(Duration::from_secs(5))
        .start();
    let shown = tokio::spawn(show_changes(handle.clone()));

    // The generation of the configuration that this process has loaded, not of
    // the newest one.
    let _ = handle.set_observed_generation(1);

    // Each task replaces its own list and leaves those of the others alone.
    let tasks = [
        tokio::spawn(discover(handle.source("config"), &["weather", "files"])),
        tokio::spawn(discover(handle.source("workloads"), &["search"])),
        tokio::spawn(discover(handle.source("registry"), &["mail", "tickets"])),
    ];
    tokio::time::sleep(Duration::from_millis(500)).await;
    handle.first_round_done();
    handle.flush().await?;

    // The gateway reports what no discovery task knows as a condition of its own.
    let auth = Condition::new(condition_type::AUTH_CONFIGURED, ConditionStatus::True, "IncomingAuthValid", "")?;
    let _ = handle.set_condition(auth);
    wait_for_the_end().await;

    // The reporter ends first: the tasks notice, because `replace_backends`
    // returns `false`.
    let outcome = reporter.shutdown().await;
    for task in tasks {
        task.await?;
    }
    shown.await?;
    match &outcome.unstored {
        None => {
            println!("everything is stored: {} updates, {} writes", outcome.counts.received, outcome.counts.attempts);
        }
        Some(unstored) => println!("not stored: {}", unstored.why),
    }

    // A gateway that knows everything in one place reports whole snapshots.
    let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
    let whole = Status::derived_from([found("weather", BackendStatus::Ready), found("mail", BackendStatus::Degraded)]);
    let _ = handle.report(whole);
    let outcome = reporter.shutdown().await;
    println!("a snapshot: {}", outcome.stored.as_ref().map_or("", |status| &status.message));
    Ok(())
}

/// Looks for backends until the reporter has ended.
async fn discover(source: SourceHandle, names: &[&str]) {
    for round in 0.. {
        // A real gateway lists workloads and checks each. Here, one of the backends of
        // `registry` is down in every second round.
        let backends = names.iter().map(|name| {
            let down = *name == "tickets" && round % 2 == 1;
            found(name, if down { BackendStatus::Unavailable } else { BackendStatus::Ready })
        });
        if !source.replace_backends(backends) {
            println!("{}: the reporter has ended, and so does this task", source.source());
            return;
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

fn found(name: &str, status: BackendStatus) -> DiscoveredBackend {
    DiscoveredBackend { url: format!("http://{name}:8080/mcp"), status, ..DiscoveredBackend::named(name) }
}

/// Prints what is stored whenever that changes.
async fn show_changes(handle: StatusHandle) {
    let mut progress = handle.watch();
    // This task only watches, so it must not keep the reporter alive.
    drop(handle);
    let mut last = String::new();
    while progress.changed().await.is_ok() {
        let Some(stored) = progress.borrow_and_update().stored.clone() else { continue };
        let line = format!("{}: {}", stored.phase, stored.message);
        if line != last {
            println!("{line}");
            last = line;
        }
    }
}

/// Waits for ctrl-C, at most 3 s, where a real gateway waits for SIGTERM.
async fn wait_for_the_end() {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = tokio::time::sleep(Duration::from_secs(3)) => {}
    }
}
