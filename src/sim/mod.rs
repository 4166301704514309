//! The simulator.

pub mod executor;
