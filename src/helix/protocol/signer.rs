//! Signing and checking: every statement that this node makes or believes passes here.
//!
//! It knows the instance and the keys, and counts: what a decision costs is mostly signatures.
//! Single statements are checked here, those that are made of many in [`verify`](super::verify).

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

use borsh::BorshSerialize;

pub use crate::helix::protocol::verify::{Justified, Wrong, block_proof};

use crate::helix::protocol::app::Keys;
use crate::helix::protocol::block::{Block, Hash};
use crate::helix::protocol::message::{Kind, NewView, Signature, Statement, ViewChange, Vote};
use crate::helix::protocol::proof::PreparedProof;
use crate::id::{ClusterId, Height, NodeId, View};

/// Signs and checks for one node.
pub struct Signer {
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

/// A statement whose signature is known to be right: it was checked, or this node signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Genuine<T>(T);

impl<T> Genuine<T> {
    /// Of a statement that the caller has just checked or signed.
    pub(super) fn known(statement: T) -> Self {
        Self(statement)
    }
}

impl<T> Deref for Genuine<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A statement as somebody claims to have made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed<T> {
    /// Nobody has looked at its signature yet.
    Unchecked(T),
    /// Its signature is known to be right.
    Genuine(Genuine<T>),
}

impl<T> Deref for Claimed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Unchecked(statement) | Self::Genuine(Genuine(statement)) => statement,
        }
    }
}

impl Signer {
    /// A signer for the node `me`.
    #[must_use]
    pub fn new(me: NodeId, instance: ClusterId, keys: Box<dyn Keys>) -> Self {
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

    pub(crate) fn statement(
        &self,
        kind: Kind,
        height: Height,
        view: View,
        subject: Hash,
    ) -> Statement {
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

    /// This node's vote for a block.
    #[must_use]
    pub fn vote(&self, kind: Kind, height: Height, view: View, hash: Hash) -> Vote {
        let signature = self.sign(&self.statement(kind, height, view, hash));
        Vote { height, view, hash, signature }
    }

    /// Whether a vote of `kind` is the node's.
    #[must_use]
    pub fn is_vote(&self, kind: Kind, from: NodeId, vote: &Vote) -> bool {
        let statement = self.statement(kind, vote.height, vote.view, vote.hash);
        self.check(from, &statement, &vote.signature)
    }

    /// The vote, if it is the node's; checked only if it was not.
    #[must_use]
    pub fn genuine_vote(
        &self,
        kind: Kind,
        from: NodeId,
        vote: Claimed<Vote>,
    ) -> Option<Genuine<Vote>> {
        match vote {
            Claimed::Genuine(vote) => Some(vote),
            Claimed::Unchecked(vote) => self.is_vote(kind, from, &vote).then(|| Genuine(vote)),
        }
    }

    /// This node's statement that it leaves for a view, with what it knows to be prepared.
    #[must_use]
    pub fn view_change(
        &self,
        height: Height,
        view: View,
        prepared: Option<PreparedProof>,
    ) -> ViewChange {
        let subject = prepared_digest(prepared.as_ref());
        let signature = self.sign(&self.statement(Kind::ViewChange, height, view, subject));
        ViewChange { height, view, prepared, signature }
    }

    /// This node's statement that the view it leads has begun. `changes` must be just a quorum, as
    /// [`Committee::just_quorum`](super::committee::Committee::just_quorum) chooses it, and `block`
    /// what they prove prepared, if they prove anything: else nobody will accept it.
    #[must_use]
    pub fn new_view(
        &self,
        height: Height,
        view: View,
        changes: Vec<(NodeId, ViewChange)>,
        block: Block,
    ) -> NewView {
        let hash = block.hash(self.instance);
        let proposal = self.vote(Kind::PrePrepare, height, view, hash).signature;
        let subject = new_view_digest(&changes, hash);
        let signature = self.sign(&self.statement(Kind::NewView, height, view, subject));
        NewView { height, view, changes, proposal, block, signature }
    }
}

/// What a view change is signed over: the proof it carries, whole, or nothing.
pub(crate) fn prepared_digest(prepared: Option<&PreparedProof>) -> Hash {
    prepared.map_or(Hash::NONE, |proof| digest(b"quorate helix prepared 1\0", proof, &[]))
}

/// What a new view is signed over: its view changes, whole, and the block.
pub(crate) fn new_view_digest(changes: &Vec<(NodeId, ViewChange)>, block: Hash) -> Hash {
    digest(b"quorate helix new view 1\0", changes, &block.0)
}

fn digest(domain: &[u8], value: &impl BorshSerialize, more: &[u8]) -> Hash {
    let bytes = borsh::to_vec(value).expect("memory does not refuse a write");
    Hash::of(&[domain, &bytes, more])
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({:?}: {} signed, {} checked)", self.me, self.signed(), self.verified())
    }
}
