//! Signing and checking: every statement that this node makes or believes passes here.
//!
//! It knows the instance and the keys, and counts: what a decision costs is mostly signatures.

use std::cell::Cell;
use std::fmt;

use crate::helix::block::{Block, Hash, Seed};
use crate::helix::certificate::{BlockProof, PreparedProof};
use crate::helix::committee::Committee;
use crate::helix::message::{Kind, NewView, Signature, Statement, ViewChange, Vote};
use crate::helix::spi::Keys;
use crate::id::{ClusterId, Height, NodeId, View};

/// Signs and checks for one node.
pub struct Notary {
    pub(crate) me: NodeId,
    pub(crate) instance: ClusterId,
    pub(crate) keys: Box<dyn Keys>,
    signed: Cell<u64>,
    verified: Cell<u64>,
}

/// How much a block's proof must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// A quorum: the block is final.
    Full,
    /// The weight of one honest member at least: an attestation that one honest member committed
    /// to it, and not finality.
    Soft,
}

impl Notary {
    pub(crate) fn new(me: NodeId, instance: ClusterId, keys: Box<dyn Keys>) -> Self {
        Self { me, instance, keys, signed: Cell::new(0), verified: Cell::new(0) }
    }

    /// Signatures made so far.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.signed.get()
    }

    /// Signatures checked so far.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.verified.get()
    }

    fn statement(&self, kind: Kind, height: Height, view: View, subject: Hash) -> Statement {
        Statement { instance: self.instance, kind, height, view, subject }
    }

    fn sign(&self, statement: &Statement) -> Signature {
        self.signed.set(self.signed.get() + 1);
        self.keys.sign(&statement.bytes())
    }

    /// Whether `signature` is the node's, over the statement.
    pub fn check(&self, node: NodeId, statement: &Statement, signature: &Signature) -> bool {
        self.verified.set(self.verified.get() + 1);
        self.keys.verify(node, &statement.bytes(), signature)
    }
}

impl fmt::Debug for Notary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Notary({:?}: {} signed, {} checked)", self.me, self.signed(), self.verified())
    }
}
