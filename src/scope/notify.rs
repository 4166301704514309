//! A notification without data: one scope waits for it, anyone sends it.
//!
//! Notifying twice before the scope looks is notifying once. It carries no data: the scope looks at
//! its queues itself. That keeps the hot path at a flag and at most one wake, and nothing is lost
//! when the waiting future is dropped.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A handle on a notification; clones notify the same waiter.
#[derive(Clone, Default)]
pub struct Notify(Rc<Inner>);

#[derive(Default)]
struct Inner {
    notified: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Notify {
    /// Nothing is notified yet, and nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the waiter look again, now or as soon as it waits.
    pub fn notify(&self) {
        self.0.notified.set(true);
        let waiter = self.0.waiter.borrow_mut().take();
        if let Some(waker) = waiter {
            waker.wake();
        }
    }

    /// Waits until [`notify`](Self::notify) was called since the last time this returned.
    ///
    /// One waiter at a time: a second one takes the first one's place.
    ///
    /// Cancel safe: a notification that was not taken stays.
    pub async fn notified(&self) {
        poll_fn(|cx| self.poll_notified(cx)).await;
    }

    /// [`notified`](Self::notified), for futures written by hand.
    pub fn poll_notified(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.notified.take() {
            return Poll::Ready(());
        }
        let mut waiter = self.0.waiter.borrow_mut();
        match &mut *waiter {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waiter = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").field("notified", &self.0.notified.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Notify;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn a_notification_before_waiting_is_taken() {
        let wake = Notify::new();
        wake.notify();
        wake.notify();
        assert_eq!(block_on(poll_once(wake.notified())), Some(()));
        assert_eq!(block_on(poll_once(wake.notified())), None, "two notifications are one");
    }

    #[test]
    fn a_dropped_waiter_loses_no_notification() {
        let wake = Notify::new();
        assert_eq!(block_on(poll_once(wake.notified())), None);
        wake.notify();
        assert_eq!(block_on(poll_once(wake.notified())), Some(()));
    }
}
