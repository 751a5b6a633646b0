//! A picture of the outage: requests in each second, one panel for each design.
//! In colours that can be told from white and from black.

use std::fmt::Write as _;
use std::time::Duration;

use crate::DESIGNS;
use crate::Run;
use crate::sim::Design;

const WIDTH: f64 = 800.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 76.0;
const PANEL: f64 = 118.0;
/// Between two panels; the title of the lower one is in it.
const GAP: f64 = 34.0;
const FOOT: f64 = 44.0;

const BEFORE: Duration = Duration::from_secs(2 * 60);
const AFTER: Duration = Duration::from_secs(3 * 60);

const TEXT: &str = "#737d88";
const GRID: &str = "#8b949e";
const OUTAGE: &str = "#d29922";
const OURS: &str = "#2a9d5c";
const THEIRS: &str = "#d1495b";

const PANELS: [(Design, &str, &str); 3] = [
    (Design::GetPut { in_step: true }, "GET and PUT every 30 s, all started together", THEIRS),
    (Design::GetPut { in_step: false }, "GET and PUT every 30 s, started evenly over 30 s", THEIRS),
    (DESIGNS[0], "vmcp-status", OURS),
];

/// SVG of what the fleets of this size did around the outage.
pub fn draw(runs: &[Run], size: usize) -> String {
    let height = TOP + PANELS.len() as f64 * (PANEL + GAP) - GAP + FOOT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"{TEXT}\">\n"
    );
    let of = |design| runs.iter().find(|run| run.size == size && run.design == design);
    let shown: Vec<_> =
        PANELS.iter().filter_map(|(design, title, colour)| Some((of(*design)?, title, colour))).collect();
    let most = shown.iter().map(|(run, ..)| run.ledger.load(around(run)).peak_requests).max().unwrap_or(1);
    let scale = Scale { most: most.max(10) };
    text(&mut svg, (LEFT, 20.0), "start", 16, &format!("{} servers around an outage of ten minutes", thousands(size)));
    let what = "Requests per second, on a logarithmic scale. A minute into the outage backends of all change.";
    text(&mut svg, (LEFT, 38.0), "start", 12, what);
    for (number, (run, title, colour)) in shown.iter().enumerate() {
        let top = TOP + number as f64 * (PANEL + GAP);
        panel(&mut svg, run, top, title, colour, &scale);
    }
    let axis = height - FOOT;
    let minutes = (BEFORE + AFTER).as_secs() / 60 + 10;
    for minute in (0..=minutes).map(|minute| minute as f64) {
        let label = minute - BEFORE.as_secs_f64() / 60.0;
        text(&mut svg, (x(minute / minutes as f64), axis + 16.0), "middle", 11, &label.to_string());
    }
    text(&mut svg, (x(0.5), axis + 34.0), "middle", 12, "minutes since the API server went down");
    svg.push_str("</svg>\n");
    svg
}

fn around(run: &Run) -> std::ops::Range<Duration> {
    run.timeline.outage - BEFORE..run.timeline.back + AFTER
}

fn panel(svg: &mut String, run: &Run, top: f64, title: &str, colour: &str, scale: &Scale) {
    let range = around(run);
    let all = (range.end - range.start).as_secs_f64();
    let at = |time: Duration| x((time - range.start).as_secs_f64() / all);
    let (down, up) = (at(run.timeline.outage), at(run.timeline.back));
    let _ = writeln!(
        svg,
        "<rect x=\"{down:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{PANEL}\" fill=\"{OUTAGE}\" fill-opacity=\"0.16\"/>",
        up - down
    );
    text(svg, (f64::midpoint(down, up), top + 14.0), "middle", 11, "API server down");
    for tick in scale.ticks() {
        let y = top + PANEL - scale.height(tick);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"{GRID}\" stroke-opacity=\"0.35\"/>",
            WIDTH - RIGHT
        );
        text(svg, (LEFT - 6.0, y + 4.0), "end", 11, &thousands(tick as usize));
    }
    let bottom = top + PANEL;
    let mut bars = String::new();
    for (second, load) in run.ledger.seconds(range.clone()).enumerate() {
        if load.requests() > 0 {
            let _ =
                write!(bars, "M{:.1} {bottom}v-{:.1}", x((second as f64 + 0.5) / all), scale.height(load.requests()));
        }
    }
    let width = (WIDTH - LEFT - RIGHT) / all;
    let _ = writeln!(svg, "<path d=\"{bars}\" stroke=\"{colour}\" stroke-width=\"{width:.2}\"/>");
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{:.1}\" y2=\"{bottom}\" stroke=\"{GRID}\"/>",
        WIDTH - RIGHT
    );
    let _ = writeln!(svg, "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>", top - 17.0);
    let peak = run.ledger.load(run.timeline.back..range.end).peak_requests;
    let title = format!("{title}: at most {} a second after the outage", thousands(peak as usize));
    text(svg, (LEFT + 16.0, top - 8.0), "start", 12, &title);
}

/// How far along the time axis, from 0 to 1.
fn x(part: f64) -> f64 {
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, size: u32, text: &str) {
    let _ =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{text}</text>");
}

/// Logarithmic, with one request a little above the ground.
struct Scale {
    most: u32,
}

impl Scale {
    fn ticks(&self) -> impl Iterator<Item = u32> {
        (0..=self.most.ilog10()).map(|decade| 10_u32.pow(decade))
    }

    fn height(&self, requests: u32) -> f64 {
        const GROUND: f64 = 0.15;
        // Room for what is written above the bars.
        (f64::from(requests).log10() + GROUND) / (f64::from(self.most).log10() + GROUND) * (PANEL - 18.0)
    }
}

/// `10,000`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
