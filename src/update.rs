//! The messages that callers send, and the desired state that they are applied to.
//! Pure.

mod delta;
mod desired_state;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::status::{Condition, DiscoveredBackend, Faults, Phase, Status, odd_values};

pub(crate) use delta::Delta;
pub(crate) use desired_state::{Change, DesiredState};

/// One update of the status. Its JSON form is a line of `vmcp-status report`:
///
/// ```
/// use vmcp_status::Update;
///
/// let update: Update = serde_json::from_str(r#"{"removeBackend":"weather"}"#)?;
/// assert_eq!(update, Update::RemoveBackend("weather".into()));
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// A backend belongs to the *source* that listed it last. An update that names
/// no source leaves a backend with the source it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Update {
    /// Replaces everything before it by a whole status, the backends of every source
    /// included.
    // Boxed, so that a message is small and costs the same to send whatever it
    // carries.
    Snapshot(Box<Status>),
    /// Adds a backend, or replaces the one of the same name.
    UpsertBackend(Arc<DiscoveredBackend>),
    /// Like `UpsertBackend`; the backend belongs to this source from now on.
    UpsertBackendOf {
        /// The source.
        source: Arc<str>,
        /// The backend.
        backend: Arc<DiscoveredBackend>,
    },
    /// Removes the backend of this name, whichever source it belongs to.
    RemoveBackend(String),
    /// Replaces all backends of one source: removes those that it no longer lists, and
    /// leaves the backends of other sources alone.
    ReplaceBackends {
        /// The source.
        source: Arc<str>,
        /// All its backends.
        backends: Vec<Arc<DiscoveredBackend>>,
    },
    /// Adds a condition, or replaces the one of the same type.
    SetCondition(Condition),
    /// Removes the condition of this type.
    RemoveCondition(String),
    /// Sets phase and message, until the next `SetPhase`, `DerivePhase` or `Snapshot`.
    SetPhase {
        /// The phase.
        phase: Phase,
        /// The message.
        #[serde(default)]
        message: String,
    },
    /// Derives phase, message and conditions from the backends from now on
    /// ([`derive`](crate::derive())). A condition that was set replaces the derived
    /// one of its type.
    DerivePhase {},
    /// Sets the generation of the spec that the process has loaded.
    SetObservedGeneration(i64),
}

impl Update {
    /// Reads an update from JSON. Leaves out each value that the model cannot have, such
    /// as a count below zero, and returns it as a fault; see [`Status::from_json`].
    ///
    /// # Errors
    ///
    /// Fails when the text is not JSON, or not an update.
    pub fn from_json(json: &[u8]) -> Result<(Self, Faults), serde_json::Error> {
        odd_values::read_json(json, |update, faults| {
            let Some((kind, value)) = update.as_object_mut().and_then(|update| update.iter_mut().next()) else {
                return;
            };
            match kind.as_str() {
                "snapshot" => odd_values::status(value, faults),
                "replaceBackends" => odd_values::backends(value.get_mut("backends"), faults),
                "upsertBackend" => drop(odd_values::backend(value, faults)),
                "upsertBackendOf" => {
                    if let Some(backend) = value.get_mut("backend") {
                        odd_values::backend(backend, faults);
                    }
                }
                "setCondition" => drop(odd_values::condition(value, faults)),
                _ => {}
            }
        })
    }

    pub(crate) fn is_snapshot(&self) -> bool {
        matches!(self, Update::Snapshot(_))
    }
}
