//! Standard output for data, standard error for the rest. Neither may make the
//! program panic when its reader has gone.

use std::io::{self, IsTerminal as _, Write as _, stderr, stdout};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::super::format::plain;
use crate::global::Failure;

/// To the upper left, and all below it gone.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";
/// How soon the program notices that the reader has gone.
const POLL: Duration = Duration::from_millis(250);

/// Prints data. It may take as long as the reader likes, so it happens on a
/// thread of its own: a signal ends the program all the same.
pub(super) async fn print(text: String) -> Result<(), Failure> {
    write(move || {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    })
    .await
}

/// Prints data in place of what the terminal shows.
pub(super) async fn redraw(text: String) -> Result<(), Failure> {
    write(move || {
        // Goes around anstream, which takes out all escapes where no colour is
        // wanted.
        stdout().write_all(CLEAR.as_bytes())?;
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    })
    .await
}

async fn write(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), Failure> {
    spawn_blocking(work).await?.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => error.into(),
        _ => format!("cannot write to standard output: {error}").into(),
    })
}

/// Whether this is the error of a [`print()`] whose reader has gone.
pub(super) fn is_closed(error: &Failure) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Waits until the reader of standard output has gone. Without this, `get -w |
/// head -1` would stay until the next change.
pub(super) async fn closed() {
    loop {
        let out = stdout();
        let mut fds = [PollFd::new(&out, PollFlags::empty())];
        // A system that cannot tell leaves it to the next write.
        if poll(&mut fds, Some(&Timespec::default())).is_ok()
            && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
        {
            return;
        }
        sleep(POLL).await;
    }
}

/// Whether standard output is a terminal that can be cleared.
pub(super) fn is_screen() -> bool {
    stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Whether a [`redraw`] may wipe notes away.
pub(super) fn notes_are_on_screen() -> bool {
    stderr().is_terminal()
}

/// Says something that is no data. It may quote what is foreign.
pub(super) fn say(line: &str) {
    // There is no better place to say that this failed.
    let _ = writeln!(stderr(), "{}", plain(line));
}
