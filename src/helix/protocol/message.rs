//! What helix nodes say to each other, and which bytes each word is signed over.
//!
//! | message | who sends it to whom, and when |
//! |---|---|
//! | [`PrePrepare`](Message::PrePrepare) | the leader of view 0, to all: the block of this height |
//! | [`Prepare`](Message::Prepare) | every other member, to all: I accept it |
//! | [`Commit`](Message::Commit) | every member, to all: a quorum has accepted it, and I hold the proof |
//! | [`ViewChange`](Message::ViewChange) | a member whose timer elapsed, to all: I leave for this view, and this is what I hold |
//! | [`NewView`](Message::NewView) | the leader of a later view, to all: a quorum has left for it, so this is the block |
//!
//! The rest are not signed and decide nothing: [`Tip`](Message::Tip), [`FetchBlocks`](Message::FetchBlocks)
//! and [`Blocks`](Message::Blocks) bring a node up to date (a block comes with its proof), and
//! [`AppMessage`](Message::App) carries messages of the layer above.
//!
//! *Who speaks* is the peer from whom the frame came. No message names its own sender, so none can
//! claim to be another's; words of others, inside proofs and [`NewView`], carry their name and
//! signature. Neither can a message contradict itself: what is said once is not repeated inside.
//!
//! *What is signed* is never the message but [`Statement`]: a few fields in a fixed layout that
//! begin with a domain, the instance, the kind, the height and the view. A signature made for one
//! kind, height, view or instance is wrong for every other.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use crate::helix::protocol::block::{Block, Hash};
use crate::helix::protocol::proof::{BlockProof, PreparedProof};
use crate::id::{ClusterId, Height, NodeId, View};

/// The version of this wire format.
pub const VERSION: u8 = 1;

/// Views above this come from nobody honest: a node reaches one by waiting for it.
pub const VIEW_MAX: View = View(1 << 32);

/// Heights above this come from nobody honest: half a million years at a million a second.
pub const HEIGHT_MAX: Height = Height(1 << 62);

/// A signature of 64 bytes, as ed25519 makes them. Never used as a name: two different signatures
/// of the same statement may both be valid.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sig:{:02x}{:02x}", self.0[0], self.0[1])
    }
}

/// The kinds of signed statements. The numbers are signed: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Kind {
    /// "This is the block of the view that I lead."
    PrePrepare = 1,
    /// "I accept it."
    Prepare = 2,
    /// "A quorum has accepted it."
    Commit = 3,
    /// "A quorum has left for the view that I lead."
    NewView = 4,
    /// "I leave for this view."
    ViewChange = 5,
}

/// What a signature is over: nothing else is ever signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Which instance of the protocol.
    pub instance: ClusterId,
    /// What kind of statement.
    pub kind: Kind,
    /// About which height.
    pub height: Height,
    /// About which view.
    pub view: View,
    /// About what: the block's hash; for a view change the digest of what is proven prepared (or
    /// [`Hash::NONE`]); for a new view the digest of its votes and its block.
    pub subject: Hash,
}

impl Statement {
    /// Bytes of an encoded statement.
    pub const LEN: usize = 16 + 1 + 8 + 1 + 8 + 8 + 32;

    /// The bytes that are signed.
    #[must_use]
    pub fn bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(b"quorate helix v\0");
        bytes[16] = VERSION;
        bytes[17..25].copy_from_slice(&self.instance.0.to_le_bytes());
        bytes[25] = self.kind as u8;
        bytes[26..34].copy_from_slice(&self.height.0.to_le_bytes());
        bytes[34..42].copy_from_slice(&self.view.0.to_le_bytes());
        bytes[42..].copy_from_slice(&self.subject.0);
        bytes
    }
}

/// A signed word about one block: a PREPREPARE, PREPARE or COMMIT, by the kind of its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// The height.
    pub height: Height,
    /// The view.
    pub view: View,
    /// The block.
    pub hash: Hash,
    /// Over the [`Statement`] of its kind.
    pub signature: Signature,
}

/// A signed word about leaving for a view.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ViewChange {
    /// The height.
    pub height: Height,
    /// The view that its sender leaves for; never 0.
    pub view: View,
    /// The latest block that its sender knows to be prepared at this height, with the proof.
    pub prepared: Option<PreparedProof>,
    /// Over the [`Statement`] whose subject is the digest of `prepared`.
    pub signature: Signature,
}

/// The leader's word that a view has begun, and why it may.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NewView {
    /// The height.
    pub height: Height,
    /// The view; never 0.
    pub view: View,
    /// Just a quorum of view changes, in the order of the committee.
    pub changes: Vec<(NodeId, ViewChange)>,
    /// The leader's signature over the PREPREPARE of this view, for later proofs.
    pub proposal: Signature,
    /// The block: what the changes prove prepared in the latest view, or a new one if none does.
    pub block: Block,
    /// Over the [`Statement`] whose subject is the digest of `changes` and the block's hash.
    pub signature: Signature,
}

/// A share of a seed's signature, as a scheme makes it; the engine does not look inside.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Share(pub Bytes);

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Message {
    /// The block of view 0.
    PrePrepare {
        /// The leader's word.
        vote: Vote,
        /// What it is about.
        block: Block,
    },
    /// A member accepts the block of the view.
    Prepare(Vote),
    /// A member knows that a quorum has accepted it.
    Commit {
        /// Its word.
        vote: Vote,
        /// Its share of the next seed, if there is a scheme.
        share: Option<Share>,
    },
    /// A member leaves for a later view.
    ViewChange {
        /// Its word.
        change: ViewChange,
        /// The block that it proves prepared; sent to the leader of that view, who may need it.
        block: Option<Block>,
    },
    /// A later view has begun.
    NewView(Box<NewView>),
    /// "My last decided block has this height": now and then, and to whoever seems behind.
    Tip(Height),
    /// "Send me the blocks from this height on", to a node that seems ahead.
    FetchBlocks(Height),
    /// Decided blocks in order, each with its proof; as many as fit a frame.
    Blocks(Vec<(Block, BlockProof)>),
    /// Something that the layer above has to say.
    App(Bytes),
}

impl Message {
    /// The height that it is about, if it is a message of the protocol.
    #[must_use]
    pub fn height(&self) -> Option<Height> {
        match self {
            Self::PrePrepare { vote, .. } | Self::Prepare(vote) | Self::Commit { vote, .. } => {
                Some(vote.height)
            }
            Self::ViewChange { change, .. } => Some(change.height),
            Self::NewView(new_view) => Some(new_view.height),
            Self::Tip(_) | Self::FetchBlocks(_) | Self::Blocks(_) | Self::App(_) => None,
        }
    }

    /// Whether every height and view that it names is one that somebody can have reached, so that
    /// counting on from there is safe. (Proofs inside view changes name earlier views than these,
    /// or are refused.)
    fn is_in_range(&self) -> bool {
        let plain = self.height().is_none_or(|height| height <= HEIGHT_MAX)
            && self.view().is_none_or(|view| view <= VIEW_MAX);
        let inside = match self {
            Self::PrePrepare { block, .. } | Self::ViewChange { block: Some(block), .. } => {
                block.height <= HEIGHT_MAX
            }
            Self::NewView(new_view) => new_view.block.height <= HEIGHT_MAX,
            Self::Tip(height) | Self::FetchBlocks(height) => *height <= HEIGHT_MAX,
            Self::Blocks(blocks) => blocks.iter().all(|(block, proof)| {
                block.height.max(proof.height) <= HEIGHT_MAX && proof.view <= VIEW_MAX
            }),
            _ => true,
        };
        plain && inside
    }

    /// The view that it is about, if it is a message of the protocol.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        match self {
            Self::PrePrepare { vote, .. } | Self::Prepare(vote) | Self::Commit { vote, .. } => {
                Some(vote.view)
            }
            Self::ViewChange { change, .. } => Some(change.view),
            Self::NewView(new_view) => Some(new_view.view),
            Self::Tip(_) | Self::FetchBlocks(_) | Self::Blocks(_) | Self::App(_) => None,
        }
    }
}

/// A message and the instance it belongs to: one frame.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Envelope {
    version: u8,
    /// The instance.
    pub instance: ClusterId,
    /// The message.
    pub message: Message,
}

/// Why a frame is no message of this instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The bytes are not an envelope.
    #[error("not a message of helix: {0}")]
    Bytes(String),
    /// Another version of the protocol.
    #[error("version {0} of helix; this node speaks version {VERSION}")]
    Version(u8),
    /// Another instance of the protocol.
    #[error("a message of instance {0}")]
    Instance(ClusterId),
    /// A height or a view that nobody can have reached.
    #[error("a height or a view that nobody can have reached")]
    Range,
}

impl Envelope {
    /// The frame of a message.
    #[must_use]
    pub fn encode(instance: ClusterId, message: &Message) -> Bytes {
        let mut frame = Vec::with_capacity(160);
        let written = (VERSION, instance).serialize(&mut frame);
        written
            .and_then(|()| message.serialize(&mut frame))
            .expect("memory does not refuse a write");
        frame.into()
    }

    /// Reads a frame of `instance`.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong; the frame is to be dropped and counted.
    pub fn decode(frame: &[u8], instance: ClusterId) -> Result<Message, Malformed> {
        match frame.first() {
            Some(&VERSION) => {}
            Some(&other) => return Err(Malformed::Version(other)),
            None => return Err(Malformed::Bytes("it is empty".into())),
        }
        let envelope: Self =
            borsh::from_slice(frame).map_err(|error| Malformed::Bytes(error.to_string()))?;
        if envelope.instance != instance {
            return Err(Malformed::Instance(envelope.instance));
        }
        let message = envelope.message;
        if message.is_in_range() { Ok(message) } else { Err(Malformed::Range) }
    }
}

#[cfg(test)]
mod tests;
