//! The real network between nodes: whole frames over TCP, in order, or not at all.
//!
//! # Shape
//!
//! Every node dials every peer. It *sends* on the connections that it dialled and *receives* on
//! those that it accepted: two connections a pair, and no rule is needed for who keeps which. One
//! task serves each peer that is dialled (`dial`), one each accepted connection (`accept`);
//! [`run`] holds them all and is the scope: dropping it ends every connection.
//!
//! ```text
//!   engine ── Net ▷ outgoing queue ▷ Wire ── dial ──▶ TCP ──▶ accept ── Wire ▷ incoming ▷ Net
//! ```
//!
//! The engine's end of the queues is [`Net`](crate::env::Net), ours is
//! [`Wire`](crate::env::net::Wire).
//! A frame can be lost (a queue was full, a connection broke); the protocols above survive that and
//! nothing here tries again. When a connection is made, what was queued for the one before is
//! cleared: the engine will say what is still true.
//!
//! # On the wire
//!
//! 1. The dialler sends a [`Hello`](link::Hello) (40 bytes): who it is, whom it means, which
//!    cluster, which version of the protocol.
//! 2. The acceptor answers with its own, which either welcomes or says why not, and closes.
//! 3. The dialler sends frames ([`frame`]): length (u32), its CRC-32C (u32), CRC-32C of length and
//!    payload (u32), payload; all numbers little-endian. The acceptor never sends another byte.
//!
//! # Bad input
//!
//! Whatever arrives can cost a connection, never the node: a length is believed only if its own
//! checksum is right, it is checked against [`TcpLimits::frame_bytes_max`] before anything is
//! allocated, and memory grows only with bytes that have arrived. A stranger has
//! [`TcpLimits::handshake`] to say hello; at most [`TcpLimits::handshakes_max`] strangers are
//! listened to, the newest ones. Every rejection is counted by [`Cause`] in the [`Counters`] and
//! logged at most once a minute and cause, at `warn`.
//!
//! # Dead connections
//!
//! A peer that vanished without a word (power cut, pulled cable) is found by the operating system:
//! `TCP_USER_TIMEOUT` for sent bytes and `SO_KEEPALIVE` for silence, both set to about
//! [`TcpLimits::dead_after`]. No timer of ours runs for it.
//!
//! A peer whose system acknowledges but which stops in the middle of a frame, or sends it drop by
//! drop, is found by a timer of ours: it runs while a part of a frame is there, and a whole frame
//! has [`TcpLimits::patience_with`] its length from its first byte on. The connection is closed
//! then, and its dialler dials again.
//!
//! A node that comes back dials again, and its new connection takes the place of the old one at
//! once.
//!
//! # Encryption and authentication: the seam
//!
//! Today a peer is who it says it is: run this on loopback or on a network that you trust. The one
//! place where a bare stream becomes a [`Link`](link::Link) with a known peer is
//! [`link`]; a secure channel goes there, and nothing outside that file changes.

mod accept;
mod dial;
pub mod frame;
pub mod link;
pub mod stats;
mod transport;

pub use link::Identity;
pub use stats::{Cause, Counters, LinkStats, Stats};
pub use transport::{TcpLimits, Transport, run};
