//! What was measured, as a table.

use std::time::Duration;

use crate::changes::Times;
use crate::{Extent, Figures, show};

type Row = (&'static str, fn(&Figures) -> f64, fn(f64) -> String);

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// Of all changes, for one.
#[allow(clippy::cast_precision_loss, reason = "far below what a double holds")]
fn each(figures: &Figures, count: u64) -> f64 {
    count as f64 / figures.changes.count as f64
}

#[allow(clippy::cast_precision_loss, reason = "far below what a double holds")]
fn number(count: usize) -> f64 {
    count as f64
}

const ROWS: &[Row] = &[
    ("requests for a change", |it| each(it, it.changes.requests as u64), |it| format!("{it:.1}")),
    ("bytes up", |it| each(it, it.changes.traffic.up), whole),
    ("of them bodies", |it| each(it, it.changes.traffic.body_up), whole),
    ("bytes down", |it| each(it, it.changes.traffic.down), whole),
    ("of them bodies", |it| each(it, it.changes.traffic.body_down), whole),
    ("caller waits, median", |it| median(&it.changes.waited), show::time),
    ("longest", |it| longest(&it.changes.waited), show::time),
    ("report to stored, median", |it| median(&it.changes.stored), show::time),
    ("longest", |it| longest(&it.changes.stored), show::time),
    ("report to the operator's top level, median", |it| median(&it.changes.shown), show::time),
    ("longest", |it| longest(&it.changes.shown), show::time),
    ("backends listed there", |it| number(it.changes.listed), whole),
    ("eight writers: reports lost", |it| number(it.crowd.lost), whole),
    ("of them given up with an error", |it| number(it.crowd.given_up), whole),
    ("of reports", |it| number(it.crowd.reports), whole),
    ("requests for a report", |it| number(it.crowd.requests) / number(it.crowd.reports), |it| format!("{it:.1}")),
    ("caller waits, median", |it| median(&it.crowd.waited), show::time),
    ("longest", |it| longest(&it.crowd.waited), show::time),
    ("all reported after", |it| nanoseconds(it.crowd.took), |it| format!("{:.1} s", it / 1e9)),
];

fn whole(it: f64) -> String {
    format!("{it:.0}")
}

fn median(times: &Times) -> f64 {
    nanoseconds(times.median())
}

fn longest(times: &Times) -> f64 {
    nanoseconds(times.longest())
}

/// Ours by theirs; nothing where that says nothing.
fn ratio(theirs: f64, ours: f64) -> String {
    if theirs > 0.0 && ours > 0.0 { show::ratio(ours / theirs) } else { "–".into() }
}

/// Prints the figures of one size, in the order of [`Kind::ALL`](crate::Kind::ALL).
pub fn print(Extent { backends, .. }: Extent, [peer, ours, unlimited, unpaced]: &[Figures; 4]) {
    println!("\n| {backends} backends | ToolHive's | ours | ratio | ToolHive's, no limit | ours, no pace | ratio |");
    println!("|---|---|---|---|---|---|---|");
    for (what, figure, show) in ROWS {
        let [peer, ours, unlimited, unpaced] = [peer, ours, unlimited, unpaced].map(figure);
        println!(
            "| {what} | {} | {} | {} | {} | {} | {} |",
            show(peer),
            show(ours),
            ratio(peer, ours),
            show(unlimited),
            show(unpaced),
            ratio(unlimited, unpaced)
        );
    }
}

/// Says what the rows mean.
pub fn explain() {
    println!(
        "
A change: one backend fails or recovers, each time after the operator's top level showed the change before. In the
first three columns one kind makes all its changes in a row, as it is: ToolHive's with client-go's limit of 5 requests
a second after a burst of 10, ours with one write a second, so that the second change in a row waits for its turn. In
the last three both work without, in turn: what a lone change costs.
Bytes are those of HTTP/1.1 before TLS, with a service account's token in each request; ToolHive's client has large
answers compressed, ours does not ask for that. What a caller waits is the time of ToolHive's ReportStatus, and that of
our report, which only hands over. Stored and shown is what a watcher sees.
Eight writers on one object, each reporting as soon as its last report was stored or given up. Lost: a report that no
version of the object ever had. ToolHive's ReportStatus gives up after five conflicts and returns the error.
"
    );
}
