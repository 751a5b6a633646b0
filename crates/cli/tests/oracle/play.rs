//! Plays a scene on one gateway, with servers of its own: what one gateway does to a
//! server must not be seen by the other.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vmcp_status_testkit::mcp::{Behaviour, McpServer};

use super::gateway::{Backend, Gateway, Look};
use super::seen::Seen;
use super::timeline::{Event, Scene, Step, Timeline, Until};

/// The time between two looks. Everything that is seen lasts far longer.
const PAUSE: Duration = Duration::from_millis(30);
/// Bound on a scene.
const PATIENCE: Duration = Duration::from_secs(240);

/// Plays all timelines of a scene; returns what was seen in each, in their order.
pub async fn play<G: Gateway>(scene: &Scene, dir: &Path) -> Vec<Seen> {
    let mut tracks = Vec::new();
    for timeline in &scene.timelines {
        tracks.push(Track::start(timeline, scene.settled_after).await);
    }
    let backends: Vec<_> = tracks.iter().flat_map(Track::backends).collect();
    let mut gateway = G::start(&scene.settings, &backends, dir);
    let end = Instant::now() + PATIENCE;
    loop {
        let look = gateway.look().await;
        let mut is_over = true;
        for track in &mut tracks {
            track.note(&look, &gateway);
            track.advance(&mut gateway).await;
            is_over &= track.is_over();
        }
        if is_over {
            break;
        }
        if Instant::now() > end {
            let late: Vec<_> = tracks.iter().filter(|track| !track.is_over()).map(Track::describe).collect();
            panic!("not within {PATIENCE:?}: {}", late.join("; "));
        }
        sleep(PAUSE).await;
    }
    tracks.into_iter().map(|track| track.seen).collect()
}

/// A timeline that is being played.
struct Track<'a> {
    timeline: &'a Timeline,
    server: McpServer,
    neighbour: Option<McpServer>,
    seen: Seen,
    /// Steps that were taken.
    taken: usize,
    /// What ends the one taken last.
    until: Until,
    /// Checks when something new was seen last, or a step was taken.
    checks_then: usize,
    settled_after: usize,
    /// Checks until now.
    checks: usize,
    /// Requests when the step was taken.
    requests_then: usize,
}

impl<'a> Track<'a> {
    async fn start(timeline: &'a Timeline, settled_after: usize) -> Self {
        let mut server = McpServer::start(timeline.at_first.clone().unwrap_or(Behaviour::Modern)).await;
        if timeline.at_first.is_none() {
            server.stop().await;
        }
        let neighbour = if timeline.has_neighbour { Some(McpServer::start(Behaviour::Modern).await) } else { None };
        Track {
            timeline,
            server,
            neighbour,
            seen: Seen::default(),
            taken: 0,
            until: timeline.begins,
            checks_then: 0,
            settled_after,
            checks: 0,
            requests_then: 0,
        }
    }

    fn backends(&self) -> impl Iterator<Item = Backend> {
        let timeline = self.timeline;
        let Timeline { name, transport, auth, .. } = *timeline;
        let own = Backend { name: name.to_owned(), url: self.server.url(), transport, auth };
        let neighbour = self.neighbour.as_ref().map(|server| Backend {
            name: format!("{name}-neighbour"),
            url: server.url(),
            ..own.clone()
        });
        let own = timeline.is_listed.then_some(own);
        own.into_iter().chain(neighbour)
    }

    /// Notes what is seen.
    fn note(&mut self, look: &Look, gateway: &impl Gateway) {
        let own = look.backends.iter().find(|backend| backend.name == self.timeline.name);
        let sights = own.into_iter().flat_map(|backend| &backend.sights).chain(&look.whole);
        let mut is_new = false;
        for (aspect, word) in sights.filter(|(aspect, _)| self.timeline.aspects.contains(aspect)) {
            is_new |= self.seen.add(*aspect, word.clone());
        }
        self.checks = gateway.checks(self.timeline.name);
        if is_new {
            self.checks_then = self.checks;
        }
    }

    fn is_due(&self) -> bool {
        match self.until {
            Until::Settled => self.checks >= self.checks_then + self.settled_after,
            Until::Asked => self.server.requests() > self.requests_then,
            Until::Seen(aspect, word) => self.seen.last(aspect) == Some(word),
            Until::Done => true,
        }
    }

    fn is_over(&self) -> bool {
        self.taken == self.timeline.steps.len() && self.is_due()
    }

    /// Takes the next step if it is time.
    async fn advance(&mut self, gateway: &mut impl Gateway) {
        if !self.is_due() {
            return;
        }
        let Some(Step(event, until)) = self.timeline.steps.get(self.taken) else { return };
        (self.until, self.checks_then, self.requests_then) = (*until, self.checks, self.server.requests());
        self.taken += 1;
        match event {
            Event::Behave(behaviour) => self.server.set(behaviour.clone()),
            Event::Stop => self.server.stop().await,
            Event::Return => self.server.restart().await,
            Event::EndGateway => {
                gateway.stop().await;
                // What it has said at its end.
                let look = gateway.look().await;
                self.note(&look, gateway);
            }
            Event::StartGateway => gateway.start_again(),
        }
    }

    fn describe(&self) -> String {
        let Track { timeline, taken, until, checks_then, checks, .. } = self;
        let shown: Vec<String> = self.seen.sequences().values().map(ToString::to_string).collect();
        format!(
            "{}: {taken} of {} steps, {until:?}, {} checks since, seen {}",
            timeline.name,
            timeline.steps.len(),
            checks - checks_then,
            shown.join(" / ")
        )
    }
}
