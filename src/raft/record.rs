//! The journal records of a raft node: their kinds, and the checkpoint. The [log](super::log)
//! writes the records of entries.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::{ClusterId, NodeId};
use crate::raft::message::Position;
use crate::raft::rules::HardState;

/// The kind of a record of entries: the first index, then the entries.
pub(crate) const RECORD_ENTRIES: u8 = 1;
/// The kind of a record of the hard state.
pub(crate) const RECORD_HARD_STATE: u8 = 2;
/// The kind of a record of a [`Checkpoint`].
pub(crate) const RECORD_CHECKPOINT: u8 = 3;
/// The kind of a record of the other engine.
pub(crate) const RECORD_OF_HELIX: u8 = 16;

/// The identity of the node and its hard state. A checkpoint is written at bootstrap and after each
/// snapshot; the journal can then release older records.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Checkpoint {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) members: Vec<NodeId>,
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: Position,
}
