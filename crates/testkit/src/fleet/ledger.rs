//! What was seen in a run: requests second by second, and how long changes took
//! to be stored.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;
use vmcp_status::Status;

/// What reached the server in one second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    pub reads: u32,
    pub writes: u32,
    /// Writes that were stored.
    pub stored: u32,
    pub conflicts: u32,
    /// Answered with 429.
    pub too_many: u32,
    /// Met a server that was down.
    pub broken: u32,
    /// Reports that their sender gave up.
    pub given_up: u32,
    /// Of the reads and writes, those of members with a backend that stays down.
    pub of_dead: u32,
    /// What the operator writes in answer to what was stored; not among the
    /// others.
    pub operator: u32,
}

impl Second {
    pub fn requests(&self) -> u32 {
        self.reads + self.writes
    }
}

/// What one member of the fleet has said and is not stored yet.
#[derive(Clone, Default)]
struct Unstored {
    newest: u32,
    waiting: VecDeque<(u32, Instant)>,
    /// The newest change at the end of the outage.
    at_end_of_outage: Option<u32>,
}

pub struct Ledger {
    begin: Instant,
    seconds: Vec<Second>,
    members: Vec<Unstored>,
    /// When each change was made, and how long it took to be stored.
    changes: Vec<(Duration, Duration)>,
    back: Option<Instant>,
    /// For each who was stale at the end of the outage, how much longer.
    after_outage: Vec<Duration>,
}

/// The load in some time.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub total: Second,
    pub seconds: f64,
    pub peak_requests: u32,
    pub peak_writes: u32,
}

impl Load {
    pub fn requests(&self) -> f64 {
        f64::from(self.total.requests()) / self.seconds
    }

    pub fn writes(&self) -> f64 {
        f64::from(self.total.writes) / self.seconds
    }

    /// Answers of the operator.
    pub fn operator(&self) -> f64 {
        f64::from(self.total.operator) / self.seconds
    }
}

/// How long changes took to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Staleness {
    pub changes: usize,
    pub median: Duration,
    pub p99: Duration,
    pub max: Duration,
    /// Changes that were not stored when the run ended.
    pub never: usize,
}

impl Ledger {
    pub fn new(begin: Instant, members: usize) -> Self {
        Ledger {
            begin,
            seconds: Vec::new(),
            members: vec![Unstored::default(); members],
            changes: Vec::new(),
            back: None,
            after_outage: Vec::new(),
        }
    }

    /// This second.
    pub fn now(&mut self) -> &mut Second {
        let second = usize::try_from(self.begin.elapsed().as_secs()).expect("a run is short");
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, Second::default());
        }
        &mut self.seconds[second]
    }

    pub fn changed(&mut self, id: usize) -> u32 {
        let member = &mut self.members[id];
        member.newest += 1;
        member.waiting.push_back((member.newest, Instant::now()));
        member.newest
    }

    /// A status is stored; the message of its first backend is the number of the
    /// change, if there was one.
    pub fn stored(&mut self, id: usize, status: &Status) {
        self.now().stored += 1;
        let Some(carried) = status.discovered_backends.first().and_then(|first| first.message.parse().ok()) else {
            return;
        };
        let (now, begin) = (Instant::now(), self.begin);
        let member = &mut self.members[id];
        let settled = member.waiting.iter().take_while(|(number, _)| *number <= carried).count();
        self.changes.extend(member.waiting.drain(..settled).map(|(_, at)| (at - begin, now - at)));
        if let Some(back) = self.back
            && member.at_end_of_outage.take_if(|newest| *newest <= carried).is_some()
        {
            self.after_outage.push(now - back);
        }
    }

    pub fn outage_ended(&mut self) {
        self.back = Some(Instant::now());
        for member in &mut self.members {
            member.at_end_of_outage = member.waiting.back().map(|(number, _)| *number);
        }
    }

    /// The seconds in this time.
    pub fn seconds(&self, time: Range<Duration>) -> impl Iterator<Item = Second> {
        let index = |at: Duration| usize::try_from(at.as_secs()).expect("a run is short");
        // Seconds at the end in which nothing came were never opened.
        (index(time.start)..index(time.end)).map(|second| self.seconds.get(second).copied().unwrap_or_default())
    }

    pub fn load(&self, time: Range<Duration>) -> Load {
        let seconds = (time.end - time.start).as_secs_f64();
        let mut load = Load { total: Second::default(), seconds, peak_requests: 0, peak_writes: 0 };
        for second in self.seconds(time) {
            load.total.reads += second.reads;
            load.total.writes += second.writes;
            load.total.stored += second.stored;
            load.total.conflicts += second.conflicts;
            load.total.too_many += second.too_many;
            load.total.broken += second.broken;
            load.total.given_up += second.given_up;
            load.total.of_dead += second.of_dead;
            load.total.operator += second.operator;
            load.peak_requests = load.peak_requests.max(second.requests());
            load.peak_writes = load.peak_writes.max(second.writes);
        }
        load
    }

    /// The requests of the busiest so many seconds of the minute that begins
    /// here, as a part of all in it.
    pub fn burst(&self, from: Duration, length: usize) -> f64 {
        let minute: Vec<u32> =
            self.seconds(from..from + Duration::from_secs(60)).map(|second| second.requests()).collect();
        let busiest = minute.windows(length).map(|seconds| seconds.iter().sum::<u32>()).max();
        f64::from(busiest.unwrap_or_default()) / f64::from(minute.iter().sum::<u32>().max(1))
    }

    /// Of the changes made in this time.
    pub fn staleness(&self, time: Range<Duration>) -> Staleness {
        let took = self.changes.iter().filter(|(at, _)| time.contains(at)).map(|(_, took)| *took).collect();
        let waiting = self.members.iter().flat_map(|member| &member.waiting);
        staleness(took, waiting.filter(|(_, at)| time.contains(&(*at - self.begin))).count())
    }

    /// Of those who were stale at the end of the outage, counted from there.
    pub fn staleness_after_outage(&self) -> Staleness {
        let never = self.members.iter().filter(|member| member.at_end_of_outage.is_some()).count();
        staleness(self.after_outage.clone(), never)
    }
}

fn staleness(mut took: Vec<Duration>, never: usize) -> Staleness {
    took.sort_unstable();
    let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len().saturating_sub(1)));
    let at = |percent| at(percent).copied().unwrap_or_default();
    Staleness { changes: took.len() + never, median: at(50), p99: at(99), max: at(100), never }
}
