//! What the tests of helix's service share: four nodes on this thread, a network that can be cut
//! and listened to, and a clock that moves only when nothing else can happen.
#![allow(dead_code)] // each test file uses its part

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use quorate::Life;
use quorate::env::clock::VirtualClock;
use quorate::env::net::{NetLimits, Wire, net};
use quorate::env::spawn::Task;
use quorate::env::{Clock, Disk, Env, Rng, Spawner};
use quorate::helix::commands::node::{Node, Options};
use quorate::helix::protocol::keys::Null;
use quorate::helix::protocol::message::{Envelope, Message};
use quorate::helix::{Config, Observer};
use quorate::id::{ClusterId, NodeId};
use quorate::machine::{Committed, StateMachine};
use smol::LocalExecutor;

pub(crate) const CLUSTER: ClusterId = ClusterId(9);

/// The longest virtual time that anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Keeps everything that was applied.
#[derive(Debug, Default)]
pub(crate) struct List(pub(crate) Vec<(u64, u64, Vec<u8>)>);

impl List {
    pub(crate) fn payloads(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|(_, _, payload)| payload.clone()).collect()
    }
}

impl StateMachine for List {
    type Response = usize;

    fn apply(&mut self, entry: Committed<'_>) -> usize {
        self.0.push((entry.index, entry.epoch, entry.payload.to_vec()));
        self.0.len()
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        Box::new(std::iter::empty())
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// Whether a frame passes: from whom, to whom, and what it says.
pub(crate) type Gate = Box<dyn FnMut(NodeId, NodeId, &Message) -> bool>;

struct Slot {
    disk: Disk,
    living: Option<(Node<List>, Wire, Task)>,
}

/// A cluster.
pub(crate) struct Rig {
    executor: Rc<LocalExecutor<'static>>,
    pub(crate) time: Rc<VirtualClock>,
    slots: BTreeMap<NodeId, Slot>,
    gate: RefCell<Gate>,
    pub(crate) options: Options,
    lives: Cell<u64>,
}

impl Rig {
    /// Four nodes at work.
    pub(crate) fn new() -> Self {
        let mut rig = Self::empty(4);
        (1..=4).for_each(|id| rig.start(id));
        rig
    }

    /// Nodes that are down.
    pub(crate) fn empty(nodes: u64) -> Self {
        let slots = (1..=nodes).map(|id| (NodeId(id), Slot { disk: Disk::memory(), living: None }));
        Self {
            executor: Rc::new(LocalExecutor::new()),
            time: VirtualClock::new(),
            slots: slots.collect(),
            gate: RefCell::new(Box::new(|_, _, _| true)),
            options: Options::new(&quorate::helix::protocol::config::Timing::LAN),
            lives: Cell::new(0),
        }
    }

    pub(crate) fn start(&mut self, id: u64) {
        let id = NodeId(id);
        let ids: Vec<_> = self.slots.keys().copied().collect();
        let peers = ids.iter().copied().filter(|&peer| peer != id);
        let (net, wire) = net(id, peers, NetLimits::default());
        let config = Config::new(id, CLUSTER, ids).expect("valid");
        self.lives.set(self.lives.get() + 1);
        let env = Env {
            clock: Clock::simulated(self.time.clone()),
            rng: Rng::seeded(self.lives.get()),
            net,
            disk: self.slots[&id].disk.clone(),
            spawner: Spawner::new(self.executor.clone()),
        };
        let spawner = env.spawner.clone();
        let machine = List::default();
        let started =
            Node::start(config, self.options, env, Box::new(Null), machine, Observer::default());
        let (node, life): (_, Life) = started.expect("the node starts");
        let life = spawner.spawn(async move { life.await.expect("the node lives") });
        self.slots.get_mut(&id).expect("a slot").living = Some((node, wire, life));
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, id: u64) {
        self.slots.get_mut(&NodeId(id)).expect("a slot").living = None;
        while self.executor.try_tick() {}
    }

    pub(crate) fn node(&self, id: u64) -> Node<List> {
        self.slots[&NodeId(id)].living.as_ref().expect("it is up").0.clone()
    }

    pub(crate) fn up(&self) -> Vec<Node<List>> {
        let living = self.slots.values().filter_map(|slot| slot.living.as_ref());
        living.map(|(node, _, _)| node.clone()).collect()
    }

    /// Who leads, if one node says so.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let mut leaders = self.up().into_iter().filter(|node| node.leading().is_some());
        let leader = leaders.next()?;
        leaders.next().is_none().then(|| leader.status().engine.node)
    }

    /// From now on only what `passes` does.
    pub(crate) fn filter(&self, passes: impl FnMut(NodeId, NodeId, &Message) -> bool + 'static) {
        *self.gate.borrow_mut() = Box::new(passes);
    }

    /// Carries every frame; whether there was one.
    fn carry(&self) -> bool {
        let mut any = false;
        for (&from, slot) in &self.slots {
            let Some((_, wire, _)) = &slot.living else { continue };
            for (&to, other) in self.slots.iter().filter(|(to, _)| **to != from) {
                while let Some(frame) = wire.take(to) {
                    any = true;
                    let message = Envelope::decode(&frame, CLUSTER).expect("our own");
                    if (self.gate.borrow_mut())(from, to, &message)
                        && let Some((_, wire, _)) = &other.living
                    {
                        wire.deliver(from, frame);
                    }
                }
            }
        }
        any
    }

    /// Lets everything happen that can, and time pass, until `done`.
    pub(crate) fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = self.time.now() + PATIENCE;
        loop {
            while self.executor.try_tick() {}
            if done() {
                return;
            }
            if self.carry() {
                continue;
            }
            let next = self.time.next_deadline().expect("somebody waits for time");
            assert!(next <= end, "waited {PATIENCE:?} for {what}");
            self.time.advance_to(next);
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, span: Duration) {
        let end = self.time.now() + span;
        loop {
            while self.executor.try_tick() {}
            if self.carry() {
                continue;
            }
            match self.time.next_deadline().filter(|&next| next <= end) {
                Some(next) => self.time.advance_to(next),
                None => return self.time.advance_to(end),
            }
        }
    }

    /// Begins something that goes on while other things happen.
    pub(crate) fn begin<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Begun<T> {
        let answer = Rc::new(RefCell::new(None));
        let to = answer.clone();
        let task = Spawner::new(self.executor.clone()).spawn(async move {
            let value = future.await;
            to.replace(Some(value));
        });
        Begun { answer, _task: task }
    }

    /// Runs until the future is ready.
    pub(crate) fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let begun = self.begin(future);
        self.until("an answer", || begun.is_done());
        begun.take()
    }

    /// Writes on a node, and waits.
    pub(crate) fn write(&self, id: u64, text: &str) {
        let (node, command) = (self.node(id), Bytes::copy_from_slice(text.as_bytes()));
        self.run(async move { node.propose(command).await }).expect("it is applied");
    }

    /// Reads linearizably on a node.
    pub(crate) fn read(&self, id: u64) -> Vec<Vec<u8>> {
        let node = self.node(id);
        self.run(async move { node.read(List::payloads).await }).expect("a quorum answers")
    }
}

/// Something that was begun.
pub(crate) struct Begun<T> {
    answer: Rc<RefCell<Option<T>>>,
    _task: Task,
}

impl<T> Begun<T> {
    pub(crate) fn is_done(&self) -> bool {
        self.answer.borrow().is_some()
    }

    pub(crate) fn take(self) -> T {
        self.answer.take().expect("it is done")
    }
}
