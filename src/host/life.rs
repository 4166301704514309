//! The life of a node, as a future.
//!
//! An engine's `start` returns a handle and a [`Life`]. The embedder runs the life on an executor; it
//! ends when the node was asked to shut down, or must stop. Dropping it is `kill -9`: as safe, and
//! as rude. However it ends, everybody who still waits at the node is answered at that moment, and
//! whoever asks later is answered at once.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::Fatal;
use crate::id::NodeId;

type Work = Pin<Box<dyn Future<Output = Result<(), Fatal>>>>;

/// The whole life of a node. Dropping it is `kill -9`.
#[must_use = "a node lives only while its life is polled"]
pub struct Life {
    node: NodeId,
    future: Option<Work>,
    close: Option<Box<dyn FnOnce()>>,
}

impl Life {
    /// A life that is over when `future` is, or when it is dropped; `close` is called then, after
    /// everything that the future held has been dropped.
    pub(crate) fn new(
        node: NodeId,
        future: impl Future<Output = Result<(), Fatal>> + 'static,
        close: impl FnOnce() + 'static,
    ) -> Self {
        Self { node, future: Some(Box::pin(future)), close: Some(Box::new(close)) }
    }

    fn end(&mut self) {
        self.future = None;
        if let Some(close) = self.close.take() {
            close();
        }
    }
}

impl Future for Life {
    type Output = Result<(), Fatal>;

    /// # Panics
    /// If it is polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.future.as_mut().expect("a life is not polled after its end");
        let outcome = future.as_mut().poll(cx);
        if outcome.is_ready() {
            self.end();
        }
        outcome
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Life({:?})", self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, pending, poll_once};
    use std::cell::Cell;
    use std::rc::Rc;

    struct Token(Rc<Cell<u32>>);

    impl Drop for Token {
        fn drop(&mut self) {
            assert_eq!(self.0.replace(1), 0, "the future is dropped first");
        }
    }

    fn life(ends: bool) -> (Life, Rc<Cell<u32>>) {
        let step = Rc::new(Cell::new(0));
        let (token, close) = (Token(step.clone()), step.clone());
        let future = async move {
            let _token = token;
            if !ends {
                pending::<()>().await;
            }
            Ok(())
        };
        let closed = move || assert_eq!(close.replace(2), 1, "once, after the future");
        (Life::new(NodeId(1), future, closed), step)
    }

    #[test]
    fn it_closes_when_it_ends() {
        let (mut life, step) = life(true);
        assert!(block_on(poll_once(&mut life)).is_some());
        assert_eq!(step.get(), 2);
        drop(life);
    }

    #[test]
    fn it_closes_when_it_is_dropped() {
        let (mut life, step) = life(false);
        assert!(block_on(poll_once(&mut life)).is_none());
        drop(life);
        assert_eq!(step.get(), 2);
    }
}
