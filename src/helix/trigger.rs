//! When a view has lasted too long: by the clock, or by hand.
//!
//! A view holds the future of its trigger and drops it when it ends. So there is no timer to
//! register again or to stop, and none that fires late for a view that is gone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::env::clock::Clock;
use crate::helix::rules;
use crate::helix::spi::{Boxed, Trigger};
use crate::id::{Height, View};

/// By the clock: view `v` lasts `base * 2^v`, and no longer than the cap. The default.
#[derive(Debug, Clone)]
pub struct Timer {
    clock: Clock,
    base: Duration,
    cap: Option<Duration>,
}

impl Timer {
    /// A timer on this clock. See [`Timing`](super::config::Timing) for the two spans.
    #[must_use]
    pub fn new(clock: Clock, base: Duration, cap: Option<Duration>) -> Self {
        Self { clock, base, cap }
    }
}

impl Trigger for Timer {
    fn elapsed(&self, _: Height, view: View) -> Boxed<'_, ()> {
        Box::pin(self.clock.sleep(rules::timeout(self.base, self.cap, view)))
    }
}

/// By hand: whoever holds a clone says when. For tests, and for applications that know better than
/// a clock when a leader is no good.
///
/// It holds one word, the newest: `fire` for another height or view replaces one that nobody has
/// taken. The word is for one view only; if that view has not begun, it waits for it, and if it is
/// over, nothing happens.
#[derive(Debug, Clone, Default)]
pub struct Manual(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    fired: Option<(Height, View)>,
    waiting: BTreeMap<(Height, View), Waker>,
}

impl Manual {
    /// One that has not fired.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that this view has lasted too long.
    pub fn fire(&self, height: Height, view: View) {
        let mut inner = self.0.borrow_mut();
        inner.fired = Some((height, view));
        let waker = inner.waiting.remove(&(height, view));
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What was said and not taken.
    #[must_use]
    pub fn pending(&self) -> Option<(Height, View)> {
        self.0.borrow().fired
    }
}

/// Withdraws its waker when the view that waits is dropped.
struct Waiting<'a>(&'a Manual, (Height, View));

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.borrow_mut().waiting.remove(&self.1);
    }
}

impl Trigger for Manual {
    fn elapsed(&self, height: Height, view: View) -> Boxed<'_, ()> {
        let at = (height, view);
        let waiting = Waiting(self, at);
        Box::pin(poll_fn(move |cx| {
            let mut inner = waiting.0.0.borrow_mut();
            if inner.fired == Some(at) {
                inner.fired = None;
                return Poll::Ready(());
            }
            inner.waiting.insert(at, cx.waker().clone());
            Poll::Pending
        }))
    }
}
