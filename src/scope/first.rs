//! A biased choice: the first ready future in the order written wins, the others are dropped.
//!
//! Only cancel-safe futures belong here: a loser is gone with whatever it had taken.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Which of two futures was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First<A, B> {
    /// The one written first; it wins a tie.
    A(A),
    /// The one written second.
    B(B),
}

/// Waits for either; polls `a` before `b`, always.
pub async fn first<A: Future, B: Future>(a: A, b: B) -> First<A::Output, B::Output> {
    let mut a = pin!(a);
    let mut b = pin!(b);
    poll_fn(|cx| {
        if let Poll::Ready(value) = a.as_mut().poll(cx) {
            return Poll::Ready(First::A(value));
        }
        b.as_mut().poll(cx).map(First::B)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::{First, first};
    use futures_lite::future::{block_on, pending, ready};

    #[test]
    fn the_first_written_wins_a_tie() {
        assert_eq!(block_on(first(ready(1), ready(2))), First::A(1));
        assert_eq!(block_on(first(pending::<()>(), ready(2))), First::B(2));
    }
}
