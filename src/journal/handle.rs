//! The handle on the journal: submitting, reading back, releasing, and what it knows of itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::config::Slices;
use crate::env::{Clock, Disk, Rng, Time};
use crate::error::Fatal;
use crate::scope::notify::Notify;

use super::preallocate::{self, PreallocatedFiles};
use super::record::{Batch, HEAD, Lsn, RECORD_HEAD, Record};
use super::recover::{self, Recovered, Recovery};
use super::sector::{self, SECTOR};
use super::segment::{Segment, failed};
use super::snapshot::{Snapshot, SnapshotError, SnapshotWriter, Snapshots};

/// The smallest segment, for tests; below 64 KiB a busy node would roll all the time.
const SEGMENT_BYTES_MIN: u64 = 4 << 10;
/// The largest segment: it is read whole at start.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Sync times remembered for the median.
const SYNCS_REMEMBERED: usize = 64;

/// The limits of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a segment file, 4 KiB to 1 GiB. Segments are made ahead and used again; a larger
    /// one rolls less often, a smaller one gives room back sooner.
    pub segment_bytes: u64,
    /// Bytes of one record's payload: the largest entry of an engine and its head. A segment must
    /// hold it.
    pub record_bytes_max: usize,
    /// Bytes of one batch, so of one write and one sync: bounds how long the first record of a
    /// batch waits for the last. A larger record goes alone.
    pub batch_bytes_max: usize,
    /// Bytes submitted and not yet durable above which [`Journal::is_behind`] says so. `submit`
    /// itself cannot fail: admission is the edge's.
    pub pending_bytes_max: usize,
    /// Segment files kept for use again, so that steady work writes no zeros. More are removed.
    pub preallocated_max: usize,
    /// How much is written at a time.
    pub slices: Slices,
}

impl Default for Options {
    /// Segments of 4 MiB, records up to 2 MiB, batches up to 1 MiB, 32 MiB pending, 8 preallocated files.
    fn default() -> Self {
        Self {
            segment_bytes: 4 << 20,
            record_bytes_max: 2 << 20,
            batch_bytes_max: 1 << 20,
            pending_bytes_max: 32 << 20,
            preallocated_max: 8,
            slices: Slices::default(),
        }
    }
}

impl Options {
    /// The same limits with smaller segments: records and batches shrink to fit.
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        let half = usize::try_from(bytes / 2).unwrap_or(usize::MAX);
        self.record_bytes_max = self.record_bytes_max.min(half);
        self.batch_bytes_max = self.batch_bytes_max.min(half);
        self
    }

    fn check(&self) -> Result<(), Fatal> {
        let contents = (RECORD_HEAD + self.record_bytes_max).max(self.batch_bytes_max);
        let largest = sector::sectors(HEAD + contents) + 1;
        let range = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if range.contains(&self.segment_bytes)
            && self.segment_bytes.is_multiple_of(SECTOR as u64)
            && (largest * SECTOR) as u64 <= self.segment_bytes
        {
            return Ok(());
        }
        Err(Fatal::Mismatch(format!(
            "a journal segment of {} bytes is not possible: it must have 4 KiB to 1 GiB, be a \
             multiple of {SECTOR}, and hold a record of {} bytes",
            self.segment_bytes, self.record_bytes_max
        )))
    }
}

/// The journal; clones are handles on the same one.
#[derive(Clone)]
pub struct Journal(pub(super) Rc<Inner>);

pub(super) struct Inner {
    pub(super) disk: Disk,
    pub(super) clock: Clock,
    pub(super) options: Options,
    pub(super) journal: u64,
    pub(super) seed: u32,
    pub(super) recovery: Recovery,
    /// Rung by whoever has work for the driver.
    pub(super) work: Notify,
    /// Rung by the driver when `synced` or `full` changes.
    pub(super) wake: RefCell<Notify>,
    /// The lsn of the next record.
    pub(super) next: Cell<u64>,
    pub(super) synced: Cell<u64>,
    pub(super) full: Cell<bool>,
    pub(super) released: Cell<u64>,
    /// Whether the driver is, or was when it was dropped, in the middle of something.
    pub(super) busy: Cell<bool>,
    pub(super) pending: RefCell<VecDeque<Batch>>,
    /// Contents of what is pending or in flight.
    pub(super) pending_bytes: Cell<usize>,
    /// When the batch in flight was begun.
    pub(super) in_flight: Cell<Option<Time>>,
    /// The buffer of the last batch, for the next.
    pub(super) buffer: RefCell<Vec<u8>>,
    pub(super) store: RefCell<Store>,
    pub(super) stats: RefCell<SyncStats>,
    reader: RefCell<Reader>,
    snapshots: Snapshots,
}

/// The files.
#[derive(Debug)]
pub(super) struct Store {
    /// In order; never empty; batches go into the last.
    pub(super) segments: VecDeque<Segment>,
    /// What is written now carries this.
    pub(super) generation: u32,
    pub(super) preallocated: PreallocatedFiles,
}

/// What the journal has done since it was opened.
#[derive(Debug, Default)]
pub(super) struct SyncStats {
    spans: VecDeque<Duration>,
    syncs: u64,
    bytes: u64,
}

impl SyncStats {
    pub(super) fn synced(&mut self, span: Duration, bytes: usize) {
        if self.spans.len() == SYNCS_REMEMBERED {
            self.spans.pop_front();
        }
        self.spans.push_back(span);
        self.syncs += 1;
        self.bytes += bytes as u64;
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

/// The batch that was read last, so that reading one after the other reads each batch once.
#[derive(Debug, Default)]
struct Reader {
    records: Vec<Record>,
    /// The segment, and where the batch behind this one begins.
    next: (u64, u32),
}

impl Journal {
    /// Opens the journal on `disk`, making it if there is none, and tells `replay` of each record
    /// that is there, in order. Records of a segment that was not wholly released are among them.
    ///
    /// # Errors
    /// [`Fatal::Damaged`] with file and offset if acknowledged records cannot be accounted for
    /// (`replay` may have seen those before them); [`Fatal::Disk`]; [`Fatal::Mismatch`] for another
    /// version of the format or contradictory options; whatever `replay` returns.
    pub fn open(
        disk: &Disk,
        clock: &Clock,
        rng: &Rng,
        options: Options,
        mut replay: impl FnMut(Record) -> Result<(), Fatal>,
    ) -> Result<Self, Fatal> {
        options.check()?;
        let snapshots = Snapshots::find(disk, options.slices)?;
        let mut recovered = recover::recover(disk, &mut replay)?;
        if recovered.segments.is_empty() {
            recovered.begin(disk, rng.u64(), options)?;
        }
        let preallocated =
            PreallocatedFiles::find(disk, options.segment_bytes, options.preallocated_max)?;
        let store = Store {
            segments: recovered.segments.into(),
            generation: recovered.generation + 1,
            preallocated,
        };
        Ok(Self(Rc::new(Inner {
            disk: disk.clone(),
            clock: clock.clone(),
            options,
            journal: recovered.journal,
            seed: sector::seed(recovered.journal),
            recovery: recovered.recovery,
            work: Notify::new(),
            wake: RefCell::default(),
            next: Cell::new(recovered.next.0),
            synced: Cell::new(recovered.next.0 - 1),
            full: Cell::new(false),
            released: Cell::new(0),
            busy: Cell::new(false),
            pending: RefCell::default(),
            pending_bytes: Cell::new(0),
            in_flight: Cell::new(None),
            buffer: RefCell::default(),
            store: RefCell::new(store),
            stats: RefCell::default(),
            reader: RefCell::default(),
            snapshots,
        })))
    }

    /// Hands a record over: its payload is `parts`, one after the other, copied once. Memory
    /// only; the driver is woken and writes it with everything else that is submitted until then.
    ///
    /// There is no undoing it: whoever promised something by it must keep the promise.
    ///
    /// # Panics
    /// If the payload is larger than [`Options::record_bytes_max`]: the edge refuses such a thing.
    pub fn submit(&self, kind: u8, parts: &[&[u8]]) -> Lsn {
        let inner = &*self.0;
        let len: usize = parts.iter().map(|part| part.len()).sum();
        assert!(
            len <= inner.options.record_bytes_max,
            "a record of {len} bytes was submitted; the limit is {}",
            inner.options.record_bytes_max
        );
        let lsn = Lsn(inner.next.get());
        inner.next.set(lsn.0 + 1);
        let mut pending = inner.pending.borrow_mut();
        let limit = inner.options.batch_bytes_max;
        let fits = |batch: &Batch| batch.len() + len + RECORD_HEAD <= limit;
        if !pending.back().is_some_and(fits) {
            let buffer = inner.buffer.take();
            pending.push_back(Batch::new(lsn, inner.clock.now(), buffer));
        }
        if let Some(batch) = pending.back_mut() {
            batch.push(kind, parts, len);
        }
        let bytes = inner.pending_bytes.get() + len + RECORD_HEAD;
        inner.pending_bytes.set(bytes);
        drop(pending);
        inner.work.notify();
        lsn
    }

    /// Everything with this lsn or a smaller one is durable.
    #[must_use]
    pub fn synced(&self) -> Lsn {
        Lsn(self.0.synced.get())
    }

    /// The lsn of the record that was submitted last.
    #[must_use]
    pub fn submitted(&self) -> Lsn {
        Lsn(self.0.next.get() - 1)
    }

    /// The lsn of the oldest record that can still be read.
    #[must_use]
    pub fn oldest(&self) -> Lsn {
        let store = self.0.store.borrow();
        store.segments.front().map_or(Lsn(1), |oldest| oldest.first)
    }

    /// Notified whenever [`synced`](Self::synced) or [`is_full`](Self::is_full) changes.
    pub fn notify_on_sync(&self, wake: Notify) {
        self.0.wake.replace(wake);
    }

    /// Drives the journal: writes and syncs what is submitted, batch after batch, with at most one
    /// sync in flight. Returns only when a write or a sync has failed; nothing is acknowledged
    /// after that, and nothing is retried: the node must stop and read the journal again.
    ///
    /// Belongs to the scope of the node, and outlives everything else in it: a shutdown goes on
    /// polling the *same* future until all is durable. Dropped while it waits for work, it can be
    /// run again; dropped in the middle of a write, what the disk holds is unknown, and every later
    /// run fails at once.
    pub async fn run(&self) -> Fatal {
        self.0.run().await
    }

    /// Whether there is no room for another segment. Submitted records that still fit into the
    /// present one become durable; the others stay pending and are written when there is room.
    /// The journal looks for room by itself.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.full.get()
    }

    /// Whether more is pending than [`Options::pending_bytes_max`]: the edge should refuse more.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.0.pending_bytes.get() > self.0.options.pending_bytes_max
    }

    /// Reads a durable record again; `None` if it was released or is not durable yet. Reading
    /// one after the other is cheap: each batch is read from the disk once.
    ///
    /// # Errors
    /// [`Fatal::Damaged`] if it is not what was written; [`Fatal::Disk`].
    pub fn read(&self, lsn: Lsn) -> Result<Option<Record>, Fatal> {
        let mut reader = self.0.reader.borrow_mut();
        if let Some(record) = reader.record(lsn) {
            return Ok(Some(record));
        }
        let store = self.0.store.borrow();
        if lsn > self.synced() {
            return Ok(None);
        }
        let after = store.segments.partition_point(|segment| segment.first <= lsn);
        let Some(segment) = after.checked_sub(1).and_then(|at| store.segments.get(at)) else {
            return Ok(None);
        };
        let seed = self.0.seed;
        let follows = reader.records.last().map(|last| last.lsn.0 + 1) == Some(lsn.0);
        let mut at = if follows && reader.next.0 == segment.sequence {
            reader.next.1
        } else {
            segment.nearest(lsn)
        };
        loop {
            let head = segment.head(seed, at)?;
            let end = at + u32::try_from(head.sectors()).unwrap_or(u32::MAX - at);
            if head.end() > lsn {
                reader.records = segment.batch(seed, at, &head)?;
                reader.next = (segment.sequence, end);
                return Ok(reader.record(lsn));
            }
            at = end;
        }
    }

    /// Says that records below `below` are not needed any more. Whole segments of such records are
    /// used again or removed, later, by the driver. What is needed for ever (a promise) must have
    /// been submitted again, and be durable, before.
    pub fn release(&self, below: Lsn) {
        if below.0 > self.0.released.get() {
            self.0.released.set(below.0);
            self.0.work.notify();
        }
    }

    /// The current snapshot, if there is one.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.0.snapshots.current()
    }

    /// Begins a new snapshot; `meta`, at most 1 MiB, is given back with it.
    ///
    /// # Errors
    /// [`SnapshotError::Full`] if there is no room; [`SnapshotError::Fatal`] if the disk failed.
    pub fn begin_snapshot(&self, meta: &[u8]) -> Result<SnapshotWriter, SnapshotError> {
        self.0.snapshots.begin(meta)
    }

    /// What was found when the journal was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.0.recovery
    }

    /// Bytes of all segment files and preallocated files.
    #[must_use]
    pub fn bytes_on_disk(&self) -> u64 {
        let store = self.0.store.borrow();
        let segments: u64 = store.segments.iter().map(|segment| segment.len).sum();
        segments + store.preallocated.bytes()
    }

    /// The median of the last 64 writes with their sync; zero before the first.
    #[must_use]
    pub fn sync_median(&self) -> Duration {
        let mut spans: Vec<_> = self.0.stats.borrow().spans.iter().copied().collect();
        spans.sort_unstable();
        spans.get(spans.len() / 2).copied().unwrap_or_default()
    }

    /// Since when the oldest record that is not durable has been waiting; `None` if all are.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Time> {
        let pending = || self.0.pending.borrow().front().map(|batch| batch.since);
        self.0.in_flight.get().or_else(pending)
    }

    /// Syncs of batches since the journal was opened.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.0.stats.borrow().syncs
    }

    /// Bytes written since the journal was opened, zeros of new segments among them.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.0.stats.borrow().bytes
    }
}

impl Recovered {
    /// Makes the first segment of a new journal.
    fn begin(&mut self, disk: &Disk, journal: u64, options: Options) -> Result<(), Fatal> {
        let bytes = options.segment_bytes.min(options.slices.first_segment_bytes);
        let segment = preallocate::first(disk, journal, bytes)
            .map_err(|e| failed("making the first segment in", &disk.place(), &e))?;
        self.journal = journal;
        self.generation = 1;
        self.segments.push(segment);
        Ok(())
    }
}

impl Reader {
    fn record(&self, lsn: Lsn) -> Option<Record> {
        let first = self.records.first()?.lsn;
        let at = usize::try_from(lsn.0.checked_sub(first.0)?).ok()?;
        self.records.get(at).cloned()
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (synced, submitted) = (self.synced().0, self.submitted().0);
        write!(f, "Journal({synced} of {submitted} durable)")
    }
}
