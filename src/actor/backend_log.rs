//! Logs which backends go down and come back: one line each, and no more than a
//! person reads when a thousand do so at once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};

use crate::status::{BackendStatus, DiscoveredBackend, Status};

/// So many backends have a line of their own in each window; the others are counted.
const NAMED: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct BackendLog {
    /// The backends that were last logged as unavailable or degraded.
    down: HashMap<String, BackendStatus>,
    /// When the window began, and what was logged in it.
    window: Option<Instant>,
    named: usize,
    has_counts: bool,
    /// What has been neither named nor counted yet.
    went_down: usize,
    came_back: usize,
}

impl BackendLog {
    /// Compares what is reported now with what was logged before. A backend that is
    /// not checked yet changes nothing, and one that is no longer listed is forgotten.
    pub(super) fn shown(&mut self, now: Instant, status: &Status) {
        if self.window.is_none_or(|begin| now >= begin + WINDOW) {
            (self.window, self.named, self.has_counts) = (Some(now), 0, false);
        }
        let mut remembered = 0;
        for backend in &status.discovered_backends {
            match backend.status {
                BackendStatus::Unavailable | BackendStatus::Degraded => {
                    remembered += 1;
                    if self.down.get(&backend.name) != Some(&backend.status) {
                        self.down.insert(backend.name.clone(), backend.status);
                        self.went_down(backend);
                    }
                }
                BackendStatus::Ready | BackendStatus::Unauthenticated => {
                    if !self.down.is_empty() && self.down.remove(&backend.name).is_some() {
                        self.came_back(backend);
                    }
                }
                BackendStatus::Unknown => remembered += usize::from(self.down.contains_key(&backend.name)),
            }
        }
        if self.down.len() > remembered {
            let listed: HashSet<_> = status.discovered_backends.iter().map(|backend| &backend.name).collect();
            self.down.retain(|name, _| listed.contains(name));
        }
        self.count();
    }

    fn went_down(&mut self, backend: &DiscoveredBackend) {
        let DiscoveredBackend { name, status, message, .. } = backend;
        if self.takes_a_name() {
            info!(backend = name, status = %status, reason = message, "backend went down");
        } else {
            self.went_down += 1;
            debug!(backend = name, status = %status, reason = message, "backend went down");
        }
    }

    fn came_back(&mut self, backend: &DiscoveredBackend) {
        let DiscoveredBackend { name, status, message, .. } = backend;
        if self.takes_a_name() {
            info!(backend = name, status = %status, reason = message, "backend came back");
        } else {
            self.came_back += 1;
            debug!(backend = name, status = %status, reason = message, "backend came back");
        }
    }

    fn takes_a_name(&mut self) -> bool {
        let takes = self.named < NAMED;
        self.named += usize::from(takes);
        takes
    }

    /// Logs how many backends changed without a line of their own, once in a window.
    fn count(&mut self) {
        let (went_down, came_back) = (self.went_down, self.came_back);
        if went_down + came_back > 0 && !self.has_counts {
            info!(went_down, came_back, "more backends changed, their names are logged at level debug");
            (self.went_down, self.came_back, self.has_counts) = (0, 0, true);
        }
    }
}
