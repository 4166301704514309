//! A scope is a future: what the documents about the threading of Lean Helix ask, answered one by
//! one. Each test begins with the number of what it answers; `src/manual/scopes.md` has the list.
//!
//! The nodes are real engines on a virtual clock, driven poll by poll. Time decides nothing.

#[path = "../helix_rig/mod.rs"]
mod helix_rig;

mod callbacks;
mod calls;
mod controls;
mod elections;
mod life;
mod mailbox;
mod nesting;
mod queues;
mod sync;
mod timer;
