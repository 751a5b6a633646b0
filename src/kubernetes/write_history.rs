//! What this process has sent to the object, and what has come of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::observed::ObservedObject;

/// The API server gives up a request after this time by default, so one without
/// an answer is not carried out later than that. A second is added for the way.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(61);

#[derive(Debug, Default)]
pub(super) struct WriteHistory {
    left: Option<Left>,
    /// When the request was sent that has no answer yet.
    in_flight: Option<Instant>,
    /// When the last one was sent that got no answer. The server may still carry
    /// it out, after newer ones.
    unanswered: Option<Instant>,
    /// Read again this soon to see whether the last write stays.
    look: Option<Duration>,
    mismatch: Option<Mismatch>,
}

/// What this process has left in the object.
#[derive(Debug)]
struct Left {
    object: Arc<ObservedObject>,
    /// When it last said something new.
    said_at: Instant,
    /// Whether a read has found it overwritten.
    is_overwritten: bool,
}

/// The last patch that did not fit.
#[derive(Debug)]
struct Mismatch {
    version: String,
    body: Vec<u8>,
    /// How many in a row did not fit this version.
    count: u32,
}

/// So many patches that do not fit one version are not another writer's doing, even if
/// the times in them differ.
const LASTING_MISMATCHES: u32 = 3;

impl WriteHistory {
    pub(super) fn left(&self) -> Option<&ObservedObject> {
        self.left.as_ref().map(|left| &*left.object)
    }

    /// When this process last said something new.
    pub(super) fn said_at(&self) -> Option<Instant> {
        self.left.as_ref().map(|left| left.said_at)
    }

    /// What was left is overwritten; returns whether it was not known to be.
    pub(super) fn overwritten(&mut self) -> bool {
        self.left.as_mut().is_some_and(|left| !std::mem::replace(&mut left.is_overwritten, true))
    }

    /// Another object of the same name has taken the place.
    pub(super) fn object_replaced(&mut self) {
        self.left = None;
    }

    /// A patch is sent. A future that is dropped never comes to
    /// [`answered`](Self::answered).
    pub(super) fn sending(&mut self, now: Instant) {
        self.unanswered = self.unanswered.max(self.in_flight.replace(now));
    }

    pub(super) fn answered(&mut self) {
        self.in_flight = None;
    }

    /// What is stored is read, which does what was asked for before.
    pub(super) fn reading(&mut self, now: Instant) {
        self.look = None;
        if self.late_until().is_some_and(|until| until <= now) {
            (self.in_flight, self.unanswered) = (None, None);
        }
    }

    /// The server has stored a write. `look`: read again this soon.
    pub(super) fn stored(
        &mut self,
        object: Option<Arc<ObservedObject>>,
        is_news: bool,
        look: Option<Duration>,
        now: Instant,
    ) {
        let said_at = self.said_at().filter(|_| !is_news).unwrap_or(now);
        self.left = object.map(|object| Left { object, said_at, is_overwritten: false });
        self.look = look;
    }

    /// A patch for this version did not fit. Whether the same one, or several, did
    /// not fit before: then it is not another writer who is in the way.
    pub(super) fn mismatch_lasts(&mut self, version: &str, body: Vec<u8>) -> bool {
        let before = self.mismatch.take().filter(|before| before.version == version);
        let count = before.as_ref().map_or(1, |before| before.count.saturating_add(1));
        let lasts = before.is_some_and(|before| before.body == body) || count >= LASTING_MISMATCHES;
        self.mismatch = Some(Mismatch { version: version.to_owned(), body, count });
        lasts
    }

    /// A patch did fit.
    pub(super) fn fitted(&mut self) {
        self.mismatch = None;
    }

    /// How soon to read again though nothing changed.
    pub(super) fn look_again(&self, now: Instant) -> Option<Duration> {
        let late = self.late_until().map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero());
        match (self.look, late) {
            (Some(look), Some(late)) => Some(look.min(late)),
            (look, late) => look.or(late),
        }
    }

    /// Until when a request without an answer may be carried out.
    fn late_until(&self) -> Option<Instant> {
        self.in_flight.max(self.unanswered).map(|sent| sent + REQUEST_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn request_without_an_answer_is_looked_after_once_the_server_has_given_it_up() {
        let t0 = Instant::now();
        let mut history = WriteHistory::default();
        history.sending(t0);
        history.answered();
        assert_eq!(history.look_again(t0), None);
        history.sending(t0 + seconds(1));
        history.sending(t0 + seconds(11));
        history.answered();
        assert_eq!(history.look_again(t0 + seconds(12)), Some(seconds(50)), "an answer to a later one says nothing");
        history.reading(t0 + seconds(61));
        assert_eq!(history.look_again(t0 + seconds(61)), Some(seconds(1)));
        history.reading(t0 + seconds(62));
        assert_eq!(history.look_again(t0 + seconds(62)), None);
    }

    #[test]
    fn mismatch_lasts_only_if_neither_the_object_nor_the_patch_has_changed() {
        let mut history = WriteHistory::default();
        assert!(!history.mismatch_lasts("1", b"a".to_vec()));
        assert!(!history.mismatch_lasts("2", b"a".to_vec()), "another writer was first");
        assert!(!history.mismatch_lasts("2", b"b".to_vec()));
        assert!(history.mismatch_lasts("2", b"b".to_vec()));
        history.fitted();
        assert!(!history.mismatch_lasts("2", b"b".to_vec()));
        assert!(!history.mismatch_lasts("2", b"c".to_vec()));
        assert!(history.mismatch_lasts("2", b"d".to_vec()), "three of them are not another writer's doing");
    }
}
