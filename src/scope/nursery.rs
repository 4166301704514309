//! Futures that cannot outlive their scope: a set of children, polled by the parent that holds it.
//!
//! Dropping the nursery drops every child at once. Nothing here is spawned.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A set of child futures with results of type `T`.
pub struct Nursery<'a, T> {
    children: Vec<Pin<Box<dyn Future<Output = T> + 'a>>>,
}

impl<'a, T> Nursery<'a, T> {
    /// No children yet.
    #[must_use]
    pub fn new() -> Self {
        Self { children: Vec::new() }
    }

    /// Adds a child; it is first polled when the nursery is.
    pub fn add(&mut self, child: impl Future<Output = T> + 'a) {
        self.children.push(Box::pin(child));
    }

    /// How many children live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether none lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Polls every child, in the order in which they were added, until one ends; it is removed.
    /// For ever pending when there are no children.
    ///
    /// Cancel safe: the children go on where they were.
    pub async fn next(&mut self) -> T {
        poll_fn(|cx| {
            for at in 0..self.children.len() {
                if let Poll::Ready(value) = self.children[at].as_mut().poll(cx) {
                    drop(self.children.remove(at));
                    return Poll::Ready(value);
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl<T> Default for Nursery<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Nursery<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nursery({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Nursery;
    use futures_lite::future::{block_on, pending, poll_once, ready};
    use std::rc::Rc;

    #[test]
    fn a_child_that_ends_is_returned_and_removed() {
        let mut nursery = Nursery::new();
        nursery.add(pending());
        nursery.add(ready(2));
        assert_eq!(block_on(nursery.next()), 2);
        assert_eq!(block_on(poll_once(nursery.next())), None);
        assert_eq!(nursery.len(), 1);
    }

    #[test]
    fn dropping_the_nursery_drops_its_children_at_once() {
        let token = Rc::new(());
        let mut nursery = Nursery::new();
        for _ in 0..3 {
            let token = token.clone();
            nursery.add(async move {
                pending::<()>().await;
                drop(token);
            });
        }
        block_on(poll_once(nursery.next()));
        assert_eq!(Rc::strong_count(&token), 4);
        drop(nursery);
        assert_eq!(Rc::strong_count(&token), 1);
    }
}
