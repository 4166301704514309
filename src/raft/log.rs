//! The replicated log of one node (section 5.3): its entries in memory and in the journal, and the
//! index up to which they are durable.
//!
//! Invariants:
//! - The log has all entries `first..=last`; a snapshot covers all entries before `first` (7).
//! - The newest entries are in `cache`, in the batches in which they were appended. Older ones are
//!   read from the journal, at the positions in `spans`.
//! - `durable` counts an entry only if its own record is synced. Truncation lowers `durable`, and
//!   the entries that replace the removed ones must be synced, too.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::error::Fatal;
use crate::id::{Index, Term};
use crate::journal::{Journal, Lsn};
use crate::raft::entries::Entries;
use crate::raft::message::Position;
use crate::raft::record::RECORD_ENTRIES;

/// The log of one node.
#[derive(Debug)]
pub(crate) struct Log {
    /// The index of the first entry.
    first: Index,
    last: Index,
    /// The first index of each run of equal terms, ascending.
    terms: VecDeque<Position>,
    /// The last entry that the snapshot covers.
    snapshot: Position,
    /// Each journal record of entries: its first index and its position.
    spans: VecDeque<(Index, Lsn)>,
    /// The appended records that are not known to be durable, each with its last index.
    pending: VecDeque<(Lsn, Index)>,
    durable: Index,
    cache: VecDeque<Entries>,
    cache_bytes: usize,
    cache_bytes_max: usize,
    /// The bytes of entries appended since the snapshot.
    bytes_since_snapshot: u64,
}

impl Log {
    pub(crate) fn empty(cache_bytes_max: usize) -> Self {
        Self {
            first: Index(1),
            last: Index::ZERO,
            terms: VecDeque::new(),
            snapshot: Position::default(),
            spans: VecDeque::new(),
            pending: VecDeque::new(),
            durable: Index::ZERO,
            cache: VecDeque::new(),
            cache_bytes: 0,
            cache_bytes_max,
            bytes_since_snapshot: 0,
        }
    }

    /// The position of the last entry.
    pub(crate) fn last(&self) -> Position {
        let term = self.terms.back().map_or(self.snapshot.term, |run| run.term);
        Position { term, index: self.last }
    }

    /// The index of the first entry.
    pub(crate) fn first(&self) -> Index {
        self.first
    }

    /// The position of the last entry that the snapshot covers.
    pub(crate) fn snapshot(&self) -> Position {
        self.snapshot
    }

    /// The last index up to which all entries are durable.
    pub(crate) fn durable(&self) -> Index {
        self.durable
    }

    pub(crate) fn bytes_since_snapshot(&self) -> u64 {
        self.bytes_since_snapshot
    }

    /// The term of an entry, if the log has it or it is the last one that the snapshot covers.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.snapshot.index {
            return Some(self.snapshot.term);
        }
        if index < self.first || index > self.last {
            return None;
        }
        let run = self.terms.partition_point(|run| run.index <= index);
        run.checked_sub(1).map(|run| self.terms[run].term)
    }

    /// The last index at or before `index` whose term is not above `term`: the hint for a leader
    /// whose append was refused. Each hint skips all entries of a conflicting term (section 5.3).
    pub(crate) fn last_not_above(&self, index: Index, term: Term) -> Index {
        let mut index = index.min(self.last);
        while let Some(mine) = self.term_at(index) {
            if mine <= term {
                return index;
            }
            let run = self.terms.iter().rev().find(|run| run.index <= index);
            index = run.map_or(Index::ZERO, |run| run.index.prev());
        }
        index
    }

    /// Appends entries, in memory and to the journal. Existing entries from the first new index on
    /// are removed. The new entries are durable when the journal has synced their record.
    pub(crate) fn append(&mut self, journal: &Journal, entries: Entries) {
        let first = entries.first().0.to_le_bytes();
        let lsn = journal.submit(RECORD_ENTRIES, &[&first, entries.bytes()]);
        self.place(entries, lsn);
        self.pending.push_back((lsn, self.last));
    }

    /// Appends the entries of a record that was read back at the start of the node.
    ///
    /// # Errors
    /// A text that describes the damage in the record's bytes.
    pub(crate) fn replay(&mut self, lsn: Lsn, payload: Bytes) -> Result<(), String> {
        let entries = parse(payload)?;
        if entries.first() > self.last.next() && self.last >= self.first {
            return Err(format!("entries from {} follow entry {}", entries.first(), self.last));
        }
        if self.last < self.first {
            self.first = entries.first();
        }
        self.place(entries, lsn);
        self.durable = self.last;
        Ok(())
    }

    fn place(&mut self, entries: Entries, lsn: Lsn) {
        if entries.first() <= self.last {
            self.truncate(entries.first());
        }
        self.bytes_since_snapshot += entries.bytes().len() as u64;
        for entry in entries.iter() {
            if self.terms.back().is_none_or(|run| run.term != entry.term) {
                self.terms.push_back(Position { term: entry.term, index: entry.index });
            }
        }
        self.spans.push_back((entries.first(), lsn));
        self.last = entries.last();
        self.cache_bytes += entries.bytes().len();
        self.cache.push_back(entries);
    }

    /// Drops the oldest cached batches above the limit, except entries that are not yet applied.
    pub(crate) fn trim_cache(&mut self, applied: Index) {
        while self.cache_bytes > self.cache_bytes_max {
            match self.cache.front() {
                Some(batch) if batch.last() <= applied.min(self.durable) => {
                    self.cache_bytes -= batch.bytes().len();
                    self.cache.pop_front();
                }
                _ => return,
            }
        }
    }

    fn truncate(&mut self, from: Index) {
        self.last = from.prev();
        self.durable = self.durable.min(self.last);
        for (_, index) in &mut self.pending {
            *index = (*index).min(self.last);
        }
        while self.terms.back().is_some_and(|run| run.index >= from) {
            self.terms.pop_back();
        }
        while self.spans.back().is_some_and(|&(first, _)| first >= from) {
            self.spans.pop_back();
        }
        while let Some(batch) = self.cache.pop_back_if(|batch| batch.last() >= from) {
            self.cache_bytes -= batch.bytes().len();
            if batch.first() < from {
                let rest = batch.before(from);
                self.cache_bytes += rest.bytes().len();
                self.cache.push_back(rest);
            }
        }
    }

    /// Takes in the journal's synced position. Returns whether the durable index has grown.
    pub(crate) fn take_synced(&mut self, synced: Lsn) -> bool {
        let before = self.durable;
        while let Some((_, index)) = self.pending.pop_front_if(|(lsn, _)| *lsn <= synced) {
            self.durable = self.durable.max(index);
        }
        self.durable > before
    }

    /// Entries from `from` on: about `bytes_max` bytes, but at least one entry. `None` if the log
    /// no longer has `from`; empty if `from` is after the end.
    ///
    /// # Errors
    /// [`Fatal`] if the journal cannot be read.
    pub(crate) fn read(
        &self,
        journal: &Journal,
        from: Index,
        bytes_max: usize,
    ) -> Result<Option<Entries>, Fatal> {
        if from < self.first {
            return Ok(None);
        }
        if from > self.last {
            return Ok(Some(Entries::none(from)));
        }
        let cached = self.cache.partition_point(|batch| batch.last() < from);
        match self.cache.get(cached) {
            Some(batch) if batch.first() <= from => Ok(Some(batch.slice(from, bytes_max))),
            _ => self.read_journal(journal, from, bytes_max).map(Some),
        }
    }

    fn read_journal(
        &self,
        journal: &Journal,
        from: Index,
        bytes_max: usize,
    ) -> Result<Entries, Fatal> {
        let after = self.spans.partition_point(|&(first, _)| first <= from);
        let (_, lsn) = self.spans[after - 1];
        let end = self.spans.get(after).map_or(self.last.next(), |&(first, _)| first);
        let damaged = |why| {
            let file = format!("the journal's record {}", lsn.0);
            Fatal::Damaged { file, offset: 0, why }
        };
        let record = journal.read(lsn)?;
        let record = record.ok_or_else(|| damaged("it is gone".into()))?;
        let entries = parse(record.payload).map_err(damaged)?;
        Ok(entries.before(end.min(self.last.next())).slice(from, bytes_max))
    }

    /// Removes entries that a durable snapshot up to `covers` replaces, but keeps the last `keep`
    /// of them for slow followers. Returns the first journal record that is still needed.
    pub(crate) fn compact(&mut self, covers: Position, keep: u64) -> Option<Lsn> {
        self.snapshot = covers;
        let first = Index(covers.index.0.saturating_sub(keep) + 1);
        while self.spans.len() > 1 && self.spans[1].0 <= first {
            self.spans.pop_front();
        }
        // The journal releases whole records: the log begins at the start of a record.
        if let Some(&(start, _)) = self.spans.front() {
            self.first = self.first.max(start.min(first));
        }
        while self.terms.len() > 1 && self.terms[1].index <= self.first {
            self.terms.pop_front();
        }
        while self.cache.front().is_some_and(|batch| batch.last() < self.first) {
            self.cache_bytes -= self.cache.pop_front().map_or(0, |batch| batch.bytes().len());
        }
        let after = self.cache.iter().filter(|batch| batch.first() > covers.index);
        self.bytes_since_snapshot = after.map(|batch| batch.bytes().len() as u64).sum();
        self.spans.front().map(|&(_, lsn)| lsn)
    }

    /// Takes in a snapshot up to `covers`. If the log has another entry there, or ends before, the
    /// snapshot replaces the whole log. A log that begins after `covers` stays: the snapshot is
    /// older than the log's own.
    pub(crate) fn follow(&mut self, covers: Position) {
        if covers.index >= self.first && self.term_at(covers.index) != Some(covers.term) {
            self.reset(covers);
        }
    }

    fn reset(&mut self, covers: Position) {
        self.first = covers.index.next();
        self.last = covers.index;
        self.durable = covers.index;
        self.snapshot = covers;
        self.terms.clear();
        self.spans.clear();
        self.pending.clear();
        self.cache.clear();
        self.cache_bytes = 0;
        self.bytes_since_snapshot = 0;
    }
}

fn parse(mut payload: Bytes) -> Result<Entries, String> {
    if payload.len() < 8 {
        return Err("a record of entries is shorter than its index".into());
    }
    let first = Index(payload.get_u64_le());
    Entries::check(first, payload).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Clock, Disk, Rng};
    use crate::id::NodeId;
    use crate::journal::Options;
    use crate::raft::entries::{Builder, Kind, Origin};
    use futures_lite::future::{block_on, poll_once, yield_now};
    use std::pin::Pin;

    fn journal() -> Journal {
        let (clock, rng) = (Clock::real(), Rng::seeded(1));
        Journal::open(&Disk::memory(), &clock, &rng, Options::default(), |_| Ok(()))
            .expect("an empty disk")
    }

    fn entries(first: u64, term: u64, count: u64) -> Entries {
        let mut builder = Builder::new(Index(first), Term(term), 0);
        for request in 0..count {
            builder.push(Kind::Command, Origin { node: NodeId(1), request }, b"x");
        }
        builder.finish()
    }

    /// Lets the journal's driver sync all submitted records, and keeps the driver for later.
    fn sync(driver: &mut Pin<Box<dyn Future<Output = Fatal>>>, journal: &Journal, log: &mut Log) {
        let all = journal.submitted();
        block_on(async {
            while journal.synced() < all {
                assert!(poll_once(&mut *driver).await.is_none(), "memory does not fail");
                yield_now().await;
            }
        });
        log.take_synced(journal.synced());
    }

    fn drive(journal: &Journal) -> Pin<Box<dyn Future<Output = Fatal>>> {
        let journal = journal.clone();
        Box::pin(async move { journal.run().await })
    }

    fn at(index: u64, term: u64) -> Position {
        Position { term: Term(term), index: Index(index) }
    }

    #[test]
    fn nothing_is_durable_before_its_record_is() {
        let (journal, mut log) = (journal(), Log::empty(1 << 20));
        let mut driver = drive(&journal);
        log.append(&journal, entries(1, 1, 3));
        assert!(!log.take_synced(journal.synced()));
        assert_eq!((log.last(), log.durable()), (at(3, 1), Index(0)));
        sync(&mut driver, &journal, &mut log);
        assert_eq!(log.durable(), Index(3));
    }

    #[test]
    fn truncation_takes_durability_back() {
        let (journal, mut log) = (journal(), Log::empty(1 << 20));
        let mut driver = drive(&journal);
        log.append(&journal, entries(1, 1, 5));
        sync(&mut driver, &journal, &mut log);
        log.append(&journal, entries(3, 2, 1));
        assert_eq!(log.durable(), Index(2), "the new entry is not on disk yet");
        assert_eq!(log.last(), at(3, 2));
        assert_eq!(log.term_at(Index(4)), None);
        sync(&mut driver, &journal, &mut log);
        assert_eq!(log.durable(), Index(3));
    }

    #[test]
    fn a_write_that_was_truncated_in_flight_counts_for_what_is_left_of_it() {
        let (journal, mut log) = (journal(), Log::empty(1 << 20));
        log.append(&journal, entries(1, 1, 5));
        log.append(&journal, entries(3, 2, 4));
        let first_only = Lsn(journal.submitted().0 - 1);
        assert!(log.take_synced(first_only));
        assert_eq!(log.durable(), Index(2), "entries 3 to 5 of the first write are gone");
    }

    #[test]
    fn what_the_cache_forgot_is_read_from_the_journal() {
        let (journal, mut log) = (journal(), Log::empty(0));
        let mut driver = drive(&journal);
        for first in [1, 4, 7] {
            log.append(&journal, entries(first, 1, 3));
        }
        log.append(&journal, entries(5, 2, 2));
        sync(&mut driver, &journal, &mut log);
        log.trim_cache(log.last().index);
        for from in 1..=6 {
            let read = log.read(&journal, Index(from), 1 << 20).expect("readable");
            let read = read.expect("not compacted");
            assert_eq!(read.first(), Index(from));
            for entry in read.iter() {
                assert_eq!(Some(entry.term), log.term_at(entry.index), "{entry:?}");
            }
        }
        let beyond = log.read(&journal, Index(7), 1 << 20).expect("readable");
        assert_eq!(beyond.map(|entries| entries.is_empty()), Some(true));
    }

    #[test]
    fn compaction_keeps_the_terms_that_are_still_asked_for() {
        let (journal, mut log) = (journal(), Log::empty(1 << 20));
        let mut driver = drive(&journal);
        for (first, term) in [(1, 1), (4, 2), (7, 3)] {
            log.append(&journal, entries(first, term, 3));
        }
        sync(&mut driver, &journal, &mut log);
        log.compact(at(6, 2), 0);
        assert_eq!(log.first(), Index(7));
        assert_eq!(log.term_at(Index(6)), Some(Term(2)), "what the snapshot covers");
        assert_eq!(log.term_at(Index(5)), None);
        assert_eq!(log.term_at(Index(9)), Some(Term(3)));
        assert_eq!(log.read(&journal, Index(6), 9).expect("readable"), None);
    }

    #[test]
    fn a_snapshot_of_another_history_replaces_the_log() {
        let (journal, mut log) = (journal(), Log::empty(1 << 20));
        log.append(&journal, entries(1, 1, 9));
        log.follow(at(5, 1));
        assert_eq!(log.last(), at(9, 1), "it is the same history");
        log.follow(at(5, 2));
        assert_eq!((log.last(), log.first()), (at(5, 2), Index(6)));
    }

    #[test]
    fn looking_back_skips_whole_terms() {
        let (journal, mut log) = (journal(), Log::empty(1 << 20));
        for (first, term) in [(1, 1), (4, 3), (7, 5)] {
            log.append(&journal, entries(first, term, 3));
        }
        assert_eq!(log.last_not_above(Index(9), Term(4)), Index(6));
        assert_eq!(log.last_not_above(Index(9), Term(2)), Index(3));
        assert_eq!(log.last_not_above(Index(9), Term(0)), Index(0));
    }

    #[test]
    fn an_older_snapshot_leaves_a_log_that_begins_after_it() {
        let found = |index, term| {
            let mut log = Log::empty(1 << 20);
            for (number, batch) in [entries(5, 2, 2), entries(7, 2, 2)].into_iter().enumerate() {
                let mut payload = batch.first().0.to_le_bytes().to_vec();
                payload.extend_from_slice(batch.bytes());
                log.replay(Lsn(number as u64), payload.into()).expect("our own bytes");
            }
            log.follow(Position { term: Term(term), index: Index(index) });
            (log.first().0, log.last().index.0)
        };
        assert_eq!(found(3, 1), (5, 8), "released long ago");
        assert_eq!(found(4, 1), (5, 8), "just before the log");
        assert_eq!(found(6, 2), (5, 8), "in the log");
        assert_eq!(found(6, 3), (7, 6), "another entry: replaced");
        assert_eq!(found(20, 2), (21, 20), "beyond the log: replaced");
    }
}
