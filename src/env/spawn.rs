//! Tasks at node scope: connections and the node itself. Scopes inside a node are nested futures
//! and are not spawned.
//!
//! A [`Task`] is cancelled by dropping its handle, but its destructors may run at a later tick: an
//! owner that must know that they have run awaits [`Task::cancel`]. Nothing is ever detached.
//!
//! # Any executor
//!
//! A node asks one thing of the executor: run a boxed future on this thread, and give back
//! something that ends the future when it is dropped. [`Spawner::with`] takes a closure that does
//! it; the types of the executor stay with the embedder. On smol and async-executor the handle is
//! their own task:
//!
//! ```
//! # use std::rc::Rc;
//! # use quorate::env::Spawner;
//! let executor = Rc::new(smol::LocalExecutor::new());
//! let spawner = Spawner::with({
//!     let executor = executor.clone();
//!     move |future| executor.spawn(future)
//! });
//! let task = spawner.spawn(async { 6 * 7 });
//! assert_eq!(smol::block_on(executor.run(task)), 42);
//! ```
//!
//! Tokio's handle detaches when it is dropped, so a guard around it aborts:
//!
//! ```text
//! struct AbortOnDrop(tokio::task::JoinHandle<()>);
//! impl Drop for AbortOnDrop { fn drop(&mut self) { self.0.abort() } }
//! let spawner = Spawner::with(|future| AbortOnDrop(tokio::task::spawn_local(future)));
//! ```
//!
//! `tests/any_executor.rs` runs nodes on an executor of sixty lines of its own.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::scope::oneshot::{Answer, Reply, oneshot};

/// A future that stays on its thread.
pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// How a task ended that was not cancelled.
enum Outcome<T> {
    Done(T),
    Panicked,
}

pin_project_lite::pin_project! {
    /// A spawned future and whom to tell its outcome: the future is dropped first.
    struct Running<F: Future> {
        #[pin]
        future: Option<F>,
        reply: Telling<F::Output>,
    }
}

impl<F: Future> Future for Running<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if let Some(future) = this.future.as_mut().as_pin_mut() {
            let output = ready!(future.poll(cx));
            this.future.set(None);
            if let Some(reply) = this.reply.0.take() {
                reply.send(Outcome::Done(output));
            }
        }
        Poll::Ready(())
    }
}

struct Telling<T>(Option<Reply<Outcome<T>>>);

impl<T> Drop for Telling<T> {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take()
            && std::thread::panicking()
        {
            reply.send(Outcome::Panicked);
        }
    }
}

/// A spawned future: awaiting it gives its output, dropping it cancels it.
#[must_use = "dropping a task cancels it"]
pub struct Task<T = ()> {
    outcome: Answer<Outcome<T>>,
    /// The executor's own handle. Dropping it ends the future.
    _handle: Box<dyn Any>,
}

impl<T: 'static> Task<T> {
    /// Starts `future` through `spawn`, whose result ends it when dropped.
    pub(crate) fn start<H: 'static>(
        future: impl Future<Output = T> + 'static,
        spawn: impl FnOnce(LocalFuture) -> H,
    ) -> Self {
        let (reply, outcome) = oneshot();
        let running = Running { future: Some(future), reply: Telling(Some(reply)) };
        Self { outcome, _handle: Box::new(spawn(Box::pin(running))) }
    }
}

impl<T> Task<T> {
    /// Whether its future has ended, whichever way.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.outcome.is_settled()
    }

    /// Ends the future and waits until its destructors have run; gives its output if it had one
    /// already. Cancel safe: the future is ended with the first poll.
    ///
    /// # Panics
    /// If the future panicked.
    pub async fn cancel(self) -> Option<T> {
        let Self { outcome, _handle: handle } = self;
        drop(handle);
        match outcome.await? {
            Outcome::Done(output) => Some(output),
            Outcome::Panicked => panic!("a spawned task panicked"),
        }
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    /// # Panics
    /// If the future panicked, or its executor dropped it.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match ready!(Pin::new(&mut self.outcome).poll(cx)) {
            Some(Outcome::Done(output)) => Poll::Ready(output),
            Some(Outcome::Panicked) => panic!("a spawned task panicked"),
            None => panic!("the executor dropped a task that somebody waits for"),
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task(finished: {})", self.is_finished())
    }
}

/// Spawns tasks on the one executor: production's, the simulator's, or an embedder's own.
#[derive(Clone)]
pub struct Spawner(Rc<dyn Fn(LocalFuture) -> Box<dyn Any>>);

impl Spawner {
    /// Spawns on `executor`, which somebody else runs.
    #[must_use]
    pub fn new(executor: Rc<smol::LocalExecutor<'static>>) -> Self {
        Self::with(move |future| executor.spawn(future))
    }

    /// Spawns through `spawn`, on any executor of this thread. Dropping what `spawn` returns must
    /// end the future: at once, or at a later tick of the executor.
    #[must_use]
    pub fn with<H: 'static>(spawn: impl Fn(LocalFuture) -> H + 'static) -> Self {
        Self(Rc::new(move |future| Box::new(spawn(future))))
    }

    /// Starts `future` as a task; dropping the task cancels it.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        Task::start(future, |future| (self.0)(future))
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawner")
    }
}

#[cfg(test)]
mod tests {
    use super::{LocalFuture, Spawner};
    use crate::scope::notify::Notify;
    use futures_lite::future::{block_on, pending, poll_once};
    use std::cell::{Cell, RefCell};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    type Slot = Rc<RefCell<Option<LocalFuture>>>;

    /// The future that the executor holds, dropped with the handle.
    struct Handle(Slot);

    impl Drop for Handle {
        fn drop(&mut self) {
            self.0.take();
        }
    }

    /// An executor of one task that is polled by hand.
    fn by_hand() -> (Spawner, Slot) {
        let slot = Slot::default();
        let held = slot.clone();
        let spawner = Spawner::with(move |future| {
            held.replace(Some(future));
            Handle(held.clone())
        });
        (spawner, slot)
    }

    fn turn(slot: &Slot) {
        let future = slot.take();
        if let Some(mut future) = future
            && block_on(poll_once(&mut future)).is_none()
        {
            slot.replace(Some(future));
        }
    }

    struct Gone(Rc<Cell<bool>>);

    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    #[test]
    fn a_task_gives_its_output_once_its_future_is_gone() {
        let (spawner, slot) = by_hand();
        let (wake, gone) = (Notify::new(), Rc::new(Cell::new(false)));
        let (inside, held) = (wake.clone(), Gone(gone.clone()));
        let mut task = spawner.spawn(async move {
            let _held = held;
            inside.notified().await;
            7
        });
        turn(&slot);
        assert!(!task.is_finished());
        assert!(block_on(poll_once(&mut task)).is_none());
        wake.notify();
        turn(&slot);
        assert!(task.is_finished() && gone.get());
        assert_eq!(block_on(task), 7);
    }

    #[test]
    fn a_dropped_task_is_cancelled_and_a_cancelled_one_is_gone() {
        let gone = Rc::new(Cell::new(false));
        let waiting = |held: Gone| async move {
            let _held = held;
            pending::<()>().await;
        };
        let (spawner, slot) = by_hand();
        let task = spawner.spawn(waiting(Gone(gone.clone())));
        turn(&slot);
        drop(task);
        assert!(gone.replace(false));
        // A future that was never polled owns what it captured.
        let task = spawner.spawn(waiting(Gone(gone.clone())));
        assert_eq!(block_on(task.cancel()), None);
        assert!(gone.get());
        let task = spawner.spawn(async { 7 });
        turn(&slot);
        assert_eq!(block_on(task.cancel()), Some(7));
    }

    #[test]
    fn a_panic_is_told_to_the_waiter() {
        let (spawner, slot) = by_hand();
        let task = spawner.spawn(async { panic!("a task went wrong") });
        assert!(catch_unwind(AssertUnwindSafe(|| turn(&slot))).is_err());
        assert!(task.is_finished());
        assert!(catch_unwind(AssertUnwindSafe(|| block_on(task))).is_err());
    }
}
