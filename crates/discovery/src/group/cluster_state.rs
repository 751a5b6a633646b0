//! What the watches have seen so far. They write it, the coordinator reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tokio::time::{Duration, Instant};

use super::members::Objects;
use super::resource::Resource;
use super::vmcp_spec::VmcpSpec;
use vmcp_status::Retry;

/// Grace period before a list failure is reported.
pub(super) const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct ClusterState {
    listings: [Listing; Resource::ALL.len()],
    /// `ConfigMap`s that members name, each by itself.
    pub(super) config_maps: BTreeMap<String, Listing>,
    /// Names of backends that are not the group's.
    pub(super) reserved: BTreeSet<String>,
    /// The vMCP whose spec is followed.
    pub(super) vmcp: Option<String>,
}

impl ClusterState {
    pub(super) fn new(reserved: BTreeSet<String>, vmcp: Option<String>) -> Self {
        ClusterState { reserved, vmcp, ..ClusterState::default() }
    }

    /// The spec of the vMCP, where it is followed and known.
    pub(super) fn spec(&self) -> Option<&VmcpSpec> {
        self.of(Resource::Vmcp).objects.as_ref()?.get(self.vmcp.as_ref()?)?.vmcp.as_deref()
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
    pub(super) list_error: Option<(ListError, Instant)>,
}

impl Listing {
    /// A list failed. The first failure of a row is remembered.
    pub(super) fn fail(&mut self, list_error: ListError, now: Instant) -> bool {
        let since = self.list_error.map_or(now, |(_, since)| since);
        let before = self.list_error.replace((list_error, since));
        before != self.list_error
    }

    /// Why there is nothing new, once that is no passing fault.
    pub(super) fn lasting(&self, now: Instant) -> Option<ListError> {
        let (list_error, since) = self.list_error?;
        (self.is_left_out() || now >= since + GRACE).then_some(list_error)
    }

    /// The cluster has no such kind or does not show it, and has not done so
    /// since the start.
    pub(super) fn is_left_out(&self) -> bool {
        self.objects.is_none() && matches!(self.list_error, Some((ListError::Forbidden | ListError::NotServed, _)))
    }

    /// The last known objects, or why there are none; `None` while that is open.
    pub(super) fn outcome(&self, now: Instant) -> Option<Result<&Objects, ListError>> {
        self.objects.as_ref().map(Ok).or_else(|| self.lasting(now).map(Err))
    }

    /// Whether all is known that can be for now.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        self.outcome(now).is_some()
    }
}

/// Why objects cannot be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListError {
    Forbidden,
    NotServed,
    Unauthorized,
    Refused,
    Busy,
    NoAnswer,
    Unreadable,
}

impl ListError {
    pub(super) fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(refusal) => match refusal.code {
                401 => ListError::Unauthorized,
                403 => ListError::Forbidden,
                404 => ListError::NotServed,
                429 | 500.. => ListError::Busy,
                _ => ListError::Refused,
            },
            kube::Error::SerdeError(_) => ListError::Unreadable,
            _ => ListError::NoAnswer,
        }
    }

    pub(super) fn retry(self) -> Retry {
        match self {
            ListError::Busy | ListError::NoAnswer | ListError::Unreadable => Retry::Transient,
            _ => Retry::Blocked,
        }
    }
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListError::Forbidden => "forbidden",
            ListError::NotServed => "the cluster does not serve them",
            ListError::Unauthorized => "the credentials are not accepted",
            ListError::Refused => "the API server refuses",
            ListError::Busy => "the API server has a problem",
            ListError::NoAnswer => "no answer from the API server",
            ListError::Unreadable => "the answer cannot be read",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fault_is_lasting_after_its_grace_however_its_kind_changes() {
        let (mut listing, start) = (Listing { objects: Some(Objects::new()), list_error: None }, Instant::now());
        assert!(listing.fail(ListError::NoAnswer, start));
        assert!(!listing.fail(ListError::NoAnswer, start + GRACE / 2), "nothing new");
        assert!(listing.fail(ListError::Forbidden, start + GRACE / 2));
        assert_eq!(listing.lasting(start + GRACE / 2), None);
        assert_eq!(listing.lasting(start + GRACE), Some(ListError::Forbidden));
        assert!(!listing.is_left_out(), "it was known");
    }

    #[tokio::test(start_paused = true)]
    async fn kind_that_was_never_seen_is_settled_by_a_refusal_at_once_and_by_silence_after_the_grace() {
        let now = Instant::now();
        for (list_error, left_out) in
            [(ListError::Forbidden, true), (ListError::NotServed, true), (ListError::NoAnswer, false)]
        {
            let mut listing = Listing::default();
            assert!(!listing.is_settled(now));
            listing.fail(list_error, now);
            assert_eq!((listing.is_left_out(), listing.is_settled(now)), (left_out, left_out), "{list_error}");
            assert!(listing.is_settled(now + GRACE));
        }
    }
}
