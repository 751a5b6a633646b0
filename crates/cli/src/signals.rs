//! The signals that end the program, and what a hang-up means to it.

use std::fs;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What SIGHUP means: a terminal that closes sends it, and so does a person who
/// wants a daemon to read its configuration again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HangUp {
    Ends,
    Reloads,
}

impl HangUp {
    /// What it means to a process with a configuration to reload: a process without
    /// a controlling terminal gets no SIGHUP from one, and `nohup` says that none
    /// shall end the process.
    pub(crate) fn for_daemon(reload_asked_for: bool) -> Self {
        HangUp::from(reload_asked_for, has_terminal(), is_ignored())
    }

    fn from(reload_asked_for: bool, has_terminal: bool, ignored: bool) -> Self {
        if reload_asked_for || ignored || !has_terminal { HangUp::Reloads } else { HangUp::Ends }
    }
}

/// Whether a terminal controls this process: then, and only then, the system opens it
/// under this name.
fn has_terminal() -> bool {
    fs::File::open("/dev/tty").is_ok()
}

/// Whether the process was started with SIGHUP ignored. Only Linux tells; elsewhere
/// the answer is no.
fn is_ignored() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hang_up(&status))
}

/// Reads the mask of ignored signals, in which SIGHUP is the lowest bit.
fn ignores_hang_up(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// The signals that ask a process to end.
pub(crate) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Option<Signal>,
}

impl EndSignals {
    /// Listens for SIGTERM and ctrl-C, and for SIGHUP if that ends the process and the
    /// process was not started to ignore it.
    pub(crate) fn new(hang_up: HangUp) -> std::io::Result<Self> {
        let ends = hang_up == HangUp::Ends && !is_ignored();
        Ok(EndSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: ends.then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    /// Waits for one of them; returns which.
    pub(crate) async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "ctrl-C",
            () = received(self.hang_up.as_mut()) => "SIGHUP",
        }
    }
}

/// The signal that asks a process to read its configuration again.
pub(crate) struct ReloadSignal(Option<Signal>);

impl ReloadSignal {
    /// Listens for SIGHUP if that reloads.
    pub(crate) fn new(hang_up: HangUp) -> std::io::Result<Self> {
        let reloads = hang_up == HangUp::Reloads;
        Ok(ReloadSignal(reloads.then(|| signal(SignalKind::hangup())).transpose()?))
    }

    /// Waits for it.
    pub(crate) async fn wait(&mut self) {
        received(self.0.as_mut()).await;
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hang_up_ends_only_a_process_with_a_terminal_that_neither_ignores_it_nor_asks_for_reloads() {
        assert_eq!(HangUp::from(false, true, false), HangUp::Ends);
        for (asked, terminal, ignored) in [(true, true, false), (false, false, false), (false, true, true)] {
            assert_eq!(HangUp::from(asked, terminal, ignored), HangUp::Reloads);
        }
    }

    #[test]
    fn ignored_hang_up_is_the_lowest_bit_of_the_mask() {
        for (status, ignored) in [
            ("Name:\tx\nSigIgn:\t0000000000000001\nSigCgt:\t0\n", true),
            ("Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t1\n", false),
            ("SigIgn:\tjunk\n", false),
            ("", false),
        ] {
            assert_eq!(ignores_hang_up(status), ignored, "{status}");
        }
    }
}
