//! Records and the batches that carry them: one batch is one write and one sync.
//!
//! A batch begins on a sector of its own, so that no later write touches a sector that was synced
//! before. Its contents are a head of 16 bytes (the lsn of its first record `u64`, the length of
//! what follows `u32`, the number of records `u32`) and the records, each a length `u32`, a kind
//! `u8` and the payload. Everything is little-endian. The sequence numbers of the others follow from the
//! first.

use bytes::Bytes;

use super::sector::{self, BODY, SECTOR, Stamp};
use crate::env::Time;

/// Orders submissions: the number of a record. Everything with a lsn at or below
/// [`Journal::synced`](super::Journal::synced) is durable. The first record has lsn 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// One record, as it was submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub lsn: Lsn,
    /// What the submitter said it is; the journal does not look at it.
    pub kind: u8,
    /// Its contents: a slice of the batch that carried it, which it keeps in memory.
    pub payload: Bytes,
}

/// Bytes of a batch's head.
pub(crate) const HEAD: usize = 16;
/// Bytes before each payload.
pub(crate) const RECORD_HEAD: usize = 5;

/// A batch being filled, in the layout of the disk: room for stamps is left open.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The lsn of the first record.
    pub(crate) first: Lsn,
    /// How many records it holds.
    pub(crate) count: u32,
    /// When it was begun.
    pub(crate) since: Time,
    raw: Vec<u8>,
    len: usize,
}

impl Batch {
    /// An empty batch that reuses the memory of `raw`.
    pub(crate) fn new(first: Lsn, since: Time, mut raw: Vec<u8>) -> Self {
        raw.clear();
        let mut batch = Self { first, count: 0, since, raw, len: 0 };
        batch.put(&[0; HEAD]);
        batch
    }

    /// Adds a record whose payload is `parts`, one after the other.
    pub(crate) fn push(&mut self, kind: u8, parts: &[&[u8]], payload_len: usize) {
        let mut head = [0; RECORD_HEAD];
        let len = u32::try_from(payload_len).expect("the limit of a record is below 4 GiB");
        head[..4].copy_from_slice(&len.to_le_bytes());
        head[4] = kind;
        self.put(&head);
        for part in parts {
            self.put(part);
        }
        self.count += 1;
    }

    /// Bytes of contents so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Sectors that it will take.
    pub(crate) fn sectors(&self) -> usize {
        sector::sectors(self.len)
    }

    /// Finishes the batch for its place on the disk and returns what is to be written there.
    pub(crate) fn seal(mut self, seed: u32, at: u32, generation: u32) -> Vec<u8> {
        let payload = u32::try_from(self.len - HEAD).expect("the limit of a batch is below 4 GiB");
        self.raw[..8].copy_from_slice(&self.first.0.to_le_bytes());
        self.raw[8..12].copy_from_slice(&payload.to_le_bytes());
        self.raw[12..HEAD].copy_from_slice(&self.count.to_le_bytes());
        self.raw.resize(self.sectors() * SECTOR, 0);
        for (position, sector) in (at..).zip(self.raw.chunks_exact_mut(SECTOR)) {
            let first = position == at;
            sector::seal(sector, seed, position, Stamp { generation, first });
        }
        self.raw
    }

    /// Appends to the contents, stepping over the stamps.
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = BODY - self.len % BODY;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.raw.extend_from_slice(now);
            self.len += now.len();
            if self.len.is_multiple_of(BODY) {
                self.raw.extend_from_slice(&[0; SECTOR - BODY]);
            }
            bytes = later;
        }
    }
}

/// A batch's head as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) first: Lsn,
    pub(crate) count: u32,
    payload: u32,
}

impl Head {
    /// Reads it from the first sector of a batch.
    pub(crate) fn read(sector: &[u8]) -> Self {
        Self {
            first: Lsn(sector::u64_at(sector, 0)),
            payload: sector::u32_at(sector, 8),
            count: sector::u32_at(sector, 12),
        }
    }

    /// Sectors that the batch takes.
    pub(crate) fn sectors(&self) -> usize {
        sector::sectors(HEAD + self.payload as usize)
    }

    /// The lsn after the batch's last.
    pub(crate) fn end(&self) -> Lsn {
        Lsn(self.first.0.saturating_add(self.count.into()))
    }

    /// The records of the batch whose sectors are `raw`; `None` if they do not add up, which
    /// intact sectors of ours always do.
    pub(crate) fn records(&self, raw: &[u8]) -> Option<Vec<Record>> {
        let body = Bytes::from(sector::body(raw));
        let mut rest = body.slice(HEAD..HEAD.checked_add(self.payload as usize)?.min(body.len()));
        let mut records = Vec::new();
        for lsn in self.first.0..self.end().0 {
            if rest.len() < RECORD_HEAD {
                return None;
            }
            let (len, kind) = (sector::u32_at(&rest, 0) as usize, rest[4]);
            let mut payload = rest.split_off(RECORD_HEAD);
            if payload.len() < len {
                return None;
            }
            rest = payload.split_off(len);
            records.push(Record { lsn: Lsn(lsn), kind, payload });
        }
        rest.is_empty().then_some(records)
    }
}
