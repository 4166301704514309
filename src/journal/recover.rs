//! Reading the journal again at start: every batch that was acknowledged, or a refusal.
//!
//! The segments are walked in order. One that has a successor must hold exactly what the
//! successor's head says. In the last one the walk ends where no complete batch follows, and what
//! lies behind is looked at sector by sector:
//!
//! * zeros, and sectors of an earlier generation, are explained: never written in this life;
//! * sectors of this generation or a later one are the rest of the one batch that was under way: a
//!   *torn end*. It is cut, and said. Later batches carry a greater generation, so what is left of
//!   it can never be taken for part of them;
//! * the beginning of a batch of this generation or a later one further behind is not explained: it
//!   was written after the batch that is missing here had been acknowledged. *Damage*;
//! * a sector that is neither zero nor intact is rot. *Damage*: acknowledged data may have been
//!   there.
//!
//! What was read may be in the page cache only, left by a process that was killed or whose sync
//! failed. So the last batch is written once more and synced, and the directory too, before
//! anything is served.

use crate::env::Disk;
use crate::env::disk::File;
use crate::error::Fatal;

use super::record::{Head, Lsn, Record};
use super::sector::{self, Found, SECTOR};
use super::segment::{self, Segment, SegmentHead, Walk, damaged, failed, offset};

/// What was found at start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Segment files.
    pub segments: usize,
    /// Records that were replayed.
    pub records: u64,
    /// The end that was cut, if a batch was under way when the last life ended.
    pub torn: Option<Torn>,
}

/// A batch that was under way, and not acknowledged, when the last life ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub file: String,
    /// Where the batch began, in bytes.
    pub offset: u64,
}

/// The journal as it was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) journal: u64,
    pub(crate) segments: Vec<Segment>,
    pub(crate) next: Lsn,
    /// The greatest generation seen: the new life takes the next.
    pub(crate) generation: u32,
    pub(crate) recovery: Recovery,
}

/// Who is told of each record, in order.
pub(crate) type Replay<'a> = &'a mut dyn FnMut(Record) -> Result<(), Fatal>;

/// A file with a readable head.
struct Candidate {
    name: String,
    file: File,
    head: SegmentHead,
    generation: u32,
}

/// Reads the whole journal and tells `replay` of each record; without segments if there are none.
///
/// Changes nothing on the disk before all of it has been found good.
pub(crate) fn recover(disk: &Disk, replay: Replay<'_>) -> Result<Recovered, Fatal> {
    let (candidates, headless) = candidates(disk)?;
    let oldest = candidates.first().map(|oldest| oldest.head);
    let mut recovered = Recovered {
        journal: oldest.map_or(0, |head| head.journal),
        segments: Vec::new(),
        next: oldest.map_or(Lsn(1), |head| head.first),
        generation: 0,
        recovery: Recovery::default(),
    };
    let mut last_batch = None;
    for (at, candidate) in candidates.iter().enumerate() {
        let end = candidates.get(at + 1).map(|next| next.head.previous_end);
        last_batch = recovered.segment(candidate, end, replay)?;
    }
    if let Some(last) = candidates.last()
        && recovered.generation >= sector::GENERATION_MAX
    {
        return Err(damaged(&last.name, 0, "no journal comes to such a generation"));
    }
    if let Some(name) = &headless {
        recovered.torn(name, 0);
    }
    remove_headless(disk, headless.as_deref())?;
    if let (Some(tail), Some(candidate)) = (recovered.segments.last(), candidates.last()) {
        let harden = || {
            if let Some((at, raw)) = &last_batch {
                tail.file.write_at(offset(*at), raw)?;
            }
            tail.file.sync_now()?;
            disk.sync_dir_now()
        };
        harden().map_err(|e| failed("writing the end again of", &candidate.name, &e))?;
    }
    Ok(recovered)
}

/// A file too short for a head holds nothing: said by the caller, and removed.
fn remove_headless(disk: &Disk, name: Option<&str>) -> Result<(), Fatal> {
    let Some(name) = name else { return Ok(()) };
    tracing::warn!(file = name, "removed a segment that was cut within its head");
    disk.remove(name).map_err(|e| failed("removing", name, &e))
}

/// The segments with their heads, in order and without a gap; and the name of a last one that is
/// too short to have a head. The first segment always has one: it gets its name with its head
/// synced, and a journal without it would be taken for a new one.
fn candidates(disk: &Disk) -> Result<(Vec<Candidate>, Option<String>), Fatal> {
    let names = disk.list().map_err(|e| failed("listing", &disk.place(), &e))?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| segment::number(name, "journal-", ".log")).collect();
    numbers.sort_unstable();
    let mut candidates: Vec<Candidate> = Vec::new();
    for (at, &number) in numbers.iter().enumerate() {
        let name = segment::name(number);
        let file = disk.open_file(&name).map_err(|e| failed("opening", &name, &e))?;
        let raw = file.read_at(0, SECTOR).map_err(|e| failed("reading", &name, &e))?;
        if raw.len() < SECTOR && at > 0 && at + 1 == numbers.len() {
            return Ok((candidates, Some(name)));
        }
        if raw.len() < SECTOR {
            return Err(damaged(&name, raw.len() as u64, "the segment is cut within its head"));
        }
        let (head, generation) = SegmentHead::decode(&name, &raw)?;
        if head.sequence != number {
            let why = format!("the file holds segment {:016x}: it was renamed", head.sequence);
            return Err(damaged(&name, 0, &why));
        }
        if let Some(before) = candidates.last() {
            if before.head.sequence + 1 != number {
                let missing = segment::name(before.head.sequence + 1);
                return Err(damaged(&missing, 0, "the segment is missing"));
            }
            if before.head.journal != head.journal {
                return Err(damaged(&name, 0, "the segment belongs to another journal"));
            }
        }
        candidates.push(Candidate { name, file, head, generation });
    }
    Ok((candidates, None))
}

impl Recovered {
    /// Walks one segment; `end` is where its successor says that it ends. Returns its last batch.
    fn segment(
        &mut self,
        candidate: &Candidate,
        end: Option<u32>,
        replay: Replay<'_>,
    ) -> Result<Option<(u32, Vec<u8>)>, Fatal> {
        let Candidate { name, file, head, generation } = candidate;
        let mut raw = file.read_all().map_err(|e| failed("reading", name, &e))?;
        let len = raw.len() as u64;
        let sectors = usize::try_from(len.min(offset(head.sectors))).unwrap_or(0) / SECTOR;
        raw.truncate(sectors * SECTOR);
        let mut segment = Segment {
            sequence: head.sequence,
            file: file.clone(),
            first: head.first,
            end: 0,
            sectors: head.sectors,
            len,
            index: Vec::new(),
        };
        if head.first != self.next {
            return Err(damaged(name, 0, "the segment does not continue the one before it"));
        }
        let mut walk =
            Walk { raw: &raw, seed: sector::seed(self.journal), at: 1, generation: *generation };
        let mut last = None;
        while end.is_none_or(|end| walk.at < end) {
            let Some((at, head, batch)) = walk.step() else {
                break;
            };
            self.batch(name, at, &head, batch, replay)?;
            segment.remember(head.first, at);
            last = Some((at, batch.to_vec()));
        }
        segment.end = walk.at;
        match end {
            Some(end) => sealed(name, &walk, end)?,
            None => self.tail(name, &walk, &mut segment)?,
        }
        self.generation = self.generation.max(walk.generation);
        self.recovery.segments += 1;
        self.segments.push(segment);
        Ok(last)
    }

    /// Tells of the records of one batch.
    fn batch(
        &mut self,
        name: &str,
        at: u32,
        head: &Head,
        raw: &[u8],
        replay: Replay<'_>,
    ) -> Result<(), Fatal> {
        if head.first != self.next {
            let why = "the batch does not continue the log";
            return Err(damaged(name, offset(at), why));
        }
        let Some(records) = head.records(raw) else {
            return Err(damaged(name, offset(at), "the batch does not add up"));
        };
        for record in records {
            replay(record)?;
        }
        self.next = head.end();
        self.recovery.records += u64::from(head.count);
        Ok(())
    }

    /// Explains everything behind the last complete batch of the last segment, or refuses.
    fn tail(&mut self, name: &str, walk: &Walk<'_>, segment: &mut Segment) -> Result<(), Fatal> {
        let mut torn = segment.len < offset(segment.sectors);
        for position in walk.at.. {
            match walk.look(position) {
                None => break,
                Some(Found::Blank) => {}
                Some(Found::Bad) => return Err(rot(name, position)),
                Some(Found::Intact(stamp)) if stamp.generation < walk.generation => {}
                Some(Found::Intact(stamp)) => {
                    if stamp.first && position > walk.at {
                        let why = format!(
                            "a batch is missing here, and the one after it is there at byte {}",
                            offset(position)
                        );
                        return Err(damaged(name, offset(walk.at), &why));
                    }
                    torn = true;
                    self.generation = self.generation.max(stamp.generation);
                }
            }
        }
        if torn {
            self.torn(name, offset(walk.at));
        }
        if segment.len < offset(segment.sectors) {
            // Nothing is appended to a file that was cut short: the next batch begins a new one.
            segment.sectors = segment.end;
        }
        Ok(())
    }

    fn torn(&mut self, name: &str, offset: u64) {
        tracing::warn!(file = name, offset, "cut a torn end: it was not acknowledged");
        self.recovery.torn = Some(Torn { file: name.into(), offset });
    }
}

/// A segment with a successor must end where the successor says.
fn sealed(name: &str, walk: &Walk<'_>, end: u32) -> Result<(), Fatal> {
    if walk.at == end {
        return Ok(());
    }
    for position in walk.at..end {
        match walk.look(position) {
            None => break,
            Some(Found::Bad) => return Err(rot(name, position)),
            Some(_) => {}
        }
    }
    let why = format!("a batch is missing; the segment ends at byte {}", offset(end));
    Err(damaged(name, offset(walk.at), &why))
}

fn rot(name: &str, position: u32) -> Fatal {
    let why = "a sector is neither empty nor does it match its checksum";
    damaged(name, offset(position), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_that_leaves_no_room_for_the_next_is_refused() {
        let found = |generation| {
            let (journal, sequence, sectors) = (7, 1, 8);
            let head = SegmentHead { journal, sequence, first: Lsn(1), previous_end: 0, sectors };
            let mut raw = head.encode(generation);
            raw.resize(8 * SECTOR, 0);
            let disk = Disk::memory();
            let file = disk.create(&segment::name(1)).expect("memory takes a file");
            file.write_at(0, &raw).expect("memory takes a write");
            recover(&disk, &mut |_| Ok(())).map(|recovered| recovered.generation)
        };
        let last = sector::GENERATION_MAX - 1;
        assert!(found(last).is_ok_and(|generation| generation == last));
        for generation in [sector::GENERATION_MAX, u32::MAX >> 1] {
            assert!(matches!(found(generation), Err(Fatal::Damaged { .. })), "{generation}");
        }
    }
}
