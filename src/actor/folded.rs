use chrono::{DateTime, Utc};

use crate::mailbox::Received;
use crate::status::Faults;
use crate::update::{Change, Delta, Picture, Update};

/// What came of applying received updates to the picture.
pub(super) struct Folded {
    now: DateTime<Utc>,
    pub(super) received: u64,
    pub(super) change: Change,
    pub(super) faults: Faults,
}

impl Folded {
    pub(super) fn at(now: DateTime<Utc>) -> Self {
        Folded { now, received: 0, change: Change::Times, faults: Faults::default() }
    }

    pub(super) fn apply(&mut self, picture: &mut Picture, Received { mut updates, delta }: Received<'_>) {
        // What a later snapshot replaces need not be built first.
        let replaced = updates.as_slice().iter().rposition(Update::is_snapshot).unwrap_or(0);
        if replaced > 0 {
            let mut newest = Delta::default();
            updates.by_ref().take(replaced + 1).for_each(|update| newest.push(update));
            self.received += newest.count();
            self.change = self.change.max(picture.absorb(newest, self.now, &mut self.faults));
        }
        for update in updates {
            self.received += 1;
            self.change = self.change.max(picture.apply(update, self.now, &mut self.faults));
        }
        if let Some(delta) = delta {
            self.received += delta.count();
            self.change = self.change.max(picture.absorb(delta, self.now, &mut self.faults));
        }
    }
}
