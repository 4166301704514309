//! Storms: a cluster, its clients, and trouble of all kinds at random; then everything is healed
//! and order must return.
//!
//! The first phase is about safety: after every event the invariants hold, whatever happens. The
//! second is about liveness (I9): without further trouble order returns in time, as each protocol
//! understands it, every node serves, all come to the same state, and what the clients saw agrees
//! with it.
//!
//! `faults` is the first phase, `recovery` the second. Everything is decided by the seed. A
//! [`Failure`] prints it, with the command that replays it.
//!
//! [`run`] is a storm on our own ledger; [`run_with`] is one on your machine, with your clients and
//! what must hold of both, see [`workload`](crate::sim::workload).

mod calm;
mod faults;
mod harm;
pub mod known;
mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::env::{Rng, Time, output};
use crate::id::NodeId;
use crate::sim::checks::{Checks, Violation};
use crate::sim::client::Clients;
use crate::sim::cluster::Cluster;
use crate::sim::disk::SimDisk;
use crate::sim::executor::Order;
use crate::sim::history::Tally;
use crate::sim::machine::{Ledger, Write};
use crate::sim::picture::Sketch;
use crate::sim::protocol::Protocol;
use crate::sim::storm::harm::{Copy, Harm};
use crate::sim::trace::Detail;
use crate::sim::waits::Waits;
use crate::sim::workload::{Workload, ledger};
use crate::sim::world::Stopped;

pub(crate) use faults::Repair;
use known::is_known;

/// One kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault<O> {
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
    /// A bit of a file flips while the node is down: it must refuse to start, or not need that bit.
    BitRot,
    /// The clock of a node runs at half to twice its speed for a while. (While this is among the
    /// faults no clock is quite right: each runs at nine to eleven tenths, also in the healing.)
    Drift,
    /// A node is asked to shut down, as for an upgrade, and is started again.
    Upgrade,
    /// The role of a node is dropped where it waits, as no event of the protocol would.
    Cancel,
    /// A file of a node is cut short while the node is down; as with a flipped bit.
    Shortened,
    /// A file of a node is gone while the node is down; as with a flipped bit.
    Missing,
    /// A node comes back under its old name with an empty disk.
    Wiped,
    /// A node comes back under its old name with its disk as it was some time ago.
    RolledBack,
    /// The disk of a node is small for good, with several times the room that it needs.
    Small,
    /// The disk of a node is full for good. It is the operator's, who must hear of it; the others
    /// go on.
    FullForGood,
    /// What only this protocol suffers.
    Own(O),
}

/// What kind of storm.
pub struct Options<P: Protocol> {
    /// How many nodes.
    pub nodes: u64,
    /// How long the trouble and the healing take together, at least.
    pub span: Duration,
    /// The kinds of trouble; may be empty.
    pub faults: Vec<Fault<P::Fault>>,
    /// The longest time between two troubles.
    pub calm_max: Duration,
    /// How ready tasks are chosen.
    pub order: Order,
    /// How many clients.
    pub clients: u32,
    /// The longest time that a client of our ledger waits between two operations.
    pub client_pause_max: Duration,
    /// How much of the trace is kept, and printed if wished.
    pub detail: Detail,
    /// Whether each line of the trace is printed as it happens.
    pub print: bool,
    /// Who watches, for a picture. It is good for one also if the storm fails.
    pub sketch: Option<Sketch>,
    /// What only this protocol can be told.
    pub protocol: P::Options,
}

impl<P: Protocol> Default for Options<P> {
    /// A few nodes, a minute, everything.
    fn default() -> Self {
        Self {
            nodes: P::NODES,
            span: Duration::from_secs(60),
            faults: P::faults().into_iter().filter(|&fault| !is_known::<P>(fault)).collect(),
            calm_max: Duration::from_millis(1_500),
            order: Order::Seeded,
            clients: P::CLIENTS,
            client_pause_max: P::CLIENT_PAUSE_MAX,
            detail: Detail::Events,
            print: false,
            sketch: None,
            protocol: P::Options::default(),
        }
    }
}

impl<P: Protocol> Clone for Options<P> {
    fn clone(&self) -> Self {
        Self {
            faults: self.faults.clone(),
            sketch: self.sketch.clone(),
            protocol: self.protocol.clone(),
            ..*self
        }
    }
}

impl<P: Protocol> fmt::Debug for Options<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, span, faults, clients, protocol, .. } = self;
        write!(f, "Options({nodes} nodes, {span:?}, {faults:?}, {clients} clients, {protocol:?})")
    }
}

/// What a storm that went well was like.
pub struct Report<P: Protocol> {
    /// The seed.
    pub seed: u64,
    /// The hash of everything that happened.
    pub hash: u64,
    /// Who took part, as far as the seed decided it.
    pub cast: P::Cast,
    /// How many troubles of each kind there were.
    pub faults: BTreeMap<Fault<P::Fault>, u32>,
    /// How far it came: the last decided position.
    pub decided: u64,
    /// Starts that were refused because of a flipped bit.
    pub rot_refused: u32,
    /// What the clients of our ledger did.
    pub tally: Tally,
    /// What the nodes went through.
    pub coverage: P::Coverage,
    /// From the healing until order had returned.
    pub healed_in: Duration,
}

impl<P: Protocol> fmt::Display for Report<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} hash {:016x}: ", self.seed, self.hash)?;
        P::tell(self, f)
    }
}

impl<P: Protocol> fmt::Debug for Report<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Report({self})")
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
    /// How to see it again.
    pub replay: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, violation, at, tail, replay } = self;
        writeln!(f, "{}", tail.join("\n"))?;
        writeln!(f, "seed {seed}, {nodes} nodes, at {at:?}: broken invariant {violation}")?;
        write!(f, "replay: {replay}")
    }
}

impl std::error::Error for Failure {}

/// Runs the storm of a seed, with clients that write to a ledger.
///
/// # Errors
/// [`Failure`] when an invariant breaks. A panic of a node goes through.
pub fn run<P: Protocol<Machine = Ledger>>(
    seed: u64,
    options: &Options<P>,
) -> Result<Report<P>, Box<Failure>> {
    let conductor = Conductor::of_ledger(seed, options);
    conductor.conduct(|storm| storm.trouble())
}

/// Runs a storm on a machine of your own. Make a workload for each storm: what its clients remember
/// belongs to one.
///
/// # Errors
/// As [`run`].
pub fn run_with<P: Protocol>(
    seed: u64,
    options: &Options<P>,
    workload: Workload<P::Machine>,
) -> Result<Report<P>, Box<Failure>> {
    let options = P::with_commands(options.clone());
    let replay = format!("the same storm, with seed {seed}");
    Conductor { seed, options, workload, replay }.conduct(|storm| storm.trouble())
}

/// Runs a storm whose trouble you cause yourself; the clients work meanwhile, and the healing is
/// the same. Of the options, the kinds of trouble do not count.
///
/// # Errors
/// As [`run`].
pub fn cause<P: Protocol<Machine = Ledger>>(
    seed: u64,
    options: &Options<P>,
    trouble: impl FnOnce(&mut Cluster<P>),
) -> Result<Report<P>, Box<Failure>> {
    Conductor::of_ledger(seed, options).conduct(|storm| {
        trouble(&mut storm.cluster);
        storm.checked(Stopped::Done).map(|_| ())
    })
}

/// Heals a cluster of your own, whatever was done to it, and looks whether order returns, as after
/// a storm. `writes` are those that somebody may have written to it.
///
/// # Errors
/// The invariant that broke.
pub fn heal<P: Protocol<Machine = Ledger>>(
    cluster: Cluster<P>,
    writes: impl IntoIterator<Item = Write>,
) -> Result<Duration, Violation> {
    let options = Options { clients: 0, faults: vec![], ..Options::default() };
    let workload = ledger(options.client_pause_max);
    if let Some(history) = &workload.history {
        writes.into_iter().for_each(|write| history.borrow_mut().expect(write));
    }
    Storm::new(cluster, options, workload).heal()
}

/// A storm that has not begun.
struct Conductor<P: Protocol> {
    seed: u64,
    options: Options<P>,
    workload: Workload<P::Machine>,
    replay: String,
}

impl<P: Protocol<Machine = Ledger>> Conductor<P> {
    fn of_ledger(seed: u64, options: &Options<P>) -> Self {
        let workload = ledger(options.client_pause_max);
        let flags = P::replay(options);
        let replay = format!("cargo run --release -- storm {seed} {flags} --trace");
        Self { seed, options: options.clone(), workload, replay }
    }
}

impl<P: Protocol> Conductor<P> {
    fn conduct(
        self,
        trouble: impl FnOnce(&mut Storm<P>) -> Outcome<()>,
    ) -> Result<Report<P>, Box<Failure>> {
        let Self { seed, options, workload, replay } = self;
        let nodes = options.nodes;
        let mut witness = Witness { seed, nodes, replay: &replay, survived: false };
        let mut cluster = P::brew(seed, &options, &workload);
        if let Some(always) = &workload.always {
            cluster.judge_always(always.clone());
        }
        if let Some(beside) = &workload.beside {
            cluster.run_beside(beside.clone());
        }
        let sketch = options.sketch.clone();
        if let Some(sketch) = &sketch {
            cluster.world().trace().watch(sketch);
        }
        cluster.start_all();
        let mut storm = Storm::new(cluster, options, workload);
        let outcome = trouble(&mut storm).and_then(|()| storm.heal());
        witness.survived = true;
        let world = storm.cluster.world();
        let violation = match outcome {
            Ok(healed_in) => return Ok(storm.report(seed, healed_in)),
            Err(violation) => violation,
        };
        let (at, tail) = (world.now(), world.trace().take_text());
        if let Some(sketch) = &sketch {
            sketch.alarm(at, &format!("broken invariant {violation}"));
        }
        Err(Box::new(Failure { seed, nodes, violation, at, tail, replay: replay.clone() }))
    }
}

/// Says which seed it was when a node panics.
struct Witness<'a> {
    seed: u64,
    nodes: u64,
    replay: &'a str,
    survived: bool,
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if !self.survived {
            let Self { seed, nodes, replay, .. } = self;
            let what = format!("a node panicked in the storm of seed {seed} with {nodes} nodes");
            output::complain(format!("{what}\nreplay: {replay}"));
        }
    }
}

/// A storm under way.
pub struct Storm<P: Protocol> {
    pub(crate) cluster: Cluster<P>,
    pub(crate) options: Options<P>,
    pub(crate) rng: Rng,
    workload: Workload<P::Machine>,
    clients: Clients,
    repairs: BTreeMap<(Time, u64), Repair>,
    planned: u64,
    faults: BTreeMap<Fault<P::Fault>, u32>,
    /// What was done to the disks of nodes that are down, and how they were.
    harmed: BTreeMap<NodeId, (Harm, SimDisk)>,
    /// The nodes that stay down because of it.
    lost: BTreeSet<NodeId>,
    /// The nodes that have forgotten what they promised.
    forfeited: BTreeSet<NodeId>,
    /// The nodes whose disks are full for good.
    filled: BTreeSet<NodeId>,
    /// Old disks of nodes.
    copies: BTreeMap<NodeId, Copy>,
    rot_refused: u32,
    waits: Waits,
    /// The nodes whose clocks are far from right.
    wild: BTreeSet<NodeId>,
}

/// What came of a part of a storm, or the invariant that broke.
pub type Outcome<T> = Result<T, Violation>;

impl<P: Protocol> Storm<P> {
    /// A storm about to break over a cluster, whatever state that is in.
    fn new(cluster: Cluster<P>, options: Options<P>, workload: Workload<P::Machine>) -> Self {
        let count = if P::takes_commands(&options) { options.clients } else { 0 };
        let clock = |node| (node, cluster.world().clock_of(node));
        let waits = Waits::new(cluster.members().into_iter().map(clock).collect());
        let clients = Clients::begin(&cluster, &workload, count, &waits);
        let rng = cluster.world().rng().fork();
        Self {
            cluster,
            options,
            rng,
            workload,
            clients,
            repairs: BTreeMap::new(),
            planned: 0,
            faults: BTreeMap::new(),
            harmed: BTreeMap::new(),
            lost: BTreeSet::new(),
            forfeited: BTreeSet::new(),
            filled: BTreeSet::new(),
            copies: BTreeMap::new(),
            rot_refused: 0,
            waits,
            wild: BTreeSet::new(),
        }
    }

    fn report(&mut self, seed: u64, healed_in: Duration) -> Report<P> {
        let history = self.workload.history.as_ref();
        Report {
            seed,
            hash: self.cluster.world().trace().hash(),
            cast: P::cast(&self.cluster),
            faults: std::mem::take(&mut self.faults),
            decided: P::decided(&self.cluster.world().checker().borrow()),
            rot_refused: self.rot_refused,
            tally: history.map(|history| history.borrow().tally()).unwrap_or_default(),
            coverage: P::coverage(&self.cluster.world().checker().borrow()),
            healed_in,
        }
    }

    fn run_until(&mut self, until: Time) -> Outcome<()> {
        self.checked(self.cluster.world().run_until(until, || false))?;
        self.watch()
    }

    pub(crate) fn checked(&self, stopped: Stopped) -> Outcome<Stopped> {
        if let Err((invariant, what)) = P::look(&self.cluster) {
            self.broken(invariant, what);
        }
        match self.cluster.world().violation() {
            Some(violation) => Err(violation),
            None => Ok(stopped),
        }
    }

    pub(crate) fn broken(&self, invariant: &'static str, what: String) -> Violation {
        self.cluster.world().checker().borrow_mut().report(invariant, what.clone());
        Violation { invariant, what }
    }
}

impl<P: Protocol> fmt::Debug for Storm<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storm({:?}, {:?})", self.options, self.cluster)
    }
}
