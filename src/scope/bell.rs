//! A bell: one scope listens, anyone rings. Ringing twice before the scope looks is ringing once.
//!
//! It carries no data: the scope looks at its queues itself. That keeps the hot path at a flag and
//! at most one wake, and nothing is lost when the listening future is dropped.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A handle on a bell; clones ring the same one.
#[derive(Clone, Default)]
pub struct Bell(Rc<Inner>);

#[derive(Default)]
struct Inner {
    rung: Cell<bool>,
    listener: RefCell<Option<Waker>>,
}

impl Bell {
    /// A silent bell that nobody listens to.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the listener look again, now or as soon as it listens.
    pub fn ring(&self) {
        self.0.rung.set(true);
        let listener = self.0.listener.borrow_mut().take();
        if let Some(waker) = listener {
            waker.wake();
        }
    }

    /// Waits until the bell has been rung since the last time this returned.
    ///
    /// One listener at a time: a second one takes the first one's place.
    ///
    /// Cancel safe: a ring that was not taken stays.
    pub async fn heard(&self) {
        poll_fn(|cx| self.poll_heard(cx)).await;
    }

    /// [`heard`](Self::heard), for futures written by hand.
    pub fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.rung.take() {
            return Poll::Ready(());
        }
        let mut listener = self.0.listener.borrow_mut();
        match &mut *listener {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *listener = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("rung", &self.0.rung.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Bell;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn a_ring_before_listening_is_heard() {
        let bell = Bell::new();
        bell.ring();
        bell.ring();
        assert_eq!(block_on(poll_once(bell.heard())), Some(()));
        assert_eq!(block_on(poll_once(bell.heard())), None, "two rings are one");
    }

    #[test]
    fn a_dropped_listener_loses_no_ring() {
        let bell = Bell::new();
        assert_eq!(block_on(poll_once(bell.heard())), None);
        bell.ring();
        assert_eq!(block_on(poll_once(bell.heard())), Some(()));
    }
}
