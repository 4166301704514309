//! Commands: a state machine on blocks.
//!
//! Clients propose commands to any node; the nodes tell them to leaders, who make blocks of them;
//! each node applies the blocks to its state machine and answers its own clients.
//!
//! # In reading order
//!
//! - [`node`]: the handle and the life of a node;
//! - [`batch`]: what a block carries, and which of it counts;
//! - `mempool`: the commands that wait for a block; `requests`, `reads`: the clients that wait;
//! - `service`: making, judging and applying blocks; `app_message`: what the nodes tell each other.

pub(crate) mod app_message;
pub mod batch;
mod mempool;
pub mod node;
mod reads;
mod requests;
mod service;
