//! What a helix node tells an observer: typed events, in the order in which they happened.
//!
//! Scenarios print them, storms hash them, and the invariants are checked on nothing else. Nothing
//! is computed for them unless somebody observes.

use crate::helix::protocol::block::Hash;
use crate::helix::protocol::message::Kind;
use crate::id::{Height, NodeId, View};

/// Why a term is left that the simulator has cancelled: it is entered again.
pub const CANCELLED: &str = "cancelled";

/// Why a view was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It is the first of its height.
    First,
    /// This node's timer elapsed, or it followed others whose did: it asks for the view.
    Changing,
    /// A quorum has left for it, and this node leads it.
    Elected,
    /// Its leader has shown that a quorum has left for it.
    NewView,
    /// This node had voted in it before it was started again.
    Resumed,
}

/// One thing that happened on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The node began its life with what its journal held.
    Started {
        /// The last decided block.
        tip: Height,
        /// The highest view that it has promised at the next height.
        view: View,
    },
    /// The scope of a height was entered.
    TermEntered {
        /// The height.
        height: Height,
        /// Whether this node is in its committee.
        member: bool,
    },
    /// The scope of a height was left, and everything in it was dropped.
    TermLeft {
        /// The height.
        height: Height,
        /// The reason, in a few fixed words.
        why: &'static str,
    },
    /// The scope of a view was entered.
    ViewEntered {
        /// The height.
        height: Height,
        /// The view.
        view: View,
        /// Who leads it.
        leader: NodeId,
        /// Why.
        entry: Entry,
    },
    /// The scope of a view was left, and everything in it was dropped.
    ViewLeft {
        /// The height.
        height: Height,
        /// The view.
        view: View,
        /// The reason, in a few fixed words.
        why: &'static str,
    },
    /// The application was asked for a block.
    Creating {
        /// The height.
        height: Height,
        /// The view.
        view: View,
    },
    /// The application was asked to judge a block.
    Validating {
        /// The height.
        height: Height,
        /// The view.
        view: View,
        /// The block.
        hash: Hash,
    },
    /// A statement was signed and promised: in memory now, on disk soon, on the wire after that.
    Signed {
        /// The kind of statement.
        kind: Kind,
        /// The height.
        height: Height,
        /// The view.
        view: View,
        /// What it is about.
        subject: Hash,
    },
    /// A quorum accepted a block, and this node holds the proof.
    Prepared {
        /// The height.
        height: Height,
        /// The view.
        view: View,
        /// The block.
        hash: Hash,
    },
    /// A quorum committed a block.
    Decided {
        /// The height.
        height: Height,
        /// The view whose votes decided it.
        view: View,
        /// The block.
        hash: Hash,
    },
    /// A decided block was learned from a peer, or from the application.
    Learned {
        /// The height.
        height: Height,
        /// The block.
        hash: Hash,
    },
    /// The application has taken delivery of the block.
    Delivered {
        /// The height.
        height: Height,
        /// The block.
        hash: Hash,
    },
    /// The application refused delivery; it will be asked again.
    DeliveryFailed {
        /// The height.
        height: Height,
    },
    /// A member signed two statements that contradict each other.
    Evidence {
        /// Who.
        node: NodeId,
        /// The kind of both statements.
        kind: Kind,
        /// The height.
        height: Height,
        /// The view.
        view: View,
    },
}

/// Somebody who is told every event of a node.
pub type Observer = crate::scope::observer::Observer<Event>;
