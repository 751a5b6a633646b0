//! Odd values in an update, each of which costs itself alone.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use vmcp_status::{Fault, Faults};

/// So many different ones are remembered as logged.
const MAX_LOGGED: usize = 1000;

/// Logs each odd value once, however many lines have it.
pub(super) fn log(faults: &Faults) {
    static LOGGED: LazyLock<Mutex<HashSet<Fault>>> = LazyLock::new(Mutex::default);
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    for fault in faults.iter() {
        if logged.len() < MAX_LOGGED && logged.insert(fault.clone()) {
            tracing::warn!("reported status repaired: {fault}");
        }
    }
}
