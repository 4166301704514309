//! What a node is, whichever protocol runs in it: its life, its clients, and what it says of itself.
//!
//! Both engines are built on these parts. Nothing here knows a term, a view or a block: a protocol
//! names a position in its order, and what stands for a client's request, by types of its own.
//!
//! - `life`: the future of a node, and what happens when it ends, however it ends;
//! - `shutdown`: how a node is asked to end, why a scope is left for good, and the last sync;
//! - `clients`: the requests that wait for an answer, what is admitted, and for how long;
//! - `reads`: the reads that wait, in one table with deadlines;
//! - [`status`]: what every node can say of itself; [`applied`]: what a proposer is told;
//! - `table`: things by number, in the order in which they came.

pub mod applied;
pub(crate) mod clients;
pub mod life;
pub(crate) mod reads;
pub(crate) mod shutdown;
pub mod status;
pub(crate) mod table;

pub use applied::Applied;
pub use life::Life;
pub use status::Vitals;
