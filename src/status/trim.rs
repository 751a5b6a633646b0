//! Makes a status fit into a store that has a limit (law 12).

use std::sync::Arc;

use super::{BackendStatus, Condition, DiscoveredBackend, OwnedTypes, Status};

/// How much a store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimit {
    /// Bytes that the status may have as JSON.
    pub bytes: usize,
    /// Bytes that the store adds on its own for each backend.
    pub per_backend: usize,
}

/// How many backends did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Omitted {
    pub(crate) missing: usize,
    pub(crate) total: usize,
    /// Those that are missing, in the order of [`BackendStatus::ALL`].
    pub(crate) by_status: [usize; BackendStatus::ALL.len()],
}

/// Room for the fixed members, their names and punctuation.
const FRAME: usize = 512;
/// Names of members, quotes and times of one list item, at the most.
const ITEM_FRAME: usize = 320;
/// The longest message that a status keeps when it has to be trimmed.
const TRIMMED_MESSAGE: usize = 1024;

/// Leaves out backends until the status fits, the healthy ones first, and says
/// in the message how many are missing. `backend_count` keeps counting all.
/// Sizes are upper bounds: what is kept does fit.
pub(crate) fn trim(status: &mut Status, limit: SizeLimit, owned: &OwnedTypes) -> Option<Omitted> {
    let backend_size = |b: &DiscoveredBackend| backend_size(b) + limit.per_backend;
    let fixed = |status: &Status| {
        FRAME + json_size(&status.message) + status.conditions.iter().map(condition_size).sum::<usize>()
    };
    let listed = |status: &Status| status.discovered_backends.iter().map(|b| backend_size(b)).sum::<usize>();
    if fixed(status) + listed(status) <= limit.bytes {
        return None;
    }
    // Long words cost room that backends need.
    shorten(&mut status.message);
    let ours = status.conditions.iter_mut().filter(|condition| owned.contains(&condition.type_));
    ours.for_each(|condition| shorten(&mut condition.message));

    let total = status.discovered_backends.len();
    let mut room = limit.bytes.saturating_sub(fixed(status) + note(total, total).len());
    let mut by_need: Vec<usize> = (0..total).collect();
    by_need.sort_by_key(|&index| rank(status.discovered_backends[index].status));
    let mut kept = vec![false; total];
    for index in by_need {
        let size = backend_size(&status.discovered_backends[index]);
        if size <= room {
            room -= size;
            kept[index] = true;
        }
    }
    let mut by_status = [0; BackendStatus::ALL.len()];
    let mut verdicts = kept.iter();
    status.discovered_backends.retain(|backend: &Arc<DiscoveredBackend>| {
        let keep = verdicts.next().copied().unwrap_or(false);
        by_status[backend.status as usize] += usize::from(!keep);
        keep
    });
    let missing = total - status.discovered_backends.len();
    if missing == 0 {
        return None;
    }
    status.message.push_str(&note(missing, total));
    Some(Omitted { missing, total, by_status })
}

/// How the message of a trimmed status ends.
const NOTE_END: &str = " backends not listed: too large)";

fn note(missing: usize, total: usize) -> String {
    format!(" ({missing} of {total}{NOTE_END}")
}

/// Whether backends were left out of it.
#[cfg(feature = "events")]
pub(crate) fn is_trimmed(status: &Status) -> bool {
    status.message.ends_with(NOTE_END)
}

fn shorten(message: &mut String) {
    if let Some((end, _)) = message.char_indices().nth(TRIMMED_MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
}

/// What somebody who looks for a fault must see comes first.
fn rank(status: BackendStatus) -> u8 {
    match status {
        BackendStatus::Unavailable => 0,
        BackendStatus::Degraded => 1,
        BackendStatus::Unauthenticated => 2,
        BackendStatus::Unknown => 3,
        BackendStatus::Ready => 4,
    }
}

fn condition_size(condition: &Condition) -> usize {
    ITEM_FRAME + json_size(&condition.type_) + json_size(&condition.reason) + json_size(&condition.message)
}

fn backend_size(backend: &DiscoveredBackend) -> usize {
    let texts = [
        &backend.name,
        &backend.url,
        &backend.auth_type,
        &backend.auth_config_ref,
        &backend.message,
        &backend.mcp_revision,
    ];
    ITEM_FRAME + texts.into_iter().map(|text| json_size(text)).sum::<usize>()
}

/// Bytes of a text in JSON, without its quotes, at the most.
fn json_size(text: &str) -> usize {
    let escapes: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' => 1,
            0..0x20 => 5,
            _ => 0,
        })
        .sum();
    text.len() + escapes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn many(count: usize, status: impl Fn(usize) -> BackendStatus) -> Status {
        Status::of_backends((0..count).map(|i| DiscoveredBackend {
            url: format!("http://backend-{i}.default.svc:8080/mcp"),
            status: status(i),
            ..DiscoveredBackend::named(format!("backend-{i}"))
        }))
    }

    fn limit(bytes: usize) -> SizeLimit {
        SizeLimit { bytes, per_backend: 0 }
    }

    #[test]
    fn ten_thousand_backends_are_trimmed_with_the_unhealthy_kept_and_all_counted() {
        let health = |i| {
            if i % 10 == 7 { BackendStatus::Unavailable } else { BackendStatus::Ready }
        };
        let mut status = many(10_000, health);
        let omitted = trim(&mut status, limit(1 << 20), &OwnedTypes::default()).expect("it does not fit");
        let unhealthy = status.discovered_backends.iter().filter(|b| !b.is_routable()).count();
        assert_eq!(unhealthy, 1000);
        assert_eq!(status.backend_count, 9000);
        assert_eq!(omitted.total, 10_000);
        assert_eq!(omitted.missing, 10_000 - status.discovered_backends.len());
        assert_eq!(omitted.by_status, [omitted.missing, 0, 0, 0, 0], "only ready ones are missing");
        assert!(status.message.contains(&omitted.missing.to_string()), "{}", status.message);
        assert!(serde_json::to_vec(&status).expect("serialises").len() <= 1 << 20);
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let mut status = many(1000, |_| BackendStatus::Ready);
        let before = status.clone();
        assert_eq!(trim(&mut status, limit(1 << 20), &OwnedTypes::default()), None);
        assert_eq!(status, before);
    }

    proptest! {
        #[test]
        fn what_is_kept_fits_always(
            names in proptest::collection::vec("\\PC{1,40}|[\u{0}-\u{1f}\"]{1,20}", 0..60),
            message in ".{0,3000}", bytes in 2000usize..20_000,
        ) {
            let mut status = Status {
                message,
                ..Status::of_backends(names.into_iter().map(|name| DiscoveredBackend {
                    message: name.repeat(10),
                    consecutive_failures: u32::MAX,
                    circuit_breaker_state: Some(crate::status::CircuitBreakerState::HalfOpen),
                    last_health_check: Some(chrono::DateTime::UNIX_EPOCH),
                    circuit_last_changed: Some(chrono::DateTime::UNIX_EPOCH),
                    ..DiscoveredBackend::named(name)
                }))
            };
            trim(&mut status, limit(bytes.max(8000)), &OwnedTypes::default());
            prop_assert!(serde_json::to_vec(&status).expect("serialises").len() <= bytes.max(8000));
        }
    }
}
