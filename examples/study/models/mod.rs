//! Four ways to let a view make a block and to end it at an election, behind one harness.
//!
//! The first three are those of the threading notes: what was a goroutine there is a task here. All
//! run the same application, hear of the election through the same channel, and end with the block
//! of the next view. The harness looks at the application's own future: when it is polled, and when
//! it is gone.

mod one;
mod ours;
mod three;
mod two;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use async_channel::{Receiver, bounded};
use event_listener::Event;
use futures_lite::future::yield_now;
use quorate::env::io::block_on;
use quorate::env::{Clock, Time};
use quorate::scope::first::first;
use smol::LocalExecutor;
use stats_alloc::Region;

use crate::ALLOCATOR;
use crate::figures::Figures;
use crate::measure::{Spread, nanos};
use crate::shapes::lines;

const NEXT: &str = "From an election to the next view";
const GONE: &str = "From an election to the end of the old view's work";
const COST: &str = "What a view, its election and the next one cost";

/// How an application makes blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Application {
    /// It waits for its context as well as for what it needs.
    Attentive,
    /// It looks at its context every 10 ms.
    Looks,
    /// It never looks, and takes 100 ms.
    Deaf,
}

const APPLICATIONS: [(Application, &str, usize); 3] = [
    (Application::Attentive, "application waits for its context", 200),
    (Application::Looks, "looks at it every 10 ms", 20),
    (Application::Deaf, "never looks, takes 100 ms", 5),
];

type Run = fn(Rc<Host>) -> Pin<Box<dyn Future<Output = Block>>>;

/// What each is called, how it runs, and its source.
const MODELS: [(&str, Run, &str); 4] = [
    ("1: term loop, a task for each block", |h| Box::pin(one::run(h)), include_str!("one.rs")),
    ("2: main loop and worker", |h| Box::pin(two::run(h)), include_str!("two.rs")),
    ("3: term loop and view loop", |h| Box::pin(three::run(h)), include_str!("three.rs")),
    ("a view is a future: dropped", |h| Box::pin(ours::run(h)), include_str!("ours.rs")),
];

/// A block, and the view that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    view: u64,
}

/// The right to go on, as Go knows it: the one who works must look.
#[derive(Debug, Default)]
struct Context {
    cancelled: Cell<bool>,
    changed: Event,
}

impl Context {
    fn new() -> Rc<Self> {
        Rc::default()
    }

    fn cancel(&self) {
        self.cancelled.set(true);
        self.changed.notify(usize::MAX);
    }

    async fn done(&self) {
        while !self.cancelled.get() {
            self.changed.listen().await;
        }
    }
}

/// What a model is given: the executor, the elections, and the application.
struct Host {
    executor: Rc<LocalExecutor<'static>>,
    elections: Receiver<u64>,
    application: Application,
    clock: Clock,
    seen: RefCell<Seen>,
}

/// What happened to the first view's work, and to the second view.
#[derive(Debug, Default)]
struct Seen {
    elected: Option<Time>,
    polls_after: u32,
    gone: Option<Time>,
    next: Option<Time>,
}

impl Host {
    /// Waits for an election; returns the next view.
    async fn elected(&self) -> u64 {
        self.elections.recv().await.unwrap_or(u64::MAX)
    }

    /// Makes the block of a view; without one if the context says so and the application looks.
    async fn make_block(self: Rc<Self>, view: u64, context: Rc<Context>) -> Option<Block> {
        if view > 0 {
            self.seen.borrow_mut().next = Some(self.clock.now());
            return Some(Block { view });
        }
        let _gone = Gone(&self);
        let mut work = pin!(self.work(&context));
        let block = poll_fn(|cx| {
            let mut seen = self.seen.borrow_mut();
            seen.polls_after += u32::from(seen.elected.is_some());
            drop(seen);
            work.as_mut().poll(cx)
        });
        block.await.then_some(Block { view })
    }

    async fn work(&self, context: &Context) -> bool {
        match self.application {
            Application::Attentive => {
                first(context.done(), pending::<()>()).await;
                false
            }
            Application::Looks => {
                while !context.cancelled.get() {
                    self.clock.sleep(Duration::from_millis(10)).await;
                }
                false
            }
            Application::Deaf => {
                self.clock.sleep(Duration::from_millis(100)).await;
                true
            }
        }
    }
}

/// Notes when the application's future is gone, however it went.
struct Gone<'a>(&'a Host);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.seen.borrow_mut().gone = Some(self.0.clock.now());
    }
}

/// One election: times of the next view and of the end, polls in between, allocations, bytes.
struct Outcome {
    next: f64,
    gone: f64,
    polls: u32,
    allocations: usize,
    bytes_at_rest: f64,
}

pub(crate) fn run(figures: &mut Figures) {
    for (name, model, source) in MODELS {
        let mut costs = Vec::new();
        for (application, column, rounds) in APPLICATIONS {
            let outcomes: Vec<_> =
                (0..rounds).map(|round| elect(model, application, round)).collect();
            let next = Spread::of(outcomes.iter().map(|o| o.next).collect());
            let gone = Spread::of(outcomes.iter().map(|o| o.gone).collect());
            figures.add(NEXT, name, column, "ns", next);
            figures.add(GONE, name, column, "ns", gone);
            costs.extend(outcomes);
        }
        let mut count = |quantity, unit, value| figures.count(COST, name, quantity, unit, value);
        let polls = costs.iter().map(|o| o.polls).max().unwrap_or(0);
        count("polls of the old work after the election, at most", "", f64::from(polls));
        // The attentive application's figures: they are the same each time.
        count("allocations", "", costs[0].allocations as f64);
        count("memory while it waits", "B", costs[0].bytes_at_rest);
        count("lines", "", lines(source) as f64);
    }
}

fn elect(model: Run, application: Application, round: usize) -> Outcome {
    let executor = Rc::new(LocalExecutor::new());
    let (say, elections) = bounded(1);
    let host = Rc::new(Host {
        executor: executor.clone(),
        elections,
        application,
        clock: Clock::real(),
        seen: RefCell::default(),
    });
    // What the executor itself takes for its first task is not counted.
    let warm = executor.spawn(async {});
    block_on(executor.run(warm));
    let inner = executor.clone();
    let harness = async move {
        let region = Region::new(ALLOCATOR);
        let model = inner.spawn(model(host.clone()));
        for _ in 0..10 {
            yield_now().await;
        }
        let rest = region.change();
        let offset = Duration::from_micros(round as u64 * 3_700 % 10_000);
        if application == Application::Looks {
            host.clock.sleep(offset).await;
        }
        let elected = host.clock.now();
        host.seen.borrow_mut().elected = Some(elected);
        let _ = say.send(1).await;
        let block = model.await;
        let allocations = region.change().allocations;
        assert_eq!(block, Block { view: 1 }, "a block of the old view is not a result");
        while host.seen.borrow().gone.is_none() {
            host.clock.sleep(Duration::from_millis(1)).await;
        }
        let seen = host.seen.borrow();
        let after = |at: Option<Time>| at.map_or(f64::NAN, |at| nanos(at.since(elected)));
        Outcome {
            next: after(seen.next),
            gone: after(seen.gone),
            polls: seen.polls_after,
            allocations,
            bytes_at_rest: rest.bytes_allocated as f64 - rest.bytes_deallocated as f64,
        }
    };
    let harness = executor.spawn(harness);
    block_on(executor.run(harness))
}
