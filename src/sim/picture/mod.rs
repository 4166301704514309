//! Pictures of what happened: time down, nodes across, messages as arrows, scopes as boxes that
//! open and close.
//!
//! A [`Sketch`] watches a [`Trace`](crate::sim::trace::Trace) and keeps what a [`Window`] shows; at
//! any moment it can be made into a [`Picture`], and that into the text of an SVG file. Nothing here
//! names an engine: each engine says in its words what an event does to a scope, and what a frame
//! is called.
//!
//! Time is not to scale. One thing that happened is one row, so that a millisecond full of messages
//! and the silent second after it both fit; the times stand on the left, and silence is written
//! down as such.
//!
//! ```
//! use quorate::sim::picture::{Sketch, Window};
//! use quorate::sim::raft::Raft;
//! use quorate::sim::script;
//!
//! let sketch = Sketch::new(Window::default());
//! script::draw::<Raft>("cluster 3\nuntil settled", &sketch)?;
//! let svg = sketch.picture("Three nodes elect a leader").svg();
//! assert!(svg.contains("leader t1"));
//! # Ok::<(), String>(())
//! ```
//!
//! - [`sketch`]: what is kept of a run, and how much;
//! - [`model`]: rows, boxes and arrows;
//! - [`svg`]: how they look.

pub mod model;
pub mod sketch;
mod style;
pub mod svg;

pub use model::Picture;
pub use sketch::{Ending, Sketch, Step, Tone, Window};
