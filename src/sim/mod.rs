//! The simulator.

pub mod checker;
pub mod executor;
pub mod history;
pub mod machine;
mod model;
pub mod net;
pub mod trace;
pub mod world;
