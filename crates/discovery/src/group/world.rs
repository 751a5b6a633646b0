//! What the watches have seen so far. They write it, the coordinator reads it.

use std::collections::BTreeSet;
use std::fmt;

use tokio::time::{Duration, Instant};

use super::members::Objects;
use super::resource::Resource;
use vmcp_status::Retry;

/// A fault that passes within this time is not spoken of.
pub(super) const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct World {
    listings: [Listing; Resource::ALL.len()],
    /// Names of backends that are not the group's.
    pub(super) reserved: BTreeSet<String>,
}

impl World {
    pub(super) fn new(reserved: BTreeSet<String>) -> Self {
        World { reserved, ..World::default() }
    }

    pub(super) fn of(&self, resource: Resource) -> &Listing {
        &self.listings[resource as usize]
    }

    pub(super) fn of_mut(&mut self, resource: Resource) -> &mut Listing {
        &mut self.listings[resource as usize]
    }
}

/// What is known of the objects of one kind.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The last known ones; `None` until there was a list.
    pub(super) objects: Option<Objects>,
    /// Why there is no newer list, and since when.
    pub(super) trouble: Option<(Trouble, Instant)>,
}

impl Listing {
    /// A list failed. The first failure of a row is remembered.
    pub(super) fn fail(&mut self, trouble: Trouble, now: Instant) -> bool {
        let since = self.trouble.map_or(now, |(_, since)| since);
        let before = self.trouble.replace((trouble, since));
        before != self.trouble
    }

    /// Why there is nothing new, once that is no passing fault.
    pub(super) fn lasting(&self, now: Instant) -> Option<Trouble> {
        let (trouble, since) = self.trouble?;
        (self.is_left_out() || now >= since + GRACE).then_some(trouble)
    }

    /// The cluster has no such kind or does not show it, and has not done so
    /// since the start.
    pub(super) fn is_left_out(&self) -> bool {
        self.objects.is_none() && matches!(self.trouble, Some((Trouble::Forbidden | Trouble::NotServed, _)))
    }

    /// Whether all is known that can be for now.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        self.objects.is_some() || self.lasting(now).is_some()
    }
}

/// Why objects cannot be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Forbidden,
    NotServed,
    Unauthorized,
    Refused,
    Busy,
    NoAnswer,
    Unreadable,
}

impl Trouble {
    pub(super) fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(refusal) => match refusal.code {
                401 => Trouble::Unauthorized,
                403 => Trouble::Forbidden,
                404 => Trouble::NotServed,
                429 | 500.. => Trouble::Busy,
                _ => Trouble::Refused,
            },
            kube::Error::SerdeError(_) => Trouble::Unreadable,
            _ => Trouble::NoAnswer,
        }
    }

    pub(super) fn retry(self) -> Retry {
        match self {
            Trouble::Busy | Trouble::NoAnswer | Trouble::Unreadable => Retry::Transient,
            _ => Retry::Blocked,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Forbidden => "forbidden",
            Trouble::NotServed => "the cluster does not serve them",
            Trouble::Unauthorized => "the credentials are not accepted",
            Trouble::Refused => "the API server refuses",
            Trouble::Busy => "the API server has a problem",
            Trouble::NoAnswer => "no answer from the API server",
            Trouble::Unreadable => "the answer cannot be read",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fault_is_lasting_after_its_grace_however_its_kind_changes() {
        let (mut listing, start) = (Listing { objects: Some(Objects::new()), trouble: None }, Instant::now());
        assert!(listing.fail(Trouble::NoAnswer, start));
        assert!(!listing.fail(Trouble::NoAnswer, start + GRACE / 2), "nothing new");
        assert!(listing.fail(Trouble::Forbidden, start + GRACE / 2));
        assert_eq!(listing.lasting(start + GRACE / 2), None);
        assert_eq!(listing.lasting(start + GRACE), Some(Trouble::Forbidden));
        assert!(!listing.is_left_out(), "it was known");
    }

    #[tokio::test(start_paused = true)]
    async fn kind_that_was_never_seen_is_settled_by_a_refusal_at_once_and_by_silence_after_the_grace() {
        let now = Instant::now();
        for (trouble, left_out) in [(Trouble::Forbidden, true), (Trouble::NotServed, true), (Trouble::NoAnswer, false)]
        {
            let mut listing = Listing::default();
            assert!(!listing.is_settled(now));
            listing.fail(trouble, now);
            assert_eq!((listing.is_left_out(), listing.is_settled(now)), (left_out, left_out), "{trouble}");
            assert!(listing.is_settled(now + GRACE));
        }
    }
}
