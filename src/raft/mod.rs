//! The raft engine: follower, candidate and leader as futures.

pub mod event;
pub mod node;

pub use event::{Event, Observer};
pub use node::{Applied, Node, Role, Status};
