//! The durable journal: one owner of the disk, for whichever engine is above it.
//!
//! An engine hands a record over with [`Journal::submit`], which is synchronous and cannot fail,
//! and gets a [`Lsn`]. What depends on the record (a vote, an acknowledgement) waits until
//! [`Journal::synced`] has reached the lsn. The driver, [`Journal::run`], belongs to the node's
//! own scope: it takes everything that was submitted as one batch, writes it, syncs it once, and
//! publishes how far the journal is durable; what arrives meanwhile is the next batch. Dropping a
//! scope above never drops a write.
//!
//! Three things can go wrong, and each has one answer. A write or a sync fails: the driver ends
//! with [`Fatal`](crate::Fatal), nothing more is acknowledged, nothing is retried, and the next
//! start reads the journal from the disk. The disk is full: nothing is lost, what does not fit
//! stays pending, [`Journal::is_full`] says so, and it heals when there is room. The file is not
//! what was written: a torn end that was never acknowledged is cut and said; anything else is
//! refused with file and offset, never shortened silently.
//!
//! In reading order: `sector` (what a disk writes whole), `record` (batches of records), `segment`
//! (one file), `recover` (reading it all again), `handle` (what a node holds), `driver` (the one
//! writer), `preallocate` (files made ahead), `snapshot` (the state that replaces the log below it),
//! `outbox` (messages that wait for a sync). The format in one page: the manual, `journal`.

mod driver;
mod handle;
mod outbox;
mod preallocate;
mod record;
mod recover;
mod sector;
mod segment;
mod snapshot;

pub use handle::{Journal, Options};
pub use outbox::Outbox;
pub use record::{Lsn, Record};
pub use recover::{Recovery, Torn};
pub use snapshot::{Digest, Snapshot, SnapshotError, SnapshotWriter};
