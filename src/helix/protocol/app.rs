//! The service interface: what you bring to decide blocks of your own.
//!
//! | interface | what it does | default |
//! |---|---|---|
//! | [`Membership`] | who decides a height, in which order, with which weight | [`FixedCommittee`](super::committee::FixedCommittee) |
//! | [`Blocks`] | makes blocks and judges those of others | batches of commands for a [`StateMachine`](crate::StateMachine) |
//! | [`Chain`] | takes delivery of decided blocks | applies them to the [`StateMachine`](crate::StateMachine) |
//! | [`Keys`] | signs, and checks signatures | [`Ed25519`](super::keys::Ed25519) |
//! | [`Trigger`] | says when a view has lasted too long | [`Timer`](super::trigger::Timer) |
//! | [`env::Net`](crate::env::Net) | carries frames to the others; give its [`Wire`](crate::env::net::Wire) to your transport | [`tcp`](crate::tcp) |
//!
//! The node holds each of them once and lends it to each term. A future that a method returns may
//! be dropped at any of its awaits, and is, when the view or the term that waits for it ends: an
//! election drops a block that is being made, a block that arrives from elsewhere drops one that is
//! being judged. It is never polled again after that, whether it cooperates or not.
//!
//! What a method computes *without* awaiting holds up the whole node. Three ways to live with that:
//! *inline*, if it takes well below a millisecond; *sliced*, with a
//! [`Budget`](crate::scope::budget::Budget) that yields; *off-thread*, on a thread of your own whose
//! answer arrives through a channel: if the scope is gone by then, nobody reads it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::helix::protocol::block::{Block, Hash, Seed};
use crate::helix::protocol::message::{Share, Signature};
use crate::helix::protocol::proof::BlockProof;
use crate::id::{Height, NodeId, View};

/// A future that stays on its thread and may be dropped at any await.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// One of those who decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// With how much weight; never zero.
    pub weight: u64,
}

/// The attempt that a block is made or judged for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The height.
    pub height: Height,
    /// The view. In view 0 a maker may wait until there is something to decide; in a later view
    /// others wait for it, so an empty block is better than none.
    pub view: View,
    /// Who leads it.
    pub leader: NodeId,
    /// The hash of the block before; [`Hash::NONE`] before the first.
    pub previous: Hash,
}

/// What a maker of blocks brings; the engine puts it under the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// See [`Block::time`].
    pub time: u64,
    /// See [`Block::payload`].
    pub payload: Bytes,
}

/// Says who decides.
pub trait Membership {
    /// The committee of `height`, in order: the member at `view mod n` leads the view. Every node
    /// must come to the same answer, from what is agreed on alone: the seed of the height and the
    /// block before. Asked again every 200 ms as long as it fails; elections of other nodes, sync
    /// and shutdown go on meanwhile.
    ///
    /// # Errors
    /// A text for the log and the status.
    fn committee<'a>(
        &'a self,
        height: Height,
        seed: Seed,
        previous: Option<&'a Block>,
    ) -> Boxed<'a, Result<Vec<Member>, String>>;
}

/// Makes blocks and judges those of others.
pub trait Blocks {
    /// Makes a block, when this node leads. Dropped when the view ends.
    ///
    /// # Errors
    /// A text for the log; the view then goes by without a block.
    fn create<'a>(&'a self, round: &'a Round) -> Boxed<'a, Result<Content, String>>;

    /// Judges a block that another leader made. The head has been checked: height, previous hash,
    /// proposer, size. Dropped when the view ends.
    ///
    /// # Errors
    /// Why it is not acceptable; this node does not vote for it then.
    fn validate<'a>(&'a self, round: &'a Round, block: &'a Block) -> Boxed<'a, Result<(), String>>;

    /// Ready when there is something to decide: the timer of the first view runs from then on. The
    /// default is ready at once, for chains that always go on.
    fn wanted(&self) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Ready when something has waited so long for a decision that its leader must be suspected of
    /// ignoring it: this node then leaves the view, as if its timer had elapsed. The default never
    /// is.
    fn neglected(&self) -> Boxed<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// Takes delivery of what was decided, and hears how the engine does.
pub trait Chain {
    /// The height of the last block that this application has, from an earlier life; blocks above it
    /// are delivered again after a start. The default keeps nothing.
    fn height(&self) -> Height {
        Height::ZERO
    }

    /// A block is decided and durable evidence for it is held by a quorum. Called once for each
    /// height, in order; called again, after a growing pause, if it fails, and the next height does
    /// not begin before it has succeeded. Not dropped by elections.
    ///
    /// # Errors
    /// A text for the log and the status.
    fn committed<'a>(
        &'a self,
        block: &'a Block,
        proof: &'a BlockProof,
    ) -> Boxed<'a, Result<(), String>>;

    /// A new height begins; called before a block for it is asked for. `may_lead` is false if the
    /// block before came by sync, so that this node does not lead the first view.
    fn new_round(&self, height: Height, previous: Option<&Block>, may_lead: bool) {
        let _ = (height, previous, may_lead);
    }

    /// A view has been entered.
    fn entered(&self, round: &Round) {
        let _ = round;
    }

    /// A peer's layer above has sent a [`AppMessage`](super::message::Message::App).
    fn heard(&self, from: NodeId, message: Bytes) {
        let _ = (from, message);
    }
}

/// Signs for this node and checks the signatures of all. Never waits.
pub trait Keys {
    /// This node's signature.
    fn sign(&self, bytes: &[u8]) -> Signature;

    /// Whether `signature` is the node's, over `bytes`. False for a node without a key.
    fn verify(&self, node: NodeId, bytes: &[u8], signature: &Signature) -> bool;

    /// The scheme of the random seed, if there is one.
    fn seeds(&self) -> Option<&dyn SeedScheme> {
        None
    }
}

/// A threshold signature over seeds: shares of a quorum make one signature that is the same
/// whoever takes part, so that nobody can choose or foresee the next seed.
pub trait SeedScheme {
    /// This node's share for the seed of `height`.
    fn share(&self, height: Height, seed: &Seed) -> Share;
    /// Whether a share is the node's.
    fn verify_share(&self, height: Height, seed: &Seed, node: NodeId, share: &Share) -> bool;
    /// The signature that shares of a quorum make.
    fn aggregate(&self, height: Height, shares: &[(NodeId, Share)]) -> Bytes;
    /// Whether a signature is the group's.
    fn verify(&self, height: Height, seed: &Seed, signature: &[u8]) -> bool;
}

/// Says when a view has lasted too long.
pub trait Trigger {
    /// Ready when the view has lasted too long. The engine makes one future for each view that it
    /// enters and drops it when that view ends, so what fires late fires for nobody.
    fn elapsed(&self, height: Height, view: View) -> Boxed<'_, ()>;
}

/// Everything that a node is given.
pub struct App {
    /// Who decides.
    pub membership: Box<dyn Membership>,
    /// Makes and judges blocks.
    pub blocks: Box<dyn Blocks>,
    /// Takes delivery.
    pub chain: Box<dyn Chain>,
    /// Signs and checks.
    pub keys: Box<dyn Keys>,
    /// When to leave a view.
    pub trigger: Box<dyn Trigger>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("App")
    }
}
