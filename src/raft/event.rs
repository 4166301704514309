//! What a node tells an observer: typed events, in the order in which they happened.
//!
//! Scenarios print them, storms hash them, and the invariants are checked on nothing else. Nothing
//! is computed for them unless somebody observes.

use crate::id::{Index, NodeId, Term};
use crate::raft::Role;

/// One thing that happened on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The node began its life with what its journal held; everything up to `durable` is on disk.
    /// One [`Appended`](Self::Appended) follows for each entry that it found after its snapshot.
    Started {
        /// The term of its hard state.
        term: Term,
        /// Whom it had voted for in that term.
        vote: Option<NodeId>,
        /// What its snapshot covers.
        snapshot: Index,
        /// The last entry of its log.
        durable: Index,
    },
    /// It entered the scope of a role.
    Entered {
        /// The role.
        role: Role,
        /// The term it is in.
        term: Term,
        /// The leader it follows or is.
        leader: Option<NodeId>,
    },
    /// It left the scope of a role, and everything in that scope was dropped.
    Left {
        /// The role.
        role: Role,
        /// Its term at that moment.
        term: Term,
        /// The reason, in a few fixed words.
        why: &'static str,
    },
    /// It set its term, and perhaps its vote, in memory; the messages follow when that is durable.
    HardStateSet {
        /// The term.
        term: Term,
        /// The vote.
        vote: Option<NodeId>,
    },
    /// It put an entry into its log (in memory; not yet durable).
    Appended {
        /// Its position.
        index: Index,
        /// The term that proposed it.
        term: Term,
        /// A checksum of its kind and payload.
        digest: u32,
    },
    /// It removed this entry and all after it, because its leader's log differs.
    Truncated {
        /// The first one removed.
        from: Index,
    },
    /// Everything up to here is durable on this node.
    Synced {
        /// The last durable entry.
        index: Index,
    },
    /// It learned that everything up to here is decided.
    Committed {
        /// The last decided entry.
        index: Index,
    },
    /// Its state machine has applied everything up to here.
    Applied {
        /// The last applied entry.
        index: Index,
    },
    /// It built and stored a snapshot of its own state.
    Compacted {
        /// What the snapshot covers.
        index: Index,
        /// The term of that entry.
        term: Term,
    },
    /// It replaced its state by a snapshot from its leader.
    Installed {
        /// What the snapshot covers.
        index: Index,
        /// The term of that entry.
        term: Term,
    },
}

/// Somebody who is told every event of a node.
pub type Observer = crate::scope::observer::Observer<Event>;
