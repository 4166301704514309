//! The raft engine: follower, candidate and leader as futures.

pub mod node;

pub use node::{Applied, Node, Role, Status};
