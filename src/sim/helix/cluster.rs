//! A cluster of simulated helix nodes, honest ones and liars, and the trouble they can be given.
//!
//! ```
//! use quorate::sim::helix::adversary::Lie;
//! use quorate::sim::helix::cluster::{Cluster, Setup};
//! use quorate::id::{Height, NodeId};
//! use std::time::Duration;
//!
//! let mut cluster = Cluster::new(7, Setup::default());
//! cluster.corrupt(NodeId(4), Lie::Equivocator);
//! cluster.start_all();
//! assert!(cluster.run_until_decided(Height(10), Duration::from_secs(20)));
//! assert_eq!(cluster.world().violation(), None);
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::env::Env;
use crate::env::net::{NetLimits, Wire, net};
use crate::env::spawn::Task;
use crate::error::Fatal;
use crate::helix::commands::node::{Node, Options};
use crate::helix::protocol::app::{App, Keys, Trigger};
use crate::helix::protocol::config::Config;
use crate::helix::protocol::event::Observer;
use crate::helix::protocol::node::Engine;
use crate::helix::protocol::signer::Signer;
use crate::helix::protocol::trigger::{Manual, Timer};
use crate::id::{ClusterId, Height, NodeId, View};
use crate::sim::cluster::{Death, SYNC_MAX, SYNC_MIN};
use crate::sim::disk::SimDisk;
use crate::sim::executor::Group;
use crate::sim::helix::adversary::hand::perform;
use crate::sim::helix::adversary::{Hand, Lie, Trick};
use crate::sim::helix::checker::Checker;
use crate::sim::helix::commands::{Directory, Told};
use crate::sim::helix::keys::Ring;
use crate::sim::helix::schedule::Scheduled;
use crate::sim::helix::test_app::TestApp;
use crate::sim::helix::words::INSTANCE;
use crate::sim::net::Flight;
use crate::sim::picture::Ending;
use crate::sim::trace::Trace;
use crate::sim::world::{Checks, Stopped, World};

pub use crate::sim::helix::setup::{Setup, Signing, TIMING, TINY};

/// The future of one life.
type Life = Pin<Box<dyn Future<Output = Result<(), Fatal>>>>;

/// One life of a node.
struct Living {
    group: Group,
    /// What owns all its tasks: the engine's life, and for a liar the liar's.
    root: Task<()>,
    engine: Engine,
    ended: Rc<RefCell<Option<Result<(), Fatal>>>>,
    paused: bool,
}

struct Slot {
    disk: SimDisk,
    test_app: TestApp,
    trigger: Manual,
    living: Option<Living>,
    /// What the liar on this slot does; taken while it does it.
    trick: Option<Box<dyn Trick>>,
    lies: bool,
}

/// Nodes, their disks and applications, and the world they live in.
pub struct Cluster {
    world: World<Checker>,
    setup: Setup,
    ring: Ring,
    slots: BTreeMap<NodeId, Slot>,
    directory: Directory,
}

impl Cluster {
    /// A cluster that is not started yet.
    #[must_use]
    pub fn new(seed: u64, setup: Setup) -> Self {
        let secrets = crate::env::Rng::seeded(seed ^ 0x5ec2_e75e_c2e7);
        let ids: Vec<_> = (1..=setup.nodes).map(NodeId).collect();
        let ring = Ring::new(&secrets, ids.iter().copied());
        let trace = Trace::new(setup.detail, setup.lines_max, setup.print).of_helix();
        // Whoever verifies needs no identity.
        let keys = setup.keys(&ring, NodeId::ZERO);
        let checker = Checker::new(setup.nodes, setup.schedule.clone(), keys);
        let world = World::with(seed, checker, setup.order, trace, Checker::listen);
        let slot = |node| {
            let disk = SimDisk::new(world.clock(), world.rng().fork());
            disk.set_sync_latency(SYNC_MIN, SYNC_MAX);
            let (clock, rng) = (world.clock(), world.rng().fork());
            let test_app = TestApp::new(node, clock, rng, setup.behaviour, world.checker().clone());
            let trigger = Manual::new();
            (node, Slot { disk, test_app, trigger, living: None, trick: None, lies: false })
        };
        let slots = ids.into_iter().map(slot).collect();
        if setup.commands {
            world.checker().borrow_mut().trusts_judges();
        }
        Self { world, setup, ring, slots, directory: Directory::default() }
    }

    /// The world: time, network, trace, invariants.
    #[must_use]
    pub fn world(&self) -> &World<Checker> {
        &self.world
    }

    /// What it is made of.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The ids of all nodes.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        self.slots.keys().copied().collect()
    }

    /// The ids of those who do not lie.
    #[must_use]
    pub fn honest(&self) -> Vec<NodeId> {
        let honest = self.slots.iter().filter(|(_, slot)| !slot.lies);
        honest.map(|(&node, _)| node).collect()
    }

    /// A node that is up.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<Engine> {
        self.slots[&node].living.as_ref().map(|living| living.engine.clone())
    }

    /// The honest nodes that are up, if they serve clients.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The disk of a node.
    #[must_use]
    pub fn disk(&self, node: NodeId) -> &SimDisk {
        &self.slots[&node].disk
    }

    /// The application of a node.
    #[must_use]
    pub fn test_app(&self, node: NodeId) -> &TestApp {
        &self.slots[&node].test_app
    }

    /// Signs and checks as this node: for frames that a test makes by hand.
    #[must_use]
    pub fn signer(&self, node: NodeId, instance: ClusterId) -> Signer {
        Signer::new(node, instance, self.keys(node))
    }

    /// Whether the node is up (it may be paused).
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        self.slots[&node].living.is_some()
    }

    /// How often the node has been polled in this life.
    #[must_use]
    pub fn polls(&self, node: NodeId) -> u64 {
        let living = self.slots[&node].living.as_ref();
        living.map_or(0, |living| self.world.executor().polls(living.group))
    }

    /// The last decided block of a node that is up; zero if it is not.
    #[must_use]
    pub fn tip(&self, node: NodeId) -> Height {
        self.node(node).map_or(Height::ZERO, |engine| engine.status().tip)
    }

    /// From its next start on a liar sits there. What it says counts for nothing.
    pub fn corrupt(&mut self, node: NodeId, lie: Lie) {
        self.corrupt_with(node, lie.trick());
        self.world.note(format!("{node:?} is a liar: {lie:?}"));
    }

    /// The same, with a liar of your own.
    pub fn corrupt_with(&mut self, node: NodeId, trick: Box<dyn Trick>) {
        self.world.checker().borrow_mut().lies(node);
        let slot = self.slot(node);
        (slot.trick, slot.lies) = (Some(trick), true);
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

    fn config(&self, node: NodeId) -> Result<Config, Fatal> {
        let mut config = Config::new(node, INSTANCE, self.members()).map_err(Fatal::Mismatch)?;
        (config.timing, config.limits) = (self.setup.timing, self.setup.limits);
        Ok(config)
    }

    fn keys(&self, node: NodeId) -> Box<dyn Keys> {
        self.setup.keys(&self.ring, node)
    }

    fn app(&self, node: NodeId) -> App {
        let slot = &self.slots[&node];
        let timing = self.setup.timing;
        let timer = Timer::new(self.world.clock(), timing.base, timing.cap);
        let trigger: Box<dyn Trigger> =
            if self.setup.manual { Box::new(slot.trigger.clone()) } else { Box::new(timer) };
        let (schedule, nodes) = (self.setup.schedule.clone(), self.setup.nodes);
        App {
            membership: Box::new(Scheduled { schedule, nodes }),
            blocks: Box::new(slot.test_app.clone()),
            chain: Box::new(slot.test_app.clone()),
            keys: self.keys(node),
            trigger,
        }
    }

    fn live(&mut self, node: NodeId) -> Result<Living, Fatal> {
        let config = self.config(node)?;
        let peers: Vec<_> = config.peers().collect();
        let (net, wire) = net(node, peers, NetLimits::default());
        let executor = self.world.executor().clone();
        let group = executor.group();
        let env = Env {
            clock: self.world.clock(),
            rng: self.world.rng().fork(),
            net,
            disk: self.slots[&node].disk.disk(),
            spawner: executor.spawner(group),
        };
        let (engine, life) = self.engine(node, config, env)?;
        let ended = Rc::new(RefCell::new(None));
        let end = ended.clone();
        let life = async move {
            let outcome = life.await;
            end.replace(Some(outcome));
        };
        let root = match self.slot(node).trick.take() {
            None => {
                self.world.plug(group, wire);
                executor.spawn(group, life)
            }
            Some(trick) => {
                let lying = self.lie(node, group, trick, wire);
                executor.spawn(group, async move {
                    futures_lite::future::zip(life, lying).await;
                })
            }
        };
        Ok(Living { group, root, engine, ended, paused: false })
    }

    /// An engine for one life, with the blocks or the commands on top.
    fn engine(&self, node: NodeId, config: Config, env: Env) -> Result<(Engine, Life), Fatal> {
        let observer = self.observer(node);
        if !self.setup.commands {
            self.slots[&node].test_app.begin();
            let (engine, life) = Engine::start(config, env, self.app(node), observer)?;
            return Ok((engine, Box::pin(life)));
        }
        let options = Options { command_bytes_max: 1 << 10, ..Options::new(&config.timing) };
        let machine = Told::new(node, self.world.checker().clone());
        let (served, life) = Node::start(config, options, env, self.keys(node), machine, observer)?;
        let engine = served.engine().clone();
        if !self.slots[&node].lies {
            self.directory.enter(node, served);
        }
        Ok((engine, Box::pin(life)))
    }

    /// Sets a liar between the network and its puppet.
    fn lie(
        &self,
        node: NodeId,
        group: Group,
        trick: Box<dyn Trick>,
        puppet: Wire,
    ) -> impl Future<Output = ()> + use<> {
        let (outer, wire) = net(node, [], NetLimits::default());
        self.world.plug(group, wire);
        let hand = Hand {
            me: node,
            nodes: self.setup.nodes,
            schedule: self.setup.schedule.clone(),
            signer: self.signer(node, INSTANCE),
            abroad: self.signer(node, ClusterId(INSTANCE.0 + 1)),
            rng: self.world.rng().fork(),
            lore: std::collections::VecDeque::new(),
            height: Height(1),
            view: View::ZERO,
            ground: None,
            clock: self.world.clock(),
            network: self.world.network_handle(),
            trace: self.world.trace().clone(),
        };
        perform(trick, hand, outer, Some(puppet))
    }

    fn observer(&self, node: NodeId) -> Observer {
        let (trace, checker) = (self.world.trace().clone(), self.world.checker().clone());
        let clock = self.world.clock();
        Observer::new(move |event| {
            trace.helix(clock.now(), node, event);
            checker.borrow_mut().event(node, event);
        })
    }

    fn slot(&mut self, node: NodeId) -> &mut Slot {
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

    fn bury(&mut self, node: NodeId, living: Living) {
        self.world.unplug(living.group);
        self.directory.leave(node);
        drop(living.engine);
        let alive = self.world.executor().kill(living.group, Some(living.root));
        if alive > 0 {
            let what = format!("{alive} tasks of {node:?} outlive it");
            self.world.checker().borrow_mut().report("census", what);
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

    /// Freezes a node, or lets it go on.
    pub fn freeze(&mut self, node: NodeId, pause: bool) {
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

    /// Kills a node and empties its disk; its application forgets, too. What a wiped node may
    /// break is the caller's responsibility: it counts as a liar for what it has forgotten.
    pub fn wipe(&mut self, node: NodeId) {
        self.crash(node, Death::Kill);
        let slot = self.slot(node);
        slot.disk.wipe();
        slot.test_app.wipe();
        self.world.checker().borrow_mut().wiped(node);
        self.world.note(format!("wiped {node:?}"));
    }

    /// Asks a node to shut down and runs the world until it has, at most for `span`; returns how
    /// its life ended, or `None` if it has not.
    pub fn shutdown(&mut self, node: NodeId, span: Duration) -> Option<Result<(), Fatal>> {
        let living = self.slot(node).living.as_ref()?;
        let ended = living.ended.clone();
        living.engine.shutdown();
        self.world.note(format!("asked {node:?} to shut down"));
        self.world.run_until(self.world.now() + span, || ended.borrow().is_some());
        self.reap().into_iter().find(|(dead, _)| *dead == node).map(|(_, outcome)| outcome)
    }

    /// In a cluster whose views end by hand: ends this one on this node, now or when it begins.
    pub fn elapse(&self, node: NodeId, height: Height, view: View) {
        self.world.note(format!("{height:?} {view:?} has lasted too long for {node:?}"));
        self.slots[&node].trigger.fire(height, view);
    }

    /// Puts a frame on the network that seems to come from `from`.
    pub fn inject(&self, from: NodeId, to: NodeId, frame: Bytes) {
        let (now, trace) = (self.world.now(), self.world.trace().clone());
        let mut told = |passage, flight: &Flight| trace.frame(now, passage, flight);
        self.world.network(|network| network.send(Flight { from, to, frame }, now, &mut told));
    }

    /// Cuts the links from each of `from` to each of `to`, in this direction.
    pub fn cut(&self, from: &[NodeId], to: &[NodeId]) {
        self.world.network(|network| {
            for &from in from {
                to.iter().filter(|&&to| to != from).for_each(|&to| network.cut(from, to));
            }
        });
        self.world.note(format!("cut {from:?} > {to:?}"));
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

    /// The height up to which every honest node that is up has decided.
    #[must_use]
    pub fn decided_by_all(&self) -> Height {
        let up = self.honest().into_iter().filter(|&node| self.is_up(node));
        up.map(|node| self.tip(node)).min().unwrap_or(Height::ZERO)
    }

    /// Runs until every honest node that is up has decided `height`, at most for `span`.
    pub fn run_until_decided(&self, height: Height, span: Duration) -> bool {
        let until = self.world.now() + span;
        while self.decided_by_all() < height {
            if self.world.now() >= until
                || self.world.run_for(Duration::from_millis(5)) == Stopped::Violated
            {
                return false;
            }
        }
        true
    }
}

impl Drop for Cluster {
    /// Ends every life: tasks, handles and the world refer to each other, and would stay.
    fn drop(&mut self) {
        for node in self.members() {
            if let Some(living) = self.slot(node).living.take() {
                self.directory.leave(node);
                self.world.executor().kill(living.group, Some(living.root));
            }
        }
        self.world.executor().kill(self.world.clients(), None);
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({:?}, {:?})", self.slots.keys(), self.world)
    }
}
