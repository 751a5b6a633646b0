//! The mailbox between callers and actor: bounded in memory, never blocking,
//! never losing the newest (laws 1 and 2).
//!
//! The mailbox is a bounded mpsc channel. When the channel is full, senders merge
//! their updates into one [`Delta`], which the actor takes once it has emptied the
//! channel. While a delta waits, every update goes into it, which keeps the order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};

use crate::update::{Delta, Update};

/// The most updates that the actor takes before it does other work.
const BATCH: usize = 256;

pub(crate) fn mailbox(capacity: usize) -> (Sender, Mailbox) {
    let (queue, receiver) = mpsc::channel(capacity);
    let overflow = Arc::new(Overflow::default());
    (Sender { queue, overflow: Arc::clone(&overflow) }, Mailbox { queue: receiver, overflow, batch: Vec::new() })
}

#[derive(Clone)]
pub(crate) struct Sender {
    queue: mpsc::Sender<Update>,
    overflow: Arc<Overflow>,
}

pub(crate) struct Mailbox {
    queue: mpsc::Receiver<Update>,
    overflow: Arc<Overflow>,
    batch: Vec<Update>,
}

/// What the actor takes at once: the updates first, then the delta.
pub(crate) struct Received<'a> {
    pub(crate) updates: std::vec::Drain<'a, Update>,
    pub(crate) delta: Option<Delta>,
}

#[derive(Default)]
struct Overflow {
    /// Whether `delta` holds something. This hint spares senders the lock; it can lag
    /// behind, and is certain only under the lock.
    in_use: AtomicBool,
    delta: Mutex<Option<Delta>>,
}

impl Overflow {
    fn lock(&self) -> MutexGuard<'_, Option<Delta>> {
        // A delta is whole after each push. A panic during a push loses only the
        // update that caused it.
        self.delta.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the merged updates, if the queue is empty. This checks both under the
    /// lock and ignores the hint: a sender that found the queue full just before it
    /// was emptied holds the lock until its update is in the delta, and no other
    /// check would find that update.
    fn take_if(&self, queue_is_empty: impl FnOnce() -> bool) -> Option<Delta> {
        let mut delta = self.lock();
        if !queue_is_empty() {
            return None;
        }
        self.in_use.store(false, Ordering::Release);
        delta.take()
    }
}

impl Sender {
    /// Sends an update; returns false when the actor has ended.
    pub(crate) fn send(&self, update: Update) -> bool {
        let update = if self.overflow.in_use.load(Ordering::Acquire) {
            update
        } else {
            match self.queue.try_send(update) {
                Ok(()) => return true,
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(update)) => update,
            }
        };
        self.send_by_overflow(update)
    }

    #[cold]
    fn send_by_overflow(&self, update: Update) -> bool {
        let mut waiting = self.overflow.lock();
        if waiting.is_none() {
            // The actor may have made room meanwhile. Only while the queue is full is
            // it certain that the actor looks here after it has emptied the queue.
            match self.queue.try_send(update) {
                Ok(()) => return true,
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(update)) => {
                    self.overflow.in_use.store(true, Ordering::Release);
                    waiting.insert(Delta::default()).push(update);
                }
            }
        } else if self.queue.is_closed() {
            return false;
        } else if let Some(delta) = waiting.as_mut() {
            delta.push(update);
        }
        true
    }

    /// Returns a gauge, which does not keep the mailbox open.
    pub(crate) fn gauge(&self) -> Gauge {
        Gauge(self.queue.downgrade())
    }
}

/// Measures how full a mailbox is.
#[derive(Clone)]
pub(crate) struct Gauge(mpsc::WeakSender<Update>);

impl Gauge {
    /// Returns how many updates wait for the actor; 0 once every sender is dropped.
    pub(crate) fn depth(&self) -> usize {
        self.0.upgrade().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }
}

impl Mailbox {
    /// Waits for updates, which [`take`](Self::take) then returns. Returns false once
    /// every sender is dropped, or the mailbox is closed, and all updates are taken.
    ///
    /// # Cancellation safety
    ///
    /// Dropping the future loses no update.
    pub(crate) async fn ready(&mut self) -> bool {
        // Senders may have left a delta before they were dropped.
        !self.batch.is_empty()
            || self.queue.recv_many(&mut self.batch, BATCH).await > 0
            || self.overflow.lock().is_some()
    }

    /// Takes what is there now, without waiting; perhaps nothing.
    pub(crate) fn take(&mut self) -> Received<'_> {
        while self.batch.len() < BATCH {
            match self.queue.try_recv() {
                Ok(update) => self.batch.push(update),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let delta = self.overflow.take_if(|| self.queue.is_empty());
        Received { updates: self.batch.drain(..), delta }
    }

    /// Refuses further updates. The actor can still receive accepted ones.
    pub(crate) fn close(&mut self) {
        self.queue.close();
    }

    /// Takes all updates sent before this call, even if senders never stop.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(Received<'_>)) {
        let mut due = self.queue.len();
        let mut merged = self.overflow.lock().is_some();
        // While a delta waits, no sender adds to the queue, so the queue empties and
        // the delta comes out. Updates merged after that are new: draining them too
        // could go on as long as senders send.
        while due > 0 || merged {
            let received = self.take();
            due = due.saturating_sub(received.updates.len());
            merged &= received.delta.is_none();
            take(received);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn update(name: usize) -> Update {
        Update::RemoveBackend(name.to_string())
    }

    #[test]
    fn take_waits_for_a_sender_that_found_the_queue_full_and_has_not_merged_yet() {
        let overflow = Arc::new(Overflow::default());
        // The state of a sender between its check of the queue and its push.
        let mut waiting = overflow.lock();
        let actor = std::thread::spawn({
            let overflow = Arc::clone(&overflow);
            move || overflow.take_if(|| true).is_some()
        });
        // Gives the thread time to return too early.
        for _ in 0..1000 {
            assert!(!actor.is_finished(), "it went to sleep and the update stays behind");
            std::thread::yield_now();
        }
        overflow.in_use.store(true, Ordering::Release);
        waiting.insert(Delta::default()).push(update(0));
        drop(waiting);
        assert!(actor.join().expect("no panic"), "it took what was merged");
    }

    #[test]
    fn drain_ends_though_senders_never_stop() {
        let (sender, mut mailbox) = mailbox(1);
        let flood = || (0..3).for_each(|name| assert!(sender.send(update(name))));
        flood();
        let (mut rounds, mut taken) = (0, 0);
        mailbox.drain(|received| {
            rounds += 1;
            assert!(rounds < 100, "it waits for the senders");
            taken += received.updates.len() as u64 + received.delta.map_or(0, |delta| delta.count());
            flood();
        });
        assert!(taken >= 3, "what was sent before is taken");
    }

    #[test]
    fn what_is_sent_while_a_delta_waits_comes_after_it_though_there_is_room() {
        let (sender, mut mailbox) = mailbox(BATCH + 1);
        (0..BATCH + 2).for_each(|name| assert!(sender.send(update(name))));
        let batch = mailbox.take();
        assert_eq!((batch.updates.len(), batch.delta.is_some()), (BATCH, false));
        drop(batch);
        assert!(sender.send(update(BATCH + 2)));
        let rest = mailbox.take();
        assert_eq!((rest.updates.len(), rest.delta.map(|delta| delta.count())), (1, Some(2)));
    }

    #[test]
    fn sender_that_finds_room_after_all_wakes_the_actor() {
        let (sender, mut mailbox) = mailbox(1);
        // The sender found the queue full; then the actor emptied it and slept.
        assert!(sender.send_by_overflow(update(0)));
        assert_eq!(mailbox.ready().now_or_never(), Some(true));
        assert_eq!(mailbox.take().updates.len(), 1);
    }
}
