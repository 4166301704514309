//! A cluster of simulated nodes, and the trouble it can be given.
//!
//! Bring your own state machine: a `Cluster<M>` runs any [`Digest`] machine, every node with its
//! own disk, all on one virtual clock. What you do to it is written in the trace; what the nodes do
//! is checked after every event.
//!
//! ```
//! use quorate::sim::cluster::{Cluster, Setup};
//! use quorate::sim::machine::{Ledger, Write};
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

use crate::config::{Config, Limits, Timing};
use crate::env::net::{NetLimits, net};
use crate::env::spawn::Task;
use crate::env::{Env, Rng};
use crate::error::Fatal;
use crate::id::{ClusterId, NodeId, Term};
use crate::raft::message::{Envelope, Message};
use crate::raft::{Node, Observer, Role};
use crate::scope::cancel::CancelInjector;
use crate::sim::disk::SimDisk;
use crate::sim::executor::{Group, Order};
use crate::sim::machine::{Digest, Probe};
use crate::sim::net::Flight;
use crate::sim::picture::Ending;
use crate::sim::trace::{Detail, TAIL_LINES, Trace};
use crate::sim::words;
use crate::sim::world::{Stopped, World};

/// The longest virtual time that [`Cluster::run`] waits for an answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The shortest sync of a healthy disk.
pub const SYNC_MIN: Duration = Duration::from_micros(50);
/// The longest sync of a healthy disk.
pub const SYNC_MAX: Duration = Duration::from_millis(2);

/// What a cluster is made of.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// How many nodes; their ids are 1, 2, ...
    pub nodes: u64,
    /// How ready tasks are chosen.
    pub order: Order,
    /// How patient they are.
    pub timing: Timing,
    /// What they take on.
    pub limits: Limits,
    /// How much of the record is kept.
    pub detail: Detail,
    /// How many lines of it.
    pub lines_max: usize,
    /// Whether each line is printed as it happens.
    pub print: bool,
}

impl Default for Setup {
    /// Three nodes in one rack.
    fn default() -> Self {
        Self {
            nodes: 3,
            order: Order::Seeded,
            timing: Timing::LAN,
            limits: Limits::default(),
            detail: Detail::Events,
            lines_max: TAIL_LINES,
            print: false,
        }
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

/// One life of a node.
struct Living<M: Digest> {
    group: Group,
    root: Task<()>,
    node: Node<Probe<M>>,
    ended: Rc<RefCell<Option<Result<(), Fatal>>>>,
    paused: bool,
}

struct Slot<M: Digest> {
    disk: SimDisk,
    cancel_injector: CancelInjector,
    living: Option<Living<M>>,
}

/// The handles of the nodes that are up, for clients.
pub struct Directory<M: Digest>(Rc<RefCell<BTreeMap<NodeId, Node<Probe<M>>>>>);

impl<M: Digest> Directory<M> {
    /// One of the nodes that are up, if any is.
    #[must_use]
    pub fn any(&self, rng: &Rng) -> Option<Node<Probe<M>>> {
        let nodes = self.0.borrow();
        let nth = if nodes.is_empty() {
            return None;
        } else {
            rng.below(nodes.len())
        };
        nodes.values().nth(nth).cloned()
    }

    /// The node, if it is up.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<Node<Probe<M>>> {
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
pub struct Cluster<M: Digest> {
    world: World,
    setup: Setup,
    make: Box<dyn Fn() -> M>,
    slots: BTreeMap<NodeId, Slot<M>>,
    directory: Directory<M>,
}

impl<M: Digest> Cluster<M> {
    /// A cluster that is not started yet; `make` makes an empty machine.
    #[must_use]
    pub fn new(seed: u64, setup: Setup, make: impl Fn() -> M + 'static) -> Self {
        let members = usize::try_from(setup.nodes).unwrap_or(usize::MAX);
        let trace = Trace::new(setup.detail, setup.lines_max, setup.print);
        let world = World::new(seed, members, setup.order, trace, words::listen);
        let slots = (1..=setup.nodes)
            .map(|id| {
                let disk = SimDisk::new(world.clock(), world.rng().fork());
                disk.set_sync_latency(SYNC_MIN, SYNC_MAX);
                (
                    NodeId(id),
                    Slot { disk, cancel_injector: CancelInjector::default(), living: None },
                )
            })
            .collect();
        let directory = Directory(Rc::default());
        Self { world, setup, make: Box::new(make), slots, directory }
    }

    /// The world: time, network, trace, invariants.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The ids of all nodes.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        self.slots.keys().copied().collect()
    }

    /// The handles for clients.
    #[must_use]
    pub fn directory(&self) -> Directory<M> {
        self.directory.clone()
    }

    /// A node that is up.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<Node<Probe<M>>> {
        self.directory.node(node)
    }

    /// The disk of a node.
    #[must_use]
    pub fn disk(&self, node: NodeId) -> &SimDisk {
        &self.slots[&node].disk
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
    /// goes on as a follower without a leader.
    pub fn cancel_after(&self, node: NodeId, polls: u64) {
        self.slots[&node].cancel_injector.cancel_after(polls);
    }

    /// How often a role of the node has been dropped so.
    #[must_use]
    pub fn cancelled(&self, node: NodeId) -> u64 {
        self.slots[&node].cancel_injector.cancels()
    }

    /// Hands the node a word of `from` in a later term than its own: whatever its role, it ends.
    pub fn overtake(&self, node: NodeId, from: NodeId) {
        if let Some(handle) = self.node(node) {
            let (term, message) = (handle.term().next(), Message::PreVoteReply { granted: false });
            self.world.note(format!("{node:?} is told of {term:?}"));
            self.forge(from, node, Envelope { term, message });
        }
    }

    /// Hands a follower a word of its leader that it shall take over now. A leader says so only to
    /// somebody who has everything; nothing but time may be lost if this one has not.
    pub fn force_transfer(&self, node: NodeId) {
        if let Some(status) = self.node(node).map(|node| node.status())
            && let Some(leader) = status.leader.filter(|&leader| leader != node)
        {
            self.world.note(format!("{node:?} is told to take over from {leader:?}"));
            let (term, message) = (status.term, Message::TimeoutNow);
            self.forge(leader, node, Envelope { term, message });
        }
    }

    fn forge(&self, from: NodeId, to: NodeId, envelope: Envelope) {
        let frame = envelope.encode();
        self.world.network(|network| network.hand_over(Flight { from, to, frame }));
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
        self.directory.0.borrow_mut().insert(node, living.node.clone());
        self.slot(node).living = Some(living);
        Ok(())
    }

    fn live(&mut self, node: NodeId) -> Result<Living<M>, Fatal> {
        let members = self.members();
        let mut config = Config::new(node, ClusterId(0x51), members.iter().copied())
            .and_then(|config| config.with_timing(self.setup.timing))
            .map_err(Fatal::Mismatch)?;
        config.limits = self.setup.limits;
        let peers: Vec<_> = config.peers().collect();
        let (net, wire) = net(node, peers, NetLimits::default());
        let executor = self.world.executor().clone();
        let group = executor.group();
        let env = Env {
            clock: self.world.clock_of(node),
            rng: self.world.rng().fork(),
            net,
            disk: self.slots[&node].disk.disk(),
            spawner: executor.spawner(group),
        };
        let machine = Probe::new((self.make)(), node, self.world.checker().clone());
        let cancel_injector = self.slots[&node].cancel_injector.clone();
        let (node, life) = Node::start(config, env, machine, self.observer(node))?;
        node.expose_to(cancel_injector);
        self.world.plug(group, wire);
        let ended = Rc::new(RefCell::new(None));
        let end = ended.clone();
        let root = executor.spawn(group, async move {
            let outcome = life.await;
            end.replace(Some(outcome));
        });
        Ok(Living { group, root, node, ended, paused: false })
    }

    fn observer(&self, node: NodeId) -> Observer {
        let (trace, checker) = (self.world.trace().clone(), self.world.checker().clone());
        let clock = self.world.clock();
        Observer::new(move |event| {
            trace.event(clock.now(), node, event);
            checker.borrow_mut().event(node, event);
        })
    }

    fn slot(&mut self, node: NodeId) -> &mut Slot<M> {
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

    fn bury(&mut self, node: NodeId, living: Living<M>) {
        self.directory.0.borrow_mut().remove(&node);
        self.world.unplug(living.group);
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
            self.world.executor().freeze(group);
        } else {
            self.world.executor().thaw(group);
        }
        self.world.note(format!("{} {node:?}", if pause { "paused" } else { "resumed" }));
    }

    /// Kills a node and empties its disk. The checker forgets what the node promised: what a wiped
    /// node may break is the caller's responsibility.
    pub fn wipe(&mut self, node: NodeId) {
        self.crash(node, Death::Kill);
        self.slot(node).disk.wipe();
        self.world.checker().borrow_mut().wiped(node);
        self.world.note(format!("wiped {node:?}"));
    }

    /// Asks a node to shut down and runs the world until it has, at most for `span`; returns how
    /// its life ended, or `None` if it has not.
    pub fn shutdown(&mut self, node: NodeId, span: Duration) -> Option<Result<(), Fatal>> {
        let living = self.slot(node).living.as_ref()?;
        let ended = living.ended.clone();
        living.node.shutdown();
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

    /// Who leads: the leader of the highest term among the nodes that run.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.running()
            .map(|node| node.status())
            .filter(|status| status.role == Role::Leader)
            .max_by_key(|status| status.term)
            .map(|status| status.node)
    }

    /// Who leads, if every running node agrees: one leader, and all follow it in its term.
    #[must_use]
    pub fn settled_leader(&self) -> Option<NodeId> {
        let all: Vec<_> = self.running().map(|node| node.status()).collect();
        let leader = all.iter().find(|status| status.role == Role::Leader)?;
        let agrees = |(leads, term): (Option<NodeId>, Term)| {
            leads == Some(leader.node) && term == leader.term
        };
        let settled = all.iter().all(|status| agrees((status.leader, status.term)));
        settled.then_some(leader.node)
    }

    /// The nodes that are up and not paused.
    fn running(&self) -> impl Iterator<Item = &Node<Probe<M>>> {
        let living = self.slots.values().filter_map(|slot| slot.living.as_ref());
        living.filter(|living| !living.paused).map(|living| &living.node)
    }

    /// Runs until all running nodes follow one leader, at most for `span`.
    pub fn run_until_led(&self, span: Duration) -> Option<NodeId> {
        // Looking at every node after every poll would take longer than the polls.
        let until = self.world.now() + span;
        while self.world.now() < until {
            if let Some(leader) = self.settled_leader() {
                return Some(leader);
            }
            if self.world.run_for(Duration::from_millis(5)) == Stopped::Violated {
                return None;
            }
        }
        None
    }

    /// Runs the world until `future` is ready, at most for [`ANSWER_MAX`] of virtual time.
    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Option<T> {
        let answer = Rc::new(Cell::new(None));
        let (to, done) = (answer.clone(), Rc::new(Cell::new(false)));
        let flag = done.clone();
        let _task = self.world.executor().spawn(self.world.clients(), async move {
            to.set(Some(future.await));
            flag.set(true);
        });
        self.world.run_until(self.world.now() + ANSWER_MAX, || done.get());
        answer.take()
    }
}

fn list(nodes: &[NodeId]) -> String {
    let names: Vec<_> = nodes.iter().map(|node| format!("{node:?}")).collect();
    names.join(",")
}

impl<M: Digest> Drop for Cluster<M> {
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

impl<M: Digest> fmt::Debug for Cluster<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({:?}, {:?})", self.directory.0.borrow().keys(), self.world)
    }
}
