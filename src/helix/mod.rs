//! Lean Helix: agreement on a chain of blocks among members of whom less than a third, by weight,
//! may lie.
//!
//! One height is decided after the other. The scope of a height is a *term*; within it there are
//! *views*, attempts led by one member each, and both are futures: a term holds a view, and when
//! an election fires, or a decided block arrives from elsewhere, the parent drops the child, and
//! whatever it was waiting for (a block being made, a block being judged, its timer) is gone before
//! the next statement runs.
//!
//! ```text
//! leader   PREPREPARE ──▶ all     the block of this view
//! others   PREPARE    ──▶ all     I accept it                 (a quorum of these: prepared)
//! all      COMMIT     ──▶ all     a quorum accepts it         (a quorum of these: decided)
//!
//! all      VIEW_CHANGE ─▶ all     my timer elapsed; this is what I know to be prepared
//! leader'  NEW_VIEW   ──▶ all     a quorum left; so this is the block of the new view
//! ```
//!
//! # In two parts
//!
//! - [`protocol`]: blocks are proposed, voted on, decided and handed on; it does not know what is in
//!   one;
//! - [`commands`]: a [`StateMachine`](crate::StateMachine) on top: blocks carry batches of commands,
//!   and delivery is applying them.
//!
//! # What a promise is
//!
//! Before PREPREPARE or PREPARE leaves, the block and the vote are in the journal, synced; before
//! COMMIT, the proof that a quorum voted; before VIEW_CHANGE, the view. A node that is started again
//! goes on in the view it was in, says again what it said, and never signs against it: a power cut
//! of all members at once forks nothing and loses nothing that was told to anybody. A member whose
//! journal is lost is a member that may lie: it must not come back under its name.
//!
//! # Where this differs from Lean Helix as it is implemented
//!
//! - Promises are durable. There, a restart forgets them, and two restarts fork the chain.
//! - A bare PREPREPARE is good for view 0 only, and a NEW_VIEW counts only if each of its votes has
//!   been checked: signature, membership, height, view, proof; and if its block is the one that the
//!   latest proof among them is about. There, each of the three missing checks lets one liar fork
//!   the chain.
//! - What is signed begins with a domain and says instance, kind, height and view, and each is
//!   checked, in proofs too. There, a PREPARE passes for a COMMIT.
//! - No message names its sender, and nothing that can be derived is said twice; so much that would
//!   have to be compared cannot differ. The hash of a block is computed here, never brought along.
//! - Votes are checked when they would complete a quorum, and no more of them than it takes. Proofs
//!   are just a quorum in the order of the committee, so the same votes make the same bytes.
//! - VIEW_CHANGE goes to all. A member that sees an honest weight of others ask for later views
//!   joins the lowest of these (PBFT, section 4.5.2). What nobody has answered is said again. So a
//!   lost message costs no view, and members that were apart come together again.
//! - A VIEW_CHANGE whose proof comes without its block does not count with the leader who needs it.
//! - messages about later heights are kept only if they are genuine, one of each kind, sender and
//!   height, for four heights. There is no mark that a liar could push up.
//! - Callbacks are futures, and dropped by an election, a decision or a block from elsewhere, at once
//!   and whether they cooperate or not. Heights follow one another in a loop, not by recursion.
//! - A commit callback that fails is called again with growing pauses; the new-round callback comes
//!   before a block is asked for.
//! - Catching up is here: blocks with their proofs come from peers, one at a time, each checked.
//! - An idle chain is silent: the timer of view 0 runs from when there is something to decide.
//! - The seed comes from the height alone unless the keys have a threshold scheme; it costs no
//!   signature then, and everybody can know it in advance.
//!
//! # What it does not do yet
//!
//! A node that is behind fetches block by block; there are no snapshots to skip them, so every block
//! stays in the journal. Who a peer is comes from the transport, which does not authenticate yet:
//! everything that decides is signed, but hints, requests for blocks and messages of the layer above
//! are taken from whoever claims to be the peer.
//!
//! # Sources
//!
//! Lean Helix (Orbs), after PBFT (Castro and Liskov, "Practical Byzantine Fault Tolerance", OSDI
//! 1999). Names are theirs.

pub mod commands;
pub mod protocol;

pub use commands::node::Node;
pub use protocol::app::{App, Boxed};
pub use protocol::block::{Block, Hash, Seed};
pub use protocol::config::Config;
pub use protocol::event::{Event, Observer};
pub use protocol::node::Engine;
pub use protocol::proof::{BlockProof, PreparedProof};
pub use protocol::signer::Strictness;
