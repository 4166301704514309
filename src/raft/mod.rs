//! The raft engine: follower, candidate and leader as futures.

pub(crate) mod candidate;
pub(crate) mod core;
pub(crate) mod door;
pub mod entries;
pub mod event;
pub(crate) mod follower;
pub(crate) mod forwarded;
pub(crate) mod host;
pub(crate) mod leader;
pub(crate) mod log;
pub mod message;
pub mod node;
pub(crate) mod reads;
pub(crate) mod recover;
pub(crate) mod replication;
pub mod rules;
pub(crate) mod snapshot;

pub use event::{Event, Observer};
pub use node::{Applied, Life, Node, PeerStatus, Role, Status};
