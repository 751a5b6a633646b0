use chrono::{DateTime, Utc};

use crate::mailbox::Received;
use crate::status::Faults;
use crate::update::{Change, Delta, DesiredState, Update};

/// What came of applying received updates to the desired state.
pub(super) struct Applied {
    now: DateTime<Utc>,
    pub(super) received: u64,
    pub(super) change: Change,
    pub(super) faults: Faults,
}

impl Applied {
    pub(super) fn at(now: DateTime<Utc>) -> Self {
        Applied { now, received: 0, change: Change::Times, faults: Faults::default() }
    }

    pub(super) fn apply(&mut self, desired: &mut DesiredState, Received { mut updates, delta }: Received<'_>) {
        // What a later snapshot replaces need not be built first.
        let replaced = updates.as_slice().iter().rposition(Update::is_snapshot).unwrap_or(0);
        if replaced > 0 {
            let mut newest = Delta::default();
            updates.by_ref().take(replaced + 1).for_each(|update| newest.push(update));
            self.received += newest.count();
            self.change = self.change.max(desired.absorb(newest, self.now, &mut self.faults));
        }
        for update in updates {
            self.received += 1;
            self.change = self.change.max(desired.apply(update, self.now, &mut self.faults));
        }
        if let Some(delta) = delta {
            self.received += delta.count();
            self.change = self.change.max(desired.absorb(delta, self.now, &mut self.faults));
        }
    }
}
