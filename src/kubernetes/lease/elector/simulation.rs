//! Many replicas and one store, with every kind of fault.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const STEP: Duration = Duration::from_millis(50);
const FAULTS_END: Duration = Duration::from_secs(120);
/// The longest time from the last fault until a replica leads: requests under way, and
/// the lease of a replica that died.
const RECOVERY: Duration = Duration::from_secs(45);
const END: Duration = Duration::from_secs(120 + 45 + 30);

/// Randomness that a seed repeats.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(longest.as_millis()).expect("short") + 1))
    }
}

/// The server.
#[derive(Default)]
struct LeaseStore {
    lease: Option<Value>,
    version: u64,
}

impl LeaseStore {
    fn serve(&mut self, ask: &Ask) -> LeaseAnswer {
        match (ask, &self.lease) {
            (Ask::Get, Some(object)) => LeaseAnswer::Lease(Lease::from_object(object.clone()).expect("a lease")),
            (Ask::Get | Ask::Update(_), None) => LeaseAnswer::Missing,
            (Ask::Create(_), Some(_)) => LeaseAnswer::Conflict,
            (Ask::Update(lease), Some(object))
                if lease.object()["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] =>
            {
                LeaseAnswer::Conflict
            }
            (Ask::Create(lease) | Ask::Update(lease), _) => {
                self.version += 1;
                let mut object = Value::Object(lease.object().clone());
                object["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.lease = Some(object.clone());
                LeaseAnswer::Lease(Lease::from_object(object).expect("a lease"))
            }
        }
    }
}

/// The rates of faults.
#[derive(Clone, Copy, Debug)]
struct Weather {
    delay: Duration,
    /// One in this many messages is lost, and one is very late.
    lost: u64,
    /// In one of this many steps each replica has a fault.
    strikes: u64,
}

impl Weather {
    fn roll(dice: &mut Dice) -> Self {
        let of = |dice: &mut Dice, choices: [u64; 3]| choices[usize::try_from(dice.below(3)).expect("small")];
        Weather {
            delay: Duration::from_millis(of(dice, [100, 1000, 4000])),
            lost: of(dice, [5, 20, 1000]),
            strikes: of(dice, [500, 1500, 5000]),
        }
    }

    const CALM: Weather = Weather { delay: Duration::from_millis(200), lost: u64::MAX, strikes: u64::MAX };
}

/// A request under way, in the time of the simulation.
struct Letter {
    from: usize,
    /// The number of the request among those of its sender.
    number: u64,
    ask: Ask,
    arrives: Option<Duration>,
    answer: Option<LeaseAnswer>,
    returns: Option<Duration>,
}

struct Replica {
    elector: LeaderElector,
    /// The replica's clock when the simulation begins, and its rate in thousandths.
    origin: Instant,
    rate: u32,
    /// The replica's date.
    date: DateTime<Utc>,
    /// The replica is suspended until this time; dead if this is the end of time.
    stopped_until: Duration,
    waits_until: Instant,
    /// The request under way and when it is given up.
    waits_for: Option<(u64, Instant)>,
    requests: u64,
}

impl Replica {
    fn new(name: usize, now: Duration, dice: &mut Dice, origin: Instant) -> Self {
        let origin = origin + dice.up_to(Duration::from_secs(100_000));
        // The margin between a term and the lease allows for more than this.
        let rate = 850 + u32::try_from(dice.below(301)).expect("small");
        let clock = origin + now * rate / 1000;
        let date = DateTime::from_timestamp(i64::try_from(dice.below(4_000_000_000)).expect("small"), 0);
        Replica {
            elector: LeaderElector::new(
                "l".into(),
                format!("{name}"),
                ElectionTiming::of(Duration::from_secs(15)),
                |p| p,
                clock,
            ),
            origin,
            rate,
            date: date.expect("a time"),
            stopped_until: Duration::ZERO,
            waits_until: clock,
            waits_for: None,
            requests: 0,
        }
    }

    fn clock(&self, now: Duration) -> Instant {
        self.origin + now * self.rate / 1000
    }

    fn leads(&self, now: Duration) -> bool {
        matches!(self.elector.leadership(self.clock(now)), LeadershipChange::Leading(_))
    }
}

/// Runs the simulation. Returns how often the leader changed.
fn play(seed: u64, replicas: usize) -> Result<usize, TestCaseError> {
    let mut dice = Dice(seed | 1);
    let start = Instant::now();
    let mut all: Vec<Replica> = (0..replicas).map(|i| Replica::new(i, Duration::ZERO, &mut dice, start)).collect();
    let (mut store, mut letters, mut now) = (LeaseStore::default(), Vec::<Letter>::new(), Duration::ZERO);
    let (mut leader, mut changes, mut settled) = (None, 0, None);
    let bad = Weather::roll(&mut dice);
    while now < END {
        let weather = if now < FAULTS_END { bad } else { Weather::CALM };
        deliver(&mut letters, &mut store, &mut all, now);
        for index in 0..all.len() {
            if dice.below(weather.strikes) == 0 {
                strike(&mut all, index, now, &mut dice, start);
            }
            act(&mut all[index], index, now, weather, &mut dice, &mut letters);
        }
        // A suspended replica has the same state when it continues.
        let leaders: Vec<usize> = (0..all.len()).filter(|i| all[*i].leads(now)).collect();
        prop_assert!(leaders.len() <= 1, "two lead at {now:?}: {leaders:?}");
        if let [one] = leaders[..] {
            changes += usize::from(leader.replace(one) != Some(one));
        }
        if now >= FAULTS_END + RECOVERY {
            prop_assert_eq!(leaders.len(), 1, "no replica leads at {:?}", now);
            prop_assert_eq!(*settled.get_or_insert(leaders[0]), leaders[0], "the leader changed at {:?}", now);
        }
        now += STEP;
    }
    Ok(changes)
}

fn deliver(letters: &mut Vec<Letter>, store: &mut LeaseStore, all: &mut [Replica], now: Duration) {
    for letter in letters.iter_mut().filter(|letter| letter.arrives.is_some_and(|at| at <= now)) {
        letter.arrives = None;
        letter.answer = Some(store.serve(&letter.ask));
    }
    letters.retain_mut(|letter| {
        let due = letter.answer.is_some() && letter.returns.is_some_and(|at| at <= now);
        let replica = &mut all[letter.from];
        if !due || replica.stopped_until > now {
            return letter.arrives.is_some() || letter.returns.is_some();
        }
        if replica.waits_for.is_some_and(|(number, _)| number == letter.number) {
            replica.waits_for = None;
            let clock = replica.clock(now);
            replica.elector.answered(clock, letter.answer.take().expect("it is due"));
        }
        false
    });
}

/// A fault of a replica: it is suspended, or it dies or shuts down and is replaced.
fn strike(all: &mut [Replica], index: usize, now: Duration, dice: &mut Dice, start: Instant) {
    let name = all.len() * 1000 + usize::try_from(now.as_millis()).expect("small") * 10 + index;
    match dice.below(4) {
        0..2 => all[index].stopped_until = now + dice.up_to(Duration::from_secs(30)),
        2 => all[index] = Replica { requests: all[index].requests, ..Replica::new(name, now, dice, start) },
        _ => {
            let clock = all[index].clock(now);
            all[index].elector.leave(clock);
            all[index].waits_until = clock;
        }
    }
}

/// Drives one replica's elector, as `run` does.
fn act(
    replica: &mut Replica,
    index: usize,
    now: Duration,
    weather: Weather,
    dice: &mut Dice,
    letters: &mut Vec<Letter>,
) {
    if replica.stopped_until > now {
        return;
    }
    let clock = replica.clock(now);
    if replica.waits_for.is_some_and(|(_, until)| clock >= until) {
        replica.waits_for = None;
        replica.elector.answered(clock, LeaseAnswer::Failed);
    }
    while replica.waits_for.is_none() {
        match replica.elector.next(clock, replica.date) {
            ElectionStep::Wait(until) => {
                assert!(until > clock, "it waits for something");
                replica.waits_until = until;
                return;
            }
            ElectionStep::Done => {
                let number = replica.requests;
                let name = index + 7 * usize::try_from(number + 1).expect("small") * 100_000_000;
                *replica = Replica { requests: number, ..Replica::new(name, now, dice, replica.origin) };
                return;
            }
            ElectionStep::Ask(ask) => {
                replica.requests += 1;
                replica.waits_for = Some((replica.requests, clock + replica.elector.timing.request));
                let Weather { delay, .. } = weather;
                let lost = |dice: &mut Dice| dice.below(weather.lost) == 0;
                // Some arrive long after their sender gave them up.
                let late = if lost(dice) { dice.up_to(Duration::from_secs(20)) } else { Duration::ZERO };
                let arrives = Some(now + late + dice.up_to(delay)).filter(|_| !lost(dice));
                let returns = arrives.map(|at| at + dice.up_to(delay)).filter(|_| !lost(dice));
                letters.push(Letter { from: index, number: replica.requests, ask, arrives, answer: None, returns });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_replicas_never_lead_at_once_and_after_all_faults_one_leads(seed: u64, replicas in 1usize..5) {
        play(seed, replicas)?;
    }
}

#[test]
fn simulation_has_many_changes_of_the_leader() {
    let seeds = (1..=20u64).map(|seed| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let changes: usize = seeds.map(|seed| play(seed, 3).expect("all is well")).sum();
    assert!(changes > 25, "{changes} changes in 20 rounds");
}
