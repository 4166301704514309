//! One world: the tasks, the time, the network and the record of a simulation, and the loop that
//! moves them.
//!
//! The loop runs everything that can run, one task at a time in an order chosen by the seed; after
//! each poll it takes the frames that the node has sent and looks at the invariants. When nothing
//! can run, it moves the time to the next timer or arrival. Nothing else ever moves.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::env::clock::VirtualClock;
use crate::env::net::Wire;
use crate::env::{Clock, Rng, Time};
use crate::id::NodeId;
use crate::scope::notify::Notify;
use crate::sim::checks::{Invariants, Violation};
use crate::sim::draws::{Costs, Meter};
use crate::sim::drift::Drifting;
use crate::sim::executor::{Executor, Group, Order, Why};
use crate::sim::net::{Flight, Network, Passage};
use crate::sim::trace::Trace;

/// Polls at one instant of virtual time after which the world is said to spin: tasks that wake
/// each other for ever would otherwise hang the test. A burst of clients takes some thousands.
pub const POLLS_PER_INSTANT_MAX: u32 = 200_000;

/// Why [`World::run_until`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// What the caller waits for is there.
    Done,
    /// The time is up.
    Elapsed,
    /// An invariant is broken.
    Violated,
}

/// A simulated world, and its invariants `I`.
pub struct World<I: Invariants> {
    seed: u64,
    executor: Rc<Executor>,
    time: Rc<VirtualClock>,
    clocks: RefCell<BTreeMap<NodeId, Drifting>>,
    network: Rc<RefCell<Network>>,
    trace: Rc<Trace<I::Event>>,
    checker: Rc<RefCell<I>>,
    rng: Rng,
    clients: Group,
    lines: RefCell<BTreeMap<Group, (NodeId, Notify)>>,
    polls_here: Cell<u32>,
    costs: Cell<Costs>,
    meters: RefCell<BTreeMap<NodeId, Meter>>,
    /// Which groups are at work, and until when.
    busy: RefCell<BTreeSet<(Time, Group)>>,
}

impl<I: Invariants> World<I> {
    /// A world of a seed, in which `checker` is told what happens.
    #[must_use]
    pub fn new(seed: u64, checker: I, order: Order, trace: Trace<I::Event>) -> Self {
        let rng = Rng::seeded(seed);
        let executor = Executor::new(order, rng.fork());
        let clients = executor.group();
        Self {
            seed,
            time: VirtualClock::new(),
            clocks: RefCell::default(),
            network: Rc::new(RefCell::new(Network::new(rng.fork()))),
            trace: Rc::new(trace),
            checker: Rc::new(RefCell::new(checker)),
            clients,
            executor,
            rng,
            lines: RefCell::default(),
            polls_here: Cell::new(0),
            costs: Cell::new(Costs::FREE),
            meters: RefCell::default(),
            busy: RefCell::default(),
        }
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The random source of whoever plans what happens to this world.
    #[must_use]
    pub fn rng(&self) -> &Rng {
        &self.rng
    }

    /// The clock that is right: of the clients, the disks and the network.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::simulated(self.time.clone())
    }

    /// The clock of a node; it is right until its rate is changed.
    #[must_use]
    pub fn clock_of(&self, node: NodeId) -> Clock {
        Clock::simulated(self.clocks.borrow_mut().entry(node).or_default().time().clone())
    }

    /// Lets the clock of a node run at `rate` thousandths of the right speed from now on.
    pub fn set_rate(&self, node: NodeId, rate: u64) {
        self.clocks.borrow_mut().entry(node).or_default().set_rate(self.now(), rate.max(1));
    }

    /// What taking in frames costs from now on.
    pub fn set_costs(&self, costs: Costs) {
        self.costs.set(costs);
    }

    /// What counts the work of a node.
    #[must_use]
    pub fn meter(&self, node: NodeId) -> Meter {
        self.meters.borrow_mut().entry(node).or_default().clone()
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.time.now()
    }

    /// Its tasks.
    #[must_use]
    pub fn executor(&self) -> &Rc<Executor> {
        &self.executor
    }

    /// The group of tasks that belong to no node.
    #[must_use]
    pub fn clients(&self) -> Group {
        self.clients
    }

    /// Its record.
    #[must_use]
    pub fn trace(&self) -> &Rc<Trace<I::Event>> {
        &self.trace
    }

    /// Its invariants.
    #[must_use]
    pub fn checker(&self) -> &Rc<RefCell<I>> {
        &self.checker
    }

    /// Changes its network.
    pub fn network<T>(&self, change: impl FnOnce(&mut Network) -> T) -> T {
        change(&mut self.network.borrow_mut())
    }

    /// A handle on its network, for somebody who lives in this world and is no honest node.
    #[must_use]
    pub fn network_handle(&self) -> Rc<RefCell<Network>> {
        self.network.clone()
    }

    /// Writes down that something was done to the world.
    pub fn note(&self, text: impl Into<String>) {
        self.trace.note(self.now(), text);
    }

    /// Connects a life of a node: `group` holds its tasks, `wire` its frames.
    pub fn plug(&self, group: Group, wire: Wire) {
        let wake = Notify::new();
        for peer in wire.peers() {
            wire.notify_on_send(peer, wake.clone());
        }
        self.lines.borrow_mut().insert(group, (wire.id(), wake));
        self.network.borrow_mut().plug(wire);
    }

    /// Disconnects it; frames that it had not handed over yet are lost.
    pub fn unplug(&self, group: Group) {
        if let Some((node, _)) = self.lines.borrow_mut().remove(&group) {
            self.network.borrow_mut().unplug(node);
        }
    }

    /// Does the next thing: one poll of one task, or one step of time, but not past `until`.
    /// Returns false if nothing is left to do before `until`.
    pub fn turn(&self, until: Time) -> bool {
        self.end_work();
        if let Some(group) = self.executor.step() {
            self.polls_here.set(self.polls_here.get() + 1);
            if self.polls_here.get() > POLLS_PER_INSTANT_MAX {
                let lines = self.lines.borrow();
                let whose = lines.get(&group).map(|(node, _)| *node);
                let what = format!(
                    "{POLLS_PER_INSTANT_MAX} polls, and no time has passed; the last one was of {}",
                    whose.map_or("a client".into(), |node| format!("{node:?}"))
                );
                self.checker.borrow_mut().report("livelock", what);
            }
            self.collect(group);
            self.work(group);
            return true;
        }
        let arrival = self.network.borrow().next_arrival();
        let rested = self.busy.borrow().first().map(|&(until, _)| until);
        let next = arrival.into_iter().chain(rested).chain(self.next_timer()).min();
        let Some(next) = next.filter(|&next| next <= until) else {
            return false;
        };
        self.polls_here.set(0);
        self.advance_to(next);
        let costs = self.costs.get();
        let mut told = |passage, flight: &Flight| {
            self.trace.frame(next, passage, flight);
            if passage == Passage::Delivered {
                self.meter(flight.to).charge(costs.of_frame(flight.frame.len()));
            }
        };
        self.network.borrow_mut().deliver_due(next, &mut told);
        true
    }

    /// A poll has ended: what it did takes time, and the node does nothing else meanwhile.
    fn work(&self, group: Group) {
        let lines = self.lines.borrow();
        let Some((node, _)) = lines.get(&group) else {
            return;
        };
        let cost = self.meter(*node).take();
        if !cost.is_zero() {
            self.executor.hold(group, Why::Busy);
            self.busy.borrow_mut().insert((self.now() + cost, group));
        }
    }

    fn end_work(&self) {
        let mut busy = self.busy.borrow_mut();
        while let Some(&(until, group)) = busy.first()
            && until <= self.now()
        {
            busy.pop_first();
            self.executor.release(group, Why::Busy);
        }
    }

    /// When the next timer fires, on whichever clock.
    fn next_timer(&self) -> Option<Time> {
        let clocks = self.clocks.borrow();
        clocks.values().filter_map(Drifting::next_deadline).chain(self.time.next_deadline()).min()
    }

    fn advance_to(&self, to: Time) {
        self.time.advance_to(to);
        self.clocks.borrow().values().for_each(|clock| clock.follow(to));
    }

    /// Takes the frames that a life of a node has just sent.
    fn collect(&self, group: Group) {
        let lines = self.lines.borrow();
        let Some((node, wake)) = lines.get(&group) else {
            return;
        };
        let mut context = Context::from_waker(Waker::noop());
        if wake.poll_notified(&mut context).is_pending() {
            return;
        }
        let now = self.now();
        let mut told = |passage, flight: &Flight| {
            self.trace.frame(now, passage, flight);
            if passage == Passage::Sent {
                self.checker.borrow_mut().sent(flight);
            }
        };
        self.network.borrow_mut().collect(*node, now, &mut told);
    }

    /// Runs until `done` says so, at most until `until`. A broken invariant stops it at once.
    pub fn run_until(&self, until: Time, mut done: impl FnMut() -> bool) -> Stopped {
        loop {
            if self.checker.borrow().violation().is_some() {
                return Stopped::Violated;
            }
            if done() {
                return Stopped::Done;
            }
            if !self.turn(until) {
                self.advance_to(until);
                return Stopped::Elapsed;
            }
        }
    }

    /// Runs for `span` of virtual time.
    pub fn run_for(&self, span: Duration) -> Stopped {
        self.run_until(self.now() + span, || false)
    }

    /// Whether nothing can run and no timer and no frame will ever change that: if something is
    /// still waited for, a wake-up was lost.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.busy.borrow().is_empty()
            && self.next_timer().is_none()
            && self.network.borrow().next_arrival().is_none()
    }

    /// The first broken invariant, if any.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.checker.borrow().violation().cloned()
    }
}

impl<I: Invariants> fmt::Debug for World<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World(seed {}, {:?}, {:?})", self.seed, self.now(), self.trace)
    }
}

#[cfg(test)]
mod tests {
    use super::{Stopped, World};
    use crate::env::net::{Net, NetLimits, net};
    use crate::env::{Clock, Time};
    use crate::id::NodeId;
    use crate::machine::Committed;
    use crate::scope::first::{First, first};
    use crate::scope::notify::Notify;
    use crate::sim::checks::{Checks, Invariants, Violation};
    use crate::sim::executor::Order;
    use crate::sim::net::{Flight, Weather};
    use crate::sim::trace::tests::Count;
    use crate::sim::trace::{Detail, Trace};
    use bytes::Bytes;
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    /// Nothing is forbidden but what the world itself forbids.
    #[derive(Default)]
    struct Lenient(Option<Violation>);

    impl Checks for Lenient {
        fn violation(&self) -> Option<&Violation> {
            self.0.as_ref()
        }

        fn report(&mut self, invariant: &'static str, what: String) {
            self.0.get_or_insert(Violation { invariant, what });
        }

        fn applied(&mut self, _: NodeId, _: Committed<'_>, _: u64) {}
        fn restored(&mut self, _: NodeId, _: u64) {}
    }

    impl Invariants for Lenient {
        type Event = Count;

        fn event(&mut self, _: NodeId, _: Count) {}
        fn sent(&mut self, _: &Flight) {}
        fn crashed(&mut self, _: NodeId) {}
        fn copied(&mut self, _: NodeId) {}
        fn rolled_back(&mut self, _: NodeId) {}
        fn wiped(&mut self, _: NodeId) {}
    }

    fn world(seed: u64) -> World<Lenient> {
        let trace = Trace::new(Detail::Story, 10, false);
        World::new(seed, Lenient::default(), Order::Seeded, trace)
    }

    /// Throws a ball back and throws it again when it was lost; counts the catches.
    async fn player(net: Net, to: NodeId, clock: Clock, caught: Rc<Cell<u32>>) {
        let wake = Notify::new();
        net.notify_on_arrival(wake.clone());
        loop {
            net.send(to, Bytes::from_static(b"ball"));
            let lost = clock.sleep(Duration::from_millis(20));
            if let First::A(()) = first(wake.notified(), lost).await {
                while net.receive().is_some() {
                    caught.set(caught.get() + 1);
                }
            }
        }
    }

    fn game(seed: u64) -> (u32, u64) {
        let world = world(seed);
        world.network(|network| network.set_weather(Weather::FOUL));
        let caught = Rc::new(Cell::new(0));
        let tasks: Vec<_> = [1, 2]
            .map(NodeId)
            .into_iter()
            .map(|id| {
                let to = NodeId(3 - id.0);
                let (net, wire) = net(id, [to], NetLimits::default());
                let group = world.executor().group();
                world.plug(group, wire);
                let player = player(net, to, world.clock(), caught.clone());
                world.executor().spawn(group, player)
            })
            .collect();
        assert_eq!(world.run_for(Duration::from_secs(10)), Stopped::Elapsed);
        assert_eq!(world.now(), Time(10_000_000_000));
        drop(tasks);
        (caught.get(), world.trace().hash())
    }

    #[test]
    fn a_seed_is_a_world() {
        let (caught, hash) = game(7);
        assert!(caught > 500, "foul weather slows the game down, but {caught}");
        assert_eq!(game(7), (caught, hash));
        assert_ne!(game(8).1, hash);
    }

    #[test]
    fn tasks_that_wake_each_other_for_ever_are_found() {
        let world = world(1);
        let _task = world.executor().spawn(world.clients(), async {
            loop {
                futures_lite::future::yield_now().await;
            }
        });
        assert_eq!(world.run_for(Duration::from_secs(1)), Stopped::Violated);
        assert_eq!(world.violation().map(|v| v.invariant), Some("livelock"));
    }

    #[test]
    fn a_world_where_nothing_will_ever_happen_is_quiet() {
        let world = world(1);
        let wake = Notify::new();
        let _task = world.executor().spawn(world.clients(), async move { wake.notified().await });
        assert_eq!(world.run_for(Duration::from_secs(1)), Stopped::Elapsed);
        assert!(world.is_quiet());
        assert_eq!(world.executor().census(world.clients()), 1, "and somebody waits: lost wake-up");
    }
}
