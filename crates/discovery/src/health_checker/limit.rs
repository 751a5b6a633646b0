//! How many checks run at once, and that slow backends do not starve others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a backend of which nothing is known may keep others waiting.
pub(super) const QUICK_LOOK: Duration = Duration::from_secs(1);

/// At most so many checks at the same time, however many
/// [`HealthChecker`](super::HealthChecker) share it.
///
/// Checks of backends that did not answer last time, and took more than a second to
/// show it, have half of the places at most, so that they do not keep the others
/// waiting. A new backend that takes longer than that gives its place to those that
/// wait, and is asked again among the slow ones.
#[derive(Clone, Debug)]
pub struct CheckLimit {
    all: Places,
    /// Of those, the ones that backends may have which hung.
    hung: Places,
    /// Of the backends that did not answer last time one alone waits for a place, and
    /// so those that did go first.
    turn: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// What is known of how long a check will take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    New,
    Answered,
    Hung,
}

#[derive(Clone, Debug)]
struct Places {
    free: Arc<Semaphore>,
    size: Arc<Mutex<Size>>,
}

#[derive(Debug)]
struct Size {
    at_once: usize,
    /// Checks that were under way when the limit was lowered, and that do not
    /// give their place to others.
    excess: usize,
}

/// The place of one check.
pub(super) struct Permit {
    _place: Place,
    _in_lane: Option<Place>,
}

struct Place {
    places: Places,
    permit: Option<OwnedSemaphorePermit>,
}

fn sensible(at_once: usize) -> usize {
    at_once.clamp(1, Semaphore::MAX_PERMITS)
}

impl CheckLimit {
    /// At least one.
    pub fn new(at_once: usize) -> Self {
        let at_once = sensible(at_once);
        CheckLimit {
            all: Places::new(at_once),
            hung: Places::new(at_once.div_ceil(2)),
            turn: Arc::new(Semaphore::new(1)),
            waiting: Arc::default(),
        }
    }

    /// From now on this many, at least one, in every clone of the limit. Checks
    /// that are under way go on.
    pub fn resize(&self, at_once: usize) {
        let at_once = sensible(at_once);
        self.all.resize(at_once);
        self.hung.resize(at_once.div_ceil(2));
    }

    /// Checks when its turn has come.
    pub(super) async fn run<T, F: Future<Output = T>>(&self, lane: Lane, check: impl Fn() -> F) -> T {
        if lane == Lane::New {
            let _permit = self.acquire(lane).await;
            let mut look = std::pin::pin!(check());
            loop {
                if let Ok(found) = timeout(QUICK_LOOK, look.as_mut()).await {
                    return found;
                }
                if self.waiting.load(Ordering::Relaxed) > 0 {
                    break;
                }
            }
        }
        let _permit = self.acquire(if lane == Lane::New { Lane::Hung } else { lane }).await;
        check().await
    }

    /// Waits for a place.
    pub(super) async fn acquire(&self, lane: Lane) -> Permit {
        let in_lane = match lane {
            Lane::Hung => Some(self.hung.acquire().await),
            Lane::New | Lane::Answered => None,
        };
        let _waits = Waiting::new(&self.waiting);
        let _turn = match lane {
            Lane::Answered => None,
            Lane::New | Lane::Hung => Some(self.turn.acquire().await.expect("the semaphore is never closed")),
        };
        Permit { _place: self.all.acquire().await, _in_lane: in_lane }
    }
}

/// Counts a check that waits for a place, until it has one or is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Places {
    fn new(at_once: usize) -> Self {
        Places { free: Arc::new(Semaphore::new(at_once)), size: Arc::new(Mutex::new(Size { at_once, excess: 0 })) }
    }

    fn resize(&self, at_once: usize) {
        let mut size = self.size();
        let before = size.at_once + size.excess;
        if at_once < before {
            let surplus = before - at_once;
            size.excess = surplus - self.free.forget_permits(surplus);
        } else {
            self.free.add_permits(at_once - before);
            size.excess = 0;
        }
        size.at_once = at_once;
    }

    async fn acquire(&self) -> Place {
        let permit = Arc::clone(&self.free).acquire_owned().await.expect("the semaphore is never closed");
        Place { places: self.clone(), permit: Some(permit) }
    }

    fn size(&self) -> MutexGuard<'_, Size> {
        // Two numbers that are whole at every step.
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<usize> for CheckLimit {
    fn from(at_once: usize) -> Self {
        CheckLimit::new(at_once)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut size = self.places.size();
        if size.excess > 0 {
            size.excess -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// How many more checks may begin now.
    fn free(limit: &CheckLimit) -> usize {
        std::iter::from_fn(|| limit.acquire(Lane::Answered).now_or_never()).collect::<Vec<_>>().len()
    }

    const INTERVAL: Duration = Duration::from_secs(1);
    const HANGS: Duration = Duration::from_secs(10);

    /// Checks this backend again and again; returns when each check ended, in time.
    async fn checks(limit: CheckLimit, takes: Duration) -> Vec<Duration> {
        let (begin, mut ends) = (Instant::now(), Vec::new());
        let mut lane = Lane::New;
        while begin.elapsed() < 12 * HANGS {
            limit.run(lane, || sleep(takes)).await;
            ends.push(begin.elapsed());
            lane = if takes > QUICK_LOOK { Lane::Hung } else { Lane::Answered };
            sleep(INTERVAL).await;
        }
        ends
    }

    #[tokio::test(start_paused = true)]
    async fn sixty_hanging_backends_do_not_keep_a_healthy_one_waiting() {
        let limit = CheckLimit::new(16);
        let hanging: Vec<_> = (0..60).map(|_| tokio::spawn(checks(limit.clone(), HANGS))).collect();
        // The last in the queue.
        tokio::task::yield_now().await;
        let healthy = checks(limit, Duration::from_millis(5)).await;
        let brief = Duration::from_millis(50);
        assert!(healthy[0] <= 3 * QUICK_LOOK + brief, "first seen after {:?}", healthy[0]);
        let late = healthy.windows(2).filter(|pair| pair[1].saturating_sub(pair[0]) > INTERVAL + brief);
        assert_eq!(late.count(), 0, "{healthy:?}");
        for hanging in hanging {
            assert!(!hanging.await.expect("no panic").is_empty(), "each has its turn");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn new_backend_that_is_slow_is_asked_once_where_none_waits() {
        let limit = CheckLimit::new(2);
        let asked = std::cell::Cell::new(0);
        let check = || {
            asked.set(asked.get() + 1);
            sleep(HANGS)
        };
        tokio::join!(limit.run(Lane::New, &check), limit.run(Lane::New, &check));
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn limit_that_grows_lets_those_who_wait_begin() {
        let limit = CheckLimit::new(1);
        let _first = limit.acquire(Lane::Answered).now_or_never().expect("free");
        let mut waiting = Box::pin(limit.acquire(Lane::Answered));
        assert!(waiting.as_mut().now_or_never().is_none());
        limit.clone().resize(3);
        let second = waiting.as_mut().now_or_never();
        assert!(second.is_some());
        assert_eq!(free(&limit), 1);
    }

    #[test]
    fn limit_that_shrinks_waits_for_the_checks_that_are_under_way() {
        let limit = CheckLimit::new(4);
        let mut running: Vec<_> = (0..3).map(|_| limit.acquire(Lane::Answered).now_or_never().expect("free")).collect();
        limit.resize(2);
        for (left, expected) in [(3, 0), (2, 0), (1, 1), (0, 2)] {
            running.truncate(left);
            assert_eq!(free(&limit), expected, "{left} under way");
        }
    }

    #[test]
    fn limit_that_shrinks_and_grows_again_is_what_was_said_last() {
        let limit = CheckLimit::new(4);
        let running: Vec<_> = (0..4).map(|_| limit.acquire(Lane::Answered).now_or_never().expect("free")).collect();
        limit.resize(1);
        limit.resize(3);
        limit.resize(0);
        limit.resize(5);
        assert_eq!(free(&limit), 1);
        drop(running);
        assert_eq!(free(&limit), 5);
        limit.resize(0);
        assert_eq!(free(&limit), 1, "nothing at all would never be checked");
    }
}
