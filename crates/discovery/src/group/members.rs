//! From the objects of a cluster to the backends of a group. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use url::Url;

use super::object::Object;
use super::outgoing_auth::{self, MemberAuth, OutgoingAuth};
use super::resource::Resource;
use super::trust::{self, ConfigMaps, Trust};
use crate::health_checker::{CheckSpec, CheckedBackend, CircuitBreaker, Thresholds, bare, joined};
use crate::probe::Transport;
use vmcp_status::{BackendStatus, DiscoveredBackend};

/// The objects of one kind, by name.
pub(super) type Objects = BTreeMap<String, Object>;

/// How backends are checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Timing {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) degraded_above: Duration,
    pub(super) thresholds: Thresholds,
    pub(super) circuit_breaker: Option<CircuitBreaker>,
}

/// What is known of a cluster.
pub(super) struct Known<'a> {
    pub(super) group: &'a str,
    /// Names that the backends of others have.
    pub(super) reserved: &'a BTreeSet<String>,
    /// The kinds that are known, in the order of [`Resource::BACKENDS`].
    pub(super) backends: Vec<(Resource, &'a Objects)>,
    /// `None`: they cannot be read.
    pub(super) auth_configs: Option<&'a Objects>,
    /// What the vMCP says of the credentials of members, as far as it is known.
    pub(super) outgoing_auth: Option<&'a OutgoingAuth>,
    pub(super) config_maps: ConfigMaps<'a>,
}

/// One backend of the group.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Member {
    /// To be checked.
    Checked(Box<CheckSpec>),
    /// Shown as it is.
    Shown(DiscoveredBackend),
    /// Left as it is until it is known what its check needs.
    Waiting,
}

/// The backends of the group, each under its kind and its name, which is unique
/// among all kinds. Workloads that are off keep their names and are not among them.
pub(super) fn members(known: &Known<'_>, timing: &Timing) -> BTreeMap<Resource, BTreeMap<String, Member>> {
    let mut taken = known.reserved.clone();
    let of_kind = |(kind, objects): &(Resource, &Objects)| {
        let in_group = objects.iter().filter(|(_, object)| object.group == known.group);
        let mut named = BTreeMap::new();
        for (name, object) in in_group {
            let mut unique = name.clone();
            while !taken.insert(unique.clone()) {
                unique = kind.qualified(&unique);
            }
            if !object.is_off() {
                let auth = auth(known, name, object);
                let member = member(*kind, unique.clone(), object, auth, known, timing);
                named.insert(unique, member);
            }
        }
        (*kind, named)
    };
    known.backends.iter().map(of_kind).collect()
}

fn member(kind: Resource, name: String, object: &Object, auth: Auth, known: &Known<'_>, timing: &Timing) -> Member {
    let address = if kind == Resource::Entry { &object.remote_url } else { &object.url };
    let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Auth { auth_type, auth_config_ref, note, is_missing } = auth;
    // A workload adds headers and trusts certificates by itself.
    let direct = if kind == Resource::Entry { object } else { &Object::default() };
    let (status, why) = match outlook(kind, object, address, url.clone()) {
        Err((status, why)) => (status, why.to_owned()),
        // Without the credentials that are configured the door would be tried as if
        // it were open.
        Ok(_) if is_missing => (BackendStatus::Unavailable, String::new()),
        Ok((url, transport)) => match Trust::of(direct, &known.config_maps) {
            Trust::Waiting => return Member::Waiting,
            Trust::Missing(what) => (BackendStatus::Unavailable, what),
            Trust::Known(trusted_ca) => {
                let Timing { interval, timeout, degraded_above, thresholds, circuit_breaker } = *timing;
                let backend = CheckedBackend {
                    auth_type,
                    auth_config_ref,
                    headers: direct.headers.clone(),
                    has_other_credentials: direct.has_secret_headers,
                    trusted_ca,
                    transport: Some(transport),
                    interval,
                    timeout,
                    degraded_above,
                    unhealthy_threshold: thresholds.unhealthy,
                    healthy_threshold: thresholds.healthy,
                    circuit_breaker,
                    ..CheckedBackend::new(name, url)
                };
                let note = joined([&note, &header_note(direct)]);
                return Member::Checked(Box::new(CheckSpec { backend, note, phase: object.phase.clone() }));
            }
        },
    };
    Member::Shown(DiscoveredBackend {
        url: url.map(bare).unwrap_or_default(),
        status,
        auth_type,
        auth_config_ref,
        message: joined([&why, &note]),
        ..DiscoveredBackend::named(name)
    })
}

/// Where and how to check it, or how it is shown without a check, and why.
fn outlook(
    kind: Resource,
    object: &Object,
    address: &str,
    url: Option<Url>,
) -> Result<(Url, Transport), (BackendStatus, &'static str)> {
    use BackendStatus::{Unavailable, Unknown};
    match (kind, object.phase.as_str()) {
        (_, "Failed") => return Err((Unavailable, "Workload is Failed")),
        // Its address is the user's, and ToolHive has not validated it yet.
        (Resource::Entry, phase) if phase != "Valid" => return Err((Unknown, "Not validated yet")),
        _ => {}
    }
    if address.is_empty() {
        return Err((Unknown, "No URL yet"));
    }
    let url = url.ok_or((Unavailable, "Its URL is not an http or https URL"))?;
    let transport = match (kind, object.transport.as_str()) {
        // The defaults of the CRDs: stdio behind a proxy that speaks streamable HTTP.
        (Resource::Server, "" | "stdio") | (_, "stdio") => &object.proxy_mode,
        _ => &object.transport,
    };
    match transport.as_str() {
        "" | "streamable-http" => Ok((url, Transport::StreamableHttp)),
        "sse" => Ok((url, Transport::EventStream)),
        _ => Err((Unknown, "Not probed: its transport is not known")),
    }
}

/// Which of the headers to add are left out of its checks.
fn header_note(object: &Object) -> String {
    match object.unusable_headers.as_slice() {
        [] => String::new(),
        [name] => format!("Header {name:?} cannot be sent"),
        [name, others @ ..] => format!("Header {name:?} and {} more cannot be sent", others.len()),
    }
}

/// The `ConfigMap`s that its members name.
pub(super) fn config_maps(known: &Known<'_>) -> BTreeSet<String> {
    let entries = known.backends.iter().filter(|(kind, _)| *kind == Resource::Entry);
    let in_group = entries.flat_map(|(_, objects)| objects.values()).filter(|object| object.group == known.group);
    in_group.filter_map(trust::config_map).map(String::from).collect()
}

/// How many of its workloads are off.
pub(super) fn count_off(known: &Known<'_>) -> usize {
    let objects = known.backends.iter().flat_map(|(_, objects)| objects.values());
    objects.filter(|object| object.group == known.group && object.is_off()).count()
}

/// What is configured for a member.
#[derive(Default)]
struct Auth {
    auth_type: String,
    auth_config_ref: String,
    /// What is wrong with it.
    note: String,
    /// Whether it leads nowhere.
    is_missing: bool,
}

fn auth(known: &Known<'_>, name: &str, object: &Object) -> Auth {
    let kind = Resource::AuthConfig;
    let reference = match outgoing_auth::of_member(known.outgoing_auth, name, &object.auth_config) {
        MemberAuth::Nothing => return Auth::default(),
        MemberAuth::Unauthenticated => return Auth { auth_type: "unauthenticated".into(), ..Auth::default() },
        MemberAuth::Broken => {
            let note = format!("outgoingAuth of the vMCP names no {}", kind.kind());
            return Auth { note, is_missing: true, ..Auth::default() };
        }
        MemberAuth::Config(reference) => reference,
    };
    let auth = Auth { auth_config_ref: reference.to_owned(), ..Auth::default() };
    match known.auth_configs.map(|configs| configs.get(reference)) {
        Some(Some(config)) if !config.type_.is_empty() => {
            Auth { auth_type: outgoing_auth::reported_type(&config.type_), ..auth }
        }
        Some(Some(_)) => {
            Auth { note: format!("{} {reference:?} names no type", kind.kind()), is_missing: true, ..auth }
        }
        Some(None) => Auth { note: format!("{} {reference:?} does not exist", kind.kind()), is_missing: true, ..auth },
        // Something is configured, whatever it is.
        None => Auth { note: format!("{} cannot be read", kind.many()), ..auth },
    }
}

#[cfg(test)]
mod tests;
