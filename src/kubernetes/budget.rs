//! How large a status may be, as the server's own answers tell.

use std::time::Duration;

use tokio::time::Instant;

use super::location::Home;

/// Bytes that etcd takes in one request unless it is told otherwise.
const ETCD: usize = 3 << 19;
/// What the request has beside the object.
const SLACK: usize = 16 << 10;
/// An API server takes no larger body.
const LARGEST: usize = 3 << 20;
/// A budget below this leaves no room for anything.
pub(super) const LEAST: usize = 4 << 10;
/// After this time a refusal is forgotten: the server may have been given more
/// room, or others may have made some.
const FORGET: Duration = Duration::from_secs(60 * 60);
/// What was taken and what was refused are close enough to each other when
/// they differ by less than this part.
const CLOSE: usize = 32;

/// The size of a status that the server will take: found between what it took
/// and what it refused, since a refusal is cheap.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// The largest that was taken and the smallest that was refused.
    taken: usize,
    refused: Option<(usize, Instant)>,
}

impl Budget {
    /// Bytes that the next status may have, in an object with this many bytes
    /// that are not ours.
    ///
    /// In `runtime` it has half of the room, since the operator copies it to
    /// the top level: what is refused there is the operator's write, and no
    /// answer to us would say so.
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

    /// A status of this size was stored.
    pub(super) fn took(&mut self, size: usize, now: Instant) {
        if self.refused.is_some_and(|(refused, at)| size >= refused || now >= at + FORGET) {
            self.refused = None;
        }
        self.taken = self.taken.max(size);
    }

    /// A status of this size was refused. Whether a smaller one can be tried.
    pub(super) fn refuse(&mut self, size: usize, now: Instant) -> bool {
        if size <= self.taken {
            // There was more room then.
            self.taken = 0;
        }
        self.refused = Some((size, now));
        size > LEAST
    }

    /// Whether sizes matter, so that they are worth counting.
    pub(super) fn is_tight(&self) -> bool {
        self.refused.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sends a status of `wanted` bytes to a server that takes `limit`, until it
    /// is taken; the refusals, and what was listed.
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
    fn what_the_server_takes_is_sent_whole() {
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
