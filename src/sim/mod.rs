//! The simulator.

pub mod checker;
pub mod cluster;
pub mod disk;
pub mod executor;
pub mod history;
pub mod machine;
mod model;
pub mod net;
pub mod trace;
pub mod words;
pub mod world;
