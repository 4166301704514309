//! The simulator's knife: drops the future of a role at a chosen poll, as no protocol event would.
//!
//! A scope that is a future can be dropped wherever it waits, and whatever it had promised must
//! live outside of it. In production a role ends by itself; with the knife every place where it
//! waits is tried as its end. After the cut the node goes on as a follower without a leader, in the
//! same term: the one role that everybody may always enter.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// A handle on a knife; clones are handles on the same one. It may outlive the node, and counts on
/// in the node's next life.
#[derive(Clone, Default)]
pub(crate) struct Knife(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// Polls of roles that did not end them.
    polls: Cell<u64>,
    /// The poll after which it cuts; zero for never.
    cut_at: Cell<u64>,
    cuts: Cell<u64>,
}

impl Knife {
    /// Cuts once, right after that many more polls.
    pub(crate) fn cut_after(&self, polls: u64) {
        self.0.cut_at.set(self.0.polls.get() + polls.max(1));
    }

    /// How often roles have been polled and went on.
    pub(crate) fn polls(&self) -> u64 {
        self.0.polls.get()
    }

    /// How often it has cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.0.cuts.get()
    }

    /// Runs the roles that `rule` begins with, again from there after each cut.
    pub(crate) async fn over<F: Future>(&self, rule: impl Fn() -> F) -> F::Output {
        loop {
            let mut roles = pin!(rule());
            let ended = poll_fn(|cx| match roles.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if self.cuts_now() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            if let Some(output) = ended.await {
                return output;
            }
        }
    }

    fn cuts_now(&self) -> bool {
        self.0.polls.set(self.0.polls.get() + 1);
        let cuts = self.0.polls.get() == self.0.cut_at.get();
        self.0.cuts.set(self.0.cuts.get() + u64::from(cuts));
        cuts
    }
}

impl fmt::Debug for Knife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Knife({} polls, {} cuts)", self.polls(), self.cuts())
    }
}

#[cfg(test)]
mod tests {
    use super::Knife;
    use futures_lite::future::{block_on, poll_once, yield_now};
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn it_cuts_once_after_that_many_polls() {
        struct Scope(Rc<Cell<u32>>);
        impl Drop for Scope {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let (knife, ended) = (Knife::default(), Rc::new(Cell::new(0)));
        knife.cut_after(3);
        let rule = || async {
            let _scope = Scope(ended.clone());
            for _ in 0..5 {
                yield_now().await;
            }
        };
        let mut life = Box::pin(knife.over(rule));
        for _ in 0..2 {
            assert_eq!(block_on(poll_once(&mut life)), None);
            assert_eq!(ended.get(), 0);
        }
        assert_eq!(block_on(poll_once(&mut life)), None, "the next role begins in the same poll");
        assert_eq!((ended.get(), knife.cuts()), (1, 1));
        block_on(life);
        assert_eq!((ended.get(), knife.cuts()), (2, 1));
    }
}
