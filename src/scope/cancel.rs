//! The simulator's cancel injector: it drops the future of a scope at a chosen poll.
//!
//! A scope that is a future can be dropped wherever it waits, and what must survive that lives
//! outside of it. In production a scope ends by itself; with the injector every place where it waits
//! is tried as its end. After that the scopes begin again from the outermost.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// A handle on an injector; clones are handles on the same one. It may outlive a node, and counts on
/// in the node's next life.
#[derive(Clone, Default)]
pub(crate) struct CancelInjector(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// Polls of scopes that did not end them.
    polls: Cell<u64>,
    /// The poll after which it cancels; zero for never.
    cancel_at: Cell<u64>,
    cancels: Cell<u64>,
}

impl CancelInjector {
    /// Cancels once, right after that many more polls.
    pub(crate) fn cancel_after(&self, polls: u64) {
        self.0.cancel_at.set(self.0.polls.get() + polls.max(1));
    }

    /// How often scopes have been polled and went on.
    pub(crate) fn polls(&self) -> u64 {
        self.0.polls.get()
    }

    /// How often it has cancelled.
    pub(crate) fn cancels(&self) -> u64 {
        self.0.cancels.get()
    }

    /// Runs the roles that `roles` begins with, again from there after each cancellation.
    pub(crate) async fn over<F: Future>(&self, roles: impl Fn() -> F) -> F::Output {
        loop {
            let mut roles = pin!(roles());
            let ended = poll_fn(|cx| match roles.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if self.cancels_now() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            if let Some(output) = ended.await {
                return output;
            }
        }
    }

    fn cancels_now(&self) -> bool {
        self.0.polls.set(self.0.polls.get() + 1);
        let cancels = self.0.polls.get() == self.0.cancel_at.get();
        self.0.cancels.set(self.0.cancels.get() + u64::from(cancels));
        cancels
    }
}

impl fmt::Debug for CancelInjector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelInjector({} polls, {} cancels)", self.polls(), self.cancels())
    }
}

#[cfg(test)]
mod tests {
    use super::CancelInjector;
    use futures_lite::future::{block_on, poll_once, yield_now};
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn it_cancels_once_after_that_many_polls() {
        struct Scope(Rc<Cell<u32>>);
        impl Drop for Scope {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let (cancel_injector, ended) = (CancelInjector::default(), Rc::new(Cell::new(0)));
        cancel_injector.cancel_after(3);
        let roles = || async {
            let _scope = Scope(ended.clone());
            for _ in 0..5 {
                yield_now().await;
            }
        };
        let mut life = Box::pin(cancel_injector.over(roles));
        for _ in 0..2 {
            assert_eq!(block_on(poll_once(&mut life)), None);
            assert_eq!(ended.get(), 0);
        }
        assert_eq!(block_on(poll_once(&mut life)), None, "the next role begins in the same poll");
        assert_eq!((ended.get(), cancel_injector.cancels()), (1, 1));
        block_on(life);
        assert_eq!((ended.get(), cancel_injector.cancels()), (2, 1));
    }
}
