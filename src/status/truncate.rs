//! Makes a status fit into a store that has a limit (law 12).

use std::sync::Arc;

use super::{BackendStatus, Condition, DiscoveredBackend, OwnedTypes, Status};

/// How large a status a store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimit {
    /// Maximum size of the status as JSON, in bytes.
    pub bytes: usize,
    /// Bytes that the store adds by itself for each backend.
    pub per_backend: usize,
}

impl SizeLimit {
    /// Makes a limit on the JSON alone, for a store that adds nothing by itself.
    ///
    /// ```
    /// use vmcp_status::SizeLimit;
    ///
    /// let limit = SizeLimit { per_backend: 158, ..SizeLimit::new(1 << 20) };
    /// assert_eq!(limit.bytes, 1_048_576);
    /// ```
    pub const fn new(bytes: usize) -> Self {
        SizeLimit { bytes, per_backend: 0 }
    }
}

/// How many backends did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Omitted {
    pub(crate) missing: usize,
    pub(crate) total: usize,
    /// The missing ones by status, in the order of [`BackendStatus::ALL`].
    pub(crate) by_status: [usize; BackendStatus::ALL.len()],
}

/// Maximum size of the member names, quotes and times of one list item.
const ITEM_FRAME: usize = 320;
/// Room for the fixed members, their names and punctuation.
const FRAME: usize = 512;
/// Lengths in characters to which messages are shortened, step by step, before a
/// backend is left out.
const MESSAGE_STEPS: [usize; 3] = [1024, 256, 64];

/// Makes the status fit: shortens messages first, then leaves out backends, healthy ones
/// first, and appends to the message how many are missing. `backend_count` still counts
/// all.
///
/// ToolHive's operator counts the list to find the phase. So a shortened list keeps a
/// routable backend if there is one, and a backend that is not routable if there is
/// one.
pub(crate) fn truncate(status: &mut Status, limit: SizeLimit, owned: &OwnedTypes) -> Option<Omitted> {
    // An exact count serialises everything, and most statuses are far below the
    // limit.
    if upper_bound(status, limit) <= limit.bytes || size(status, limit) <= limit.bytes {
        return None;
    }
    for longest in MESSAGE_STEPS {
        if shorten_messages(status, owned, longest) && size(status, limit) <= limit.bytes {
            return None;
        }
    }

    let total = status.discovered_backends.len();
    let backends = std::mem::take(&mut status.discovered_backends);
    let room = limit.bytes.saturating_sub(size(status, limit) + LIST_FRAME + note(total, total).len());
    let kept = kept(&backends, limit, room);
    let mut by_status = [0; BackendStatus::ALL.len()];
    for (backend, kept) in backends.into_iter().zip(kept) {
        if kept {
            status.discovered_backends.push(backend);
        } else {
            by_status[backend.status as usize] += 1;
        }
    }
    let missing = total - status.discovered_backends.len();
    if missing == 0 {
        return None;
    }
    status.message.push_str(&note(missing, total));
    Some(Omitted { missing, total, by_status })
}

/// The name and brackets of the list of backends.
const LIST_FRAME: usize = 32;

/// Selects the backends that stay in this much room: those that matter most to a person
/// who looks for a fault. The selection stops at the first backend that does not fit,
/// so that it never lists a healthy backend in place of an unhealthy one.
fn kept(backends: &[Arc<DiscoveredBackend>], limit: SizeLimit, mut room: usize) -> Vec<bool> {
    let mut by_need: Vec<usize> = (0..backends.len()).collect();
    by_need.sort_by_key(|&index| rank(backends[index].status));
    let first = |routable| by_need.iter().copied().find(|&index| backends[index].is_routable() == routable);
    let mut kept = vec![false; backends.len()];
    for index in first(false).into_iter().chain(first(true)).chain(by_need.iter().copied()) {
        if kept[index] {
            continue;
        }
        let size = json_bytes(&*backends[index]) + 1 + limit.per_backend;
        if size > room {
            break;
        }
        room -= size;
        kept[index] = true;
    }
    kept
}

/// Bytes of the status in JSON, with what the store adds.
pub(crate) fn size(status: &Status, limit: SizeLimit) -> usize {
    json_bytes(status) + limit.per_backend * status.discovered_backends.len()
}

/// Returns an upper bound of [`size`], from the lengths of texts alone.
fn upper_bound(status: &Status, limit: SizeLimit) -> usize {
    let conditions: usize = status.conditions.iter().map(condition_bound).sum();
    let backends: usize = status.discovered_backends.iter().map(|b| backend_bound(b) + limit.per_backend).sum();
    FRAME + text_bound(&status.message) + conditions + backends
}

/// Shortens the messages that belong to this process. Returns whether any became
/// shorter.
fn shorten_messages(status: &mut Status, owned: &OwnedTypes, longest: usize) -> bool {
    let mut shortened = shorten(&mut status.message, longest);
    for condition in status.conditions.iter_mut().filter(|condition| owned.contains(&condition.type_)) {
        shortened |= shorten(&mut condition.message, longest);
    }
    for backend in &mut status.discovered_backends {
        // A text has at least as many bytes as characters.
        if backend.message.len() > longest {
            shortened |= shorten(&mut Arc::make_mut(backend).message, longest);
        }
    }
    shortened
}

/// Bytes of a value of the model in JSON.
pub(crate) fn json_bytes(value: &impl serde::Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("the model serialises");
    count.0
}

/// The end of the message of a truncated status.
fn note(missing: usize, total: usize) -> String {
    format!(" ({missing} of {total} backends not listed: too large)")
}

/// Shortens a message. Returns whether it became shorter.
fn shorten(message: &mut String, longest: usize) -> bool {
    let Some((end, _)) = message.char_indices().nth(longest) else { return false };
    message.truncate(end);
    message.push('…');
    true
}

/// Ranks first what a person who looks for a fault has to see.
fn rank(status: BackendStatus) -> u8 {
    match status {
        BackendStatus::Unavailable => 0,
        BackendStatus::Degraded => 1,
        BackendStatus::Unauthenticated => 2,
        BackendStatus::Unknown => 3,
        BackendStatus::Ready => 4,
    }
}

fn condition_bound(condition: &Condition) -> usize {
    ITEM_FRAME + text_bound(&condition.type_) + text_bound(&condition.reason) + text_bound(&condition.message)
}

fn backend_bound(backend: &DiscoveredBackend) -> usize {
    let texts = [
        &backend.name,
        &backend.url,
        &backend.auth_type,
        &backend.auth_config_ref,
        &backend.message,
        &backend.mcp_revision,
    ];
    ITEM_FRAME + texts.into_iter().map(|text| text_bound(text)).sum::<usize>()
}

/// Returns an upper bound of the bytes of a text in JSON, without its quotes.
fn text_bound(text: &str) -> usize {
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
        Status::from_backends((0..count).map(|i| DiscoveredBackend {
            url: format!("http://backend-{i}.default.svc:8080/mcp"),
            status: status(i),
            ..DiscoveredBackend::named(format!("backend-{i}"))
        }))
    }

    fn limit(bytes: usize) -> SizeLimit {
        SizeLimit { bytes, per_backend: 0 }
    }

    #[test]
    fn ten_thousand_backends_are_truncated_with_the_unhealthy_kept_and_all_counted() {
        let health = |i| {
            if i % 10 == 7 { BackendStatus::Unavailable } else { BackendStatus::Ready }
        };
        let mut status = many(10_000, health);
        let omitted = truncate(&mut status, limit(1 << 19), &OwnedTypes::default()).expect("it does not fit");
        let unhealthy = status.discovered_backends.iter().filter(|b| !b.is_routable()).count();
        assert_eq!(unhealthy, 1000);
        assert_eq!(status.backend_count, 9000);
        assert_eq!(omitted.total, 10_000);
        assert_eq!(omitted.missing, 10_000 - status.discovered_backends.len());
        assert_eq!(omitted.by_status, [omitted.missing, 0, 0, 0, 0], "only ready ones are missing");
        assert!(status.message.contains(&omitted.missing.to_string()), "{}", status.message);
        assert!(serde_json::to_vec(&status).expect("serialises").len() <= 1 << 19);
    }

    #[test]
    fn messages_are_shortened_before_a_backend_is_left_out() {
        let mut status = many(200, |_| BackendStatus::Unavailable);
        for backend in &mut status.discovered_backends {
            Arc::make_mut(backend).message = "why ".repeat(500);
        }
        assert_eq!(truncate(&mut status, limit(100_000), &OwnedTypes::default()), None);
        assert_eq!(status.discovered_backends.len(), 200);
        let longest = status.discovered_backends.iter().map(|backend| backend.message.chars().count()).max();
        assert_eq!(longest, Some(257), "no shorter than it has to be");
    }

    #[test]
    fn no_healthy_backend_is_listed_while_an_unhealthy_one_is_not() {
        let mut status = many(300, |i| if i < 200 { BackendStatus::Unavailable } else { BackendStatus::Ready });
        for backend in status.discovered_backends.iter_mut().take(200) {
            Arc::make_mut(backend).url = format!("http://{}/mcp", "long".repeat(100));
        }
        truncate(&mut status, limit(20_000), &OwnedTypes::default()).expect("it does not fit");
        let routable = status.discovered_backends.iter().filter(|backend| backend.is_routable()).count();
        assert_eq!(routable, 1, "one alone, which tells that some route");
    }

    #[test]
    fn five_thousand_ordinary_backends_fit_a_mebibyte() {
        let mut status = many(5000, |_| BackendStatus::Ready);
        assert_eq!(truncate(&mut status, limit(1 << 20), &OwnedTypes::default()), None);
        assert_eq!(status.discovered_backends.len(), 5000);
    }

    #[test]
    fn status_that_fits_is_unchanged() {
        let mut status = many(1000, |_| BackendStatus::Ready);
        let before = status.clone();
        assert_eq!(truncate(&mut status, limit(1 << 20), &OwnedTypes::default()), None);
        assert_eq!(status, before);
    }

    proptest! {
        #[test]
        fn truncated_list_counts_to_the_same_phase(
            statuses in proptest::collection::vec(0usize..5, 2..200), bytes in 1500usize..4000,
        ) {
            let mut status = many(statuses.len(), |i| BackendStatus::ALL[statuses[i]]);
            let of = |status: &Status| {
                let routable = status.discovered_backends.iter().filter(|b| b.is_routable()).count();
                (routable > 0, routable < status.discovered_backends.len())
            };
            let before = of(&status);
            truncate(&mut status, limit(bytes), &OwnedTypes::default());
            prop_assert_eq!(of(&status), before);
        }

        #[test]
        fn truncated_status_always_fits(
            names in proptest::collection::vec("\\PC{1,40}|[\u{0}-\u{1f}\"]{1,20}", 0..60),
            message in ".{0,3000}", bytes in 2000usize..20_000,
        ) {
            let mut status = Status {
                message,
                ..Status::from_backends(names.into_iter().map(|name| DiscoveredBackend {
                    message: name.repeat(10),
                    consecutive_failures: u32::MAX,
                    circuit_breaker_state: Some(crate::status::CircuitBreakerState::HalfOpen),
                    last_health_check: Some(chrono::DateTime::UNIX_EPOCH),
                    circuit_last_changed: Some(chrono::DateTime::UNIX_EPOCH),
                    ..DiscoveredBackend::named(name)
                }))
            };
            truncate(&mut status, limit(bytes.max(8000)), &OwnedTypes::default());
            prop_assert!(serde_json::to_vec(&status).expect("serialises").len() <= bytes.max(8000));
        }
    }
}
