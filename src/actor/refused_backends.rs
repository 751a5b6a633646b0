//! Backends that the store refuses: one costs itself, not the others (law 12).

use std::collections::HashMap;
use std::sync::Arc;

use crate::status::{DiscoveredBackend, Fault, Faults, Status};

/// The refused backends by name, as they were when the store refused them.
#[derive(Debug, Default)]
pub(super) struct RefusedBackends(HashMap<String, Arc<DiscoveredBackend>>);

impl RefusedBackends {
    /// Takes the backends of `wanted` that the store refused in `attempted`. One that has
    /// changed since then is not taken: the store has not seen it. Returns a fault for
    /// each that was taken.
    pub(super) fn add(&mut self, refused: &[(String, String)], attempted: &Status, wanted: &Status) -> Faults {
        let mut faults = Faults::default();
        for (name, reason) in refused {
            let wanted = wanted.discovered_backends.iter().find(|backend| backend.name == *name);
            if let (Some(attempted), Some(wanted)) = (attempted.backend(name), wanted)
                && is_as_attempted(wanted, attempted)
                && self.0.insert(name.clone(), Arc::clone(wanted)).is_none()
            {
                faults.push(Fault::RefusedBackend { name: name.clone(), reason: reason.clone() });
            }
        }
        faults
    }

    /// Removes the refused backends that are as they were, and forgets the others.
    pub(super) fn leave_out(&mut self, wanted: &mut Status) {
        if self.0.is_empty() {
            return;
        }
        let mut left_out = HashMap::with_capacity(self.0.len());
        wanted.discovered_backends.retain(|backend| match self.0.remove(&backend.name) {
            Some(refused) if refused.eq_ignoring_times(backend) => {
                left_out.insert(backend.name.clone(), refused);
                false
            }
            _ => true,
        });
        self.0 = left_out;
    }
}

/// Whether the two are equal but for times, and for a message that was shortened on the
/// way to the store.
fn is_as_attempted(wanted: &DiscoveredBackend, attempted: &DiscoveredBackend) -> bool {
    let is_shortened =
        attempted.message.strip_suffix('…').is_some_and(|beginning| wanted.message.starts_with(beginning));
    wanted.eq_ignoring_times(attempted)
        || (is_shortened
            && DiscoveredBackend { message: attempted.message.clone(), ..wanted.clone() }.eq_ignoring_times(attempted))
}
