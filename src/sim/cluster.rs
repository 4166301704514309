//! A cluster of simulated nodes, of whichever protocol, and the trouble it can be given.
//!
//! Bring your own state machine: the nodes of a cluster run any [`Digest`] machine, each with its
//! own disk, all in one virtual time. What you do to them is written in the trace; what they do is
//! checked after every event.
//!
//! ```
//! use quorate::sim::cluster::Setup;
//! use quorate::sim::machine::{Ledger, Write};
//! use quorate::sim::raft::Cluster;
//! use std::time::Duration;
//!
//! let mut cluster = Cluster::new(7, Setup::default(), Ledger::default);
//! cluster.start_all();
//! let leader = cluster.run_until_led(Duration::from_secs(5)).expect("three nodes elect");
//! let node = cluster.node(leader).expect("it runs");
//! let write = Write { client: 1, seq: 1 };
//! let answer = cluster.run(async move { node.propose(write.command(0)).await });
//! assert!(answer.expect("answered in time").is_ok());
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::FutureExt;
use futures_lite::future::pending;

use crate::env::net::{NetLimits, net};
use crate::env::spawn::Task;
use crate::env::{Env, Rng};
use crate::error::Fatal;
use crate::id::NodeId;
use crate::node::Node;
use crate::scope::cancel::CancelInjector;
use crate::scope::observer::Observer;
use crate::sim::checks::{Checks, Invariants};
use crate::sim::disk::SimDisk;
use crate::sim::draws::Costs;
use crate::sim::executor::{Group, Order, Why};
use crate::sim::machine::{Digest, Judge, Probe};
use crate::sim::picture::Ending;
use crate::sim::protocol::{Birth, Life, Protocol};
use crate::sim::trace::{Detail, TAIL_LINES, Trace};
use crate::sim::workload::Beside;
use crate::sim::world::World;

/// The longest virtual time that [`Cluster::run`] waits for an answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The shortest sync of a healthy disk.
pub const SYNC_MIN: Duration = Duration::from_micros(50);
/// The longest sync of a healthy disk.
pub const SYNC_MAX: Duration = Duration::from_millis(2);

/// What a cluster is made of.
pub struct Setup<P: Protocol> {
    /// How many nodes; their ids are 1, 2, ...
    pub nodes: u64,
    /// How ready tasks are chosen.
    pub order: Order,
    /// How much of the record is kept.
    pub detail: Detail,
    /// How many lines of it.
    pub lines_max: usize,
    /// Whether each line is printed as it happens.
    pub print: bool,
    /// How much the queues between a node and its links hold.
    pub queues: NetLimits,
    /// What work costs a node.
    pub costs: Costs,
    /// What only this protocol has.
    pub protocol: P::Settings,
}

impl<P: Protocol> Default for Setup<P> {
    /// A few nodes in one rack.
    fn default() -> Self {
        Self {
            nodes: P::NODES,
            order: Order::Seeded,
            detail: Detail::Events,
            lines_max: TAIL_LINES,
            print: false,
            queues: NetLimits::default(),
            costs: Costs::FREE,
            protocol: P::Settings::default(),
        }
    }
}

impl<P: Protocol> fmt::Debug for Setup<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setup({} nodes, {:?}, {:?})", self.nodes, self.order, self.protocol)
    }
}

/// How a node dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Its process is killed: what it has written will land.
    Kill,
    /// Its power is cut: what was not synced lands, tears or is gone.
    PowerCut,
}

/// A node as clients see it, whichever protocol it runs; its machine can be read as `M` itself.
pub type Handle<M> = Node<Probe<M>>;

/// One life of a node.
struct Living<P: Protocol> {
    group: Group,
    /// What owns all its tasks.
    root: Task,
    handle: P::Handle,
    ended: Rc<RefCell<Option<Result<(), Fatal>>>>,
    paused: bool,
}

struct Slot<P: Protocol> {
    disk: SimDisk,
    cancel_injector: CancelInjector,
    own: P::Slot,
    living: Option<Living<P>>,
}

/// The nodes that are up and take commands, for clients.
pub struct Directory<M: Digest>(Rc<RefCell<BTreeMap<NodeId, Handle<M>>>>);

impl<M: Digest> Directory<M> {
    /// One of the nodes that are up, if any is.
    #[must_use]
    pub fn any(&self, rng: &Rng) -> Option<Handle<M>> {
        let nodes = self.0.borrow();
        let count = nodes.len();
        (count > 0).then(|| nodes.values().nth(rng.below(count)).cloned())?
    }

    /// The node, if it is up.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<Handle<M>> {
        self.0.borrow().get(&node).cloned()
    }
}

impl<M: Digest> Clone for Directory<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Digest> fmt::Debug for Directory<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({:?})", self.0.borrow().keys())
    }
}

/// Nodes, their disks, and the world they live in.
pub struct Cluster<P: Protocol> {
    world: World<P::Checker>,
    setup: Setup<P>,
    make: Box<dyn Fn() -> P::Machine>,
    always: Option<Judge<P::Machine>>,
    beside: Option<Beside<P::Machine>>,
    slots: BTreeMap<NodeId, Slot<P>>,
    directory: Directory<P::Machine>,
}

impl<P: Protocol> Cluster<P> {
    /// A cluster that is not started yet; `make` makes an empty machine.
    #[must_use]
    pub fn new(seed: u64, setup: Setup<P>, make: impl Fn() -> P::Machine + 'static) -> Self {
        let trace = Trace::new(setup.detail, setup.lines_max, setup.print);
        let world = World::new(seed, P::checker(seed, &setup), setup.order, trace);
        world.set_costs(setup.costs);
        let slot = |node| {
            let disk = SimDisk::new(world.clock(), world.rng().fork());
            disk.set_sync_latency(SYNC_MIN, SYNC_MAX);
            disk.meter(world.meter(node), setup.costs);
            let own = P::slot(node, &world, &setup);
            (node, Slot { disk, cancel_injector: CancelInjector::default(), own, living: None })
        };
        let slots = (1..=setup.nodes).map(NodeId).map(slot).collect();
        let directory = Directory(Rc::default());
        let make = Box::new(make);
        Self { world, setup, make, always: None, beside: None, slots, directory }
    }

    /// From now on every state of every machine must be as `always` says.
    pub fn judge_always(&mut self, always: Judge<P::Machine>) {
        self.always = Some(always);
    }

    /// From now on each life of a node does this besides.
    pub(crate) fn run_beside(&mut self, beside: Beside<P::Machine>) {
        self.beside = Some(beside);
    }

    /// The world: time, network, trace, invariants.
    #[must_use]
    pub fn world(&self) -> &World<P::Checker> {
        &self.world
    }

    /// What it is made of.
    #[must_use]
    pub fn setup(&self) -> &Setup<P> {
        &self.setup
    }

    /// The ids of all nodes.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        self.slots.keys().copied().collect()
    }

    /// The ids of those whose word counts.
    #[must_use]
    pub fn honest(&self) -> Vec<NodeId> {
        P::honest(self)
    }

    /// The handles for clients.
    #[must_use]
    pub fn directory(&self) -> Directory<P::Machine> {
        self.directory.clone()
    }

    /// A node that is up.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<P::Handle> {
        self.slots.get(&node)?.living.as_ref().map(|living| living.handle.clone())
    }

    /// The nodes that are up and not paused.
    pub(crate) fn running(&self) -> impl Iterator<Item = &P::Handle> {
        let living = self.slots.values().filter_map(|slot| slot.living.as_ref());
        living.filter(|living| !living.paused).map(|living| &living.handle)
    }

    /// The disk of a node.
    #[must_use]
    pub fn disk(&self, node: NodeId) -> &SimDisk {
        &self.slots[&node].disk
    }

    /// What else a node has.
    pub(crate) fn own(&self, node: NodeId) -> &P::Slot {
        &self.slots[&node].own
    }

    /// The same, to be changed.
    pub(crate) fn own_mut(&mut self, node: NodeId) -> &mut P::Slot {
        &mut self.slot(node).own
    }

    /// Whether the node is up (it may be paused).
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        self.slots[&node].living.is_some()
    }

    /// Whether the node is up but frozen.
    #[must_use]
    pub fn is_paused(&self, node: NodeId) -> bool {
        self.slots[&node].living.as_ref().is_some_and(|living| living.paused)
    }

    /// How often the node has been polled in this life.
    #[must_use]
    pub fn polls(&self, node: NodeId) -> u64 {
        let living = self.slots[&node].living.as_ref();
        living.map_or(0, |living| self.world.executor().polls(living.group))
    }

    /// How often a role of the node has been polled and went on, in all of its lives.
    #[must_use]
    pub fn role_polls(&self, node: NodeId) -> u64 {
        self.slots[&node].cancel_injector.polls()
    }

    /// Drops the node's role right after it has been polled that often from now on, once; the node
    /// goes on as its protocol begins.
    pub fn cancel_after(&self, node: NodeId, polls: u64) {
        self.slots[&node].cancel_injector.cancel_after(polls);
    }

    /// How often a role of the node has been dropped so.
    #[must_use]
    pub fn cancelled(&self, node: NodeId) -> u64 {
        self.slots[&node].cancel_injector.cancels()
    }

    /// Starts every node.
    ///
    /// # Panics
    /// If one cannot start on its disk.
    pub fn start_all(&mut self) {
        for node in self.members() {
            self.start(node).expect("an empty or healthy disk");
        }
    }

    /// Starts a node that is down, on what its disk holds.
    ///
    /// # Errors
    /// Why it cannot start; it stays down, and the trace says so, too.
    pub fn start(&mut self, node: NodeId) -> Result<(), Fatal> {
        if self.is_up(node) {
            return Ok(());
        }
        let living = self
            .live(node)
            .inspect_err(|fatal| self.world.note(format!("{node:?} cannot start: {fatal}")))?;
        self.slot(node).living = Some(living);
        Ok(())
    }

    fn live(&self, node: NodeId) -> Result<Living<P>, Fatal> {
        let peers = self.members().into_iter().filter(|&peer| peer != node);
        let (net, wire) = net(node, peers, self.setup.queues);
        let executor = self.world.executor();
        let group = executor.group();
        let env = Env {
            clock: self.world.clock_of(node),
            rng: self.world.rng().fork(),
            net,
            disk: self.slots[&node].disk.disk(),
            spawner: executor.spawner(group),
        };
        let cancel_injector = self.slots[&node].cancel_injector.clone();
        let birth = Birth { node, env, wire, group, cancel_injector };
        let Life { handle, node: served, future, wire } = P::start(self, birth)?;
        self.world.plug(group, wire);
        let ended = Rc::new(RefCell::new(None));
        let end = ended.clone();
        let clock = self.world.clock_of(node);
        let beside = self.beside.as_ref().zip(served.clone());
        let beside = beside.map(|(beside, handle)| beside(handle, clock));
        let root = executor.spawn(group, async move {
            let outcome = match beside {
                Some(beside) => future.or(async { (beside.await, pending().await).1 }).await,
                None => future.await,
            };
            end.replace(Some(outcome));
        });
        if let Some(served) = served {
            self.directory.0.borrow_mut().insert(node, served);
        }
        Ok(Living { group, root, handle, ended, paused: false })
    }

    /// A machine for one life of a node, with the checker's eyes on it.
    pub(crate) fn machine(&self, node: NodeId) -> Probe<P::Machine> {
        let checker = self.world.checker().clone();
        Probe::new((self.make)(), node, checker, self.always.clone())
    }

    /// A machine that nobody watches.
    pub(crate) fn unwatched(&self) -> P::Machine {
        (self.make)()
    }

    /// What writes down and checks what a node tells.
    pub(crate) fn observer(&self, node: NodeId) -> Observer<P::Event> {
        let (trace, checker) = (self.world.trace().clone(), self.world.checker().clone());
        let clock = self.world.clock();
        Observer::new(move |event: P::Event| {
            trace.event(clock.now(), node, event.clone());
            checker.borrow_mut().event(node, event);
        })
    }

    fn slot(&mut self, node: NodeId) -> &mut Slot<P> {
        self.slots.get_mut(&node).expect("only members are named")
    }

    /// Ends a life, now: its futures are dropped before this returns.
    pub fn crash(&mut self, node: NodeId, death: Death) {
        let Some(living) = self.slot(node).living.take() else {
            return;
        };
        self.world.note(match death {
            Death::Kill => format!("killed {node:?}"),
            Death::PowerCut => format!("cut the power of {node:?}"),
        });
        self.world.trace().life_ended(self.world.now(), node, Ending::Torn);
        self.bury(node, living);
        match death {
            Death::Kill => self.slot(node).disk.kill(),
            Death::PowerCut => self.slot(node).disk.power_cut(),
        }
    }

    /// Cuts the power of a node, and nothing that was not synced survives.
    pub fn crash_losing(&mut self, node: NodeId) {
        let slot = self.slot(node);
        if slot.living.is_some() {
            slot.disk.power_cut_keeping(|_| false);
            self.crash(node, Death::PowerCut);
        }
    }

    fn bury(&mut self, node: NodeId, living: Living<P>) {
        self.directory.0.borrow_mut().remove(&node);
        self.world.unplug(living.group);
        drop(living.handle);
        let alive = self.world.executor().kill(living.group, Some(living.root));
        let mut checker = self.world.checker().borrow_mut();
        checker.crashed(node);
        if alive > 0 {
            checker.report("census", format!("{alive} tasks of {node:?} outlive it"));
        }
    }

    /// Takes away the lives that have ended by themselves, and says how.
    pub fn reap(&mut self) -> Vec<(NodeId, Result<(), Fatal>)> {
        let mut dead = vec![];
        for node in self.members() {
            let Some(living) = &self.slot(node).living else {
                continue;
            };
            let Some(outcome) = living.ended.take() else {
                continue;
            };
            let living = self.slot(node).living.take().expect("looked at just now");
            self.world.note(match &outcome {
                Ok(()) => format!("{node:?} has shut down"),
                Err(fatal) => format!("{node:?} stops: {fatal}"),
            });
            let ending = if outcome.is_ok() { Ending::Left } else { Ending::Torn };
            self.world.trace().life_ended(self.world.now(), node, ending);
            self.bury(node, living);
            self.slot(node).disk.kill();
            dead.push((node, outcome));
        }
        dead
    }

    /// Freezes a node: it is not polled, its clock goes on, its inbox fills.
    pub fn pause(&mut self, node: NodeId) {
        self.freeze(node, true);
    }

    /// Lets a frozen node go on.
    pub fn resume(&mut self, node: NodeId) {
        self.freeze(node, false);
    }

    fn freeze(&mut self, node: NodeId, pause: bool) {
        let Some(living) = &mut self.slot(node).living else {
            return;
        };
        if living.paused == pause {
            return;
        }
        living.paused = pause;
        let group = living.group;
        if pause {
            self.world.executor().hold(group, Why::Frozen);
        } else {
            self.world.executor().release(group, Why::Frozen);
        }
        self.world.note(format!("{} {node:?}", if pause { "paused" } else { "resumed" }));
    }

    /// Kills a node and empties its disk. The checker forgets what the node promised: what a wiped
    /// node may break is the caller's responsibility.
    pub fn wipe(&mut self, node: NodeId) {
        self.crash(node, Death::Kill);
        let slot = self.slot(node);
        slot.disk.wipe();
        P::wipe(&slot.own);
        self.world.checker().borrow_mut().wiped(node);
        self.world.note(format!("wiped {node:?}"));
    }

    /// Asks a node to shut down and runs the world until it has, at most for `span`; returns how
    /// its life ended, or `None` if it has not.
    pub fn shutdown(&mut self, node: NodeId, span: Duration) -> Option<Result<(), Fatal>> {
        let living = self.slot(node).living.as_ref()?;
        let ended = living.ended.clone();
        P::shutdown(&living.handle);
        self.world.note(format!("asked {node:?} to shut down"));
        self.world.run_until(self.world.now() + span, || ended.borrow().is_some());
        self.reap().into_iter().find(|(dead, _)| *dead == node).map(|(_, outcome)| outcome)
    }

    /// Cuts the links from each of `from` to each of `to`, in this direction.
    pub fn cut(&self, from: &[NodeId], to: &[NodeId]) {
        self.world.network(|network| {
            for &from in from {
                to.iter().filter(|&&to| to != from).for_each(|&to| network.cut(from, to));
            }
        });
        self.world.note(format!("cut {} > {}", list(from), list(to)));
    }

    /// Cuts both ways between two groups.
    pub fn partition(&self, one: &[NodeId], other: &[NodeId]) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Mends every link.
    pub fn heal(&self) {
        self.world.network(crate::sim::net::Network::mend_all);
        self.world.note("healed the network");
    }

    /// Runs the world until `future` is ready, at most for [`ANSWER_MAX`] of virtual time.
    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Option<T> {
        let answer = Rc::new(Cell::new(None));
        let task = self.begin(future, answer.clone());
        self.world.run_until(self.world.now() + ANSWER_MAX, || task.is_finished());
        answer.take()
    }

    /// Begins what a client does; its outcome will be in `answer`. Dropping the task ends it.
    pub(crate) fn begin<T: 'static>(
        &self,
        future: impl Future<Output = T> + 'static,
        answer: Rc<Cell<Option<T>>>,
    ) -> Task {
        let ask = async move { answer.set(Some(future.await)) };
        self.world.executor().spawn(self.world.clients(), ask)
    }
}

fn list(nodes: &[NodeId]) -> String {
    let names: Vec<_> = nodes.iter().map(|node| format!("{node:?}")).collect();
    names.join(",")
}

impl<P: Protocol> Drop for Cluster<P> {
    /// Ends every life: tasks, handles and the world refer to each other, and would stay.
    fn drop(&mut self) {
        for node in self.members() {
            if let Some(living) = self.slot(node).living.take() {
                self.directory.0.borrow_mut().remove(&node);
                self.world.executor().kill(living.group, Some(living.root));
            }
        }
        self.world.executor().kill(self.world.clients(), None);
    }
}

impl<P: Protocol> fmt::Debug for Cluster<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({:?}, {:?})", self.slots.keys(), self.world)
    }
}
