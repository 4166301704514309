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
//! - [`draws`]: what differs from production, drawn by the seed;
//! - [`world`]: the loop that moves it all;
//! - [`protocol`]: the one interface between what is shared and what only a protocol has;
//! - [`cluster`]: nodes in a world, and the trouble they can be given;
//! - `twins`: two engines behind one name;
//! - [`trace`]: one notation for what happens, and its hash; [`picture`] draws it;
//! - [`checks`], [`history`]: what invariants are to the world, and those of the clients;
//! - [`waits`]: nobody waits for ever;
//! - [`machine`]: the ledger that clients write to, and what your machine must offer;
//! - [`workload`], [`client`]: who uses the machine, and what must hold of it: yours, or ours;
//! - [`linear`]: whether what clients of the key-value store saw is linearizable;
//! - [`storm`]: trouble at random, then healing; [`script`]: scenarios as text files;
//! - [`raft`], [`helix`]: what each protocol adds, and those who lie.

pub mod checks;
pub mod client;
pub mod cluster;
pub mod disk;
pub mod draws;
pub mod drift;
pub mod executor;
pub mod helix;
pub mod history;
pub mod linear;
pub mod machine;
pub mod net;
pub mod picture;
pub mod protocol;
pub mod raft;
pub mod script;
pub mod storm;
pub mod trace;
mod twins;
pub mod waits;
pub mod workload;
pub mod world;
