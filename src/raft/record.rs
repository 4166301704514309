//! What a raft node writes into its journal, besides the entries of its [log](super::log).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::{ClusterId, NodeId};
use crate::raft::message::Position;
use crate::raft::rules::HardState;

/// The journal's name for a record of entries: first index, then the entries.
pub(crate) const RECORD_ENTRIES: u8 = 1;
/// The journal's name for a record of the hard state alone.
pub(crate) const RECORD_HARD_STATE: u8 = 2;
/// The journal's name for a record of everything that is not entries.
pub(crate) const RECORD_CHECKPOINT: u8 = 3;
/// The journal's name for a record of the other engine.
pub(crate) const RECORD_OF_HELIX: u8 = 16;

/// What the node is, and its hard state: written at bootstrap and after each snapshot, so that older
/// records can be released.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Checkpoint {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) members: Vec<NodeId>,
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: Position,
}
