use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// At most so many checks at the same time, however many
/// [`HealthChecker`](super::HealthChecker) share it.
#[derive(Clone, Debug)]
pub struct CheckLimit {
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
    limit: CheckLimit,
    place: Option<OwnedSemaphorePermit>,
}

fn sensible(at_once: usize) -> usize {
    at_once.clamp(1, Semaphore::MAX_PERMITS)
}

impl CheckLimit {
    /// At least one.
    pub fn new(at_once: usize) -> Self {
        let at_once = sensible(at_once);
        CheckLimit { free: Arc::new(Semaphore::new(at_once)), size: Arc::new(Mutex::new(Size { at_once, excess: 0 })) }
    }

    /// From now on this many, at least one, in every clone of the limit. Checks
    /// that are under way go on.
    pub fn resize(&self, at_once: usize) {
        let at_once = sensible(at_once);
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

    /// Waits for a place.
    pub(super) async fn acquire(&self) -> Permit {
        let place = Arc::clone(&self.free).acquire_owned().await.expect("the semaphore is never closed");
        Permit { limit: self.clone(), place: Some(place) }
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

impl Drop for Permit {
    fn drop(&mut self) {
        let mut size = self.limit.size();
        if size.excess > 0 {
            size.excess -= 1;
            if let Some(place) = self.place.take() {
                place.forget();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// How many more checks may begin now.
    fn free(limit: &CheckLimit) -> usize {
        std::iter::from_fn(|| limit.acquire().now_or_never()).collect::<Vec<_>>().len()
    }

    #[test]
    fn limit_that_grows_lets_those_who_wait_begin() {
        let limit = CheckLimit::new(1);
        let _first = limit.acquire().now_or_never().expect("free");
        let mut waiting = Box::pin(limit.acquire());
        assert!(waiting.as_mut().now_or_never().is_none());
        limit.clone().resize(3);
        let second = waiting.as_mut().now_or_never();
        assert!(second.is_some());
        assert_eq!(free(&limit), 1);
    }

    #[test]
    fn limit_that_shrinks_waits_for_the_checks_that_are_under_way() {
        let limit = CheckLimit::new(4);
        let mut running: Vec<_> = (0..3).map(|_| limit.acquire().now_or_never().expect("free")).collect();
        limit.resize(2);
        for (left, expected) in [(3, 0), (2, 0), (1, 1), (0, 2)] {
            running.truncate(left);
            assert_eq!(free(&limit), expected, "{left} under way");
        }
    }

    #[test]
    fn limit_that_shrinks_and_grows_again_is_what_was_said_last() {
        let limit = CheckLimit::new(4);
        let running: Vec<_> = (0..4).map(|_| limit.acquire().now_or_never().expect("free")).collect();
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
