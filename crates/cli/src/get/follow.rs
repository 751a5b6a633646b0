//! `get -w`: prints again when something changed. On a terminal the picture is
//! redrawn in place, else what changed is added at the end.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use tokio::time::{MissedTickBehavior, interval};
use vmcp_status::error_chain;

use super::liveness::ReporterState;
use super::output;
use super::render::{OutputFormat, View};
use super::source::{Fault, Found, Object, Source};
use super::table::Table;
use crate::global::Failure;
use crate::signals::{EndSignals, HangUp};

/// Ages move this often.
const TICK: Duration = Duration::from_secs(1);

/// Shows what was found, and every change from there on, until a signal comes
/// or the reader has gone.
pub(super) async fn follow(
    source: &mut impl Source,
    name: Option<&str>,
    view: View,
    found: Found,
) -> Result<ExitCode, Failure> {
    let mut signals = EndSignals::new(HangUp::Ends)?;
    let shown = async {
        if view.is_table() && output::is_screen() {
            screen(source, name, view, found).await
        } else {
            stream(source, name, view, found).await
        }
    };
    tokio::select! {
        result = shown => result.map(|never| match never {}),
        _ = signals.wait() => Ok(ExitCode::SUCCESS),
        () = output::closed() => Ok(ExitCode::SUCCESS),
    }
}

/// One picture, redrawn in place.
async fn screen(
    source: &mut impl Source,
    name: Option<&str>,
    view: View,
    mut found: Found,
) -> Result<Infallible, Failure> {
    let mut notes = Notes::default();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is due at once.
    tick.tick().await;
    loop {
        output::redraw(view.text(&found.objects, Utc::now())?).await?;
        notes.say(&found, source, output::notes_are_on_screen());
        tokio::select! {
            () = source.changed() => look_again(source, name, &mut found).await,
            _ = tick.tick() => {}
        }
    }
}

/// First all, then what changed.
async fn stream(
    source: &mut impl Source,
    name: Option<&str>,
    view: View,
    mut found: Found,
) -> Result<Infallible, Failure> {
    let mut notes = Notes::default();
    let mut shown: Vec<Object> = Vec::new();
    let mut pages = Pages::new(view);
    loop {
        let is_news = |now: &&Object| {
            let before = shown.iter().find(|before| before.id() == now.id());
            before.is_none_or(|before| differs(before, now, view))
        };
        let text = pages.next(found.objects.iter().filter(is_news))?;
        if !text.is_empty() {
            output::print(text).await?;
        }
        notes.say(&found, source, false);
        shown.clone_from(&found.objects);
        source.changed().await;
        look_again(source, name, &mut found).await;
    }
}

/// Whether a change is worth showing. For a person, that something was written
/// again is none; a program gets to see all.
fn differs(before: &Object, now: &Object, view: View) -> bool {
    let state = |object: &Object| object.liveness.state().map(ReporterState::as_str);
    if before.stale != now.stale || state(before) != state(now) {
        return true;
    }
    if matches!(view.format, OutputFormat::Json | OutputFormat::Yaml) {
        return before.stored != now.stored;
    }
    let who = |object: &Object| object.liveness.reporter.as_ref().map(|reporter| reporter.who.clone());
    let reported = |object: &Object| object.unfollowed.as_ref().map(|unfollowed| unfollowed.summary.clone());
    !before.status.eq_ignoring_times(&now.status)
        || reported(before) != reported(now)
        || (&before.url, who(before)) != (&now.url, who(now))
}

async fn look_again(source: &mut impl Source, name: Option<&str>, found: &mut Found) {
    match source.read(name).await {
        Ok(new) => *found = new,
        // What was found last stays on show.
        Err(error) => {
            found.faults.retain(|fault| fault.name.is_some());
            found.faults.push(Fault { name: None, why: error_chain(error.as_ref()) });
        }
    }
}

/// Pieces of output that follow each other.
struct Pages {
    view: View,
    list: Table<Object>,
    first: bool,
}

impl Pages {
    fn new(view: View) -> Self {
        Pages { view, list: view.list(), first: true }
    }

    fn next<'a>(&mut self, objects: impl Iterator<Item = &'a Object>) -> Result<String, Failure> {
        let now = Utc::now();
        let separator = match self.view.format {
            OutputFormat::Table | OutputFormat::Wide if !self.view.single => return Ok(self.list.lines(objects, now)),
            OutputFormat::Table | OutputFormat::Wide => "\n",
            OutputFormat::Yaml => "---\n",
            OutputFormat::Json | OutputFormat::Name => "",
        };
        let mut text = String::new();
        for object in objects {
            if !std::mem::take(&mut self.first) {
                text += separator;
            }
            text += &self.view.one(object, now)?;
        }
        Ok(text)
    }
}

/// What the program prints beside the data.
#[derive(Default)]
struct Notes {
    known: BTreeSet<String>,
    said: BTreeSet<String>,
}

impl Notes {
    /// Says what is new, or everything again.
    fn say(&mut self, found: &Found, source: &impl Source, again: bool) {
        let notes = self.of(found, source);
        notes.iter().filter(|note| again || !self.said.contains(*note)).for_each(|note| output::say(note));
        self.said = notes;
    }

    fn of(&mut self, found: &Found, source: &impl Source) -> BTreeSet<String> {
        let faulty = found.faults.iter().filter_map(|fault| fault.name.clone());
        let there: BTreeSet<_> = found.objects.iter().map(Object::id).chain(faulty).collect();
        let mut notes: BTreeSet<_> = found.faults.iter().map(|fault| format!("error: {}", fault.why)).collect();
        notes.extend(found.notes.iter().cloned());
        notes.extend(self.known.difference(&there).map(|name| format!("{name} was removed")));
        self.known.extend(there);
        if self.known.is_empty() && found.faults.is_empty() {
            notes.insert(source.nothing());
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use serde_json::json;

    use super::super::liveness::{Liveness, SeenLease};
    use super::super::source::Columns;
    use super::*;

    /// An object whose leader last renewed its Lease at this second.
    fn renewed_at(second: i64) -> Object {
        let read_at = DateTime::UNIX_EPOCH + TimeDelta::seconds(100);
        let renewed = DateTime::UNIX_EPOCH + TimeDelta::seconds(second);
        let spec = json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": renewed.to_rfc3339()});
        let reporter = SeenLease::new(&json!({"spec": spec}), read_at).and_then(|lease| lease.reporter(None));
        Object { liveness: Liveness { reporter, ..Liveness::default() }, ..Object::default() }
    }

    #[test]
    fn reporter_that_goes_is_worth_showing_and_one_that_renews_is_not() {
        for format in [OutputFormat::Table, OutputFormat::Json] {
            let view = View { format, columns: Columns::Namespace, headers: true, single: true };
            assert!(!differs(&renewed_at(95), &renewed_at(99), view), "{format:?}");
            assert!(differs(&renewed_at(99), &renewed_at(80), view), "{format:?}");
            let stale = Object { stale: Some("old".into()), ..renewed_at(99) };
            assert!(differs(&renewed_at(99), &stale, view), "{format:?}");
        }
    }
}
