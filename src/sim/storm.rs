//! Storms: a cluster, its clients, and trouble of all kinds at random; then everything is healed
//! and order must return.
//!
//! The first phase is about safety: after every event the invariants hold, whatever happens. The
//! second is about liveness (I9): without further trouble there is one leader within
//! [`HEALING_ELECTIONS`] election timeouts, every node serves writes and reads, all come to the
//! same state, and what the clients saw agrees with it.
//!
//! `faults` is the first phase, `recovery` the second. Everything is decided by the seed. A [`Failure`] prints it, with the command that replays it.

mod bit_rot;
mod churn;
mod faults;
mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::config::{Limits, Timing};
use crate::env::{Rng, Time, output};
use crate::id::{Index, NodeId};
use crate::sim::checker::{Coverage, Violation};
use crate::sim::client::Clients;
use crate::sim::cluster::{Cluster, Setup};
use crate::sim::executor::Order;
use crate::sim::history::Tally;
use crate::sim::machine::{Ledger, Write};
use crate::sim::picture::Sketch;
use crate::sim::storm::bit_rot::BitRot;
use crate::sim::storm::faults::Repair;
use crate::sim::trace::{Detail, TAIL_LINES};
use crate::sim::world::Stopped;

/// Election timeouts (the longest ones) within which order must return after the healing.
pub const HEALING_ELECTIONS: u32 = 12;

/// One kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
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
    /// A bit of a file flips while the node is down: it must refuse to start, or not need that bit.
    BitRot,
    /// The clock of a node runs at half to twice its speed for a while. (While this is among the
    /// faults no clock is quite right: each runs at nine to eleven tenths, also in the healing.)
    Drift,
    /// Leader after leader is cut off just after its election, while the one before it comes back.
    Churn,
    /// A follower takes it that its leader wants to be relieved, however far behind it is: it stands
    /// for election without asking first whether it would be elected.
    ForcedTransfer,
    /// A node is asked to shut down, as for an upgrade, and is started again.
    Upgrade,
    /// The role of a node is dropped where it waits, as no event of the protocol would.
    Cancel,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Crash,
        Self::Partition,
        Self::Weather,
        Self::Pause,
        Self::Stall,
        Self::Full,
        Self::DiskError,
        Self::BitRot,
        Self::Drift,
        Self::Churn,
        Self::ForcedTransfer,
        Self::Upgrade,
        Self::Cancel,
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
    /// How ready tasks are chosen.
    pub order: Order,
    /// How many clients.
    pub clients: u32,
    /// The longest time that a client waits between two operations.
    pub client_pause_max: Duration,
    /// How much of the trace is kept, and printed if wished.
    pub detail: Detail,
    /// Whether each line of the trace is printed as it happens.
    pub print: bool,
    /// Who watches, for a picture. It is good for one also if the storm fails.
    pub sketch: Option<Sketch>,
}

impl Default for Options {
    /// Three nodes, a minute, everything.
    fn default() -> Self {
        Self {
            nodes: 3,
            span: Duration::from_secs(60),
            faults: Fault::ALL.to_vec(),
            calm_max: Duration::from_millis(1_500),
            order: Order::Seeded,
            clients: 8,
            client_pause_max: Duration::from_millis(40),
            detail: Detail::Events,
            print: false,
            sketch: None,
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
    /// Starts that were refused because of a flipped bit.
    pub rot_refused: u32,
    /// What the clients did.
    pub tally: Tally,
    /// What the nodes went through.
    pub coverage: Coverage,
    /// From the healing until every node followed one leader.
    pub healed_in: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (troubles, tally, seen) =
            (self.faults.values().sum::<u32>(), self.tally, self.coverage);
        write!(f, "seed {} hash {:016x}: {troubles} troubles, ", self.seed, self.hash)?;
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
        write!(f, "{} starts refused on rotten disks; ", self.rot_refused)?;
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
        let Self { seed, nodes, violation, at, tail } = self;
        writeln!(f, "{}", tail.join("\n"))?;
        writeln!(f, "seed {seed}, {nodes} nodes, at {at:?}: broken invariant {violation}")?;
        write!(f, "replay: cargo run --release -- storm {seed} --nodes {nodes} --trace")
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
    conduct(seed, options, |storm| storm.trouble())
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

/// Heals a cluster of your own, whatever was done to it, and looks whether order returns, as after
/// a storm. `writes` are those that somebody may have written to it.
///
/// # Errors
/// The invariant that broke.
pub fn heal(
    cluster: Cluster<Ledger>,
    writes: impl IntoIterator<Item = Write>,
) -> Result<Duration, Violation> {
    let options = Options { clients: 0, faults: vec![], ..Options::default() };
    let mut storm = Storm::new(cluster, &options);
    writes.into_iter().for_each(|write| storm.clients.expect(write));
    storm.heal()
}

fn conduct(
    seed: u64,
    options: &Options,
    trouble: impl FnOnce(&mut Storm<'_>) -> Outcome<()>,
) -> Result<Report, Box<Failure>> {
    let setup = Setup {
        nodes: options.nodes,
        order: options.order,
        timing: Timing::LAN,
        limits: tiny_limits(),
        detail: options.detail,
        lines_max: TAIL_LINES,
        print: options.print,
    };
    let mut witness = Witness { seed, nodes: options.nodes, survived: false };
    let mut cluster = Cluster::new(seed, setup, Ledger::default);
    if let Some(sketch) = &options.sketch {
        cluster.world().trace().watch(sketch);
    }
    cluster.start_all();
    let mut storm = Storm::new(cluster, options);
    let outcome = trouble(&mut storm).and_then(|()| storm.heal());
    witness.survived = true;
    match outcome {
        Ok(healed_in) => Ok(Report {
            seed,
            hash: storm.cluster.world().trace().hash(),
            decided: storm.cluster.world().checker().borrow().decided(),
            tally: storm.clients.tally(),
            coverage: storm.cluster.world().checker().borrow().coverage(),
            rot_refused: storm.rot_refused,
            faults: std::mem::take(&mut storm.faults),
            healed_in,
        }),
        Err(violation) => {
            let (at, trace) = (storm.cluster.world().now(), storm.cluster.world().trace());
            if let Some(sketch) = &options.sketch {
                sketch.alarm(at, &format!("broken invariant {violation}"));
            }
            let (nodes, tail) = (options.nodes, trace.take_text());
            Err(Box::new(Failure { seed, nodes, violation, at, tail }))
        }
    }
}

/// Says which seed it was when a node panics.
struct Witness {
    seed: u64,
    nodes: u64,
    survived: bool,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if !self.survived {
            let Self { seed, nodes, .. } = self;
            output::complain(format_args!(
                "a node panicked in the storm of seed {seed} with {nodes} nodes\n\
                 replay: cargo run --release -- storm {seed} --nodes {nodes} --trace"
            ));
        }
    }
}

/// A storm under way.
struct Storm<'a> {
    cluster: Cluster<Ledger>,
    clients: Clients,
    options: &'a Options,
    rng: Rng,
    repairs: BTreeMap<(Time, u64), Repair>,
    planned: u64,
    faults: BTreeMap<Fault, u32>,
    /// The bits that have flipped on the disks of nodes that are down.
    rotten: BTreeMap<NodeId, BitRot>,
    /// The nodes that stay down because of it.
    lost: BTreeSet<NodeId>,
    rot_refused: u32,
}

type Outcome<T> = Result<T, Violation>;

impl<'a> Storm<'a> {
    /// A storm about to break over a cluster, whatever state that is in.
    fn new(cluster: Cluster<Ledger>, options: &'a Options) -> Self {
        let clients = Clients::new(&cluster, options.clients, options.client_pause_max);
        let rng = cluster.world().rng().fork();
        Self {
            cluster,
            clients,
            options,
            rng,
            repairs: BTreeMap::new(),
            planned: 0,
            faults: BTreeMap::new(),
            rotten: BTreeMap::new(),
            lost: BTreeSet::new(),
            rot_refused: 0,
        }
    }

    fn run_until(&mut self, until: Time) -> Outcome<()> {
        self.checked(self.cluster.world().run_until(until, || false)).map(|_| ())
    }

    fn checked(&self, stopped: Stopped) -> Outcome<Stopped> {
        match self.cluster.world().violation() {
            Some(violation) => Err(violation),
            None => Ok(stopped),
        }
    }

    fn broken(&self, invariant: &'static str, what: String) -> Violation {
        self.cluster.world().checker().borrow_mut().report(invariant, what.clone());
        Violation { invariant, what }
    }
}
