//! What happens to a backend, step by step.

use std::time::Duration;

use vmcp_status_testkit::mcp::{Behaviour, Refusal};

use super::gateway::{Auth, Settings};
use super::seen::Aspect;

/// What happens, and to what.
#[derive(Clone, Debug)]
pub enum Event {
    /// The server behaves like this from now on.
    Behave(Behaviour),
    /// Its port is closed.
    Stop,
    /// It is there again.
    Return,
    /// The gateway ends with SIGTERM.
    EndGateway,
    /// It starts again.
    StartGateway,
}

/// When the next step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// As many checks in a row have shown nothing new as any verdict takes: more
    /// than the threshold.
    Settled,
    /// The server has got a request.
    Asked,
    /// This is seen.
    Seen(Aspect, &'static str),
    /// At once.
    Done,
}

/// An event, and how long to wait then.
#[derive(Clone, Debug)]
pub struct Step(pub Event, pub Until);

/// One server, what is configured for it, and what happens to it.
#[derive(Clone, Debug)]
pub struct Timeline {
    pub name: &'static str,
    /// How the server behaves at first; none: its port is closed.
    pub at_first: Option<Behaviour>,
    pub transport: &'static str,
    pub auth: Auth,
    /// Whether a healthy server is beside it.
    pub has_neighbour: bool,
    /// Whether it is configured at all.
    pub is_listed: bool,
    /// When the first step is taken.
    pub begins: Until,
    pub steps: Vec<Step>,
    pub aspects: &'static [Aspect],
}

impl Timeline {
    fn new(name: &'static str, at_first: Behaviour) -> Self {
        Timeline {
            name,
            at_first: Some(at_first),
            transport: "streamable-http",
            auth: Auth::None,
            has_neighbour: false,
            is_listed: true,
            begins: Until::Settled,
            steps: Vec::new(),
            aspects: &[Aspect::Status, Aspect::Cause, Aspect::Revision],
        }
    }

    fn healthy(name: &'static str) -> Self {
        Timeline::new(name, Behaviour::Modern)
    }

    fn closed(self) -> Self {
        Timeline { at_first: None, ..self }
    }

    /// No backend is configured.
    fn unlisted(self) -> Self {
        Timeline { is_listed: false, begins: Until::Seen(Aspect::Phase, "Ready"), ..self }
    }

    fn with(self, auth: Auth) -> Self {
        Timeline { auth, ..self }
    }

    fn then(mut self, event: Event, until: Until) -> Self {
        self.steps.push(Step(event, until));
        self
    }

    /// The server behaves like this until that has settled.
    fn behaves(self, behaviour: Behaviour) -> Self {
        self.then(Event::Behave(behaviour), Until::Settled)
    }

    /// The answer to one check is lost: nothing more comes of it, and the next check
    /// is answered.
    fn loses_a_check(self) -> Self {
        self.then(Event::Behave(Behaviour::Hang), Until::Asked).behaves(Behaviour::Modern)
    }

    fn dies(self) -> Self {
        self.then(Event::Stop, Until::Settled)
    }

    fn returns(self) -> Self {
        self.then(Event::Return, Until::Settled)
    }

    /// As it is seen in the whole, with a healthy server beside it.
    fn in_whole(self) -> Self {
        Timeline { has_neighbour: true, aspects: &[Aspect::Phase, Aspect::Routable], ..self }
    }

    fn seen(self, aspects: &'static [Aspect]) -> Self {
        Timeline { aspects, ..self }
    }
}

/// Timelines that one process of each gateway sees side by side.
#[derive(Clone, Debug)]
pub struct Scene {
    pub settings: Settings,
    /// How many checks that show nothing new are enough.
    pub settled_after: usize,
    pub timelines: Vec<Timeline>,
}

impl Scene {
    /// The time-out leaves room for a machine that is busy.
    const SETTINGS: Settings = Settings {
        interval: Duration::from_secs(2),
        timeout: Duration::from_millis(1500),
        breaker: None,
        reporting: Duration::from_millis(50),
    };

    fn of(timelines: Vec<Timeline>) -> Self {
        Scene { settings: Self::SETTINGS, settled_after: 4, timelines }
    }

    /// A process of its own for this timeline.
    fn alone(timeline: Timeline) -> Self {
        Scene::of(vec![timeline])
    }

    fn with(self, settings: Settings) -> Self {
        Scene { settings, ..self }
    }

    /// All of them.
    pub fn all() -> Vec<Self> {
        let one_by_one = Settings { reporting: Duration::from_secs(3600), ..Self::SETTINGS };
        let breaker = |threshold| Settings { breaker: Some((threshold, Duration::from_secs(4))), ..Self::SETTINGS };
        // Two requests take longer than the limit of 5 s, and one does not.
        let slow = Settings { interval: Duration::from_secs(12), timeout: Duration::from_secs(11), ..Self::SETTINGS };
        let slowly = Timeline::new("slow", Behaviour::Slow(Duration::from_millis(2600)));
        let ends = |timeline: Timeline| timeline.then(Event::EndGateway, Until::Done);
        let restarts = |timeline: Timeline| ends(timeline).then(Event::StartGateway, Until::Settled);
        let whole = &[Aspect::Phase, Aspect::Routable];
        vec![
            Scene::of(side_by_side()),
            Scene { settled_after: 2, ..Scene::alone(slowly.seen(&[Aspect::Status, Aspect::Cause])).with(slow) },
            Scene::alone(Timeline::healthy("whole-no-backends").unlisted().seen(whole)),
            Scene::alone(Timeline::healthy("whole-all-dead").seen(whole).dies().returns()),
            Scene::alone(Timeline::healthy("whole-all-refused").closed().seen(whole)),
            Scene::alone(Timeline::healthy("whole-one-dead").in_whole().dies().returns()),
            Scene::alone(Timeline::healthy("whole-lost-check").in_whole().loses_a_check()),
            Scene::alone(restarts(Timeline::healthy("restart").in_whole())),
            Scene::alone(restarts(
                Timeline::healthy("restart-with-a-dead-backend").dies().seen(&[Aspect::Status, Aspect::Phase]),
            )),
            Scene::alone(ends(Timeline::healthy("sigterm").in_whole().dies())).with(one_by_one),
            Scene::alone(breaks("breaker-below-threshold")).with(breaker(2)),
            Scene::alone(breaks("breaker")).with(breaker(3)),
        ]
    }
}

/// Hangs until the circuit is open, and then answers so slowly that the half-open
/// circuit is seen.
fn breaks(name: &'static str) -> Timeline {
    Timeline::healthy(name)
        .then(Event::Behave(Behaviour::Hang), Until::Seen(Aspect::Circuit, "open"))
        .behaves(Behaviour::Slow(Duration::from_millis(300)))
        .seen(&[Aspect::Status, Aspect::Circuit])
}

fn side_by_side() -> Vec<Timeline> {
    let bearer = || Behaviour::WantsBearer("right".to_owned());
    let old = |revision: &str| Behaviour::LegacyStateless(revision.to_owned());
    let new = Timeline::new;
    vec![
        Timeline::healthy("healthy"),
        Timeline::healthy("refused").closed(),
        Timeline::healthy("dies-and-returns").dies().returns(),
        Timeline::healthy("lost-check").loses_a_check(),
        // A check of ToolHive's that hangs from the start takes ten seconds more than
        // its time-out, so nothing is waited for after the verdict.
        Timeline { begins: Until::Seen(Aspect::Status, "unavailable"), ..new("hangs", Behaviour::Hang) },
        Timeline::healthy("hangs-and-recovers").behaves(Behaviour::Hang).behaves(Behaviour::Modern),
        new("answers-500", Behaviour::ServerError),
        new("answers-404", Behaviour::Status(404)),
        new("answers-429", Behaviour::RateLimited("1")),
        Timeline::healthy("429-for-a-while").behaves(Behaviour::RateLimited("1")).behaves(Behaviour::Modern),
        new("answers-html", Behaviour::Html),
        new("answers-junk", Behaviour::Junk),
        new("not-http", Behaviour::NotHttp),
        new("401-none-configured", Behaviour::Unauthorized),
        new("401-challenge-none-configured", bearer()),
        new("401-users-credentials", bearer()).with(Auth::OfUsers),
        new("401-token-accepted", bearer()).with(Auth::Token("right")),
        new("401-token-refused", bearer()).with(Auth::Token("wrong")),
        new("403-none-configured", Behaviour::Forbidden),
        new("403-users-credentials", Behaviour::Forbidden).with(Auth::OfUsers),
        new("403-challenge-none-configured", Behaviour::ForbiddenWithChallenge),
        new("403-challenge-users-credentials", Behaviour::ForbiddenWithChallenge).with(Auth::OfUsers),
        new("403-challenge-token-refused", Behaviour::ForbiddenWithChallenge).with(Auth::Token("wrong")),
        // Nothing listens at the address.
        new("redirected-elsewhere", Behaviour::Redirect("http://127.0.0.1:9/mcp".to_owned())),
        new("redirected-on-the-same-host", Behaviour::Moved),
        new("error-at-initialize", Behaviour::InternalError),
        new("2026-07-28-only", Behaviour::ModernOnly),
        new("2026-07-28-in-event-streams", Behaviour::ModernEvents),
        new("2025-11-25", Behaviour::Legacy),
        new("2025-11-25-strict", Behaviour::LegacyStrict(Refusal::BadRequest)),
        new("2025-06-18", old("2025-06-18")),
        new("2025-03-26", old("2025-03-26")),
        new("2025-03-26-dies-of-discovery", Behaviour::LegacyFragile("2025-03-26".to_owned())),
        Timeline { transport: "sse", ..new("2024-11-05-sse", Behaviour::EventStream("/messages".to_owned())) },
        new("newer-than-known", Behaviour::FutureOnly),
        new("newer-than-known-by-discovery", Behaviour::FutureDiscovery),
        new("500-at-delete", Behaviour::LegacyDeleteFails),
        new("never-answers-ping", Behaviour::LegacyStuck),
        new("event-stream-without-an-answer", Behaviour::SilentEvents),
        new("no-tools", Behaviour::NoTools),
    ]
}
