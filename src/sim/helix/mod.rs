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
//! - [`words`]: events and frames, in the notation of the trace;
//! - [`schedule`]: who decides which height;
//! - [`test_app`]: an application with blocks of its own, as slow, picky and broken as told;
//! - [`commands`]: an application of clients' commands, and the clients' way to it;
//! - [`sign_log`]: everything that each honest node has ever signed and sent;
//! - [`checker`]: the invariants;
//! - [`setup`], [`cluster`]: nodes in a world, and the trouble they can be given;
//! - [`adversary`]: those who lie;
//! - [`storm`]: trouble at random, then healing; [`script`]: scenarios as text files.

pub mod adversary;
pub mod checker;
pub mod cluster;
pub mod commands;
pub mod keys;
pub mod schedule;
pub mod script;
pub mod setup;
pub mod sign_log;
pub mod storm;
pub mod test_app;
pub mod words;
