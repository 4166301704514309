//! What the tests of this engine share: a committee with real keys, and the honest way to make
//! each word. A test then spoils one thing.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::helix::protocol::app::{Keys, Member, SeedScheme};
use crate::helix::protocol::block::{Block, Hash, Seed};
use crate::helix::protocol::committee::Committee;
use crate::helix::protocol::keys::Ed25519;
use crate::helix::protocol::message::{Kind, Share, Signature, ViewChange, Vote};
use crate::helix::protocol::proof::{BlockProof, PreparedProof};
use crate::helix::protocol::signer::Signer;
use crate::helix::protocol::verify::block_proof;
use crate::id::{ClusterId, Height, NodeId, View};

/// The instance of all tests that do not say otherwise.
pub(crate) const INSTANCE: ClusterId = ClusterId(7);

/// The secret key of a node.
pub(crate) fn secret(node: u64) -> [u8; 32] {
    Hash::of(&[b"secret", &node.to_le_bytes()]).0
}

/// The keys of a node, which knows those of nodes 1 to `count`.
pub(crate) fn keys(node: u64, count: u64) -> Ed25519 {
    let publics = (1..=count).map(|id| (NodeId(id), Ed25519::public_of(secret(id)))).collect();
    Ed25519::new(secret(node), publics).expect("good keys")
}

/// A committee of nodes 1, 2, ... in this order, and two nodes with good keys that are not in it.
pub(crate) struct Cast {
    pub(crate) committee: Committee,
    signers: BTreeMap<u64, Signer>,
}

impl Cast {
    /// Members with these weights.
    pub(crate) fn new(weights: &[u64]) -> Self {
        Self::with(weights, |keys| Box::new(keys))
    }

    /// As [`new`](Self::new), with the toy scheme for seeds.
    pub(crate) fn with_seeds(weights: &[u64]) -> Self {
        Self::with(weights, |keys| Box::new(WithSeeds { keys }))
    }

    fn with(weights: &[u64], make: impl Fn(Ed25519) -> Box<dyn Keys>) -> Self {
        let count = weights.len() as u64 + 2;
        let member = |(&weight, node)| Member { node: NodeId(node), weight };
        let members = weights.iter().zip(1..).map(member).collect();
        let signer = |id| (id, Signer::new(NodeId(id), INSTANCE, make(keys(id, count))));
        Self {
            committee: Committee::new(members).expect("a committee"),
            signers: (1..=count).map(signer).collect(),
        }
    }

    /// A node's signer.
    pub(crate) fn signer(&self, node: u64) -> &Signer {
        &self.signers[&node]
    }

    /// A node's vote.
    pub(crate) fn vote(&self, node: u64, kind: Kind, view: u64, hash: Hash) -> Vote {
        self.signer(node).vote(kind, HEIGHT, View(view), hash)
    }

    /// A node's name and the signature of its vote.
    pub(crate) fn signed(
        &self,
        node: u64,
        kind: Kind,
        view: u64,
        hash: Hash,
    ) -> (NodeId, Signature) {
        (NodeId(node), self.vote(node, kind, view, hash).signature)
    }

    /// A proof that these nodes, and the leader of the view, accepted a block.
    pub(crate) fn prepared(&self, view: u64, hash: Hash, nodes: &[u64]) -> PreparedProof {
        let leader = self.committee.leader(View(view)).0;
        PreparedProof {
            view: View(view),
            hash,
            proposal: self.vote(leader, Kind::PrePrepare, view, hash).signature,
            prepares: nodes.iter().map(|&id| self.signed(id, Kind::Prepare, view, hash)).collect(),
        }
    }

    /// A node's word that it leaves for a view.
    pub(crate) fn change(
        &self,
        node: u64,
        view: u64,
        prepared: Option<PreparedProof>,
    ) -> (NodeId, ViewChange) {
        (NodeId(node), self.signer(node).view_change(HEIGHT, View(view), prepared))
    }

    /// A proof that these nodes committed a block; of just a quorum of them, if they are one.
    pub(crate) fn decided(&self, view: u64, block: &Block, nodes: &[u64]) -> BlockProof {
        let hash = block.hash(INSTANCE);
        let commits = nodes.iter().map(|&id| self.signed(id, Kind::Commit, view, hash)).collect();
        block_proof(&self.committee, block.height, View(view), hash, commits, None)
    }
}

/// The height of all tests that do not say otherwise.
pub(crate) const HEIGHT: Height = Height(5);

/// A block at [`HEIGHT`].
pub(crate) fn block(payload: &'static str) -> Block {
    Block {
        height: HEIGHT,
        previous: Hash([4; 32]),
        proposer: NodeId(1),
        time: 0,
        payload: Bytes::from_static(payload.as_bytes()),
    }
}

/// The keys of a node and a scheme for seeds that is a toy: anybody can make anybody's share. It has
/// the shape of a real one: shares differ by member, what they make together does not.
struct WithSeeds {
    keys: Ed25519,
}

impl Keys for WithSeeds {
    fn sign(&self, bytes: &[u8]) -> Signature {
        self.keys.sign(bytes)
    }

    fn verify(&self, node: NodeId, bytes: &[u8], signature: &Signature) -> bool {
        self.keys.verify(node, bytes, signature)
    }

    fn seeds(&self) -> Option<&dyn SeedScheme> {
        Some(self)
    }
}

/// The share of a node, as the toy scheme makes it.
pub(crate) fn share_of(node: NodeId, height: Height, seed: &Seed) -> Share {
    let (node, height) = (node.0.to_le_bytes(), height.0.to_le_bytes());
    let own = Hash::of(&[b"share", &node, &height, &seed.0]);
    Share([Hash::of(&[b"group", &height, &seed.0]).0, own.0].concat().into())
}

impl SeedScheme for WithSeeds {
    fn share(&self, height: Height, seed: &Seed) -> Share {
        share_of(self.keys.owner().expect("a key of its own"), height, seed)
    }

    fn verify_share(&self, height: Height, seed: &Seed, node: NodeId, share: &Share) -> bool {
        *share == share_of(node, height, seed)
    }

    fn aggregate(&self, _: Height, shares: &[(NodeId, Share)]) -> Bytes {
        shares[0].1.0.slice(..32)
    }

    fn verify(&self, height: Height, seed: &Seed, signature: &[u8]) -> bool {
        signature == Hash::of(&[b"group", &height.0.to_le_bytes(), &seed.0]).0
    }
}
