//! The raft engine: agreement among nodes of which a minority may crash.
//!
//! # The protocol in a page
//!
//! Time is cut into *terms*, numbered upwards; a term has at most one *leader*. A node that hears
//! no leader for a random while stands for election: it asks the others first whether they would
//! vote for it ([pre-vote](message::Message::PreVote)), and if a majority would, raises its term and
//! asks for their votes. A node votes once a term, for somebody whose log is at least as long as its
//! own, and says so when the vote is on its disk. Whoever has a majority leads.
//!
//! The leader takes commands, appends them to its log, and sends them to the others, each append
//! naming the entry before it. A follower takes an append only after the same entry, removes what
//! contradicts it, and answers what it holds *durably*. What a majority holds durably in the
//! leader's own term is *decided*: it will never change, and every node applies it to its state
//! machine, in order.
//!
//! A linearizable read notes the index that is decided, makes sure by a round of questions that no
//! newer leader exists, and waits until its own node has applied as much. What is applied and
//! covered by a snapshot is forgotten; a node that is too far behind is sent the snapshot.
//!
//! # The shape
//!
//! Figure 4 of the paper *is* the program ([`node`], the function `rule`): three futures, each
//! entered with a proof that it may be entered and left with a proof of what happened.
//!
//! ```text
//!            heard no leader                  a majority voted
//! follower ── Campaign ──▶ candidate ── Elected ──▶ leader
//!     ▲                        │                       │
//!     └──── Lost(Follower) ◀───┘                       │
//!     └──────────────────── Follower (steps down) ◀────┘
//! ```
//!
//! There is no role field to keep in step. What lives and dies with a role is local to its
//! function; what outlives it (hard state, log, state machine, outbox) is in the node's
//! [`core`](self#reading-order), which every role borrows. A leader's scope holds one replication
//! future per peer; stepping down drops them all.
//!
//! # Invariants
//!
//! - Decide, persist, speak: no message leaves before the hard state or the entries that it rests on
//!   are durable. Only durable entries are acknowledged, by the leader to itself, too.
//! - The hard state changes in memory in the same poll in which its record goes to the journal, and is
//!   never taken back. If the record cannot be written, the node stops.
//! - A role sees messages of its own term only ([the mailbox](self#reading-order) sees to that).
//! - Nothing that is decided is ever overwritten, on any path.
//!
//! # Reading order
//!
//! [`rules`] (the paper's figure 2, as pure functions) · [`node`] (figure 4) · `follower` ·
//! `candidate` · `leader` · `replication` · `reads` · `core` (the node's own scope) · `mailbox` (what
//! happens next) · `machine` (state machine and waiting clients) · `log` and [`entries`] · `snapshot`
//! · `recover` · [`message`] · [`event`].
//!
//! # Where it differs from the paper
//!
//! - **Acknowledgements say what is durable**, not what an append did: one is sent whenever that
//!   grows, so a slow disk needs no bookkeeping of who asked.
//! - **A follower forwards** its clients' commands, and re-sends one only when an entry of a later
//!   term has been applied: then the old leader's copy can no longer appear. No client session is
//!   needed for that; a client's own retries are its own.
//! - **A vote is refused while a leader is alive** (thesis, section 4.2.3), and a leader that
//!   hears no quorum for an election timeout steps down (6.2), as does one whose own loop or disk
//!   is that late: heartbeats alone must not keep a stuck leader in office.
//! - **A node that overslept** its election timeout because its own loop was stalled waits once
//!   more instead of standing for election.
//! - **Membership is fixed** at bootstrap in this version; the journal records it.

pub(crate) mod candidate;
pub(crate) mod core;
pub mod entries;
pub mod event;
pub(crate) mod follower;
pub(crate) mod forwarded;
pub(crate) mod hard_state;
pub(crate) mod leader;
pub(crate) mod log;
pub(crate) mod machine;
pub(crate) mod mailbox;
pub mod message;
pub mod node;
pub(crate) mod reads;
pub(crate) mod record;
pub(crate) mod recover;
pub(crate) mod replication;
pub mod rules;
#[cfg(test)]
mod sizes;
pub(crate) mod snapshot;
pub mod status;

pub use event::{Event, Observer};
pub use node::Node;
pub use status::{PeerStatus, Role, Status};
