//! The protocol: one block after the other is proposed, voted on, decided and handed on.
//!
//! It knows heights, views, members and votes, and not what a block carries: that is for those who
//! implement the traits of [`app`].
//!
//! # In reading order
//!
//! - [`block`], [`message`]: what is decided, what is said, and which bytes are signed;
//! - [`node`]: height after height; `term`: the scope of one height, and what ends a view; `view`:
//!   the protocol, from top to bottom; `election`: how a view comes to its leader;
//! - [`rules`]: the decisions that safety rests on, as pure functions;
//! - [`committee`], [`votes`], [`proof`], [`verify`], [`signer`], [`evidence`]: who decides,
//!   counting, proofs, checking them, signing, and what is kept against liars;
//! - `core`: the node scope; `record`, `recover`, `block_store`: its journal; `mailbox`: what becomes
//!   of a frame; `sync`: catching up;
//! - [`app`]: what you bring for blocks of your own; [`keys`], [`trigger`]: what comes with it.

pub mod app;
pub mod block;
mod block_store;
pub mod committee;
pub mod config;
mod core;
mod election;
pub mod event;
pub mod evidence;
pub mod keys;
mod mailbox;
pub mod message;
pub mod node;
pub mod proof;
mod record;
mod recover;
pub mod rules;
pub mod signer;
#[cfg(test)]
mod sizes;
pub mod status;
mod sync;
mod term;
#[cfg(test)]
pub(crate) mod testing;
pub mod trigger;
pub mod verify;
mod view;
pub mod votes;
