//! How long an election or a synced block waits for what the application is doing: the loop of this
//! library, which drops it, beside the two loops that the design documents of Lean Helix describe.
//!
//! ```console
//! $ cargo run --release --example drop_it
//! ```
//!
//! Four nodes on one thread with the real clock; views end by hand. In each round the application
//! of a node is in the middle of making a block (or of judging one) when its trigger fires (or the
//! application says that the block is decided). Times are from that event on:
//!
//! - *dropped*: to the destructor of the future that was in the middle;
//! - *entered*: to the node's entering its next view (or term);
//! - *at work*: to the first poll of the next block being made, by whoever leads next: all four nodes
//!   have left their views by then, signed, written and said so, and elected a leader.
//!
//! *Polls* counts how often the old future was polled after the event. It must be zero, else this
//! program fails. *Live* counts the futures of the application before and after the round.
//!
//! The application *cooperates* (awaits a timer), *never returns* (and ignores everything), or
//! computes: *inline*, in polls of 2 ms; *sliced*, with a budget that yields after 50 µs; *on a
//! thread*, whose late result meets a closed channel. What computes on the loop is hit at the
//! beginning of a poll, the worst moment; *poll left* is what it went on computing then.
//!
//! The controls are the two loops of the documents. *Asks* rings a bell for the callback, and its
//! worker has to come back from it before it looks at the election; only a callback that cooperates
//! listens. *Waits* does not even ask. A callback has 10 ms to do if nobody ends it, or for ever.
//!
//! # Measured
//!
//! On two shared cores of a virtual machine, 1,000 rounds; median in µs, of making a block (judging
//! one is the same within a microsecond). The longest are the operating system's, up to 15 ms where
//! other programs want the cores: each shows in all columns alike.
//!
//! | application | dropped by us | entered | at work | asks | waits |
//! |---|---|---|---|---|---|
//! | cooperates | 0.3 | 0.5 | 485 | 0.7 | 11,400 |
//! | never returns | 0.3 | 0.4 | 486 | never | never |
//! | inline | 2,001.7: the poll and 1.3 | 2,002.0 | 2,513 | 10,100 | 10,000 |
//! | sliced | 51.1: the slice and 0.4 | 51.2 | 535 | 20,300 | 18,300 |
//! | on a thread | 0.9 | 1.4 | 492 | 15,900 | 19,900 |
//!
//! A synced block does the same: dropped after 0.3 to 0.8, the next term entered after 0.9 to 2.5.
//! *At work* is ed25519 on one thread for four nodes: 4 signatures and some 20 checks.

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
use bytes::Bytes;
use futures_lite::future::{or, yield_now};
use quorate::env::{Clock, Disk, Env, Rng, Spawner, Time, io, net};
use quorate::helix::committee::{FixedCommittee, Order};
use quorate::helix::keys::Ed25519;
use quorate::helix::message::Signature;
use quorate::helix::spi::{Blocks, Chain, Content, Round};
use quorate::helix::trigger::Manual;
use quorate::helix::{Block, BlockProof, Boxed, Config, Engine, Event, Hash, Observer, Spi};
use quorate::id::{ClusterId, Height, NodeId, View};
use quorate::scope::bell::Bell;
use quorate::scope::budget::Budget;

/// One poll of an application that computes inline.
const INLINE_POLL: Duration = Duration::from_millis(2);
/// What a unit of sliced work takes; a slice has ten.
const UNIT: Duration = Duration::from_micros(5);
/// All the work of one call: a control sees the end of it, here somebody drops it long before.
const CONTROL: Duration = Duration::from_millis(10);
const ENDLESS: Duration = Duration::from_secs(60);
/// After this a control that is still waiting is given up.
const GIVE_UP: Duration = Duration::from_millis(100);
const INSTANCE: ClusterId = ClusterId(1);

/// What the application does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Cooperates,
    NeverReturns,
    Inline,
    Sliced,
    OnAThread,
}

const HABITS: [Habit; 5] =
    [Habit::Cooperates, Habit::NeverReturns, Habit::Inline, Habit::Sliced, Habit::OnAThread];

/// What it is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Making,
    Judging,
}

/// What happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Election,
    Sync,
}

/// What is measured: shared by the application, the observers and the one who strikes.
struct Bench {
    clock: Clock,
    habit: Habit,
    job: Job,
    whole: Duration,
    calls: Cell<u64>,
    /// The last call of each node.
    latest: RefCell<BTreeMap<NodeId, u64>>,
    live: Cell<i64>,
    /// The call in the middle, and whose it is.
    watched: Cell<Option<(u64, NodeId)>>,
    /// What is done at the beginning of its next poll.
    strike: RefCell<Option<Box<dyn FnOnce()>>>,
    /// When the event was, and what followed.
    event: Cell<Option<Time>>,
    polls_after: Cell<u64>,
    poll_ended: Cell<Option<Time>>,
    dropped: Cell<Option<Time>>,
    entered: Cell<Option<Time>>,
    at_work: Cell<Option<Time>>,
    /// Results of threads that came too late, and that were read.
    fenced: Arc<AtomicU64>,
    read: Cell<u64>,
    threads: RefCell<Vec<Thread>>,
}

/// A thread of the application.
struct Thread {
    /// The call for which it computes.
    number: u64,
    /// Tells it to come to an end.
    ending: Arc<AtomicBool>,
    handle: JoinHandle<()>,
}

impl Bench {
    fn new(habit: Habit, job: Job, whole: Duration) -> Rc<Self> {
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
    fn begin(&self, watched: (u64, NodeId)) {
        self.watched.set(Some(watched));
        for mark in [&self.event, &self.poll_ended, &self.dropped, &self.entered, &self.at_work] {
            mark.set(None);
        }
    }

    /// Notes when something happened for the first time after the event.
    fn first(&self, mark: &Cell<Option<Time>>) {
        if self.event.get().is_some() && mark.get().is_none() {
            mark.set(Some(self.clock.now()));
        }
    }

    /// Computes.
    fn spin(&self, span: Duration) {
        let until = self.clock.now() + span;
        while self.clock.now() < until {
            std::hint::spin_loop();
        }
    }

    /// A call of the application, as it is its habit; `cancel` is rung for controls that ask.
    fn call<'a>(self: &'a Rc<Self>, node: NodeId, habit: Habit, cancel: &Bell) -> Work<'a> {
        let number = self.calls.get() + 1;
        self.calls.set(number);
        self.latest.borrow_mut().insert(node, number);
        self.live.set(self.live.get() + 1);
        let (bench, cancel, whole) = (self.clone(), cancel.clone(), self.whole);
        let work = async move {
            match habit {
                Habit::Cooperates => or(cancel.heard(), bench.clock.sleep(whole)).await,
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
    fn start_thread(&self, number: u64) -> Receiver<()> {
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
    fn end_threads(&self, last: u64) {
        for thread in self.threads.borrow_mut().extract_if(.., |thread| thread.number <= last) {
            thread.ending.store(true, Ordering::Relaxed);
            thread.handle.join().expect("it ends");
        }
    }

    /// Whether what happens to this habit's work happens in the middle of a poll.
    fn computes(&self) -> bool {
        matches!(self.habit, Habit::Inline | Habit::Sliced)
    }
}

/// A call that is being answered; it says when it is polled and when it is gone.
struct Work<'a> {
    future: Boxed<'a, ()>,
    number: u64,
    node: NodeId,
    bench: Rc<Bench>,
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

/// The application of one node.
struct App(Rc<Bench>, NodeId);

impl Blocks for App {
    fn create<'a>(&'a self, round: &'a Round) -> Boxed<'a, Result<Content, String>> {
        let Self(bench, node) = self;
        let making = bench.job == Job::Making;
        Box::pin(async move {
            bench.first(&bench.at_work);
            if making {
                bench.call(*node, bench.habit, &Bell::new()).await;
            }
            let payload = Bytes::from(format!("{} {}", round.height, round.view));
            Ok(Content { time: 0, payload })
        })
    }

    fn validate<'a>(&'a self, round: &'a Round, _: &'a Block) -> Boxed<'a, Result<(), String>> {
        let Self(bench, node) = self;
        // One is watched; the others judge for ever.
        let watched = if round.leader == NodeId(1) { NodeId(2) } else { NodeId(1) };
        let habit = if *node == watched { bench.habit } else { Habit::NeverReturns };
        Box::pin(async move {
            bench.call(*node, habit, &Bell::new()).await;
            Ok(())
        })
    }
}

impl Chain for App {
    fn committed<'a>(&'a self, _: &'a Block, _: &'a BlockProof) -> Boxed<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

/// Four nodes on one executor.
struct Cluster {
    bench: Rc<Bench>,
    engines: BTreeMap<NodeId, Engine>,
    triggers: BTreeMap<NodeId, Manual>,
    tasks: Vec<quorate::env::spawn::Task<()>>,
}

fn cluster(bench: &Rc<Bench>, spawner: &Spawner) -> Cluster {
    let nodes: Vec<NodeId> = (1..=4).map(NodeId).collect();
    let secret = |node: NodeId| [node.0 as u8; 32];
    let publics: BTreeMap<_, _> =
        nodes.iter().map(|&node| (node, Ed25519::public_of(secret(node)))).collect();
    let (mut engines, mut triggers) = (BTreeMap::new(), BTreeMap::new());
    let (mut wires, mut tasks) = (Vec::new(), Vec::new());
    for &id in &nodes {
        let peers = nodes.iter().copied().filter(|&peer| peer != id);
        let (net, wire) = net::net(id, peers, net::NetLimits::default());
        let (clock, rng, disk) = (bench.clock.clone(), Rng::real(), Disk::memory());
        let mut config = Config::new(id, INSTANCE, nodes.clone()).expect("valid");
        config.limits.block_bytes_max = 4 << 10;
        config.limits.segment_bytes = 64 << 10;
        let trigger = Manual::new();
        let committee = FixedCommittee::equal(nodes.clone(), Order::Sticky).expect("four");
        let spi = Spi {
            membership: Box::new(committee),
            blocks: Box::new(App(bench.clone(), id)),
            chain: Box::new(App(bench.clone(), id)),
            keys: Box::new(Ed25519::new(secret(id), publics.clone()).expect("good keys")),
            trigger: Box::new(trigger.clone()),
        };
        let watching = bench.clone();
        let observer = Observer::new(move |event| {
            let of_watched = watching.watched.get().is_some_and(|(_, node)| node == id);
            if of_watched && matches!(event, Event::ViewEntered { .. }) {
                watching.first(&watching.entered);
            }
        });
        let env = Env { clock, rng, net, disk, spawner: spawner.clone() };
        let (engine, life) = Engine::start(config, env, spi, observer).expect("starts");
        tasks.push(spawner.spawn(async move { life.await.expect("the node lives") }));
        engines.insert(id, engine);
        triggers.insert(id, trigger);
        wires.push(wire);
    }
    tasks.push(spawner.spawn(async move { net::join(&wires).await }));
    Cluster { bench: bench.clone(), engines, triggers, tasks }
}

impl Cluster {
    /// Waits until the application is in the middle of its job, and says whose call is watched.
    async fn middle(&self) -> NodeId {
        let expected = if self.bench.job == Job::Making { 1 } else { 3 };
        loop {
            let first = self.engines[&NodeId(1)].status();
            let same = |engine: &Engine| {
                let status = engine.status();
                (status.height, status.view) == (first.height, first.view)
            };
            let leader = first.leader.expect("it is in a view");
            if self.bench.live.get() == expected && self.engines.values().all(same) {
                return match self.bench.job {
                    Job::Making => leader,
                    Job::Judging if leader == NodeId(1) => NodeId(2),
                    Job::Judging => NodeId(1),
                };
            }
            yield_now().await;
        }
    }

    /// What the event is, for one node.
    fn blow(&self, blow: Blow, node: NodeId) -> impl FnOnce() + 'static {
        let engine = self.engines[&node].clone();
        let trigger = self.triggers[&node].clone();
        let status = engine.status();
        let (block, proof) = decided(status.height);
        move || match blow {
            Blow::Election => trigger.fire(status.height, status.view),
            Blow::Sync => engine.update_state(block, proof),
        }
    }

    /// One round: wait for the middle, strike, and see what follows.
    async fn round(&self, blow: Blow, times: &mut Times) {
        let bench = &self.bench;
        let watched = self.middle().await;
        let number = bench.latest.borrow()[&watched];
        bench.begin((number, watched));
        times.live.push(bench.live.get());
        let others: Vec<_> = self.engines.keys().filter(|&&node| node != watched).collect();
        let others: Vec<_> = others.into_iter().map(|&node| self.blow(blow, node)).collect();
        let (hit, striker) = (self.blow(blow, watched), bench.clone());
        let strike = move || {
            striker.event.set(Some(striker.clock.now()));
            hit();
        };
        if bench.computes() {
            bench.strike.replace(Some(Box::new(strike)));
        } else {
            strike();
        }
        while bench.entered.get().is_none() || bench.dropped.get().is_none() {
            yield_now().await;
        }
        others.into_iter().for_each(|blow| blow());
        if blow == Blow::Sync {
            // All of them: a trigger is for one height.
            let highest = self.engines[&watched].status().height;
            while self.engines.values().any(|engine| engine.status().height < highest) {
                yield_now().await;
            }
            // Whoever was synced does not lead the next first view: hold an election.
            let height = self.engines[&watched].status().height;
            self.triggers.values().for_each(|trigger| trigger.fire(height, View::ZERO));
        }
        while bench.at_work.get().is_none() {
            yield_now().await;
        }
        times.take(bench);
        bench.end_threads(number);
    }
}

/// A block that the application says is decided.
fn decided(height: Height) -> (Block, BlockProof) {
    let (previous, proposer, payload) = (Hash::NONE, NodeId(1), Bytes::from_static(b"synced"));
    let block = Block { height, previous, proposer, time: 0, payload };
    let hash = block.hash(INSTANCE);
    let commits = vec![(proposer, Signature([0; 64]))];
    (block, BlockProof { height, view: View::ZERO, hash, commits, seed: None })
}

/// What was measured in all rounds of one row.
#[derive(Default)]
struct Times {
    in_poll: Vec<Duration>,
    dropped: Vec<Duration>,
    entered: Vec<Duration>,
    at_work: Vec<Duration>,
    live: Vec<i64>,
    polls: u64,
}

impl Times {
    fn take(&mut self, bench: &Bench) {
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
fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let micros = |at: Duration| format!("{:.1}", at.as_nanos() as f64 / 1e3);
    match times.last() {
        Some(&longest) => format!("{} / {}", micros(times[times.len() / 2]), micros(longest)),
        None => "-".into(),
    }
}

/// One row of the table.
struct Row {
    model: Model,
    blow: Blow,
    job: Job,
    habit: Habit,
    times: Times,
    more: String,
}

impl Row {
    fn print(&self) {
        let Self { model, blow, job, habit, times, more } = self;
        let live = match (times.live.first(), times.live.last()) {
            (Some(first), Some(last)) => format!("{first} / {last}"),
            _ => String::new(),
        };
        println!(
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
        );
    }
}

/// Which loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Model {
    /// This library's: the work is a future inside, and is dropped.
    Drops,
    /// A main loop that calls back and waits for the answer.
    Waits,
    /// A main loop that sets a flag, and a worker that has to come back.
    Asks,
}

/// One row of this library's loop.
fn ours(blow: Blow, job: Job, habit: Habit, rounds: u32) -> Row {
    let executor = Rc::new(smol::LocalExecutor::new());
    let spawner = Spawner::new(executor.clone());
    let bench = Bench::new(habit, job, ENDLESS);
    let cluster = cluster(&bench, &spawner);
    let measured = Rc::new(RefCell::new(Times::default()));
    let times = measured.clone();
    let driver = spawner.spawn(async move {
        let mut found = Times::default();
        for _ in 0..rounds {
            cluster.round(blow, &mut found).await;
        }
        times.replace(found);
        for task in cluster.tasks {
            task.cancel().await;
        }
    });
    io::block_on(&executor, driver);
    bench.end_threads(u64::MAX);
    let (times, fenced) = (measured.take(), bench.fenced.load(Ordering::Relaxed));
    let late = format!("{fenced} late results, {} of them read", bench.read.get());
    let more = if habit == Habit::OnAThread { late } else { String::new() };
    assert_eq!(times.polls, 0, "polled after the event");
    assert_eq!(bench.read.get(), 0, "the result of a call that had ended was read");
    assert!(times.live.iter().all(|&live| live == times.live[0]), "something piles up");
    assert_eq!(bench.live.get(), 0, "something is left");
    Row { model: Model::Drops, blow, job, habit, times, more }
}

/// The call that the loop under control makes; the worker of `Asks` gives it a bell to listen to.
async fn call_back(bench: &Rc<Bench>, cancel: &Bell) {
    bench.call(NodeId(1), bench.habit, cancel).await;
}

/// One row of a control.
fn control(model: Model, habit: Habit, rounds: u32) -> Row {
    let executor = Rc::new(smol::LocalExecutor::new());
    let spawner = Spawner::new(executor.clone());
    let bench = Bench::new(habit, Job::Making, CONTROL);
    let (strike, events) = async_channel::bounded::<()>(1);
    let (hand_over, elections) = async_channel::bounded::<()>(1);
    let cancel = Rc::new(RefCell::new(Bell::new()));
    let mut tasks = Vec::new();
    if model == Model::Asks {
        let cancel = cancel.clone();
        tasks.push(spawner.spawn(async move {
            while events.recv().await.is_ok() {
                cancel.borrow().ring();
                let _ = hand_over.force_send(());
            }
        }));
    } else {
        tasks.push(spawner.spawn(async move {
            while events.recv().await.is_ok() {
                // There is one loop: it looks at the event when it has come back.
                let _ = hand_over.force_send(());
            }
        }));
    }
    let worker = bench.clone();
    tasks.push(spawner.spawn(async move {
        loop {
            let bell = Bell::new();
            if model == Model::Asks {
                cancel.replace(bell.clone());
            }
            call_back(&worker, &bell).await;
            if elections.recv().await.is_err() {
                break;
            }
            worker.first(&worker.entered);
        }
    }));
    let measured = Rc::new(RefCell::new((Times::default(), false)));
    let (found, striker) = (measured.clone(), bench.clone());
    let driver = spawner.spawn(async move {
        let mut times = Times::default();
        let mut never = false;
        for _ in 0..rounds {
            never = !control_round(&striker, &strike, &mut times).await;
            if never {
                break;
            }
        }
        found.replace((times, never));
        for task in tasks {
            task.cancel().await;
        }
    });
    io::block_on(&executor, driver);
    bench.end_threads(u64::MAX);
    let (times, never) = measured.take();
    let more = if never { format!("never; given up after {GIVE_UP:?}") } else { String::new() };
    Row { model, blow: Blow::Election, job: Job::Making, habit, times, more }
}

/// One round of a control; false if the election was never processed.
async fn control_round(
    bench: &Rc<Bench>,
    events: &async_channel::Sender<()>,
    times: &mut Times,
) -> bool {
    while bench.live.get() == 0 {
        yield_now().await;
    }
    // In the middle: it has been polled at least once.
    yield_now().await;
    let number = bench.latest.borrow()[&NodeId(1)];
    bench.begin((number, NodeId(1)));
    let (clock, events, striker) = (bench.clock.clone(), events.clone(), bench.clone());
    let strike = move || {
        striker.event.set(Some(clock.now()));
        let _ = events.try_send(());
    };
    if bench.computes() {
        bench.strike.replace(Some(Box::new(strike)));
    } else {
        strike();
    }
    let began = bench.clock.now();
    while bench.entered.get().is_none() {
        if bench.clock.now().since(began) > GIVE_UP {
            return false;
        }
        yield_now().await;
    }
    times.take(bench);
    bench.end_threads(number);
    true
}

fn main() {
    println!("microseconds from the event on, median / longest");
    println!(
        "{:<8} {:<8} {:<7} {:<12} {:>6} {:>16} {:>16} {:>16} {:>16} {:>6}",
        "loop",
        "event",
        "amid",
        "application",
        "polls",
        "poll left",
        "dropped",
        "entered",
        "at work",
        "live"
    );
    let rounds: u32 = std::env::args().nth(1).map_or(1_000, |text| text.parse().expect("a number"));
    for blow in [Blow::Election, Blow::Sync] {
        for job in [Job::Making, Job::Judging] {
            for habit in HABITS {
                let rounds = if habit == Habit::Inline { rounds / 5 } else { rounds };
                ours(blow, job, habit, rounds).print();
            }
        }
    }
    for model in [Model::Asks, Model::Waits] {
        for habit in HABITS {
            control(model, habit, rounds / 20).print();
        }
    }
}
