//! Many deadlines, one timer.
//!
//! Every request has a deadline, and nearly every request ends long before it. A timer of the
//! reactor for each would cost a system call; here a deadline is an entry in a sorted map, and one
//! task sleeps until the earliest. It is woken only when a deadline is set that is earlier than
//! the one it sleeps for, so a busy gateway wakes it once per deadline's span and an idle one
//! never.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::env::{Clock, Time};
use crate::scope::bell::Bell;
use crate::scope::first::first;

/// The deadlines of one gateway; clones are the same ones.
#[derive(Clone)]
pub(crate) struct Deadlines(Rc<Inner>);

struct Inner {
    clock: Clock,
    waiting: RefCell<BTreeMap<(Time, u64), Waker>>,
    next_id: Cell<u64>,
    /// What the task sleeps for.
    armed: Cell<Time>,
    earlier: Bell,
}

impl Deadlines {
    /// No deadlines yet.
    pub(crate) fn new(clock: Clock) -> Self {
        Self(Rc::new(Inner {
            clock,
            waiting: RefCell::default(),
            next_id: Cell::new(0),
            armed: Cell::new(Time::NEVER),
            earlier: Bell::new(),
        }))
    }

    /// The clock they go by.
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// A future that is ready after `span`. It costs nothing until it is first waited for.
    pub(crate) fn after(&self, span: Duration) -> Deadline {
        self.until(self.0.clock.now() + span)
    }

    /// A future that is ready at `at`.
    pub(crate) fn until(&self, at: Time) -> Deadline {
        let all = self.0.clone();
        Deadline { all, at, id: None }
    }

    /// Waits for `work` no longer than until `deadline`.
    ///
    /// Cancel safe if `work` is.
    pub(crate) async fn within<T>(
        &self,
        span: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        use crate::scope::first::First;
        match first(work, self.after(span)).await {
            First::A(value) => Some(value),
            First::B(()) => None,
        }
    }

    /// Wakes what is due, for ever: the one task behind all deadlines.
    pub(crate) async fn run(&self) {
        loop {
            let next = self.wake_due();
            self.0.armed.set(next);
            first(self.0.earlier.heard(), self.0.clock.sleep_until(next)).await;
        }
    }

    /// Wakes everything that is due and returns when the next deadline is.
    fn wake_due(&self) -> Time {
        let now = self.0.clock.now();
        loop {
            let due = {
                let mut waiting = self.0.waiting.borrow_mut();
                match waiting.first_entry() {
                    Some(entry) if entry.key().0 <= now => entry.remove(),
                    Some(entry) => return entry.key().0,
                    None => return Time::NEVER,
                }
            };
            due.wake();
        }
    }
}

/// A future that is ready at its instant. Dropping it is forgetting it.
pub(crate) struct Deadline {
    all: Rc<Inner>,
    at: Time,
    id: Option<u64>,
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.all.clock.now() >= self.at {
            return Poll::Ready(());
        }
        let id = match self.id {
            Some(id) => id,
            None => {
                let id = self.all.next_id.get();
                self.all.next_id.set(id + 1);
                self.id = Some(id);
                id
            }
        };
        let key = (self.at, id);
        self.all
            .waiting
            .borrow_mut()
            .insert(key, cx.waker().clone());
        if self.at < self.all.armed.get() {
            self.all.earlier.ring();
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.all.waiting.borrow_mut().remove(&(self.at, id));
        }
    }
}

impl fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadlines({} waiting)", self.0.waiting.borrow().len())
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadline({:?})", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::Deadlines;
    use crate::env::Clock;
    use crate::env::clock::{Time, VirtualClock};
    use futures_lite::future::{block_on, or, pending, poll_once};
    use std::time::Duration;

    #[test]
    fn an_earlier_deadline_set_later_is_kept() {
        let time = VirtualClock::new();
        let all = Deadlines::new(Clock::simulated(time.clone()));
        let mut late = all.after(Duration::from_secs(7));
        let mut task = Box::pin(all.run());
        block_on(poll_once(&mut late));
        block_on(poll_once(&mut task));
        let mut soon = all.after(Duration::from_secs(1));
        block_on(poll_once(&mut soon));
        block_on(poll_once(&mut task));
        assert_eq!(time.next_deadline(), Some(Time(1_000_000_000)));
        time.advance_to(Time(1_000_000_000));
        block_on(poll_once(&mut task));
        assert_eq!(block_on(poll_once(&mut soon)), Some(()));
        assert_eq!(block_on(poll_once(&mut late)), None);
    }

    #[test]
    fn nothing_waits_for_time_when_no_deadline_is_left() {
        let time = VirtualClock::new();
        let all = Deadlines::new(Clock::simulated(time.clone()));
        let mut task = Box::pin(all.run());
        let mut gone = all.after(Duration::from_secs(1));
        block_on(poll_once(&mut gone));
        block_on(poll_once(&mut task));
        drop(gone);
        time.advance_to(Time(1_000_000_000));
        block_on(poll_once(&mut task));
        assert_eq!(time.pending(), 0);
    }

    #[test]
    fn work_that_never_ends_is_given_up() {
        let time = VirtualClock::new();
        let all = Deadlines::new(Clock::simulated(time.clone()));
        let mut work = Box::pin(or(
            all.within(Duration::from_secs(7), pending::<()>()),
            async {
                all.run().await;
                Some(())
            },
        ));
        assert_eq!(block_on(poll_once(&mut work)), None);
        time.advance_to(Time(7_000_000_000));
        assert_eq!(block_on(poll_once(&mut work)), Some(None));
    }
}
