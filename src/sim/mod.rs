//! (to be written)

pub mod disk;
