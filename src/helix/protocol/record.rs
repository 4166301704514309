//! What a helix node writes into its journal, and what a restart makes of it.
//!
//! Every vote is a record before it is a message on the wire: which view this node has left for,
//! which block it accepted, that it holds the proof of a quorum's acceptance. A decided block is a
//! record, too; one that was accepted before is not written twice.

use std::rc::Rc;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::helix::protocol::block::{Block, Hash};
use crate::helix::protocol::evidence::Evidence;
use crate::helix::protocol::message::{HEIGHT_MAX, Signature, VIEW_MAX};
use crate::helix::protocol::proof::{BlockProof, PreparedProof};
use crate::id::{ClusterId, Height, NodeId, View};

/// The journal's name for a record of helix; raft's names are smaller.
pub(crate) const RECORD: u8 = 16;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Record {
    /// Whose journal it is: the first record, and no other.
    Identity { instance: ClusterId, node: NodeId },
    /// It has left for a view: nothing of an earlier one is signed any more.
    View { height: Height, view: View },
    /// It has accepted a block: it signed its PREPARE, or proposed it.
    Vote {
        height: Height,
        view: View,
        hash: Hash,
        /// The leader's PREPREPARE signature: part of any proof to come.
        proposal: Signature,
        /// The block, unless an earlier record of this height has it.
        block: Option<Block>,
    },
    /// It holds the proof that a quorum has accepted the block that it voted for: it signed its
    /// COMMIT.
    Lock { height: Height, proof: PreparedProof },
    /// A block is decided.
    Decided {
        proof: BlockProof,
        /// The block, unless an earlier record of this height has it.
        block: Option<Block>,
    },
    /// A member contradicted itself.
    Evidence(Evidence),
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("memory does not refuse a write")
    }

    /// Whether every height and view that it names is one that a node can have reached; counting on
    /// from here is safe then. (Only a decision may skip heights.)
    pub(crate) fn is_in_range(&self) -> bool {
        match self {
            Self::View { view, .. } | Self::Vote { view, .. } => *view <= VIEW_MAX,
            Self::Lock { proof, .. } => proof.view <= VIEW_MAX,
            Self::Decided { proof, .. } => proof.height <= HEIGHT_MAX && proof.view <= VIEW_MAX,
            Self::Identity { .. } | Self::Evidence(_) => true,
        }
    }
}

/// A block that this node has voted for.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) view: View,
    pub(crate) hash: Hash,
    /// The leader's PREPREPARE signature.
    pub(crate) proposal: Signature,
    pub(crate) block: Rc<Block>,
}

/// A block that a quorum has voted for.
#[derive(Debug, Clone)]
pub(crate) struct Locked {
    pub(crate) proof: PreparedProof,
    pub(crate) block: Rc<Block>,
}

/// What a node must never contradict, at the height that it is deciding. It changes in memory in
/// the same poll in which its record is handed to the journal, and never goes back.
#[derive(Debug, Clone, Default)]
pub(crate) struct VoteState {
    /// The height that it is about: the one after the last decided block.
    pub(crate) height: Height,
    /// The highest view that it takes part in.
    pub(crate) view: View,
    /// Its latest vote.
    pub(crate) accepted: Option<Accepted>,
    /// The latest block that it knows to be prepared.
    pub(crate) locked: Option<Locked>,
}

impl VoteState {
    /// Nothing promised yet at `height`.
    pub(crate) fn new(height: Height) -> Self {
        Self { height, ..Self::default() }
    }

    /// A block of this height that is known, by its hash.
    pub(crate) fn block(&self, hash: Hash) -> Option<Rc<Block>> {
        let accepted = self.accepted.as_ref().filter(|accepted| accepted.hash == hash);
        let locked = self.locked.as_ref().filter(|locked| locked.proof.hash == hash);
        accepted.map(|a| a.block.clone()).or_else(|| locked.map(|l| l.block.clone()))
    }

    /// Whether it has voted in `view`, and for what.
    pub(crate) fn voted(&self) -> Option<(View, Hash)> {
        self.accepted.as_ref().map(|accepted| (accepted.view, accepted.hash))
    }
}
