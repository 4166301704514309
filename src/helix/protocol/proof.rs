//! Proofs: what a quorum has said, in a form that anybody can check later.
//!
//! A [`PreparedProof`] says that a quorum accepted a block in a view; it travels in view changes,
//! and is why a block that may have been decided is never replaced. A [`BlockProof`] says that a
//! quorum committed a block: it is final, and whoever holds it needs to trust nobody.
//!
//! Both are minimal (just a quorum), sorted in the order of the committee, and hold members only:
//! the same votes make the same bytes. Checking one means checking every signature in it.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use crate::helix::protocol::block::Hash;
use crate::helix::protocol::message::Signature;
use crate::id::{Height, NodeId, View};

/// A quorum accepted a block in a view.
///
/// The height is not in it: it is that of the message that carries it, and signed in each part.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PreparedProof {
    /// In which view.
    pub view: View,
    /// Which block.
    pub hash: Hash,
    /// The PREPREPARE signature of the leader of that view.
    pub proposal: Signature,
    /// PREPARE signatures of others: with the leader just a quorum, in the order of the committee.
    pub prepares: Vec<(NodeId, Signature)>,
}

/// A quorum committed a block: it is decided, and this is the proof for everybody.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlockProof {
    /// At which height.
    pub height: Height,
    /// In which view.
    pub view: View,
    /// Which block.
    pub hash: Hash,
    /// COMMIT signatures: just a quorum, in the order of the committee.
    pub commits: Vec<(NodeId, Signature)>,
    /// The aggregated signature over the seed of this height, if there is a scheme.
    pub seed: Option<Bytes>,
}
