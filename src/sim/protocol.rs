//! What the simulator must know of a protocol, and nothing else of it: the one interface between
//! the shared part, which names no protocol, and [`raft`](crate::sim::raft) and
//! [`helix`](crate::sim::helix), which add what only they have.
//!
//! A protocol here is a name for types and functions; nobody ever makes a value of it. It carries
//! the state machine that its nodes replicate, so that `Cluster<P>` and `Storm<P>` need no second
//! parameter.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::env::net::Wire;
use crate::env::{Env, Rng};
use crate::error::Fatal;
use crate::id::NodeId;
use crate::scope::cancel::CancelInjector;
use crate::sim::checks::{Checked, Invariants};
use crate::sim::cluster::{Cluster, Handle, Setup};
use crate::sim::executor::Group;
use crate::sim::machine::Digest;
use crate::sim::net::Flight;
use crate::sim::storm::known::Known;
use crate::sim::storm::{Fault, Options, Outcome, Report, Storm};
use crate::sim::trace::Tell;
use crate::sim::waits::Patience;
use crate::sim::workload::Workload;
use crate::sim::world::World;

/// What the life of one node is given.
#[derive(Debug)]
pub struct Birth {
    /// Whose life it is.
    pub node: NodeId,
    /// The outside world.
    pub env: Env,
    /// The other end of its network.
    pub wire: Wire,
    /// What its tasks belong to.
    pub group: Group,
    /// Drops what it is told to drop.
    pub(crate) cancel_injector: CancelInjector,
}

/// One life of a node, about to begin.
pub struct Life<P: Protocol> {
    /// The protocol's own handle on it.
    pub handle: P::Handle,
    /// The handle for clients, if it takes commands.
    pub node: Option<Handle<P::Machine>>,
    /// The life itself.
    pub future: Pin<Box<dyn Future<Output = Result<(), Fatal>>>>,
    /// Where its frames come out.
    pub wire: Wire,
}

impl<P: Protocol> fmt::Debug for Life<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Life({:?})", self.wire)
    }
}

/// A protocol whose nodes can be simulated.
pub trait Protocol: Sized + 'static {
    /// The state machine that its nodes replicate.
    type Machine: Digest;
    /// What a cluster can be told to be made of, besides what every cluster can.
    type Settings: fmt::Debug + Clone + Default;
    /// What its nodes tell.
    type Event: Tell;
    /// Its invariants.
    type Checker: Invariants<Event = Self::Event>;
    /// The handle on one life of a node.
    type Handle: Clone + 'static;
    /// What a node has that outlives its lives, besides its disk.
    type Slot;

    /// How many nodes a cluster has unless something else is said.
    const NODES: u64;

    /// The invariants of a cluster.
    fn checker(seed: u64, setup: &Setup<Self>) -> Self::Checker;

    /// A node that has not lived yet.
    fn slot(node: NodeId, world: &World<Self::Checker>, setup: &Setup<Self>) -> Self::Slot;

    /// Begins a life, on what the disk holds.
    ///
    /// # Errors
    /// Why it cannot begin.
    fn start(cluster: &Cluster<Self>, birth: Birth) -> Result<Life<Self>, Fatal>;

    /// Asks a node to end its life in good order.
    fn shutdown(handle: &Self::Handle);

    /// Its disk is emptied: what else a node has goes, too.
    fn wipe(slot: &Self::Slot);

    /// Those whose word counts.
    fn honest(cluster: &Cluster<Self>) -> Vec<NodeId>;

    /// The name of a frame's kind, for scripts that pick messages by it.
    fn kind(flight: &Flight) -> &'static str;

    // ---- storms ----

    /// What storms can leave out besides kinds of trouble.
    type Weakness: fmt::Debug + 'static;

    /// What today's code does not survive.
    fn known() -> Vec<Known<Self>>;

    /// Lets a storm not leave this out.
    fn include(options: &mut Options<Self>, weakness: &Self::Weakness);

    /// A node has forgotten what it promised: it counts among those that must be borne.
    fn forfeit(cluster: &mut Cluster<Self>, node: NodeId);

    /// A small disk on which a node must be able to live for ever.
    fn room_min(cluster: &Cluster<Self>) -> u64;

    /// The kinds of trouble that only this protocol suffers.
    type Fault: fmt::Debug + Copy + Ord + 'static;
    /// What a storm can be told besides what every storm can.
    type Options: fmt::Debug + Clone + Default;
    /// What a run has been through.
    type Coverage: fmt::Debug + Clone + PartialEq;
    /// Who took part, as far as the seed decides it.
    type Cast: fmt::Debug + Clone + PartialEq;

    /// How many clients there are in a storm, unless something else is said.
    const CLIENTS: u32;
    /// The longest time between two operations of a client, unless something else is said.
    const CLIENT_PAUSE_MAX: Duration;

    /// Every kind of trouble that it suffers.
    fn faults() -> Vec<Fault<Self::Fault>>;

    /// Whether nodes take commands in such a storm; else they decide something of their own.
    fn takes_commands(options: &Options<Self>) -> bool;

    /// The same storm, in which they do.
    fn with_commands(options: Options<Self>) -> Options<Self>;

    /// The cluster for the storm of a seed, not started yet.
    fn brew(
        seed: u64,
        options: &Options<Self>,
        workload: &Workload<Self::Machine>,
    ) -> Cluster<Self>;

    /// The command that runs the storm again, without its seed and flags that all storms know.
    fn replay(options: &Options<Self>) -> String;

    /// Who leads, as far as one can tell, of those whose word counts.
    fn leader(cluster: &Cluster<Self>) -> Option<NodeId>;

    /// Does what only this protocol suffers to `node`, or to others.
    ///
    /// # Errors
    /// The invariant that broke meanwhile.
    fn strike(storm: &mut Storm<Self>, fault: Self::Fault, node: NodeId) -> Outcome<()>;

    /// Ends it, if it does not end by itself.
    fn relieve(cluster: &Cluster<Self>, node: NodeId);

    /// Whether damaged frames may be handed on: everything in them that matters is signed.
    fn hands_on_damage(cluster: &Cluster<Self>, rng: &Rng) -> bool;

    /// Whether order can return although all of `lost` stay down.
    fn may_lose(cluster: &Cluster<Self>, lost: &BTreeSet<NodeId>) -> bool;

    /// The longest time that it may take until order has returned, after the healing.
    fn healing_max() -> Duration;

    /// How far it must have come when order has returned; asked at the healing.
    fn goal(cluster: &Cluster<Self>) -> u64;

    /// Whether order has returned among `alive`.
    fn has_recovered(cluster: &Cluster<Self>, alive: &[NodeId], goal: u64) -> bool;

    /// What a node is at, for the report of a failure.
    fn standing(handle: &Self::Handle) -> String;

    /// The last position in the order of all commands that every node must come to apply.
    fn position(checker: &Self::Checker) -> u64;

    /// How patient those who wait are.
    fn patience(cluster: &Cluster<Self>) -> Patience;

    /// Whether these alone can decide, whatever the others do.
    fn is_quorum(cluster: &Cluster<Self>, nodes: &BTreeSet<NodeId>) -> bool;

    /// Whether what only this protocol has is as it should be at a node.
    fn is_steady(cluster: &Cluster<Self>, node: NodeId) -> bool;

    /// The last decided position that a node has taken, as [`decided`](Self::decided) counts.
    fn taken(handle: &Self::Handle) -> u64;

    /// What must hold whenever one looks at the nodes.
    ///
    /// # Errors
    /// The invariant, and what is wrong.
    fn look(cluster: &Cluster<Self>) -> Checked;

    /// What must hold in the end, where no command was decided that could be compared.
    ///
    /// # Errors
    /// The invariant, and what is wrong.
    fn compare(cluster: &Cluster<Self>) -> Checked;

    /// How far it came: the last decided position, as this protocol counts.
    fn decided(checker: &Self::Checker) -> u64;

    /// What a run has been through.
    fn coverage(checker: &Self::Checker) -> Self::Coverage;

    /// Who took part.
    fn cast(cluster: &Cluster<Self>) -> Self::Cast;

    /// Writes what a storm was like.
    ///
    /// # Errors
    /// Those of `f`.
    fn tell(report: &Report<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}
