//! What every node can say of itself.

use std::time::Duration;

use crate::env::Net;
use crate::journal::Journal;

/// How a node is at a moment, whichever engine it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vitals {
    /// Requests of its clients that wait: proposals and reads.
    pub waiting: usize,
    /// Bytes that the journal takes on disk.
    pub journal_bytes: u64,
    /// The median of the last syncs, in microseconds.
    pub sync_us: u64,
    /// How late the loop came to a timer, at most, of the last hundred or so, in microseconds.
    pub loop_lag_us: u64,
    /// Messages of peers that made no sense or were not genuine.
    pub malformed: u64,
    /// Messages dropped because a queue was full.
    pub dropped: u64,
    /// Whether the disk has no room for new entries.
    pub disk_full: bool,
}

impl Vitals {
    /// What the journal and the network say; the rest is zero.
    pub(crate) fn of(journal: &Journal, net: &Net) -> Self {
        Self {
            journal_bytes: journal.bytes_on_disk(),
            sync_us: micros(journal.sync_median()),
            dropped: net.dropped(),
            disk_full: journal.is_full(),
            ..Self::default()
        }
    }
}

/// Microseconds, as a number.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
