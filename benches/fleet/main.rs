//! A fleet of reporters in simulation: what 100, 1,000 and 10,000 of them ask of
//! an API server when all start at once, on a quiet day, and after an outage,
//! beside the same reporter with writes that are conditional on the version of the
//! object, and beside a design that does a GET and a PUT every 30 s. Ends with 1
//! if what is promised does not hold.
//!
//! ```text
//! cargo bench --bench fleet
//! cargo bench --bench fleet -- --quick
//! cargo bench --bench fleet -- --svg fleet.svg
//! cargo bench --bench fleet -- --ours --size 10000 --quiet 60 --start-over 15
//! cargo bench --bench fleet -- --ours --size 100000 --quiet 600 --writes 4000 --reads 30000
//! ```

#![allow(clippy::cast_precision_loss, reason = "the numbers are small")]
#![allow(clippy::unchecked_time_subtraction, reason = "later less earlier; all moments are those of one timeline")]

mod memory;
mod picture;
mod promises;
use vmcp_status_testkit::fleet as sim;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use sim::{Capacity, Design, Ledger, Precondition, Timeline};
use tokio::time::Instant;

const MINUTES: Duration = Duration::from_secs(5 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DESIGNS: [Design; 7] = [
    Design::Reporter { precondition: Precondition::Replaced, refresh: None },
    Design::Reporter { precondition: Precondition::Replaced, refresh: Some(HOUR) },
    Design::Reporter { precondition: Precondition::Replaced, refresh: Some(MINUTES) },
    Design::Reporter { precondition: Precondition::Version, refresh: None },
    Design::Reporter { precondition: Precondition::Version, refresh: Some(MINUTES) },
    Design::GetPut { in_step: false },
    Design::GetPut { in_step: true },
];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);
/// Long enough for a refresh every hour to show.
const HOURS: Duration = Duration::from_secs(3 * 60 * 60);

/// One fleet and what was seen of it.
struct Run {
    design: Design,
    size: usize,
    timeline: Timeline,
    ledger: Ledger,
}

struct Options {
    /// Only the first is run if only ours is asked for.
    designs: &'static [Design],
    sizes: Vec<usize>,
    /// The length of the quiet time, if it is not to follow from the size.
    quiet: Option<Duration>,
    capacity: Capacity,
    /// All start within this time.
    start_over: Duration,
    svg: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Options {
            designs: &DESIGNS,
            sizes: Vec::new(),
            quiet: None,
            capacity: Capacity::default(),
            start_over: Duration::ZERO,
            svg: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{text} is no number"));
            match argument.as_str() {
                // What cargo says to each benchmark.
                "--bench" => {}
                "--quick" => {
                    options.sizes = vec![100, 1000];
                    options.quiet = Some(Duration::from_secs(10 * 60));
                }
                "--ours" => options.designs = &DESIGNS[..1],
                "--size" => options.sizes.push(number(value()?)?),
                "--quiet" => options.quiet = Some(Duration::from_secs(number(value()?)? as u64)),
                "--writes" => options.capacity.writes_per_second = number(value()?)? as f64,
                "--reads" => options.capacity.reads_per_second = number(value()?)? as f64,
                "--start-over" => options.start_over = Duration::from_secs(number(value()?)? as u64),
                "--svg" => options.svg = Some(value()?.into()),
                _ => return Err(format!("{argument} is not known; benches/fleet.rs says what is")),
            }
        }
        if options.sizes.is_empty() {
            options.sizes = vec![100, 1000, 10_000];
        }
        Ok(options)
    }

    /// Time goes by more slowly for a larger fleet, and one half hour of a quiet
    /// day is like the next where none is needed for a refresh.
    fn timeline(&self, size: usize, design: Design) -> Timeline {
        let refreshes_rarely = matches!(design, Design::Reporter { refresh: Some(HOUR), .. });
        let quiet = match size {
            ..=1000 => DAY,
            _ if refreshes_rarely => HOURS,
            _ => HALF_AN_HOUR,
        };
        Timeline { start_over: self.start_over, ..Timeline::new(self.quiet.unwrap_or(quiet)) }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq(memory::ARGUMENT).is_some() {
        return memory::measure(arguments.next().and_then(|size| size.parse().ok()).unwrap_or(0));
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let begin = Instant::now();
    let runs = run_all(&options);
    eprintln!("simulated in {} s", begin.elapsed().as_secs());
    let (restarts, lives): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(|run| run.timeline.restart);
    table::print(&lives, &restarts, &options.capacity);
    memory::print(&options.sizes);
    let broken = promises::print(&lives, &options.capacity);
    if let Some(path) = &options.svg {
        let size = options.sizes.iter().copied().filter(|size| *size <= 1000).max().unwrap_or(options.sizes[0]);
        if let Err(error) = std::fs::write(path, picture::draw(&lives, size)) {
            eprintln!("cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Each run has a clock of its own, so they go on side by side.
fn run_all(options: &Options) -> Vec<Run> {
    let of_size = |&size: &usize| {
        let lives = options.designs.iter().map(move |&design| (size, design, options.timeline(size, design)));
        let restart = Timeline { start_over: options.start_over, ..Timeline::restart() };
        lives.chain([(size, DESIGNS[0], restart)]).collect::<Vec<_>>()
    };
    let mut jobs: Vec<_> = options.sizes.iter().flat_map(of_size).collect();
    jobs.sort_by_key(|(size, ..)| *size);
    let (jobs, runs) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    let next = || jobs.lock().expect("no worker panics here").pop();
    let work = || {
        while let Some((size, design, timeline)) = next() {
            let ledger = sim::run(design, size, options.capacity, timeline);
            eprintln!("simulated {size} servers, {}", table::name(design));
            runs.lock().expect("no worker panics here").push(Run { design, size, timeline, ledger });
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let mut runs = runs.into_inner().expect("no worker panicked");
    let order = |design| DESIGNS.iter().position(|other| *other == design);
    runs.sort_by_key(|run| (run.timeline.restart, run.size, order(run.design)));
    runs
}
