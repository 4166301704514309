//! The simulator for [`helix`](crate::helix): clusters of which less than a third, by weight, lies.
//!
//! Everything below is shared with raft: the world, its network, disks and clocks, the trace. What
//! is different is what can go wrong and what must hold. A liar is a program of its own that has
//! the keys of its node and nothing else; whatever it does, all honest nodes decide the same chain,
//! no honest node ever signs two words that contradict each other, and when the rest of the trouble
//! ends the chain goes on.
//!
//! In reading order:
//!
//! - [`keys`]: signatures that are quick, and that nobody can forge for want of a way to ask;
//! - [`events`]: events and frames, in the notation of the trace;
//! - [`schedule`]: who decides which height;
//! - [`test_app`]: an application with blocks of its own, as slow, picky and broken as told;
//! - [`sign_log`]: everything that each honest node has ever signed and sent;
//! - [`checker`]: the invariants;
//! - [`settings`], [`cluster`]: what one can ask of and do to a cluster of helix;
//! - [`adversary`]: those who lie;
//! - [`cast`], `faults`: who takes part in a storm, and trouble that only helix suffers;
//! - [`protocol`]: all of it, as the shared part wants to know it;
//! - [`script`]: scenarios as text files.

pub mod adversary;
pub mod cast;
pub mod checker;
pub mod cluster;
pub mod events;
mod faults;
pub mod keys;
mod known;
mod life;
pub mod protocol;
pub mod schedule;
pub mod script;
pub mod settings;
pub mod sign_log;
pub mod test_app;

pub use cast::{Cast, Choices};
pub use cluster::{Cluster, Settings, Setup};
pub use faults::Trouble;
pub use known::Own;
pub use protocol::{BLOCKS_AFTER, Fault, HEALING_VIEWS, Helix, Options, Report};
