//! Lean Helix: agreement on a chain of blocks among members of whom less than a third, by weight,
//! may lie.
//!
//! One height is decided after the other. The scope of a height is a *term*; within it there are
//! *views*, attempts led by one member each, and both are futures: a term holds a view, and when
//! an election fires, or a decided block arrives from elsewhere, the parent drops the child, and
//! whatever it was waiting for (a block being made, a block being judged, its timer) is gone before
//! the next statement runs.
//!
//! ```text
//! leader   PREPREPARE ──▶ all     the block of this view
//! others   PREPARE    ──▶ all     I accept it                 (a quorum of these: prepared)
//! all      COMMIT     ──▶ all     a quorum accepts it         (a quorum of these: decided)
//!
//! all      VIEW_CHANGE ─▶ all     my timer elapsed; this is what I know to be prepared
//! leader'  NEW_VIEW   ──▶ all     a quorum left; so this is the block of the new view
//! ```
//!
//! # Sources
//!
//! Lean Helix (Orbs), after PBFT (Castro and Liskov, "Practical Byzantine Fault Tolerance", OSDI
//! 1999). Names are theirs.

mod archive;
pub mod block;
pub mod certificate;
pub mod checks;
pub mod committee;
pub mod config;
mod core;
mod door;
mod election;
pub mod engine;
pub mod event;
pub mod evidence;
pub mod keys;
pub mod message;
pub mod notary;
mod record;
mod recover;
pub mod rules;
pub mod spi;
mod sync;
pub mod tally;
mod term;
pub mod trigger;
mod view;

pub use block::{Block, Hash, Seed};
pub use certificate::{BlockProof, PreparedProof};
pub use config::Config;
pub use engine::{Engine, Life};
pub use event::{Event, Observer};
pub use notary::Strictness;
pub use spi::{Boxed, Spi};
