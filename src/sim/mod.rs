//! The simulator: all nodes of a cluster, their network, disks and clocks in one thread, from one
//! seed. It is public: test your own state machine with it.
//!
//! Nothing in a simulated world happens by accident. Time is virtual: everything that can run runs,
//! in an order that the seed chooses, and then the clock jumps to the next timer or arrival. The
//! network delays, loses, doubles and reorders; disks lose what was not synced; nodes crash, freeze
//! and start again. After every event the invariants are checked on what the nodes tell. The same
//! seed gives the same trace, to the last byte, so a failure is a number.
//!
//! In reading order:
//!
//! - [`executor`]: tasks, and the seeded choice of the next one;
//! - [`net`], [`disk`], [`drift`]: what goes wrong outside a node;
//! - [`world`]: the loop that moves it all;
//! - [`cluster`]: nodes in a world, and the trouble they can be given;
//! - [`trace`], [`words`]: one notation for what happens, and its hash; [`picture`] draws it;
//! - [`checker`], [`history`]: the invariants, from the nodes' side and from the clients';
//! - [`machine`]: the ledger that clients write to, and what your machine must offer;
//! - [`client`]: clients that work all the time;
//! - [`storm`]: trouble at random, then healing; [`script`]: scenarios as text files;
//! - [`helix`]: all of it for the other engine, and those who lie.

pub mod checker;
pub mod client;
pub mod cluster;
pub mod disk;
pub mod drift;
pub mod executor;
pub mod helix;
pub mod history;
pub mod machine;
mod model;
pub mod net;
pub mod picture;
pub mod script;
pub mod storm;
pub mod trace;
pub mod words;
pub mod world;
