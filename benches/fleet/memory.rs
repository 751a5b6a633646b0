//! What an idle reporter holds in memory: how much a fresh process grows when
//! it starts many. No allocator of our own that counts: that takes `unsafe`,
//! and what the kernel says includes what the allocator wastes.

use std::process::{Command, ExitCode};

use vmcp_status::{BackendStatus, NoOpSink, Reporter};

use crate::sim;

/// Tells this program that it is the fresh process.
pub const ARGUMENT: &str = "--memory";

/// In the fresh process: prints by how many bytes it has grown.
pub fn measure(size: usize) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without I/O");
    let Some(grown) = runtime.block_on(grown(size)) else { return ExitCode::FAILURE };
    println!("{grown}");
    ExitCode::SUCCESS
}

async fn grown(size: usize) -> Option<u64> {
    // The gateway has what it reports; reporter and gateway share it.
    let found: Vec<Vec<_>> =
        (0..size).map(|id| sim::backends(id, BackendStatus::Ready).map(std::sync::Arc::new).collect()).collect();
    let before = resident()?;
    let mut reporters = Vec::with_capacity(size);
    for found in &found {
        let (handle, reporter) = Reporter::builder(NoOpSink::silent()).derive_phase(true).start();
        let _ = handle.source("config").replace_backends(found.iter().cloned());
        handle.flush().await.ok()?;
        reporters.push((handle, reporter));
    }
    Some(resident()?.saturating_sub(before))
}

/// Bytes that the process has in memory.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

pub fn print(sizes: &[usize]) {
    println!("\nMemory of one idle reporter with {} backends, their own content aside", sim::BACKENDS);
    // Of fewer the pages that the process takes say nothing.
    for size in sizes.iter().filter(|size| (1000..=10_000).contains(*size)) {
        match ask(*size) {
            Some(grown) => println!("{size:>7} servers: {:.1} KB", grown as f64 / *size as f64 / 1024.0),
            None => println!("{size:>7} servers: unknown, for there is no /proc here"),
        }
    }
}

fn ask(size: usize) -> Option<u64> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    let output = command.arg(ARGUMENT).arg(size.to_string()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
