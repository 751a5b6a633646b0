//! The way from the callers to the actor: bounded in memory, never blocking,
//! never losing the newest (laws 1 and 2).
//!
//! It is a bounded mpsc channel. When that is full, updates are merged into one
//! [`Delta`] instead, which the actor takes once it has emptied the channel.
//! While a delta waits, every update goes into it, so that order is kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};

use crate::update::{Delta, Update};

/// The most updates that the actor takes before it looks at its other work.
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
    /// Whether `delta` holds something: a hint that spares senders the lock. It
    /// can be behind; only under the lock is it certain.
    in_use: AtomicBool,
    delta: Mutex<Option<Delta>>,
}

impl Overflow {
    fn lock(&self) -> MutexGuard<'_, Option<Delta>> {
        // A delta is whole after each push; a panic in between has lost the
        // update that caused it and no other.
        self.delta.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was merged, if the queue is empty. Both are looked at under
    /// the lock, without a look at the hint: a sender that found the queue full
    /// just before it was emptied holds the lock until its update is in here,
    /// and nothing but this look would find that.
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
    /// Hands over an update; false when the actor has ended.
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
            // The actor may have made room meanwhile. Only if it has not is it
            // certain that it will look here after it has emptied the queue.
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

    /// A look at the mailbox that does not keep it open.
    pub(crate) fn gauge(&self) -> Gauge {
        Gauge(self.queue.downgrade())
    }
}

/// Tells how full a mailbox is.
#[derive(Clone)]
pub(crate) struct Gauge(mpsc::WeakSender<Update>);

impl Gauge {
    /// Updates that wait for the actor; none once every sender is gone.
    pub(crate) fn depth(&self) -> usize {
        self.0.upgrade().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }
}

impl Mailbox {
    /// Waits for updates; [`take`](Self::take) then has them. False once every
    /// sender is gone, or the mailbox is closed, and all has been taken.
    ///
    /// Cancellation safe.
    pub(crate) async fn ready(&mut self) -> bool {
        // Senders that are gone may have left a delta.
        !self.batch.is_empty()
            || self.queue.recv_many(&mut self.batch, BATCH).await > 0
            || self.overflow.lock().is_some()
    }

    /// What is there now, without waiting; perhaps nothing.
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

    /// Refuses further updates. What was accepted can still be received.
    pub(crate) fn close(&mut self) {
        self.queue.close();
    }

    /// Takes all that was sent before this call, whatever is sent meanwhile.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(Received<'_>)) {
        let mut due = self.queue.len();
        let mut merged = self.overflow.lock().is_some();
        // While updates are merged nothing new gets into the queue, so that it
        // empties and the merged ones come out. What is merged after that is
        // new: waiting for an end of it would be waiting for the senders.
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
        // Where a sender is between its look at the queue and its push.
        let mut waiting = overflow.lock();
        let actor = std::thread::spawn({
            let overflow = Arc::clone(&overflow);
            move || overflow.take_if(|| true).is_some()
        });
        // Gives the thread time to make the mistake; it makes none by waiting.
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
        // It found the queue full, and the actor emptied it and went to sleep.
        assert!(sender.send_by_overflow(update(0)));
        assert_eq!(mailbox.ready().now_or_never(), Some(true));
        assert_eq!(mailbox.take().updates.len(), 1);
    }
}
