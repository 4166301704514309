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
//! The controls are the two loops of the documents. *Asks* notifies for the callback, and its
//! worker has to come back from it before it looks at the election; only a callback that cooperates
//! listens. *Waits* does not even ask. A callback has 10 ms to do if nobody ends it, or for ever.
//!
//! # Measured
//!
//! On two cores of a virtual machine that other programs used, too, release build, 1,000 rounds;
//! medians in µs, of making a block when its trigger fires (judging one is the same within 2 µs).
//!
//! | application | dropped by us | entered | at work | asks | waits |
//! |---|---|---|---|---|---|
//! | cooperates | 0.3 (longest 4.5) | 0.5 | 427 | 0.9 | 10,000 |
//! | never returns | 0.3 (longest 5.1) | 0.4 | 437 | never | never |
//! | inline | 2,002.0: the poll and 1.6 | 2,002.4 | 2,473 | 9,990 | 8,930 |
//! | sliced | 51.4: the slice and 0.7 | 51.5 | 489 | 14,300 | 14,300 |
//! | on a thread | 0.5 (longest 4.9) | 1.1 | 443 | 12,000 | 14,700 |
//!
//! A synced block does the same: dropped after 0.3 to 0.5, the next term entered after 0.8 to 2.5.
//! Where the loop computes, words may have come meanwhile: they are heard first, and two signatures to
//! check are 75 µs. *At work* is ed25519 on one thread for four nodes. The longest of what computes
//! are the operating system's, which gave the core to others for 4 ms at a time.

mod bench;
mod controls;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_lite::future::yield_now;
use quorate::env::{Disk, Env, Rng, Spawner, io, net};
use quorate::helix::protocol::app::{Blocks, Chain, Content, Round};
use quorate::helix::protocol::committee::{FixedCommittee, Order};
use quorate::helix::protocol::keys::Ed25519;
use quorate::helix::protocol::message::Signature;
use quorate::helix::protocol::trigger::Manual;
use quorate::helix::{App, Block, BlockProof, Boxed, Config, Engine, Event, Hash, Observer};
use quorate::id::{ClusterId, Height, NodeId, View};
use quorate::scope::notify::Notify;

use bench::{Bench, Blow, ENDLESS, HABITS, Habit, Job, Model, Row, Times};
use controls::control;

const INSTANCE: ClusterId = ClusterId(1);

/// The application of one node.
struct Bricks(Rc<Bench>, NodeId);

impl Blocks for Bricks {
    fn create<'a>(&'a self, round: &'a Round) -> Boxed<'a, Result<Content, String>> {
        let Self(bench, node) = self;
        let making = bench.job == Job::Making;
        Box::pin(async move {
            bench.first(&bench.at_work);
            if making {
                bench.call(*node, bench.habit, &Notify::new()).await;
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
            bench.call(*node, habit, &Notify::new()).await;
            Ok(())
        })
    }
}

impl Chain for Bricks {
    fn committed<'a>(&'a self, _: &'a Block, _: &'a BlockProof) -> Boxed<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

/// Four nodes on one executor.
struct Cluster {
    bench: Rc<Bench>,
    engines: BTreeMap<NodeId, Engine>,
    triggers: BTreeMap<NodeId, Manual>,
    tasks: Vec<quorate::env::spawn::Task>,
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
        let app = App {
            membership: Box::new(committee),
            blocks: Box::new(Bricks(bench.clone(), id)),
            chain: Box::new(Bricks(bench.clone(), id)),
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
        let (engine, life) = Engine::start(config, env, app, observer).expect("starts");
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
        if !bench.computes() {
            // Words that wait would be heard first, and their signatures checked.
            for _ in 0..100 {
                yield_now().await;
            }
        }
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
    io::block_on(executor.run(driver));
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

fn main() {
    quorate::env::output::line(format_args!("microseconds from the event on, median / longest"));
    quorate::env::output::line(format_args!(
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
    ));
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
