//! What the simulator needs of the invariants of a protocol: to tell them what happens, and to ask
//! whether one is broken.

use std::fmt;

use crate::id::NodeId;
use crate::machine::Committed;
use crate::sim::net::Flight;
use crate::sim::trace::Tell;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its name: `I1` to `I11`, or what else went wrong.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// Nothing, or the invariant that is broken and how.
pub(crate) type Checked = Result<(), (&'static str, String)>;

/// What is checked of state machines, and of the world itself.
pub trait Checks {
    /// The first broken invariant, if any.
    fn violation(&self) -> Option<&Violation>;

    /// Records a broken invariant that was found elsewhere; the first one stays.
    fn report(&mut self, invariant: &'static str, what: String);

    /// Takes in what a node's machine applied and the digest of its state afterwards.
    fn applied(&mut self, node: NodeId, entry: Committed<'_>, digest: u64);

    /// Takes in that a node's machine was replaced by a snapshot, and its digest.
    fn restored(&mut self, node: NodeId, digest: u64);
}

/// The invariants of a protocol.
pub trait Invariants: Checks + 'static {
    /// What its nodes tell.
    type Event: Tell;

    /// Takes in an event of a node.
    fn event(&mut self, node: NodeId, event: Self::Event);

    /// Holds the sender of a frame to what it says in it.
    fn sent(&mut self, flight: &Flight);

    /// A power cut or a kill: the node's memory is gone.
    fn crashed(&mut self, node: NodeId);

    /// A copy of the node's disk is made, of what is durable.
    fn copied(&mut self, node: NodeId);

    /// The node's disk is that copy again: nothing that it said since then binds it.
    fn rolled_back(&mut self, node: NodeId);

    /// The node's disk was emptied on purpose: nothing that it said binds it.
    fn wiped(&mut self, node: NodeId);
}
