//! A one-shot reply: a request gets exactly one answer.
//!
//! [`oneshot`] makes a pair: the [`Reply`] goes with the request, the [`Answer`] is awaited by the
//! one who asked. A reply that is dropped unanswered (its scope ended) resolves to `None`, at
//! once. An answer that is dropped (the client went away) changes nothing for the request.
//!
//! It is a cell and a waker, because a fresh channel per request costs ten times as much.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

enum Slot<T> {
    Waiting(Option<Waker>),
    Answered(T),
    /// The reply was dropped without an answer, or the answer was taken.
    Closed,
}

/// The side that answers. Dropping it answers "nobody will".
pub struct Reply<T>(Option<Rc<RefCell<Slot<T>>>>);

/// The side that waits: a future of the answer, or of `None` if the reply was dropped.
///
/// Cancel safe: dropping it abandons the answer, not the request.
pub struct Answer<T>(Rc<RefCell<Slot<T>>>);

/// Makes a connected pair.
#[must_use]
pub fn oneshot<T>() -> (Reply<T>, Answer<T>) {
    let slot = Rc::new(RefCell::new(Slot::Waiting(None)));
    (Reply(Some(slot.clone())), Answer(slot))
}

impl<T> Reply<T> {
    /// Answers, once and for all.
    pub fn send(mut self, value: T) {
        if let Some(slot) = self.0.take() {
            settle(&slot, Slot::Answered(value));
        }
    }

    /// Whether nobody waits for the answer any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.as_ref().is_none_or(|slot| Rc::strong_count(slot) == 1)
    }
}

fn settle<T>(slot: &Rc<RefCell<Slot<T>>>, outcome: Slot<T>) {
    let before = slot.replace(outcome);
    if let Slot::Waiting(Some(waker)) = before {
        waker.wake();
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            settle(&slot, Slot::Closed);
        }
    }
}

impl<T> Answer<T> {
    /// Whether waiting is over: there is an answer, or there will be none.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !matches!(*self.0.borrow(), Slot::Waiting(_))
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = self.0.borrow_mut();
        if let Slot::Waiting(waker) = &mut *slot {
            *waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match std::mem::replace(&mut *slot, Slot::Closed) {
            Slot::Answered(value) => Poll::Ready(Some(value)),
            Slot::Closed | Slot::Waiting(_) => Poll::Ready(None),
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

#[cfg(test)]
mod tests {
    use super::oneshot;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn an_answer_arrives_once() {
        let (reply, mut answer) = oneshot();
        assert!(block_on(poll_once(&mut answer)).is_none());
        reply.send(7);
        assert_eq!(block_on(answer), Some(7));
    }

    #[test]
    fn a_dropped_reply_answers_nobody_will() {
        let (reply, answer) = oneshot::<u8>();
        assert!(!answer.is_settled());
        drop(reply);
        assert!(answer.is_settled());
        assert_eq!(block_on(answer), None);
    }

    #[test]
    fn an_abandoned_reply_knows() {
        let (reply, answer) = oneshot::<u8>();
        assert!(!reply.is_abandoned());
        drop(answer);
        assert!(reply.is_abandoned());
        reply.send(1);
    }
}
