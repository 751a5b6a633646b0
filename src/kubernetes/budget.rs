//! How large a status may be, according to the server's answers.

use std::time::Duration;

use tokio::time::Instant;

use super::location::Home;

/// Bytes that etcd takes in one request by default.
const ETCD: usize = 3 << 19;
/// Bytes of the request beside the object.
const SLACK: usize = 16 << 10;
/// An API server takes no larger body.
const LARGEST: usize = 3 << 20;
/// The smallest budget: less has no room for a status.
pub(super) const LEAST: usize = 4 << 10;
/// After this time a refusal no longer counts: the server may have a larger limit, or
/// other writers may have freed room.
const FORGET: Duration = Duration::from_secs(60 * 60);
/// The search ends when the largest taken and the smallest refused size differ by less
/// than this part.
const CLOSE: usize = 32;

/// Searches for the largest status that the server takes, between sizes that it took and
/// sizes that it refused. A refusal is cheap.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// The largest size that the server took, and the last size that it refused.
    taken: usize,
    refused: Option<(usize, Instant)>,
}

impl Budget {
    /// Returns how many bytes the next status may have, in an object with `others` bytes
    /// of other writers.
    ///
    /// In `runtime` the status gets half of the room, because the operator copies it to
    /// the top level. If the object became too large, the server would refuse the
    /// operator's write, and no answer to us would say so.
    pub(super) fn bytes(&self, home: Home, others: usize, now: Instant) -> usize {
        let room = ETCD.saturating_sub(SLACK + others).max(2 * LEAST);
        let most = match home {
            Home::Runtime => room / 2,
            Home::TopLevel => LARGEST,
        };
        let Some((refused, at)) = self.refused else { return most };
        if now >= at + FORGET {
            return most;
        }
        let likely = match home {
            // A first guess: most servers keep etcd's own limit.
            Home::TopLevel if self.taken == 0 && refused > room => room,
            _ if refused - self.taken.min(refused) <= refused / CLOSE => self.taken,
            _ => self.taken.midpoint(refused),
        };
        likely.min(most).max(LEAST)
    }

    /// Records that the server stored a status of this size.
    pub(super) fn took(&mut self, size: usize, now: Instant) {
        if self.refused.is_some_and(|(refused, at)| size >= refused || now >= at + FORGET) {
            self.refused = None;
        }
        self.taken = self.taken.max(size);
    }

    /// Records that the server refused a status of this size. Returns whether a smaller
    /// one can be tried.
    pub(super) fn refuse(&mut self, size: usize, now: Instant) -> bool {
        if size <= self.taken {
            // The object had more room when the larger status was taken.
            self.taken = 0;
        }
        self.refused = Some((size, now));
        size > LEAST
    }

    /// Whether the server has refused a size, so that sizes are worth counting.
    pub(super) fn is_tight(&self) -> bool {
        self.refused.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sends a status of `wanted` bytes to a server that takes `limit`, until the server
    /// takes it. Returns the number of refusals and the size that was taken.
    fn send(budget: &mut Budget, wanted: usize, limit: usize, now: Instant) -> (u32, usize) {
        for refusals in 0..40 {
            let size = wanted.min(budget.bytes(Home::TopLevel, 1000, now));
            if size <= limit {
                budget.took(size, now);
                return (refusals, size);
            }
            assert!(budget.refuse(size, now), "there is something smaller");
        }
        panic!("never taken");
    }

    #[test]
    fn status_that_the_server_takes_is_sent_whole() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        assert_eq!(send(&mut budget, 950_000, 1_500_000, now), (0, 950_000));
    }

    #[test]
    fn a_refusal_is_followed_by_what_most_servers_take_and_then_by_halves() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        let (refusals, listed) = send(&mut budget, 2_500_000, 1_556_000, now);
        assert!(refusals <= 1 && listed > 1_500_000, "{refusals} {listed}");
        let (refusals, listed) = send(&mut Budget::default(), 2_500_000, 100_000, now);
        assert!(refusals <= 6 && listed > 40_000, "{refusals} {listed}");
    }

    #[test]
    fn budget_grows_again_after_refusals() {
        let (mut budget, mut now) = (Budget::default(), Instant::now());
        let (_, first) = send(&mut budget, 500_000, 10_000, now);
        assert!(first <= 10_000);
        // From now on the server takes everything.
        let mut listed = first;
        for _ in 0..8 {
            now += Duration::from_secs(300);
            listed = listed.max(send(&mut budget, 500_000, usize::MAX, now).1);
        }
        assert!(listed > 8_000, "by halves towards what was refused: {listed}");
        now += FORGET;
        assert_eq!(send(&mut budget, 500_000, usize::MAX, now).1, 500_000);
    }

    #[test]
    fn runtime_has_half_of_the_room_whatever_is_taken() {
        let budget = Budget::default();
        let now = Instant::now();
        let half = budget.bytes(Home::Runtime, 10_000, now);
        assert!(half * 2 + 10_000 < ETCD && half > 700_000, "{half}");
        assert!(budget.bytes(Home::Runtime, 500_000, now) < half);
    }

    #[test]
    fn the_smallest_that_can_be_sent_is_not_refused_for_a_smaller_one() {
        let mut budget = Budget::default();
        assert!(!budget.refuse(LEAST, Instant::now()));
    }

    proptest! {
        #[test]
        fn any_server_that_takes_the_least_takes_most_of_what_it_could(
            wanted in 10_000usize..3_000_000, limit in (LEAST + 1)..3_000_000,
        ) {
            let (mut budget, now) = (Budget::default(), Instant::now());
            let mut listed = 0;
            for _ in 0..14 {
                listed = send(&mut budget, wanted, limit, now).1;
            }
            prop_assert!(listed * 10 >= wanted.min(limit) * 9, "{listed} of {wanted} where {limit} are taken");
        }
    }
}
