//! Where the objects come from that `get` shows.

mod cluster;
mod leases;
mod state_files;

use chrono::{DateTime, Utc};
use serde_json::Value;
use vmcp_status::Status;

use super::super::homes::Unfollowed;
use super::liveness::Liveness;
use crate::global::Failure;

pub(super) use cluster::Cluster;
pub(super) use leases::LeaseQuery;
pub(super) use state_files::Directory;

/// One state, as it was when it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    /// What `get NAME` finds it by.
    pub(super) name: String,
    /// Empty for a state file.
    pub(super) namespace: String,
    pub(super) status: Status,
    /// Where it serves; empty where that is not known.
    pub(super) url: String,
    /// What its age counts from: the last write of a file, the creation of an
    /// object in a cluster.
    pub(super) written: Option<DateTime<Utc>>,
    /// Why its phase may be a thing of the past, if so.
    pub(super) stale: Option<String>,
    /// What was reported, where that is not what is shown, and the operator has
    /// had the time to show it.
    pub(super) unfollowed: Option<Unfollowed>,
    /// What tells whether its reporter is alive, and how old its findings are.
    pub(super) liveness: Liveness,
    /// The whole, with all that this version does not know.
    pub(super) stored: Value,
}

impl Object {
    /// What no other of its source has.
    pub(super) fn id(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}/{}", self.namespace, self.name) }
    }

    /// The object as it is stored, and beside it what is known of its age.
    pub(super) fn document(&self) -> Value {
        let mut document = self.stored.clone();
        if let Value::Object(members) = &mut document {
            members.insert(OURS.into(), self.liveness.to_json(self.stale.as_deref()));
        }
        document
    }
}

/// The member that is added to an object for programs. It has the name of this program,
/// which no other member of an object of Kubernetes has.
const OURS: &str = "vmcpStatus";

/// One that is there and cannot be shown.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// The [`id`](Object::id); `None`: it concerns them all.
    pub(super) name: Option<String>,
    pub(super) why: String,
}

/// What one look at a source yields, sorted by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) objects: Vec<Object>,
    pub(super) faults: Vec<Fault>,
    /// What limits what can be told of them.
    pub(super) notes: Vec<String>,
}

/// What a list of objects tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    /// Those of state files.
    Files,
    /// Those of one namespace, as kubectl shows them.
    Namespace,
    /// Those of all namespaces.
    AllNamespaces,
}

/// A place where states are kept.
pub(super) trait Source {
    /// Where that is, to follow "there is nothing …".
    fn place(&self) -> String;

    /// What to say where there is nothing at all.
    fn nothing(&self) -> String;

    /// What a list of them tells.
    fn columns(&self) -> Columns;

    /// The names there are, those of unreadable ones included; `None` where
    /// they may not be told.
    async fn names(&self) -> Result<Option<Vec<String>>, Failure>;

    /// All, or the one of this name. That there is none is no failure.
    async fn read(&mut self, name: Option<&str>) -> Result<Found, Failure>;

    /// Waits until [`read`](Source::read) may find something else than it did
    /// the last time. May be dropped and called again.
    async fn changed(&mut self);
}
