//! The simulator for [`raft`](crate::raft): clusters whose nodes crash and never lie.
//!
//! Everything that goes wrong is shared with the other protocol; what is here is what only raft has:
//! its words, its invariants, the trouble that logs come apart from.
//!
//! In reading order:
//!
//! - [`events`]: events and frames, in the notation of the trace;
//! - [`checker`]: the invariants, on a model of each node's log and disk;
//! - [`cluster`]: what one can ask of and do to a cluster of raft;
//! - `faults`: one leader after another is cut off, or told to go;
//! - [`protocol`]: all of it, as the shared part wants to know it;
//! - [`script`]: what scenarios can say of it.

pub mod checker;
pub mod cluster;
pub mod events;
mod faults;
mod known;
mod model;
pub mod protocol;
pub mod script;

pub use cluster::{Cluster, Settings, Setup, any_limits, tiny_limits};
pub use faults::Trouble;
pub use protocol::{Fault, HEALING_ELECTIONS, Options, Raft, Report};
