//! Storms: a cluster, its clients, and trouble of all kinds at random; then everything is healed
//! and order must return.
//!
//! The first phase is about safety: after every event the invariants hold, whatever happens. The
//! second is about liveness (I9): without further trouble there is one leader within
//! [`HEALING_ELECTIONS`] election timeouts, every node serves writes and reads, all come to the
//! same state, and what the clients saw agrees with it.
//!
//! Everything is decided by the seed. A [`Failure`] prints it, with the command that replays it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::config::{Limits, Timing};
use crate::env::{Rng, Time};
use crate::error::Fatal;
use crate::id::{Index, NodeId};
use crate::sim::checker::{Sights, Violation};
use crate::sim::client::Clients;
use crate::sim::cluster::{Cluster, Death, Setup};
use crate::sim::executor::Order;
use crate::sim::history::Tally;
use crate::sim::machine::{Digest, Ledger, Write};
use crate::sim::net::Weather;
use crate::sim::trace::{Detail, TAIL_LINES};
use crate::sim::world::Stopped;

/// Election timeouts (the longest ones) within which order must return after the healing.
pub const HEALING_ELECTIONS: u32 = 12;

/// One kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A node is killed or its power is cut, at any of its polls.
    Crash,
    /// Links are cut, in one direction or both.
    Partition,
    /// Frames are lost, doubled, late and out of order.
    Weather,
    /// A node is frozen while its clock goes on.
    Pause,
    /// No sync of a node ends for a while.
    Stall,
    /// A disk has no room for a while.
    Full,
    /// A write or a sync fails; the node must stop, and is started again.
    DiskError,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Crash,
        Self::Partition,
        Self::Weather,
        Self::Pause,
        Self::Stall,
        Self::Full,
        Self::DiskError,
    ];
}

/// What kind of storm.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many nodes.
    pub nodes: u64,
    /// How long the trouble and the healing take together, at least.
    pub span: Duration,
    /// The kinds of trouble; may be empty.
    pub faults: Vec<Fault>,
    /// The longest time between two troubles.
    pub calm_max: Duration,
    /// How many clients.
    pub clients: u32,
    /// The longest time that a client waits between two operations.
    pub client_pause_max: Duration,
    /// How much of the trace is kept, and printed if wished.
    pub detail: Detail,
    /// Whether each line of the trace is printed as it happens.
    pub print: bool,
}

impl Default for Options {
    /// Three nodes, a minute, everything.
    fn default() -> Self {
        Self {
            nodes: 3,
            span: Duration::from_secs(60),
            faults: Fault::ALL.to_vec(),
            calm_max: Duration::from_millis(1_500),
            clients: 8,
            client_pause_max: Duration::from_millis(40),
            detail: Detail::Events,
            print: false,
        }
    }
}

/// What a storm that went well was like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The hash of everything that happened.
    pub hash: u64,
    /// How many troubles of each kind there were.
    pub faults: BTreeMap<Fault, u32>,
    /// How many entries were decided.
    pub decided: Index,
    /// What the clients did.
    pub tally: Tally,
    /// What the nodes went through.
    pub sights: Sights,
    /// From the healing until every node followed one leader.
    pub healed_in: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (troubles, tally, seen) = (self.faults.values().sum::<u32>(), self.tally, self.sights);
        write!(
            f,
            "seed {} hash {:016x}: {troubles} troubles, ",
            self.seed, self.hash
        )?;
        write!(
            f,
            "{} starts, {} leaders, {} truncations, {} snapshots, {} installed; ",
            seen.starts, seen.leaders, seen.truncations, seen.snapshots, seen.installs
        )?;
        write!(
            f,
            "{} entries; writes: {} done, {} not, {} unknown; reads: {} done, {} refused; ",
            self.decided,
            tally.acknowledged,
            tally.not_applied,
            tally.unknown,
            tally.reads,
            tally.reads_refused
        )?;
        write!(f, "order after {:?}", self.healed_in)
    }
}

/// A storm in which an invariant broke.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u64,
    /// What broke.
    pub violation: Violation,
    /// When.
    pub at: Time,
    /// The last lines of the trace.
    pub tail: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            nodes,
            violation,
            at,
            tail,
        } = self;
        writeln!(f, "{}", tail.join("\n"))?;
        writeln!(
            f,
            "seed {seed}, {nodes} nodes, at {at:?}: broken invariant {violation}"
        )?;
        write!(
            f,
            "replay: cargo run --release -- storm {seed} --nodes {nodes} --trace"
        )
    }
}

impl std::error::Error for Failure {}

/// Limits so small that everything that takes long in production happens all the time: snapshots,
/// compaction, rolled files, refused proposals.
#[must_use]
pub fn tiny_limits() -> Limits {
    Limits {
        command_bytes_max: 4 << 10,
        proposals_max: 64,
        proposal_bytes_max: 64 << 10,
        append_bytes_max: 8 << 10,
        appends_in_flight_max: 4,
        in_flight_bytes_max: 16 << 10,
        cache_bytes_max: 8 << 10,
        segment_bytes: 64 << 10,
        snapshot_log_bytes: 8 << 10,
        snapshot_factor: 2,
        snapshot_keep_entries: 10,
        snapshot_chunk_bytes: 4 << 10,
    }
}

/// Runs the storm of a seed.
///
/// # Errors
/// [`Failure`] when an invariant breaks. A panic of a node goes through.
pub fn run(seed: u64, options: &Options) -> Result<Report, Box<Failure>> {
    conduct(seed, options, |storm| storm.rage())
}

/// Runs a storm whose trouble you cause yourself; the clients work meanwhile, and the healing is
/// the same. Of the options, the kinds of trouble do not count.
///
/// # Errors
/// As [`run`].
pub fn cause(
    seed: u64,
    options: &Options,
    trouble: impl FnOnce(&mut Cluster<Ledger>),
) -> Result<Report, Box<Failure>> {
    conduct(seed, options, |storm| {
        trouble(&mut storm.cluster);
        storm.checked(Stopped::Done).map(|_| ())
    })
}

fn conduct(
    seed: u64,
    options: &Options,
    trouble: impl FnOnce(&mut Storm<'_>) -> Outcome<()>,
) -> Result<Report, Box<Failure>> {
    let setup = Setup {
        nodes: options.nodes,
        order: Order::Seeded,
        timing: Timing::LAN,
        limits: tiny_limits(),
        detail: options.detail,
        lines_max: TAIL_LINES,
        print: options.print,
    };
    let _panic = Witness {
        seed,
        nodes: options.nodes,
    };
    let cluster = Cluster::new(seed, setup, Ledger::default);
    let mut storm = Storm::new(cluster, options);
    match trouble(&mut storm).and_then(|()| storm.heal()) {
        Ok(healed_in) => Ok(Report {
            seed,
            hash: storm.cluster.world().trace().hash(),
            decided: storm.cluster.world().checker().borrow().decided(),
            tally: storm.clients.tally(),
            sights: storm.cluster.world().checker().borrow().sights(),
            faults: std::mem::take(&mut storm.faults),
            healed_in,
        }),
        Err(violation) => Err(Box::new(Failure {
            seed,
            nodes: options.nodes,
            violation,
            at: storm.cluster.world().now(),
            tail: storm.cluster.world().trace().take_text(),
        })),
    }
}

/// Says which seed it was when a node panics.
struct Witness {
    seed: u64,
    nodes: u64,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, nodes } = self;
            eprintln!("a node panicked in the storm of seed {seed} with {nodes} nodes");
            eprintln!("replay: cargo run --release -- storm {seed} --nodes {nodes} --trace");
        }
    }
}

/// What will end a trouble.
#[derive(Debug, Clone, Copy)]
enum Relief {
    Start(NodeId),
    Resume(NodeId),
    Room(NodeId),
    Mend,
    Calm,
}

struct Storm<'a> {
    cluster: Cluster<Ledger>,
    clients: Clients,
    options: &'a Options,
    rng: Rng,
    reliefs: BTreeMap<(Time, u64), Relief>,
    planned: u64,
    faults: BTreeMap<Fault, u32>,
}

type Outcome<T> = Result<T, Violation>;

impl<'a> Storm<'a> {
    fn new(mut cluster: Cluster<Ledger>, options: &'a Options) -> Self {
        cluster.start_all();
        let clients = Clients::new(&cluster, options.clients, options.client_pause_max);
        let rng = cluster.world().rng().fork();
        let (reliefs, faults) = (BTreeMap::new(), BTreeMap::new());
        Self {
            cluster,
            clients,
            options,
            rng,
            reliefs,
            planned: 0,
            faults,
        }
    }

    // ---- the first phase: safety ----

    fn rage(&mut self) -> Outcome<()> {
        let longest = self.healing_max();
        let until = Time::ZERO + self.options.span.saturating_sub(longest);
        while self.cluster.world().now() < until {
            let pause = self.rng.between(Duration::ZERO, self.options.calm_max);
            let next = (self.cluster.world().now() + pause).min(until);
            self.run_to(next)?;
            if !self.options.faults.is_empty() {
                let fault = self.options.faults[self.rng.below(self.options.faults.len())];
                *self.faults.entry(fault).or_default() += 1;
                self.strike(fault)?;
            }
        }
        Ok(())
    }

    /// Runs until `until`, with the reliefs and the deaths on the way.
    fn run_to(&mut self, until: Time) -> Outcome<()> {
        loop {
            let relief = self.reliefs.first_key_value().map(|(&(at, _), _)| at);
            let next = relief.map_or(until, |at| at.min(until));
            let now = self.cluster.world().now();
            // A node that has stopped by itself is noticed soon, as a supervisor would.
            self.run_until((now + Duration::from_millis(50)).min(next))?;
            for (node, outcome) in self.cluster.reap() {
                if outcome.is_err() {
                    self.plan(Duration::from_secs(3), Relief::Start(node));
                }
            }
            let now = self.cluster.world().now();
            while let Some(entry) = self.reliefs.first_entry() {
                if entry.key().0 > now {
                    break;
                }
                let relief = entry.remove();
                self.relieve(relief);
            }
            if now >= until {
                return Ok(());
            }
        }
    }

    fn run_until(&mut self, until: Time) -> Outcome<()> {
        self.checked(self.cluster.world().run_until(until, || false))
            .map(|_| ())
    }

    fn checked(&self, stopped: Stopped) -> Outcome<Stopped> {
        match self.cluster.world().violation() {
            Some(violation) => Err(violation),
            None => Ok(stopped),
        }
    }

    fn plan(&mut self, longest: Duration, relief: Relief) {
        let after = self.rng.between(Duration::from_millis(5), longest);
        self.planned += 1;
        self.reliefs
            .insert((self.cluster.world().now() + after, self.planned), relief);
    }

    fn relieve(&mut self, relief: Relief) {
        match relief {
            Relief::Start(node) => match self.cluster.start(node) {
                Ok(()) => {}
                // A write or sync of the start itself failed: another try reads what there is.
                Err(Fatal::Disk { .. }) => self.plan(Duration::from_secs(1), relief),
                Err(fatal) => {
                    self.broken("start", format!("{node:?} cannot start: {fatal}"));
                }
            },
            Relief::Resume(node) => self.cluster.resume(node),
            Relief::Room(node) => {
                self.cluster.disk(node).set_quota(None);
                self.cluster
                    .world()
                    .note(format!("the disk of {node:?} has room"));
            }
            Relief::Mend => self.cluster.heal(),
            Relief::Calm => {
                self.cluster
                    .world()
                    .network(|network| network.set_weather(Weather::CALM));
                self.cluster.world().note("calm weather");
            }
        }
    }

    fn broken(&self, invariant: &'static str, what: String) -> Violation {
        self.cluster
            .world()
            .checker()
            .borrow_mut()
            .report(invariant, what.clone());
        Violation { invariant, what }
    }

    fn any_node(&self) -> NodeId {
        let members = self.cluster.members();
        members[self.rng.below(members.len())]
    }

    /// Prefers the leader: most of what can go wrong, goes wrong there.
    fn victim(&self) -> NodeId {
        match self.cluster.leader() {
            Some(leader) if self.rng.chance(400) => leader,
            _ => self.any_node(),
        }
    }

    fn strike(&mut self, fault: Fault) -> Outcome<()> {
        let node = self.victim();
        match fault {
            Fault::Crash => return self.crash(node),
            Fault::Partition => self.partition(),
            Fault::Weather => self.weather(),
            Fault::Pause => {
                self.cluster.pause(node);
                self.plan(Duration::from_secs(3), Relief::Resume(node));
            }
            Fault::Stall => {
                let span = self
                    .rng
                    .between(Duration::from_millis(5), Duration::from_secs(3));
                let world = self.cluster.world();
                self.cluster.disk(node).stall_until(world.now() + span);
                world.note(format!("the disk of {node:?} stalls for {span:?}"));
            }
            Fault::Full => {
                self.cluster.disk(node).set_quota(Some(0));
                self.cluster
                    .world()
                    .note(format!("the disk of {node:?} is full"));
                self.plan(Duration::from_secs(5), Relief::Room(node));
            }
            Fault::DiskError => {
                let disk = self.cluster.disk(node);
                if self.rng.chance(500) {
                    disk.fail_next_write();
                } else {
                    disk.fail_next_sync();
                }
                self.cluster
                    .world()
                    .note(format!("the disk of {node:?} will fail"));
            }
        }
        Ok(())
    }

    /// Kills a node after a few more of its polls, so that no moment is spared.
    fn crash(&mut self, node: NodeId) -> Outcome<()> {
        let polls = self.cluster.polls(node) + self.rng.within(0..=40);
        let world = self.cluster.world();
        let until = world.now() + Duration::from_millis(200);
        let cluster = &self.cluster;
        self.checked(world.run_until(until, || cluster.polls(node) >= polls))?;
        let death = if self.rng.chance(700) {
            Death::PowerCut
        } else {
            Death::Kill
        };
        self.cluster.crash(node, death);
        self.plan(Duration::from_secs(4), Relief::Start(node));
        Ok(())
    }

    fn partition(&mut self) {
        let members = self.cluster.members();
        let (one, other): (Vec<_>, Vec<_>) = members.iter().partition(|_| self.rng.chance(500));
        match self.rng.below(4) {
            0 => {
                let (from, to) = (self.victim(), self.any_node());
                self.cluster.cut(&[from], &[to]);
            }
            1 => self.cluster.cut(&one, &other),
            2 => self.cluster.partition(&[self.victim()], &members),
            _ => self.cluster.partition(&one, &other),
        }
        self.plan(Duration::from_secs(6), Relief::Mend);
    }

    fn weather(&mut self) {
        let weather = Weather {
            loss: [0, 20, 100, 300][self.rng.below(4)],
            duplicate: [0, 50, 300][self.rng.below(3)],
            slow: [0, 20, 100][self.rng.below(3)],
            reorder: self.rng.chance(700),
            delay_max: Duration::from_millis(self.rng.within(1..=80)),
            ..Weather::FOUL
        };
        self.cluster
            .world()
            .network(|network| network.set_weather(weather));
        self.cluster.world().note(format!(
            "foul weather: {} of 1000 lost, {} doubled, {} slow, up to {:?}",
            weather.loss, weather.duplicate, weather.slow, weather.delay_max
        ));
        self.plan(Duration::from_secs(6), Relief::Calm);
    }

    // ---- the second phase: liveness ----

    fn healing_max(&self) -> Duration {
        Timing::LAN.election_max * HEALING_ELECTIONS
    }

    /// Ends every trouble; returns how long it took until order was back.
    fn heal(&mut self) -> Outcome<Duration> {
        self.cluster.world().note("-- healing --");
        self.reliefs.clear();
        self.relieve(Relief::Mend);
        self.relieve(Relief::Calm);
        let healed = self.cluster.world().now();
        for node in self.cluster.members() {
            self.cluster.disk(node).stall_until(healed);
            self.relieve(Relief::Room(node));
            self.relieve(Relief::Resume(node));
        }
        let until = healed + self.healing_max();
        let took = self.settle(until)?;
        self.serve(until)?;
        self.clients.close();
        self.converge(until)?;
        Ok(took)
    }

    /// Runs until every node is up and follows one leader, and starts those that die meanwhile:
    /// a disk error that was waiting for its write.
    fn settle(&mut self, until: Time) -> Outcome<Duration> {
        let healed = self.cluster.world().now();
        loop {
            self.cluster.reap();
            for node in self.cluster.members() {
                self.relieve(Relief::Start(node));
            }
            let now = self.cluster.world().now();
            if self.cluster.settled_leader().is_some() {
                return Ok(now.since(healed));
            }
            if now >= until {
                return Err(self.broken("I9", format!("no leader {:?} after the healing", until)));
            }
            self.run_until(now + Duration::from_millis(20))?;
        }
    }

    /// Every node takes a write and a read.
    fn serve(&mut self, until: Time) -> Outcome<()> {
        for (node, client) in self.cluster.members().into_iter().zip(1_000_000..) {
            let mut seq = 0;
            loop {
                self.settle(until)?;
                let Some(handle) = self.cluster.node(node) else {
                    continue;
                };
                seq += 1;
                let write = Write { client, seq };
                self.clients.expect(write);
                let answer = self.cluster.run(async move {
                    handle.propose(write.command(0)).await?;
                    handle
                        .read(|ledger| ledger.writes().iter().any(|&(_, w)| w == write))
                        .await
                });
                self.checked(Stopped::Done)?;
                match answer {
                    Some(Ok(true)) => break,
                    Some(Ok(false)) => {
                        return Err(self.broken("I8", format!("{node:?} does not show {write}")));
                    }
                    // It died of a disk error that was still waiting, or its leader did.
                    Some(Err(_)) if self.cluster.world().now() < until => {
                        let later = self.cluster.world().now() + Duration::from_millis(20);
                        self.run_until(later)?;
                    }
                    other => {
                        let what = format!("{node:?} does not serve: {other:?}");
                        return Err(self.broken("I9", what));
                    }
                }
            }
        }
        Ok(())
    }

    /// The clients end; all nodes come to the same state, and it is what the clients saw.
    fn converge(&mut self, until: Time) -> Outcome<()> {
        let until = until + crate::sim::client::PATIENCE_MAX;
        loop {
            self.settle(until)?;
            if self.clients.are_done() && self.are_equal() {
                break;
            }
            let now = self.cluster.world().now();
            if now >= until {
                let what = format!("clients done: {}, states differ", self.clients.are_done());
                return Err(self.broken("I9", what));
            }
            self.run_until(now + Duration::from_millis(20))?;
        }
        let node = self
            .cluster
            .node(NodeId(1))
            .expect("settled means that all are up");
        let compared = node.read_stale(|ledger| self.clients.compare(ledger));
        compared.map_err(|what| self.broken("I8", what))
    }

    fn are_equal(&self) -> bool {
        let decided = self.cluster.world().checker().borrow().decided();
        let state = |node| {
            let node = self.cluster.node(node)?;
            let status = node.status();
            let digest = node.read_stale(|ledger| ledger.digest());
            Some((status.commit_index, status.applied_index, digest))
        };
        let states: Vec<_> = self.cluster.members().into_iter().map(state).collect();
        let complete = |state: &Option<_>| {
            state.is_some_and(|(commit, applied, _)| commit == decided && applied == decided)
        };
        states
            .iter()
            .all(|state| complete(state) && *state == states[0])
    }
}
