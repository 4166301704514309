//! A biased choice: the first ready future in the order written wins, the others are dropped.
//!
//! Two futures: [`first`]. More than two: each outcome has a name of its own, in a closed enum, and
//! they are written in the order in which they win.
//!
//! ```
//! use futures_lite::FutureExt;
//! use quorate::scope::first::Named;
//!
//! #[derive(Debug, PartialEq)]
//! enum Ended {
//!     Answered(u8),
//!     Elapsed,
//! }
//!
//! # futures_lite::future::block_on(async {
//! let answer = std::future::ready(7).named(Ended::Answered);
//! let timer = std::future::pending::<()>().named(|()| Ended::Elapsed);
//! assert_eq!(answer.or(timer).await, Ended::Answered(7));
//! # });
//! ```
//!
//! Only cancel-safe futures belong here: a loser is gone with whatever it had taken.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Which of two futures was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First<A, B> {
    /// The one written first; it wins a tie.
    A(A),
    /// The one written second.
    B(B),
}

pin_project! {
    /// Waits for either of two futures: see [`first`].
    ///
    /// A struct rather than an `async fn`, which would hold its arguments twice: nested scopes
    /// would grow as two to the power of their depth.
    #[must_use = "futures do nothing unless polled"]
    pub struct Either<A, B> {
        #[pin]
        a: A,
        #[pin]
        b: B,
    }
}

/// Waits for either; polls `a` before `b`, always. Both are dropped when the wait is over.
pub fn first<A: Future, B: Future>(a: A, b: B) -> Either<A, B> {
    Either { a, b }
}

impl<A: Future, B: Future> Future for Either<A, B> {
    type Output = First<A::Output, B::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let either = self.project();
        match either.a.poll(cx) {
            Poll::Ready(value) => Poll::Ready(First::A(value)),
            Poll::Pending => either.b.poll(cx).map(First::B),
        }
    }
}

pin_project! {
    /// A future whose output has a name: see [`Named::named`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Outcome<F, N> {
        #[pin]
        future: F,
        name: Option<N>,
    }
}

/// Gives the output of a future its name in an enum of outcomes.
pub trait Named: Future + Sized {
    /// The same future, with `name` around what it gives.
    fn named<T, N: FnOnce(Self::Output) -> T>(self, name: N) -> Outcome<Self, N> {
        Outcome { future: self, name: Some(name) }
    }
}

impl<F: Future> Named for F {}

impl<F: Future, T, N: FnOnce(F::Output) -> T> Future for Outcome<F, N> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let outcome = self.project();
        outcome.future.poll(cx).map(|value| {
            let name = outcome.name.take().expect("a future is not polled after it was ready");
            name(value)
        })
    }
}

impl<F, N> fmt::Debug for Outcome<F, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outcome")
    }
}

impl<A, B> fmt::Debug for Either<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Either")
    }
}

#[cfg(test)]
mod tests {
    use super::{First, first};
    use futures_lite::future::{block_on, pending, ready};
    use std::cell::Cell;

    #[test]
    fn the_first_written_wins_a_tie() {
        assert_eq!(block_on(first(ready(1), ready(2))), First::A(1));
        assert_eq!(block_on(first(pending::<()>(), ready(2))), First::B(2));
    }

    #[test]
    fn the_loser_is_dropped_before_the_next_statement() {
        struct Token<'a>(&'a Cell<bool>);
        impl Drop for Token<'_> {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let dropped = Cell::new(false);
        let loser = async {
            let _token = Token(&dropped);
            pending::<()>().await;
        };
        block_on(async {
            let won = first(loser, async { futures_lite::future::yield_now().await }).await;
            assert!(dropped.get(), "gone when the wait is over");
            assert_eq!(won, First::B(()));
        });
    }

    #[test]
    fn nesting_adds_and_does_not_multiply() {
        let leaf = || ready([0u8; 64]);
        let nested = first(leaf(), first(leaf(), first(leaf(), first(leaf(), leaf()))));
        assert!(size_of_val(&nested) <= 5 * 72);
    }
}
