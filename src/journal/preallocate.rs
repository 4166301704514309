//! Segment files made ahead, zeroed and synced, or left over from released segments.
//!
//! A sync of a file that has its blocks already is cheaper, and running out of room is noticed
//! here, while the present segment still has some. A preallocated file made from nothing is written in slices
//! between batches, so that no batch waits for 4 MiB of zeros.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::env::disk::File;
use crate::env::{Disk, Time};
use crate::error::Fatal;

use super::record::Lsn;
use super::segment::{self, Segment, SegmentHead, failed, offset};

/// A preallocated file under construction; one that a crash left is removed at start.
pub(super) const MAKING: &str = "spare.tmp";
/// The first wait before room is looked for again; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest wait before room is looked for again.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A file ready to become a segment.
#[derive(Debug)]
pub(super) struct Preallocated {
    pub(super) name: String,
    pub(super) file: File,
    pub(super) len: u64,
}

/// The preallocated files and the one being made.
#[derive(Debug)]
pub(super) struct PreallocatedFiles {
    ready: VecDeque<Preallocated>,
    /// The file being zeroed and how far it is.
    pub(super) making: Option<(File, u64)>,
    segment_bytes: u64,
    preallocated_max: usize,
    number: u64,
    /// When room is looked for again, after there was none.
    pub(super) retry_at: Time,
    retry_after: Duration,
}

impl PreallocatedFiles {
    /// Takes over the preallocated files that are there and removes what is of no use.
    pub(super) fn find(
        disk: &Disk,
        segment_bytes: u64,
        preallocated_max: usize,
    ) -> Result<Self, Fatal> {
        let mut preallocated = Self {
            ready: VecDeque::new(),
            making: None,
            segment_bytes,
            preallocated_max,
            number: 0,
            retry_at: Time::ZERO,
            retry_after: RETRY_MIN,
        };
        for (name, number) in names(disk).map_err(|e| failed("listing", &disk.place(), &e))? {
            let mut adopt = || {
                let file = disk.open_file(&name)?;
                let len = file.size()?;
                if number.is_none() || !preallocated.wants(len) {
                    return disk.remove(&name);
                }
                let name = name.clone();
                preallocated.ready.push_back(Preallocated { name, file, len });
                Ok(())
            };
            adopt().map_err(|e| failed("opening", &name, &e))?;
            preallocated.number = preallocated.number.max(number.unwrap_or(0));
        }
        Ok(preallocated)
    }

    /// Whether a released file of this length is worth keeping.
    pub(super) fn wants(&self, len: u64) -> bool {
        len == self.segment_bytes && self.ready.len() < self.preallocated_max
    }

    /// A name that no preallocated file has.
    pub(super) fn name(&mut self) -> String {
        self.number += 1;
        format!("spare-{:016x}.log", self.number)
    }

    /// Keeps a file that is ready.
    pub(super) fn put(&mut self, spare: Preallocated) {
        self.retry_after = RETRY_MIN;
        self.ready.push_back(spare);
    }

    /// Takes a file that is ready.
    pub(super) fn take(&mut self) -> Option<Preallocated> {
        self.ready.pop_front()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// There was no room: when to look again.
    pub(super) fn no_room(&mut self, now: Time) {
        self.retry_at = now + self.retry_after;
        self.retry_after = (self.retry_after * 2).min(RETRY_MAX);
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        let ready: u64 = self.ready.iter().map(|spare| spare.len).sum();
        ready + self.making.as_ref().map_or(0, |&(_, made)| made)
    }
}

/// PreallocatedFiles by name with their number, and an unfinished one without.
fn names(disk: &Disk) -> io::Result<Vec<(String, Option<u64>)>> {
    let names = disk.list()?.into_iter();
    let spare = |name: String| {
        let number = segment::number(&name, "spare-", ".log");
        (number.is_some() || name == MAKING).then_some((name, number))
    };
    Ok(names.filter_map(spare).collect())
}

/// The unit in which zeros are written. The kernel keeps a file in pieces as large as the writes
/// that made it, and a small sync later writes a whole piece: so a page at a time.
const PAGE: u64 = 4096;

/// Zeroes `bytes` of a file from `from` on; durable after a sync.
pub(super) fn fill(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    let page = [0; PAGE as usize];
    let end = from + bytes;
    let mut at = from;
    while at < end {
        let len = (end - at).min(PAGE);
        file.write_at(at, &page[..usize::try_from(len).map_err(io::Error::other)?])?;
        at += len;
    }
    Ok(())
}

/// Makes the first segment of a new journal, on the calling thread. PreallocatedFiles of a journal that was
/// here before are removed: their sectors would not be understood.
pub(super) fn first(disk: &Disk, journal: u64, bytes: u64) -> io::Result<Segment> {
    for (name, _) in names(disk)? {
        disk.remove(&name)?;
    }
    let sectors = u32::try_from(bytes / offset(1)).map_err(io::Error::other)?;
    let head = SegmentHead { journal, sequence: 1, first: Lsn(1), previous_end: 0, sectors };
    let file = disk.create(MAKING)?;
    fill(&file, 0, bytes)?;
    file.write_at(0, &head.encode(1))?;
    file.sync_now()?;
    disk.rename(MAKING, &segment::name(1))?;
    disk.sync_dir_now()?;
    Ok(Segment { sequence: 1, file, first: Lsn(1), end: 1, sectors, len: bytes, index: Vec::new() })
}
