//! The data directory behind one handle: real files, or the simulator's.

use std::fmt;

/// A data directory.
#[derive(Clone)]
pub struct Disk;

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}
