//! Storms for helix: a cluster with as many liars as it must bear, and trouble of all kinds at
//! random; then everything but the liars is healed and the chain must go on.
//!
//! The first phase is about safety: after every event the invariants hold, whatever happens and
//! however many nodes are down. The second is about liveness (I9): without further trouble, but
//! with the liars still there, every honest node decides and delivers [`BLOCKS_AFTER`] more blocks
//! within [`HEALING_VIEWS`] of the longest views. With clients, everything that they saw must agree
//! with the ledger to which all nodes come (I8).
//!
//! The seed decides everything, also who decides in the cluster, who lies and how. A [`Failure`]
//! prints it, with the command that replays it.

mod faults;
mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::env::{Rng, Time, output};
use crate::id::{Height, NodeId};
use crate::quorum::faulty_max;
use crate::sim::checker::Violation;
use crate::sim::client::{Clients, Finding};
use crate::sim::executor::Order;
use crate::sim::helix::adversary::Lie;
use crate::sim::helix::checker::Coverage;
use crate::sim::helix::cluster::{Cluster, Setup, TIMING};
use crate::sim::helix::schedule::CommitteeSchedule;
use crate::sim::helix::storm::faults::Repair;
use crate::sim::helix::test_app::Behaviour;
use crate::sim::history::Tally;
use crate::sim::picture::Sketch;
use crate::sim::trace::Detail;
use crate::sim::world::{Checks, Stopped};

/// The longest views within which the chain must have gone on after the healing.
pub const HEALING_VIEWS: u32 = 8;
/// So many blocks further.
pub const BLOCKS_AFTER: u64 = 5;

/// The longest time that a client waits between two operations.
const CLIENT_PAUSE_MAX: Duration = Duration::from_millis(120);

/// One kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// A node is killed or its power is cut, at any of its polls.
    Crash,
    /// Several of them at once, and back at once.
    Blackout,
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
    /// An application is slow, refuses blocks, cannot make one, or fails to take delivery.
    Application,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Crash,
        Self::Blackout,
        Self::Partition,
        Self::Weather,
        Self::Pause,
        Self::Stall,
        Self::Full,
        Self::DiskError,
        Self::Application,
    ];
}

/// What kind of storm.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many nodes.
    pub nodes: u64,
    /// How long the trouble and the healing may take together.
    pub span: Duration,
    /// The kinds of trouble; may be empty.
    pub faults: Vec<Fault>,
    /// The kinds of liars; none if it is empty.
    pub lies: Vec<Lie>,
    /// Who decides; by the seed if it is not said.
    pub schedule: Option<CommitteeSchedule>,
    /// The longest time between two troubles.
    pub calm_max: Duration,
    /// How many clients write to and read from a ledger; with none of them, blocks are a test app's.
    /// With clients, liars speak for themselves only, see [`Lie::own_voice`].
    pub clients: u32,
    /// How ready tasks are chosen.
    pub order: Order,
    /// How much of the trace is kept, and printed if wished.
    pub detail: Detail,
    /// Whether each line of the trace is printed as it happens.
    pub print: bool,
    /// Who watches, for a picture. It is good for one also if the storm fails.
    pub sketch: Option<Sketch>,
}

impl Default for Options {
    /// Four nodes, a minute, everything.
    fn default() -> Self {
        Self {
            nodes: 4,
            span: Duration::from_secs(60),
            faults: Fault::ALL.to_vec(),
            lies: Lie::ALL.to_vec(),
            schedule: None,
            calm_max: Duration::from_millis(1_500),
            clients: 0,
            order: Order::Seeded,
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
    /// Who decided.
    pub schedule: CommitteeSchedule,
    /// Who lied, and how.
    pub liars: BTreeMap<NodeId, Lie>,
    /// How many troubles of each kind there were.
    pub faults: BTreeMap<Fault, u32>,
    /// How many blocks were decided.
    pub decided: Height,
    /// What the clients did.
    pub tally: Tally,
    /// What the nodes went through.
    pub coverage: Coverage,
    /// From the healing until the chain had gone on everywhere.
    pub healed_in: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (troubles, seen) = (self.faults.values().sum::<u32>(), self.coverage);
        write!(f, "seed {} hash {:016x}: {:?}, ", self.seed, self.hash, self.schedule)?;
        write!(f, "liars {:?}, {troubles} troubles, ", self.liars)?;
        write!(
            f,
            "{} starts, {} resumed, {} elected, {} new views; ",
            seen.starts, seen.resumed, seen.elected, seen.new_views
        )?;
        if self.tally != Tally::default() {
            let Tally { acknowledged, not_applied, unknown, reads, reads_refused } = self.tally;
            write!(f, "writes: {acknowledged} done, {not_applied} not, {unknown} unknown; ")?;
            write!(f, "reads: {reads} done, {reads_refused} refused; ")?;
        }
        write!(
            f,
            "{} blocks, {} times late, {} times learned, {} times undelivered, {} pieces of \
             evidence; the chain went on after {:?}",
            self.decided, seen.late, seen.learned, seen.undelivered, seen.evidence, self.healed_in
        )
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
    /// The command that replays it, if it was a storm as the command line sends it.
    pub replay: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, violation, at, tail, replay } = self;
        writeln!(f, "{}", tail.join("\n"))?;
        writeln!(f, "seed {seed}, {nodes} nodes, at {at:?}: broken invariant {violation}")?;
        write!(f, "{replay}")
    }
}

impl std::error::Error for Failure {}

fn replay(seed: u64, options: &Options) -> String {
    let Options { nodes, clients, .. } = options;
    let clients = if *clients > 0 { format!(" --clients {clients}") } else { String::new() };
    let storm = format!("storm {seed} --engine helix --nodes {nodes}{clients}");
    format!("replay: cargo run --release -- {storm} --trace")
}

/// Runs the storm of a seed.
///
/// # Errors
/// [`Failure`] when an invariant breaks. A panic of a node goes through.
pub fn run(seed: u64, options: &Options) -> Result<Report, Box<Failure>> {
    conduct(seed, options, |storm| storm.trouble())
}

/// Runs a storm whose trouble you cause yourself; the healing is the same. Of the options, the
/// kinds of trouble do not count.
///
/// # Errors
/// As [`run`].
pub fn cause(
    seed: u64,
    options: &Options,
    trouble: impl FnOnce(&mut Cluster),
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
    let mut witness = Witness { seed, replay: replay(seed, options), survived: false };
    let mut storm = Storm::new(seed, options);
    let outcome = trouble(&mut storm).and_then(|()| storm.heal());
    witness.survived = true;
    let world = storm.cluster.world();
    match outcome {
        Ok(healed_in) => Ok(Report {
            seed,
            hash: world.trace().hash(),
            schedule: storm.cluster.setup().schedule.clone(),
            liars: storm.liars.clone(),
            decided: world.checker().borrow().decided(),
            tally: storm.clients.as_ref().map(Clients::tally).unwrap_or_default(),
            coverage: world.checker().borrow().coverage(),
            faults: std::mem::take(&mut storm.faults),
            healed_in,
        }),
        Err(violation) => {
            let at = world.now();
            if let Some(sketch) = &options.sketch {
                sketch.alarm(at, &format!("broken invariant {violation}"));
            }
            let (nodes, tail) = (options.nodes, world.trace().take_text());
            let replay = replay(seed, options);
            Err(Box::new(Failure { seed, nodes, violation, at, tail, replay }))
        }
    }
}

/// Says which seed it was when a node panics.
struct Witness {
    seed: u64,
    replay: String,
    survived: bool,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if !self.survived {
            let Self { seed, replay, .. } = self;
            let text = format!("a node panicked in the storm of seed {seed}\n{replay}");
            output::complain(text);
        }
    }
}

/// A storm under way.
struct Storm<'a> {
    cluster: Cluster,
    clients: Option<Clients>,
    options: &'a Options,
    rng: Rng,
    liars: BTreeMap<NodeId, Lie>,
    repairs: BTreeMap<(Time, u64), Repair>,
    planned: u64,
    faults: BTreeMap<Fault, u32>,
}

type Outcome<T> = Result<T, Violation>;

impl<'a> Storm<'a> {
    fn new(seed: u64, options: &'a Options) -> Self {
        let rng = Rng::seeded(!seed);
        let commands = options.clients > 0;
        let schedule = match &options.schedule {
            _ if commands => CommitteeSchedule::Sticky,
            Some(schedule) => schedule.clone(),
            None => any_schedule(&rng, options.nodes),
        };
        let setup = Setup {
            nodes: options.nodes,
            schedule,
            order: options.order,
            behaviour: Behaviour { keeps: rng.chance(500), ..Behaviour::STEADY },
            commands,
            detail: options.detail,
            print: options.print,
            ..Setup::default()
        };
        let mut cluster = Cluster::new(seed, setup);
        let liars = choose_liars(&rng, options, &cluster.setup().schedule);
        if let Some(sketch) = &options.sketch {
            cluster.world().trace().watch(sketch);
        }
        for (&node, &lie) in &liars {
            cluster.corrupt(node, lie);
        }
        cluster.start_all();
        let clients = commands.then(|| begin_clients(&cluster, options.clients));
        let (repairs, faults) = (BTreeMap::new(), BTreeMap::new());
        Self { cluster, clients, options, rng, liars, repairs, planned: 0, faults }
    }

    fn healing_max() -> Duration {
        TIMING.cap.unwrap_or(TIMING.base) * HEALING_VIEWS
    }

    fn run_until(&mut self, until: Time) -> Outcome<()> {
        self.checked(self.cluster.world().run_until(until, || false)).map(|_| ())?;
        self.bounded()
    }

    /// What nodes keep has limits, whatever the liars send (I10).
    fn bounded(&self) -> Outcome<()> {
        for node in self.cluster.honest() {
            let Some(engine) = self.cluster.node(node) else {
                continue;
            };
            let status = engine.status();
            let limits = self.cluster.setup().limits;
            let peers = self.options.nodes - 1;
            let kept_max = peers * (2 * limits.window + 1);
            if status.kept as u64 > kept_max || status.evidence.len() > limits.evidence_max {
                let (kept, evidence) = (status.kept, status.evidence.len());
                let what = format!("{node:?} keeps {kept} words and {evidence} pieces of evidence");
                return Err(self.broken("I10", what));
            }
        }
        Ok(())
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

fn begin_clients(cluster: &Cluster, count: u32) -> Clients {
    let directory = cluster.directory().clone();
    let find: Finding = Box::new(move |rng| Some(Rc::new(directory.any(rng)?)));
    Clients::of(cluster.world(), find, count, CLIENT_PAUSE_MAX)
}

fn any_schedule(rng: &Rng, nodes: u64) -> CommitteeSchedule {
    match rng.below(4) {
        0 => CommitteeSchedule::Seeded,
        1 => CommitteeSchedule::Weighted((0..nodes).map(|_| rng.within(1..=4)).collect()),
        2 if nodes > 4 => CommitteeSchedule::Rotating,
        _ => CommitteeSchedule::Sticky,
    }
}

/// As many liars as the committee bears, and sometimes fewer.
fn choose_liars(
    rng: &Rng,
    options: &Options,
    schedule: &CommitteeSchedule,
) -> BTreeMap<NodeId, Lie> {
    let mut liars = BTreeMap::new();
    let mut lies = options.lies.clone();
    if options.clients > 0 {
        lies.retain(|lie| Lie::own_voice().contains(lie));
    }
    if lies.is_empty() || rng.chance(100) {
        return liars;
    }
    // Whoever a changing committee leaves out may be an honest one: it must bear all the liars.
    let members = schedule.members(options.nodes, Height::ZERO);
    let total: u64 = members.iter().map(|member| member.weight).sum();
    let weigh = |node: NodeId| {
        let all = schedule.members(options.nodes, Height(1_000_000));
        let of = members.iter().chain(&all).find(|member| member.node == node);
        of.map_or(1, |member| member.weight)
    };
    let mut weight = 0;
    let mut slots: BTreeSet<_> = (1..=options.nodes).map(NodeId).collect();
    while !slots.is_empty() {
        let node = slots.iter().copied().nth(rng.below(slots.len())).unwrap_or(NodeId(1));
        slots.remove(&node);
        if weight + weigh(node) <= faulty_max(total) {
            weight += weigh(node);
            liars.insert(node, lies[rng.below(lies.len())]);
        }
    }
    liars
}
