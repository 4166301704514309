//! What is measured, and an application that can be measured: shared by the loop of this library and
//! the controls.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_channel::Receiver;
use futures_lite::future::{or, yield_now};
use quorate::env::{Clock, Time};
use quorate::helix::Boxed;
use quorate::id::NodeId;
use quorate::scope::budget::Budget;
use quorate::scope::notify::Notify;

/// One poll of an application that computes inline.
pub(crate) const INLINE_POLL: Duration = Duration::from_millis(2);
/// What a unit of sliced work takes; a slice has ten.
pub(crate) const UNIT: Duration = Duration::from_micros(5);
/// All the work of one call: a control sees the end of it, here somebody drops it long before.
pub(crate) const CONTROL: Duration = Duration::from_millis(10);
pub(crate) const ENDLESS: Duration = Duration::from_secs(60);
/// After this a control that is still waiting is given up.
pub(crate) const GIVE_UP: Duration = Duration::from_millis(100);

/// What the application does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    Cooperates,
    NeverReturns,
    Inline,
    Sliced,
    OnAThread,
}

pub(crate) const HABITS: [Habit; 5] =
    [Habit::Cooperates, Habit::NeverReturns, Habit::Inline, Habit::Sliced, Habit::OnAThread];

/// What it is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    Making,
    Judging,
}

/// What happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    Election,
    Sync,
}

/// What is measured: shared by the application, the observers and the one who strikes.
pub(crate) struct Bench {
    pub(crate) clock: Clock,
    pub(crate) habit: Habit,
    pub(crate) job: Job,
    pub(crate) whole: Duration,
    pub(crate) calls: Cell<u64>,
    /// The last call of each node.
    pub(crate) latest: RefCell<BTreeMap<NodeId, u64>>,
    pub(crate) live: Cell<i64>,
    /// The call in the middle, and whose it is.
    pub(crate) watched: Cell<Option<(u64, NodeId)>>,
    /// What is done at the beginning of its next poll.
    pub(crate) strike: RefCell<Option<Box<dyn FnOnce()>>>,
    /// When the event was, and what followed.
    pub(crate) event: Cell<Option<Time>>,
    pub(crate) polls_after: Cell<u64>,
    pub(crate) poll_ended: Cell<Option<Time>>,
    pub(crate) dropped: Cell<Option<Time>>,
    pub(crate) entered: Cell<Option<Time>>,
    pub(crate) at_work: Cell<Option<Time>>,
    /// Results of threads that came too late, and that were read.
    pub(crate) fenced: Arc<AtomicU64>,
    pub(crate) read: Cell<u64>,
    pub(crate) threads: RefCell<Vec<Thread>>,
}

/// A thread of the application.
pub(crate) struct Thread {
    /// The call for which it computes.
    pub(crate) number: u64,
    /// Tells it to come to an end.
    pub(crate) ending: Arc<AtomicBool>,
    pub(crate) handle: JoinHandle<()>,
}

impl Bench {
    pub(crate) fn new(habit: Habit, job: Job, whole: Duration) -> Rc<Self> {
        Rc::new(Self {
            clock: Clock::real(),
            habit,
            job,
            whole,
            calls: Cell::new(0),
            latest: RefCell::default(),
            live: Cell::new(0),
            watched: Cell::new(None),
            strike: RefCell::default(),
            event: Cell::new(None),
            polls_after: Cell::new(0),
            poll_ended: Cell::new(None),
            dropped: Cell::new(None),
            entered: Cell::new(None),
            at_work: Cell::new(None),
            fenced: Arc::default(),
            read: Cell::new(0),
            threads: RefCell::default(),
        })
    }

    /// Watches a call, and forgets what was measured before.
    pub(crate) fn begin(&self, watched: (u64, NodeId)) {
        self.watched.set(Some(watched));
        for mark in [&self.event, &self.poll_ended, &self.dropped, &self.entered, &self.at_work] {
            mark.set(None);
        }
    }

    /// Notes when something happened for the first time after the event.
    pub(crate) fn first(&self, mark: &Cell<Option<Time>>) {
        if self.event.get().is_some() && mark.get().is_none() {
            mark.set(Some(self.clock.now()));
        }
    }

    /// Computes.
    pub(crate) fn spin(&self, span: Duration) {
        let until = self.clock.now() + span;
        while self.clock.now() < until {
            std::hint::spin_loop();
        }
    }

    /// A call of the application, as it is its habit; `cancel` is notified for controls that ask.
    pub(crate) fn call<'a>(
        self: &'a Rc<Self>,
        node: NodeId,
        habit: Habit,
        cancel: &Notify,
    ) -> Work<'a> {
        let number = self.calls.get() + 1;
        self.calls.set(number);
        self.latest.borrow_mut().insert(node, number);
        self.live.set(self.live.get() + 1);
        let (bench, cancel, whole) = (self.clone(), cancel.clone(), self.whole);
        let work = async move {
            match habit {
                Habit::Cooperates => or(cancel.notified(), bench.clock.sleep(whole)).await,
                Habit::NeverReturns => pending().await,
                Habit::Inline => {
                    for _ in 0..whole.as_nanos() / INLINE_POLL.as_nanos() {
                        bench.spin(INLINE_POLL);
                        yield_now().await;
                    }
                }
                Habit::Sliced => {
                    let mut budget = Budget::new(10);
                    for _ in 0..whole.as_nanos() / UNIT.as_nanos() {
                        bench.spin(UNIT);
                        budget.spend(1).await;
                    }
                }
                Habit::OnAThread => {
                    let result = bench.start_thread(number);
                    if result.recv().await.is_ok() {
                        bench.read.set(bench.read.get() + 1);
                    }
                }
            }
        };
        Work { future: Box::pin(work), number, node, bench: self.clone() }
    }

    /// Computes on a thread of its own; what it sends when nobody listens any more is counted.
    #[allow(clippy::disallowed_methods)] // an application may have threads; the engine has none
    pub(crate) fn start_thread(&self, number: u64) -> Receiver<()> {
        let (sender, receiver) = async_channel::bounded(1);
        let (fenced, whole, began) = (self.fenced.clone(), self.whole, Instant::now());
        let ending = Arc::new(AtomicBool::new(false));
        let end = ending.clone();
        let handle = std::thread::spawn(move || {
            while began.elapsed() < whole && !end.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            if sender.try_send(()).is_err() {
                fenced.fetch_add(1, Ordering::Relaxed);
            }
        });
        self.threads.borrow_mut().push(Thread { number, ending, handle });
        receiver
    }

    /// Lets the threads of all calls up to this one send their results, and waits for that.
    pub(crate) fn end_threads(&self, last: u64) {
        for thread in self.threads.borrow_mut().extract_if(.., |thread| thread.number <= last) {
            thread.ending.store(true, Ordering::Relaxed);
            thread.handle.join().expect("it ends");
        }
    }

    /// Whether what happens to this habit's work happens in the middle of a poll.
    pub(crate) fn computes(&self) -> bool {
        matches!(self.habit, Habit::Inline | Habit::Sliced)
    }
}

/// A call that is being answered; it says when it is polled and when it is gone.
pub(crate) struct Work<'a> {
    pub(crate) future: Boxed<'a, ()>,
    pub(crate) number: u64,
    pub(crate) node: NodeId,
    pub(crate) bench: Rc<Bench>,
}

impl Future for Work<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let bench = self.bench.clone();
        if bench.watched.get().map(|(number, _)| number) != Some(self.number) {
            return self.future.as_mut().poll(cx);
        }
        if bench.event.get().is_some() {
            bench.polls_after.set(bench.polls_after.get() + 1);
        }
        let strike = bench.strike.take();
        let struck = strike.is_some();
        strike.into_iter().for_each(|strike| strike());
        let polled = self.future.as_mut().poll(cx);
        if struck {
            bench.first(&bench.poll_ended);
        }
        polled
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.bench.live.set(self.bench.live.get() - 1);
        if self.bench.watched.get() == Some((self.number, self.node)) {
            self.bench.first(&self.bench.dropped);
        }
    }
}

/// What was measured in all rounds of one row.
#[derive(Default)]
pub(crate) struct Times {
    pub(crate) in_poll: Vec<Duration>,
    pub(crate) dropped: Vec<Duration>,
    pub(crate) entered: Vec<Duration>,
    pub(crate) at_work: Vec<Duration>,
    pub(crate) live: Vec<i64>,
    pub(crate) polls: u64,
}

impl Times {
    pub(crate) fn take(&mut self, bench: &Bench) {
        let event = bench.event.get().expect("it happened");
        let after = |mark: &Cell<Option<Time>>| mark.get().map(|at| at.since(event));
        self.in_poll.extend(after(&bench.poll_ended));
        self.dropped.extend(after(&bench.dropped));
        self.entered.extend(after(&bench.entered));
        self.at_work.extend(after(&bench.at_work));
        self.polls += bench.polls_after.take();
    }
}

/// The median and the longest, in microseconds.
pub(crate) fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let micros = |at: Duration| format!("{:.1}", at.as_nanos() as f64 / 1e3);
    match times.last() {
        Some(&longest) => format!("{} / {}", micros(times[times.len() / 2]), micros(longest)),
        None => "-".into(),
    }
}

/// One row of the table.
pub(crate) struct Row {
    pub(crate) model: Model,
    pub(crate) blow: Blow,
    pub(crate) job: Job,
    pub(crate) habit: Habit,
    pub(crate) times: Times,
    pub(crate) more: String,
}

impl Row {
    pub(crate) fn print(&self) {
        let Self { model, blow, job, habit, times, more } = self;
        let live = match (times.live.first(), times.live.last()) {
            (Some(first), Some(last)) => format!("{first} / {last}"),
            _ => String::new(),
        };
        quorate::env::output::line(format_args!(
            "{:<8} {:<8} {:<7} {:<12} {:>6} {:>16} {:>16} {:>16} {:>16} {live:>6} {more}",
            format!("{model:?}"),
            format!("{blow:?}"),
            format!("{job:?}"),
            format!("{habit:?}"),
            times.polls,
            spread(&times.in_poll),
            spread(&times.dropped),
            spread(&times.entered),
            spread(&times.at_work),
        ));
    }
}

/// Which loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// This library's: the work is a future inside, and is dropped.
    Drops,
    /// A main loop that calls back and waits for the answer.
    Waits,
    /// A main loop that sets a flag, and a worker that has to come back.
    Asks,
}
