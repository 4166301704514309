//! What raft does not survive today, see [`storm::known`](crate::sim::storm::known).

use crate::sim::machine::Digest;
use crate::sim::raft::Raft;
use crate::sim::storm::Fault;
use crate::sim::storm::known::{Known, Weakness};

/// Each with a storm that shows it.
pub(super) fn known<M: Digest>() -> Vec<Known<Raft<M>>> {
    let known = |name, fault, nodes, seed, invariant| Known {
        name,
        weakness: Weakness::Fault(fault),
        commands: true,
        nodes,
        seed,
        invariant,
    };
    vec![
        known("a node with an empty disk votes as its old self", Fault::Wiped, 3, 10, "I3"),
        known("a node with an old disk votes as its old self", Fault::RolledBack, 3, 29, "I3"),
        known("a journal that is missing is taken for a new one", Fault::Missing, 3, 1, "I6"),
        known("a journal that is cut short is taken for torn", Fault::Shortened, 3, 4, "I6"),
        known("a leader whose disk is full refuses for all", Fault::FullForGood, 5, 6, "I9"),
        known("a small disk is read-only for ever", Fault::Small, 3, 5, "I9"),
    ]
}
