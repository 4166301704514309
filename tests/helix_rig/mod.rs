//! Engines under test, driven by hand: virtual time, disks that can lose power, links that can be
//! cut, an application whose every answer is planned, and an executor whose order is a seed.
//!
//! Nothing happens unless the test says so: [`Rig::step`] polls one task or delivers one frame, and
//! the clock stands still until [`Rig::run_for`]. Every frame and every event passes the
//! [`Ledger`], so no test can overlook a fork or a broken promise.

#![allow(dead_code, unreachable_pub, missing_docs)] // shared: no test uses all of it

pub mod app;
pub mod ledger;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::or;
use quorate::env::clock::VirtualClock;
use quorate::env::net::{NetLimits, Wire, net};
use quorate::env::spawn::Task;
use quorate::env::{Clock, Env, Rng, Time};
use quorate::error::Fatal;
use quorate::helix::protocol::app::{App, Trigger};
use quorate::helix::protocol::config::{Limits, Timing};
use quorate::helix::protocol::keys::Null;
use quorate::helix::protocol::message::{Envelope, Message, Signature};
use quorate::helix::protocol::status::Status;
use quorate::helix::protocol::trigger::{Manual, Timer};
use quorate::helix::{Block, BlockProof, Boxed, Config, Engine, Event, Hash, Observer};
use quorate::id::{ClusterId, Height, NodeId, View};
use quorate::sim::disk::SimDisk;
use quorate::sim::executor::{Executor, Group, Order};

#[allow(unused_imports)] // each test program uses some
pub use app::{Act, End, Log, RigApp, Service, Step, What};
use ledger::Ledger;

/// The instance of all rigs.
pub const INSTANCE: ClusterId = ClusterId(7);

/// Steps after which a rig that does not come to rest is said to spin.
const STEPS_MAX: u64 = 3_000_000;

/// What a rig is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    pub nodes: u64,
    /// First in, first out; or by a seed.
    pub seed: Option<u64>,
    /// Views end by hand, and with this base by the clock, too.
    pub timer: Option<Duration>,
    pub timing: Timing,
    pub stop_at: Option<u64>,
    pub net: NetLimits,
}

impl Default for Setup {
    /// Four nodes, views that end by hand only, in the order of production.
    fn default() -> Self {
        let timing = Timing { base: Duration::from_secs(4), cap: None, ..Timing::LAN };
        let net = NetLimits::default();
        Self { nodes: 4, seed: None, timer: None, timing, stop_at: None, net }
    }
}

struct Living {
    engine: Engine,
    wire: Wire,
    group: Group,
    root: Task,
    ended: Rc<RefCell<Option<Result<(), Fatal>>>>,
}

struct Slot {
    id: NodeId,
    app: Rc<RigApp>,
    disk: SimDisk,
    manual: Manual,
    living: Option<Living>,
}

/// By hand or by the clock.
struct Both(Manual, Timer);

impl Trigger for Both {
    fn elapsed(&self, height: Height, view: View) -> Boxed<'_, ()> {
        Box::pin(or(self.0.elapsed(height, view), self.1.elapsed(height, view)))
    }
}

/// What is to become of a frame on its way.
pub type Gate = Box<dyn Fn(NodeId, NodeId, &Message) -> bool>;

/// Nodes under test.
pub struct Rig {
    pub executor: Rc<Executor>,
    pub time: Rc<VirtualClock>,
    pub log: Log,
    pub ledger: Rc<RefCell<Ledger>>,
    setup: Setup,
    rng: Rng,
    slots: Vec<Slot>,
    flying: RefCell<VecDeque<(NodeId, NodeId, Bytes)>>,
    /// Nodes that are cut off.
    cut: RefCell<BTreeSet<NodeId>>,
    /// Lets pass what it returns true for; the rest is lost.
    gate: RefCell<Option<Gate>>,
    /// Every word that left, in order.
    pub words: RefCell<Vec<(NodeId, NodeId, Message)>>,
    /// Every word that arrived, in order.
    pub heard: RefCell<Vec<(NodeId, NodeId, Message)>>,
    taken: Cell<u64>,
}

pub fn id(n: u64) -> NodeId {
    NodeId(n)
}

/// A block that the application may say is decided, and a proof that nobody checks.
pub fn foreign(height: u64, name: &str) -> (Block, BlockProof) {
    let block = Block {
        height: Height(height),
        previous: Hash::NONE,
        proposer: id(1),
        time: 0,
        payload: Bytes::from(name.to_owned()),
    };
    let (height, view, hash) = (block.height, View::ZERO, block.hash(INSTANCE));
    let commits = vec![(id(1), Signature([0; 64]))];
    (block, BlockProof { height, view, hash, commits, seed: None })
}

impl Rig {
    /// A rig whose nodes are all started; nothing has been polled.
    pub fn new(setup: Setup) -> Self {
        let mut rig = Self::unstarted(setup);
        (1..=rig.setup.nodes).for_each(|node| rig.start(id(node)).expect("a new node starts"));
        rig
    }

    pub fn unstarted(setup: Setup) -> Self {
        let rng = Rng::seeded(setup.seed.unwrap_or(0));
        let time = VirtualClock::new();
        let clock = Clock::simulated(time.clone());
        let order = if setup.seed.is_some() { Order::Seeded } else { Order::Fifo };
        let log = Log::default();
        let ids: Vec<_> = (1..=setup.nodes).map(NodeId).collect();
        let slot = |&id: &NodeId| Slot {
            id,
            app: RigApp::new(id, clock.clone(), log.clone(), &ids),
            disk: SimDisk::new(clock.clone(), rng.fork()),
            manual: Manual::new(),
            living: None,
        };
        let slots = ids.iter().map(slot).collect();
        Self {
            executor: Executor::new(order, rng.fork()),
            ledger: Rc::default(),
            flying: RefCell::default(),
            cut: RefCell::default(),
            gate: RefCell::default(),
            words: RefCell::default(),
            heard: RefCell::default(),
            taken: Cell::new(0),
            slots,
            time,
            log,
            setup,
            rng,
        }
    }

    fn slot(&self, node: NodeId) -> &Slot {
        &self.slots[node.0 as usize - 1]
    }

    fn config(&self, node: NodeId) -> Config {
        let nodes = self.slots.iter().map(|slot| slot.id);
        let mut config = Config::new(node, INSTANCE, nodes).expect("a good configuration");
        config.timing = self.setup.timing;
        config.stop_at = self.setup.stop_at.map(Height);
        // Small files: every rig zeroes its own.
        config.limits =
            Limits { block_bytes_max: 1 << 10, segment_bytes: 16 << 10, ..Limits::default() };
        config
    }

    fn observer(&self, node: NodeId) -> Observer {
        let (log, ledger) = (self.log.clone(), self.ledger.clone());
        Observer::new(move |event| {
            log.borrow_mut().push((node, Step::Told(event)));
            ledger.borrow_mut().see(node, event);
        })
    }

    /// Starts a node on its disk.
    pub fn start(&mut self, node: NodeId) -> Result<(), Fatal> {
        let group = self.executor.group();
        let slot = self.slot(node);
        let peers = self.slots.iter().map(|slot| slot.id).filter(|&peer| peer != node);
        let (net, wire) = net(node, peers, self.setup.net);
        let clock = Clock::simulated(self.time.clone());
        let trigger: Box<dyn Trigger> = match self.setup.timer {
            Some(base) => {
                let timer = Timer::new(clock.clone(), base, self.setup.timing.cap);
                Box::new(Both(slot.manual.clone(), timer))
            }
            None => Box::new(slot.manual.clone()),
        };
        let app = App {
            membership: Box::new(Service::new(&slot.app)),
            blocks: Box::new(Service::new(&slot.app)),
            chain: Box::new(Service::new(&slot.app)),
            keys: Box::new(Null),
            trigger,
        };
        let spawner = self.executor.spawner(group);
        let (rng, disk) = (Rng::seeded(node.0), slot.disk.disk());
        let env = Env { clock, rng, net, disk, spawner };
        let (engine, life) = Engine::start(self.config(node), env, app, self.observer(node))?;
        let ended = Rc::new(RefCell::new(None));
        let end = ended.clone();
        let life = async move {
            let ended = life.await;
            end.replace(Some(ended));
        };
        let root = self.executor.spawn(group, life);
        let living = Some(Living { engine, wire, group, root, ended });
        self.slots[node.0 as usize - 1].living = living;
        Ok(())
    }

    /// Drops the whole node, as `kill -9` does; `power` says whether the machine goes on.
    pub fn crash(&mut self, node: NodeId, power: bool) {
        let living = self.slots[node.0 as usize - 1].living.take().expect("it is up");
        let Living { engine, group, root, wire, ended } = living;
        drop((engine, wire, ended));
        let left = self.executor.kill(group, Some(root));
        assert_eq!(left, 0, "a task outlives node {node}");
        let slot = self.slot(node);
        assert_eq!(slot.app.all_live(), 0, "a call outlives node {node}");
        if power { slot.disk.kill() } else { slot.disk.power_cut() }
    }

    fn living(&self, node: NodeId) -> &Living {
        self.slot(node).living.as_ref().expect("it is up")
    }

    pub fn is_up(&self, node: NodeId) -> bool {
        self.slot(node).living.is_some()
    }

    pub fn engine(&self, node: NodeId) -> &Engine {
        &self.living(node).engine
    }

    pub fn status(&self, node: NodeId) -> Status {
        self.engine(node).status()
    }

    pub fn app(&self, node: NodeId) -> &Rc<RigApp> {
        &self.slot(node).app
    }

    pub fn disk(&self, node: NodeId) -> &SimDisk {
        &self.slot(node).disk
    }

    pub fn manual(&self, node: NodeId) -> &Manual {
        &self.slot(node).manual
    }

    pub fn wire(&self, node: NodeId) -> &Wire {
        &self.living(node).wire
    }

    /// The futures of the node's tasks that exist.
    pub fn census(&self, node: NodeId) -> usize {
        self.executor.census(self.living(node).group)
    }

    pub fn polls(&self, node: NodeId) -> u64 {
        self.executor.polls(self.living(node).group)
    }

    /// How the node's life ended, if it did.
    pub fn ended(&self, node: NodeId) -> Option<Result<(), Fatal>> {
        self.living(node).ended.borrow().clone()
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.slots.iter().map(|slot| slot.id).collect()
    }

    /// Sets how all applications answer.
    pub fn set(&self, what: What, act: Act) {
        self.slots.iter().for_each(|slot| slot.app.set(what, act));
    }

    /// Ends a view on all nodes, by hand.
    pub fn fire_all(&self, height: u64, view: u64) {
        self.slots.iter().for_each(|slot| slot.manual.fire(Height(height), View(view)));
    }

    pub fn fire(&self, node: NodeId, height: u64, view: u64) {
        self.manual(node).fire(Height(height), View(view));
    }

    /// Cuts a node off; what is on its way from or to it is lost.
    pub fn cut(&self, node: NodeId) {
        self.cut.borrow_mut().insert(node);
    }

    pub fn heal(&self) {
        self.cut.borrow_mut().clear();
        self.gate.replace(None);
    }

    /// From now on only what `gate` returns true for arrives.
    pub fn gate(&self, gate: impl Fn(NodeId, NodeId, &Message) -> bool + 'static) {
        self.gate.replace(Some(Box::new(gate)));
    }

    /// Puts a message into a node's queue, as if `from` had sent it.
    pub fn inject(&self, from: NodeId, to: NodeId, message: &Message) {
        self.wire(to).deliver(from, Envelope::encode(INSTANCE, message));
    }

    /// Polls one task, or delivers one frame; false if there is nothing to do at this instant.
    pub fn step(&self) -> bool {
        self.taken.set(self.taken.get() + 1);
        assert!(self.taken.get() < STEPS_MAX, "the rig spins");
        let frames_first = self.setup.seed.is_some() && self.rng.chance(300);
        if frames_first && self.deliver() {
            return true;
        }
        let ran = self.executor.step().is_some();
        if ran {
            self.collect();
        }
        // In turn: a task that is always ready must not hold up the network.
        (self.setup.seed.is_none() && self.deliver()) || ran || self.deliver()
    }

    /// A number of steps, as far as there are.
    pub fn steps(&self, count: u64) {
        for _ in 0..count {
            if !self.step() {
                break;
            }
        }
    }

    /// Takes what the nodes have sent.
    fn collect(&self) {
        for slot in &self.slots {
            let Some(living) = &slot.living else { continue };
            for to in living.wire.peers() {
                while let Some(frame) = living.wire.take(to) {
                    let message = Envelope::decode(&frame, INSTANCE).expect("nodes talk sense");
                    self.ledger.borrow_mut().hear(slot.id, &message);
                    self.words.borrow_mut().push((slot.id, to, message));
                    self.flying.borrow_mut().push_back((slot.id, to, frame));
                }
            }
        }
    }

    fn deliver(&self) -> bool {
        let mut flying = self.flying.borrow_mut();
        let nth = match (flying.len(), self.setup.seed) {
            (0, _) => return false,
            (_, None) => 0,
            (len, Some(_)) => self.rng.below(len),
        };
        // A link keeps the order of its frames.
        let (from, to, _) = flying[nth];
        let first = flying.iter().position(|&(f, t, _)| (f, t) == (from, to)).expect("it is there");
        let (_, _, frame) = flying.remove(first).expect("it is there");
        drop(flying);
        let cut = self.cut.borrow();
        let cut = cut.contains(&from) || cut.contains(&to);
        let message = Envelope::decode(&frame, INSTANCE).expect("nodes talk sense");
        let passes = self.gate.borrow().as_ref().is_none_or(|gate| gate(from, to, &message));
        if !cut && passes && self.is_up(to) {
            self.wire(to).deliver(from, frame);
            self.heard.borrow_mut().push((from, to, message));
        }
        true
    }

    /// Runs all that can run at this instant.
    pub fn settle(&self) {
        while self.step() {}
    }

    /// Runs until `done`, without moving the clock; whether it came to that.
    pub fn settle_until(&self, mut done: impl FnMut(&Self) -> bool) -> bool {
        while !done(self) {
            if !self.step() {
                return done(self);
            }
        }
        true
    }

    /// Runs for a span of virtual time.
    pub fn run_for(&self, span: Duration) {
        self.run_until(span, |_| false);
    }

    /// Runs until `done`, at most for a span of virtual time; whether it came to that.
    pub fn run_until(&self, span: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.time.now() + span;
        loop {
            if self.settle_until(&mut done) {
                return true;
            }
            match self.time.next_deadline() {
                Some(at) if at <= until => self.time.advance_to(at),
                _ => break,
            }
        }
        self.time.advance_to(until);
        self.settle_until(done)
    }

    pub fn now(&self) -> Time {
        self.time.now()
    }

    /// The lowest of the decided heights of the nodes that are up.
    pub fn tip(&self) -> u64 {
        let up = self.slots.iter().filter(|slot| slot.living.is_some());
        up.map(|slot| self.status(slot.id).tip.0).min().unwrap_or(0)
    }

    /// The decided block of a height, from whichever application has it.
    pub fn decided(&self, height: Height) -> Option<(Block, BlockProof)> {
        self.slots.iter().find_map(|slot| slot.app.blocks.borrow().get(&height).cloned())
    }

    /// What happened at a node, in order.
    pub fn steps_of(&self, node: NodeId) -> Vec<Step> {
        let log = self.log.borrow();
        log.iter().filter(|(at, _)| *at == node).map(|&(_, step)| step).collect()
    }

    /// What a node told its observer.
    pub fn events_of(&self, node: NodeId) -> Vec<Event> {
        let told = |step| match step {
            Step::Told(event) => Some(event),
            _ => None,
        };
        self.steps_of(node).into_iter().filter_map(told).collect()
    }
}
