//! One file of the journal: its name, its head, and the walk along its batches.
//!
//! The head fills the first sector; it is written and synced before the file gets its name, so a
//! file with this name and without a head was not left by a power cut. It says where the file
//! before it ended, so only the last file of a journal can have a torn end.

use crate::env::disk::File;
use crate::error::Fatal;

use super::record::{Head, Lsn, Record};
use super::sector::{self, Found, SECTOR, Stamp};

const MAGIC: &[u8; 8] = b"quorate\n";
/// The version of the format that this code writes, and the only one that it reads.
pub(crate) const VERSION: u32 = 1;
/// No journal has so many records or segments: 140 years at a thousand million a second.
const COUNTED_MAX: u64 = 1 << 62;
/// Distance of two remembered positions: what a lookup reads at most besides the batch itself.
const SPARSE: u32 = 128;

/// The name of the segment with this number.
pub(crate) fn name(sequence: u64) -> String {
    format!("journal-{sequence:016x}.log")
}

/// The number in the name of a file, if it is a name of this form.
pub(crate) fn number(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// The head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    /// The journal it belongs to.
    pub(crate) journal: u64,
    /// Its number; consecutive.
    pub(crate) sequence: u64,
    /// The lsn of the first record in it.
    pub(crate) first: Lsn,
    /// How many sectors of the segment before it are in use.
    pub(crate) previous_end: u32,
    /// How many sectors it has.
    pub(crate) sectors: u32,
}

impl SegmentHead {
    /// The sector to write.
    pub(crate) fn encode(&self, generation: u32) -> Vec<u8> {
        let mut raw = Vec::with_capacity(SECTOR);
        raw.extend_from_slice(MAGIC);
        raw.extend_from_slice(&VERSION.to_le_bytes());
        raw.extend_from_slice(&self.previous_end.to_le_bytes());
        raw.extend_from_slice(&self.journal.to_le_bytes());
        raw.extend_from_slice(&self.sequence.to_le_bytes());
        raw.extend_from_slice(&self.first.0.to_le_bytes());
        raw.extend_from_slice(&self.sectors.to_le_bytes());
        raw.resize(SECTOR, 0);
        let first = true;
        let stamp = Stamp { generation, first };
        sector::seal(&mut raw, sector::seed(self.journal), 0, stamp);
        raw
    }

    /// Reads the first sector of `file`; the number beside it is its generation.
    pub(crate) fn decode(file: &str, sector: &[u8]) -> Result<(Self, u32), Fatal> {
        let head = Self {
            previous_end: sector::u32_at(sector, 12),
            journal: sector::u64_at(sector, 16),
            sequence: sector::u64_at(sector, 24),
            first: Lsn(sector::u64_at(sector, 32)),
            sectors: sector::u32_at(sector, 40),
        };
        let Found::Intact(stamp) = sector::inspect(sector, sector::seed(head.journal), 0) else {
            return Err(damaged(file, 0, "the head of the segment does not match its checksum"));
        };
        let version = sector::u32_at(sector, 8);
        if &sector[..8] != MAGIC || version != VERSION {
            return Err(Fatal::Mismatch(format!(
                "{file} has version {version} of the journal's format; this program reads version \
                 {VERSION}: use the program that wrote it"
            )));
        }
        let counted = |number: u64| (1..COUNTED_MAX).contains(&number);
        if head.sectors == 0 || !counted(head.sequence) || !counted(head.first.0) {
            return Err(damaged(file, 0, "the head of the segment says what cannot be"));
        }
        Ok((head, stamp.generation))
    }
}

/// A segment in use.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) sequence: u64,
    pub(crate) file: File,
    /// The lsn of the first record in it.
    pub(crate) first: Lsn,
    /// Sectors in use, the head among them.
    pub(crate) end: u32,
    /// Sectors that may be used.
    pub(crate) sectors: u32,
    /// Bytes of the file.
    pub(crate) len: u64,
    /// Where some of its batches begin, in order: one in each 64 KiB, about.
    pub(crate) index: Vec<(Lsn, u32)>,
}

impl Segment {
    /// Remembers the place of a batch, if it is far enough from the last one remembered.
    pub(crate) fn remember(&mut self, first: Lsn, at: u32) {
        if self.index.last().is_none_or(|&(_, last)| at - last >= SPARSE) {
            self.index.push((first, at));
        }
    }

    /// The remembered batch at or before `lsn`.
    pub(crate) fn nearest(&self, lsn: Lsn) -> u32 {
        let after = self.index.partition_point(|&(first, _)| first <= lsn);
        after.checked_sub(1).map_or(1, |near| self.index[near].1)
    }

    /// Reads the head of the batch that begins at `at`, which is known to be there.
    pub(crate) fn head(&self, seed: u32, at: u32) -> Result<Head, Fatal> {
        let raw = self.sectors_at(at, 1)?;
        match sector::inspect(&raw, seed, at) {
            Found::Intact(stamp) if stamp.first => Ok(Head::read(&raw)),
            _ => Err(self.rot(at)),
        }
    }

    /// Reads the batch that begins at `at`, which is known to be there.
    pub(crate) fn batch(&self, seed: u32, at: u32, head: &Head) -> Result<Vec<Record>, Fatal> {
        let raw = self.sectors_at(at, head.sectors())?;
        for (position, sector) in (at..).zip(raw.chunks_exact(SECTOR)) {
            if !matches!(sector::inspect(sector, seed, position), Found::Intact(_)) {
                return Err(self.rot(position));
            }
        }
        head.records(&raw).ok_or_else(|| self.rot(at))
    }

    fn sectors_at(&self, at: u32, count: usize) -> Result<Vec<u8>, Fatal> {
        let read = self.file.read_at(offset(at), count * SECTOR);
        let raw = read.map_err(|e| failed("reading", &name(self.sequence), &e))?;
        if raw.len() < count * SECTOR {
            return Err(self.rot(at));
        }
        Ok(raw)
    }

    fn rot(&self, at: u32) -> Fatal {
        damaged(&name(self.sequence), offset(at), "a record that was durable can no longer be read")
    }
}

/// A step along the batches of a segment that has been read whole.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    /// All whole sectors of the file.
    pub(crate) raw: &'a [u8],
    pub(crate) seed: u32,
    /// Where the next batch would begin, in sectors.
    pub(crate) at: u32,
    /// The generation of the last batch; later ones have this or a greater one.
    pub(crate) generation: u32,
}

impl<'a> Walk<'a> {
    /// The complete batch at the present place, its place and its sectors; steps behind it.
    pub(crate) fn step(&mut self) -> Option<(u32, Head, &'a [u8])> {
        let at = self.at;
        let Found::Intact(stamp) = self.look(at)? else {
            return None;
        };
        if !stamp.first || stamp.generation < self.generation {
            return None;
        }
        let begin = at as usize * SECTOR;
        let head = Head::read(&self.raw[begin..begin + SECTOR]);
        let count = u32::try_from(head.sectors()).ok()?;
        let follows = Found::Intact(Stamp { generation: stamp.generation, first: false });
        for position in at + 1..at.checked_add(count)? {
            if self.look(position)? != follows {
                return None;
            }
        }
        self.at += count;
        self.generation = stamp.generation;
        let end = self.at as usize * SECTOR;
        Some((at, head, &self.raw[begin..end]))
    }

    /// What is found at a position; `None` behind the end of the file.
    pub(crate) fn look(&self, at: u32) -> Option<Found> {
        let begin = at as usize * SECTOR;
        let sector = self.raw.get(begin..begin + SECTOR)?;
        Some(sector::inspect(sector, self.seed, at))
    }
}

/// Where a sector stands in its file, in bytes.
pub(crate) fn offset(at: u32) -> u64 {
    u64::from(at) * SECTOR as u64
}

/// Damage, with what to do about it.
pub(crate) fn damaged(file: &str, offset: u64, why: &str) -> Fatal {
    Fatal::Damaged {
        file: file.into(),
        offset,
        why: format!(
            "{why}; acknowledged records may be lost, so nothing was changed: restore the data \
             directory from a backup, or replace this node"
        ),
    }
}

/// A failed operation on a file.
pub(crate) fn failed(what: &str, file: &str, error: &std::io::Error) -> Fatal {
    Fatal::Disk { what: format!("{what} {file}"), error: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_says_what_cannot_be_is_refused_though_its_checksum_is_right() {
        let (sequence, first, sectors) = (1, Lsn(1), 8);
        let good = SegmentHead { journal: 7, sequence, first, previous_end: 0, sectors };
        assert!(SegmentHead::decode("a", &good.encode(1)).is_ok_and(|read| read == (good, 1)));
        for bad in [
            SegmentHead { sectors: 0, ..good },
            SegmentHead { sequence: 0, ..good },
            SegmentHead { sequence: u64::MAX, ..good },
            SegmentHead { first: Lsn(0), ..good },
            SegmentHead { first: Lsn(u64::MAX), ..good },
        ] {
            let refused = SegmentHead::decode("a", &bad.encode(1));
            assert!(matches!(refused, Err(Fatal::Damaged { .. })), "{bad:?}: {refused:?}");
        }
    }
}
