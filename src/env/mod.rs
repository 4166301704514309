//! The outside world behind concrete handles: time, chance, other nodes, the disk, other tasks.
//!
//! Each handle is a plain struct; whether it is real or simulated inside is decided once, where
//! the [`Env`] is made. The engines see nothing else of the world, which is why the same code runs
//! in production and, many nodes at a time, in the simulator.

pub mod clock;
pub mod disk;
pub mod io;
pub mod net;
pub mod output;
pub mod process;
#[cfg(target_os = "linux")]
mod reactor;
pub mod rng;
pub mod signal;
pub mod spawn;
#[cfg(target_os = "linux")]
mod watched;

pub use clock::{Clock, Time};
pub use disk::Disk;
pub use net::Net;
pub use rng::Rng;
pub use spawn::Spawner;

/// Everything that a node may ask of the world.
#[derive(Debug, Clone)]
pub struct Env {
    /// Monotonic time and timers.
    pub clock: Clock,
    /// The random source.
    pub rng: Rng,
    /// Frames to and from the other nodes.
    pub net: Net,
    /// The data directory.
    pub disk: Disk,
    /// Tasks at node scope.
    pub spawner: Spawner,
}
