//! Negative controls: the two loops of the source documents, written down as they describe them.
//! They fail what ours passes, on the same executor and with the same events.
//!
//! - *Waiting*: "the single-threaded model using only a main event loop prevents processing
//!   UpdateState and Election events when waiting on a long-running operation".
//! - *Asking*: "the main loop will cancel the long-running operation's context and once that
//!   happens, control will return to the worker"; it "relies on the cancellability of the
//!   long-running operations".

use std::cell::Cell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;

use async_channel::Receiver;
use futures_lite::future::{or, yield_now};
use quorate::env::Rng;
use quorate::scope::notify::Notify;
use quorate::sim::executor::{Executor, Order};

/// What a callback is told: a flag, and a `Notify` that is notified when it is set.
#[derive(Clone, Default)]
struct Context {
    cancelled: Rc<Cell<bool>>,
    wake: Notify,
}

impl Context {
    fn cancel(&self) {
        self.cancelled.set(true);
        self.wake.notify();
    }
}

/// How a callback takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    /// Waits for ever, or until it is cancelled.
    Cooperates,
    /// Waits for ever.
    Ignores,
    /// Computes in slices and does not look.
    Computes(u32),
}

fn callback(
    manners: Manners,
    context: Context,
    polls: Rc<Cell<u32>>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        match manners {
            Manners::Cooperates => or(context.wake.notified(), pending()).await,
            Manners::Ignores => pending().await,
            Manners::Computes(slices) => {
                for _ in 0..slices {
                    polls.set(polls.get() + 1);
                    yield_now().await;
                }
            }
        }
    })
}

/// What a run of a loop came to: whether the election was processed, and how often the work of the
/// old view was polled after it.
type Outcome = (bool, u32);

fn run(
    model: impl FnOnce(
        Receiver<()>,
        Manners,
        Rc<Cell<u32>>,
        Rc<Cell<bool>>,
    ) -> Vec<Pin<Box<dyn Future<Output = ()>>>>,
    manners: Manners,
) -> Outcome {
    let executor = Executor::new(Order::Fifo, Rng::seeded(0));
    let group = executor.group();
    let (sender, events) = async_channel::bounded(1);
    let (polls, processed) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let loops = model(events, manners, polls.clone(), processed.clone());
    let tasks: Vec<_> = loops.into_iter().map(|task| executor.spawn(group, task)).collect();
    (0..50).for_each(|_| {
        let _ = executor.step();
    });
    let before = polls.get();
    sender.try_send(()).expect("it has room");
    while !processed.get() && executor.step().is_some() {}
    drop(tasks);
    (processed.get(), polls.get() - before)
}

/// One loop that calls back and waits.
fn waiting(manners: Manners) -> Outcome {
    let model = |events: Receiver<()>, manners, polls, processed: Rc<Cell<bool>>| {
        let task: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            callback(manners, Context::default(), polls).await;
            if events.recv().await.is_ok() {
                processed.set(true);
            }
        });
        vec![task]
    };
    run(model, manners)
}

/// A main loop that cancels, and a worker that must come back first.
fn asking(manners: Manners) -> Outcome {
    let model = |events: Receiver<()>, manners, polls, processed: Rc<Cell<bool>>| {
        let context = Context::default();
        let (to_worker, elections) = async_channel::bounded(1);
        let cancelled = context.clone();
        let main_loop: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            while events.recv().await.is_ok() {
                cancelled.cancel();
                let _ = to_worker.force_send(());
            }
        });
        let worker: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            callback(manners, context, polls).await;
            if elections.recv().await.is_ok() {
                processed.set(true);
            }
        });
        vec![main_loop, worker]
    };
    run(model, manners)
}

/// Ours: the work is a future that the loop drops.
fn dropping(manners: Manners) -> Outcome {
    let model = |events: Receiver<()>, manners, polls, processed: Rc<Cell<bool>>| {
        let task: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            let work = callback(manners, Context::default(), polls);
            let elected = async {
                let _ = events.recv().await;
            };
            or(elected, work).await;
            processed.set(true);
        });
        vec![task]
    };
    run(model, manners)
}

const COMPUTES: Manners = Manners::Computes(1_000);

#[test]
fn a_loop_that_waits_processes_no_election_before_the_callback_is_back() {
    assert!(!waiting(Manners::Cooperates).0, "nobody even asks it to");
    assert!(!waiting(Manners::Ignores).0);
    let (processed, polls) = waiting(COMPUTES);
    assert!(processed && polls > 900, "only after all of the work: {polls} polls");
}

#[test]
fn cancelling_and_waiting_works_for_callbacks_that_cooperate_and_for_no_others() {
    assert_eq!(asking(Manners::Cooperates), (true, 0));
    assert!(!asking(Manners::Ignores).0);
    let (processed, polls) = asking(COMPUTES);
    assert!(processed && polls > 900, "only after all of the work: {polls} polls");
}

#[test]
fn dropping_works_for_all() {
    for manners in [Manners::Cooperates, Manners::Ignores, COMPUTES] {
        assert_eq!(dropping(manners), (true, 0), "{manners:?}");
    }
}
