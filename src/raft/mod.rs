//! The Raft consensus protocol: a cluster of nodes agrees on one log of commands while fewer than
//! half of them have crashed.
//!
//! # The protocol in a page
//!
//! Time is divided into *terms* with ascending numbers. A term has at most one *leader* (section
//! 5.1). A follower whose election timeout passes without a message from a leader starts an
//! election (5.2). It first asks the other nodes whether they would vote for it
//! ([pre-vote](message::Message::PreVote); thesis, section 9.6). If a majority would, it increments
//! its term, votes for itself and sends [vote requests](message::Message::RequestVote). A node
//! votes for at most one candidate in a term, and only for a candidate whose log is at least as up
//! to date as its own (5.4.1). It sends its vote when the vote is on its disk. A candidate with the
//! votes of a majority becomes the leader.
//!
//! The leader appends its clients' commands to its log as *entries* and replicates them with
//! [`AppendEntries`](message::Message::AppendEntries) messages (5.3). Each such message names the
//! entry before the new ones. A follower accepts new entries only if its own log contains that
//! entry. It removes entries that conflict with the leader's, and its reply names the last index
//! up to which its log is the leader's and *durable*. An entry of the leader's own term that a
//! majority holds durably is *committed*, and all entries before it are committed too (5.4.2). A
//! committed entry never changes; the comments also call it *decided*. Every node applies the
//! committed entries to its state machine, in order.
//!
//! A linearizable read takes the leader's commit index, waits until a majority confirms that the
//! leader still leads, and runs when its own node has applied the log up to that index (thesis,
//! section 6.4). A snapshot replaces the applied entries, and the log drops them. The leader sends
//! the snapshot to a follower that needs entries which the log no longer has (section 7).
//!
//! # The shape
//!
//! The program has the shape of the paper's figure 4 ([`node`], the function `figure_4`): three
//! futures, one for each role. A role's future takes a value that proves the right to the role,
//! and returns a value that proves why the role ended.
//!
//! ```text
//!            heard no leader                  a majority voted
//! follower ── Campaign ──▶ candidate ── Elected ──▶ leader
//!     ▲                        │                       │
//!     └──── Lost(Follower) ◀───┘                       │
//!     └──────────────────── Follower (steps down) ◀────┘
//! ```
//!
//! No field stores the role for the protocol to consult. The state of a role is local to the role's
//! function and is dropped with it. The state that outlives a role (hard state, log, state machine,
//! outbox) is in `core`, which every role borrows. A leader's scope holds one replication future
//! per peer; when the leader steps down, all of them are dropped.
//!
//! # Invariants
//!
//! - A node decides, persists, and then sends: no message leaves before the hard state and the
//!   entries that it depends on are durable. A leader, too, counts only its durable entries.
//! - The hard state changes in memory in the same poll in which its record goes to the journal. A
//!   change is never undone. If the record cannot be written, the node stops.
//! - A role receives messages of its own term only; `mailbox` drops or holds all others.
//! - A committed entry is never overwritten.
//!
//! # Reading order
//!
//! - The roles: [`node`] (figure 4 and the public handle), `follower`, `candidate`, `leader`,
//!   `replication` (the leader's work for one peer, with `forwarded`), `reads` (the leader's work
//!   for reads).
//! - The node: `core` (the state that outlives a role), `mailbox` (the next event for a role),
//!   `machine` (the state machine and the waiting clients).
//! - Storage: `hard_state`, `record` (the journal's record kinds), `log`, [`entries`], `snapshot`,
//!   `recover` (the start of a node).
//! - The interfaces: [`status`], [`message`], [`event`].
//! - The rules: [`rules`] (figure 2 as pure functions, each with its sentence of the paper).
//!
//! # Where it differs from the paper
//!
//! - **Acknowledgements name the durable index.** In the paper, a reply tells whether one
//!   `AppendEntries` succeeded. Here a follower sends a reply whenever its durable index grows, and
//!   the reply names that index. A follower with a slow disk keeps no list of open requests.
//! - **A follower forwards its clients' commands** to the leader. Within a term it sends a command
//!   again that is not answered for long; the leader knows which ones it has taken. To a later
//!   leader it sends a command only after it has applied an entry of a later term, because the
//!   old leader's copy can then no longer be committed. The forwarding needs no client session
//!   (section 8); a client that repeats a command by itself proposes it twice.
//! - **A node refuses its vote while its leader is alive** (thesis, section 4.2.3). A leader steps
//!   down if no quorum answers it for the shortest election timeout (6.2), and also if its own
//!   event loop or disk is late by as much: a leader that only sends heartbeats must be replaced.
//! - **A stalled node waits again.** A follower whose own event loop was late does not start an
//!   election when its election timeout passes; it waits for one more timeout.
//! - **The membership is fixed** at bootstrap in this version; the journal records it.

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
