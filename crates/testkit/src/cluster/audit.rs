//! The server's audit log: every request that it has answered, exactly.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};

use serde::Deserialize;

use super::RealCluster;

/// A place in the audit log.
#[derive(Clone, Copy, Debug)]
pub struct AuditMark(u64);

/// A request that the server has answered.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// As RBAC has it: `get`, `list`, `watch`, `create`, `update`, `patch`, …
    pub verb: String,
    /// With its query.
    pub uri: String,
    /// The status code of the answer.
    pub code: u16,
    /// Who asked; of an impersonation, who impersonates.
    pub user: String,
    /// Plural, such as `virtualmcpservers`; empty for other paths.
    pub resource: String,
    /// Such as `status`; empty for the object itself.
    pub subresource: String,
    /// Of the object; empty for lists.
    pub name: String,
    /// The program that asked.
    pub user_agent: String,
    /// When the request came, RFC 3339 with microseconds.
    pub received: String,
}

impl AuditEntry {
    /// Asks what a write would do, and writes nothing.
    pub fn is_dry_run(&self) -> bool {
        self.uri.contains("dryRun=All")
    }

    /// A write of a status. An empty patch is one too: the log has no bodies.
    pub fn writes_status(&self) -> bool {
        self.subresource == "status" && matches!(&*self.verb, "patch" | "update") && !self.is_dry_run()
    }
}

/// An event of `audit.k8s.io/v1`, as far as it is of use here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuditEvent {
    #[serde(rename = "auditID")]
    id: String,
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: String,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl From<AuditEvent> for AuditEntry {
    fn from(event: AuditEvent) -> Self {
        AuditEntry {
            verb: event.verb,
            uri: event.uri,
            code: event.response_status.code,
            user: event.user.username,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            name: event.object_ref.name,
            user_agent: event.user_agent,
            received: event.request_received_timestamp,
        }
    }
}

impl RealCluster {
    /// Whether the audit log can be read here: that of a `KUBECONFIG` cannot.
    pub fn has_audit_log(&self) -> bool {
        self.control_plane.is_some()
    }

    /// The end of the audit log as it is now, for [`RealCluster::audit_since`].
    pub fn audit_mark(&self) -> AuditMark {
        let log = self.own().audit_log();
        AuditMark(std::fs::metadata(log).map_or(0, |metadata| metadata.len()))
    }

    /// All requests of this user, in the order in which they were answered. The
    /// server writes the line of a request before it ends the answer, so what a
    /// client has seen answered is here.
    pub fn audit(&self, user: &str) -> Vec<AuditEntry> {
        self.audit_since(user, AuditMark(0))
    }

    /// Requests of this user that were answered after the mark.
    pub fn audit_since(&self, user: &str, mark: AuditMark) -> Vec<AuditEntry> {
        let name = Self::user_name(user);
        let mut entries = self.audit_of_all_since(mark);
        entries.retain(|entry| entry.user == name);
        entries
    }

    /// Requests of everyone, the server's own included, that were answered after
    /// the mark. A watch is one request, from when it has begun.
    pub fn audit_of_all_since(&self, AuditMark(start): AuditMark) -> Vec<AuditEntry> {
        let mut text = Vec::new();
        if let Ok(mut file) = std::fs::File::open(self.own().audit_log()) {
            file.seek(SeekFrom::Start(start)).expect("it is a file");
            file.read_to_end(&mut text).expect("it can be read");
        }
        // The server may be in the middle of a line.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut order = BTreeMap::new();
        let mut entries: Vec<AuditEntry> = Vec::new();
        for line in text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: AuditEvent = serde_json::from_slice(line).expect("each line is an event");
            let next = entries.len();
            let at = *order.entry(event.id.clone()).or_insert(next);
            match entries.get_mut(at) {
                Some(entry) => *entry = event.into(),
                None => entries.push(event.into()),
            }
        }
        entries
    }
}
