//! The one writer of the journal: batch after batch, with one sync in flight.
//!
//! Whatever changes on the disk changes here, in the order in which it is safe: a batch goes only
//! into a file that has its name durably, a file gets its name only when its head is durable, a
//! released file is used again only when its old name is gone durably. No borrow of the state is
//! held while something is awaited, so submitting and reading go on meanwhile.

use std::convert::Infallible;

use futures_lite::future::yield_now;

use crate::env::disk::{self, File};
use crate::error::Fatal;
use crate::scope::first::{First, first};

use super::handle::Inner;
use super::preallocate::{self, MAKING, Preallocated};
use super::record::{Batch, HEAD, Lsn};
use super::segment::{self, Segment, SegmentHead, failed, offset};

/// The least that is zeroed at a time while a file is made ahead, if the limit is not below it.
const ZERO_BYTES_MIN: u64 = 64 << 10;
/// A buffer larger than this is not kept for the next batch.
const BUFFER_BYTES_MAX: usize = 2 << 20;

/// A batch on its way to the disk.
struct Write {
    file: File,
    name: String,
    at: u32,
    raw: Vec<u8>,
    first: Lsn,
    last: Lsn,
    contents: usize,
}

impl Inner {
    /// See [`Journal::run`](super::Journal::run).
    pub(super) async fn run(&self) -> Fatal {
        if self.busy.get() {
            return Fatal::Disk {
                what: format!("writing the journal in {}", self.disk.place()),
                error: "its driver was dropped in the middle of a write; open the journal again"
                    .into(),
            };
        }
        match self.drive().await {
            Err(fatal) => fatal,
            Ok(never) => match never {},
        }
    }

    async fn drive(&self) -> Result<Infallible, Fatal> {
        loop {
            self.busy.set(true);
            self.recycle().await?;
            if !self.pending.borrow().is_empty() {
                // Whoever is ready to run now runs before the sync, and what it submits comes along.
                yield_now().await;
                if let Some(written) = self.commit().await? {
                    self.prepare(written).await?;
                    continue;
                }
            }
            self.wait().await?;
        }
    }

    /// Waits for work; without room for another segment, looks for room from time to time.
    async fn wait(&self) -> Result<(), Fatal> {
        self.busy.set(false);
        if !self.full.get() {
            self.work.notified().await;
            return Ok(());
        }
        let retry_at = self.store.borrow().preallocated.retry_at;
        let due = self.clock.sleep_until(retry_at);
        if self.clock.now() < retry_at && first(self.work.notified(), due).await == First::A(()) {
            return Ok(());
        }
        self.busy.set(true);
        self.make_spare().await.map(|_| ())
    }

    /// Writes and syncs the next batch and publishes it; returns its bytes, or `None` if there is
    /// no room for it.
    async fn commit(&self) -> Result<Option<u64>, Fatal> {
        let write = loop {
            match self.place() {
                Some(write) => break write,
                None if self.roll().await? => {}
                None => return Ok(None),
            }
        };
        let (began, bytes) = (self.clock.now(), write.raw.len());
        let written = write.file.commit(offset(write.at), write.raw).await;
        let buffer = written.map_err(|e| failed("writing", &write.name, &e))?;
        self.stats.borrow_mut().synced(self.clock.now().since(began), bytes);
        if buffer.capacity() <= BUFFER_BYTES_MAX {
            self.buffer.replace(buffer);
        }
        if let Some(tail) = self.store.borrow_mut().segments.back_mut() {
            tail.remember(write.first, write.at);
        }
        self.in_flight.set(None);
        self.pending_bytes.set(self.pending_bytes.get() - write.contents);
        self.synced.set(write.last.0);
        self.wake.borrow().notify();
        Ok(Some(bytes as u64))
    }

    /// Takes the next batch and its place in the present segment, if it fits.
    fn place(&self) -> Option<Write> {
        let mut store = self.store.borrow_mut();
        let generation = store.generation;
        let tail = store.segments.back_mut()?;
        let mut pending = self.pending.borrow_mut();
        let room = tail.sectors - tail.end;
        let fits = |batch: &&Batch| batch.sectors() <= room as usize;
        pending.front().filter(fits)?;
        let batch = pending.pop_front()?;
        let at = tail.end;
        tail.end += u32::try_from(batch.sectors()).expect("it is at most the room, which is a u32");
        self.in_flight.set(Some(batch.since));
        Some(Write {
            file: tail.file.clone(),
            name: segment::name(tail.sequence),
            at,
            first: batch.first,
            last: Lsn(batch.first.0 + u64::from(batch.count) - 1),
            contents: batch.len() - HEAD,
            raw: batch.seal(self.seed, at, generation),
        })
    }

    /// Begins the next segment; false if there is no room for one.
    async fn roll(&self) -> Result<bool, Fatal> {
        let ready = self.store.borrow_mut().preallocated.take();
        let spare = match ready {
            Some(spare) => spare,
            None if !self.make_spare().await? => return Ok(false),
            None => match self.store.borrow_mut().preallocated.take() {
                Some(spare) => spare,
                None => return Ok(false),
            },
        };
        let (head, generation) = {
            let mut store = self.store.borrow_mut();
            store.generation += 1;
            let tail = store.segments.back();
            let head = SegmentHead {
                journal: self.journal,
                sequence: tail.map_or(1, |tail| tail.sequence + 1),
                first: Lsn(self.synced.get() + 1),
                previous_end: tail.map_or(0, |tail| tail.end),
                sectors: u32::try_from(spare.len / offset(1)).unwrap_or(u32::MAX),
            };
            (head, store.generation)
        };
        let name = segment::name(head.sequence);
        let become_segment = async {
            spare.file.commit(0, head.encode(generation)).await?;
            self.disk.rename(&spare.name, &name)?;
            self.disk.sync_dir().await
        };
        become_segment.await.map_err(|e| failed("beginning", &name, &e))?;
        self.store.borrow_mut().segments.push_back(Segment {
            sequence: head.sequence,
            file: spare.file,
            first: head.first,
            end: 1,
            sectors: head.sectors,
            len: spare.len,
            index: Vec::new(),
        });
        Ok(true)
    }

    /// Gives up the oldest segments as far as all their records are released.
    async fn recycle(&self) -> Result<(), Fatal> {
        loop {
            let (segment, spare) = {
                let mut store = self.store.borrow_mut();
                let released = Lsn(self.released.get());
                if store.segments.get(1).is_none_or(|second| second.first > released) {
                    return Ok(());
                }
                let Some(segment) = store.segments.pop_front() else {
                    return Ok(());
                };
                let wanted = store.preallocated.wants(segment.len);
                (segment, wanted.then(|| store.preallocated.name()))
            };
            let name = segment::name(segment.sequence);
            let give_up = async {
                match &spare {
                    Some(spare) => self.disk.rename(&name, spare)?,
                    None => self.disk.remove(&name)?,
                }
                // One at a time: a gap in the numbers would look like damage.
                self.disk.sync_dir().await
            };
            give_up.await.map_err(|e| failed("giving up", &name, &e))?;
            if let Some(name) = spare {
                let Segment { file, len, .. } = segment;
                self.store.borrow_mut().preallocated.put(Preallocated { name, file, len });
                self.set_full(false);
            }
            yield_now().await;
        }
    }

    /// After a batch of `written` bytes: one slice of the next preallocated file, if none is ready, as large
    /// as it must be to be done before the present segment ends.
    async fn prepare(&self, written: u64) -> Result<(), Fatal> {
        let slice = {
            let store = self.store.borrow();
            let late = self.full.get() && self.clock.now() < store.preallocated.retry_at;
            if late || !store.preallocated.is_empty() {
                return Ok(());
            }
            let room = store.segments.back().map_or(0, |tail| offset(tail.sectors - tail.end));
            let made = store.preallocated.making.as_ref().map_or(0, |&(_, made)| made);
            let left = self.options.segment_bytes - made;
            let share = u128::from(written) * 2 * u128::from(left) / u128::from(room.max(1));
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        let most = self.options.slices.zero_bytes;
        self.spare_slice(slice.clamp(most.min(ZERO_BYTES_MIN), most)).await
    }

    /// Makes a preallocated file at once; false if there is no room.
    async fn make_spare(&self) -> Result<bool, Fatal> {
        while self.store.borrow().preallocated.is_empty() {
            self.spare_slice(self.options.slices.zero_bytes).await?;
            if self.full.get() && self.store.borrow().preallocated.making.is_none() {
                return Ok(!self.store.borrow().preallocated.is_empty());
            }
            yield_now().await;
        }
        Ok(true)
    }

    /// Zeroes up to `bytes` more of the file being made.
    async fn spare_slice(&self, bytes: u64) -> Result<(), Fatal> {
        let making = self.store.borrow_mut().preallocated.making.take();
        match self.zero(making, bytes).await {
            Ok(()) => Ok(()),
            Err(error) if disk::is_full(&error) => {
                // What was made of it is given back: others need the room more.
                let _ = self.disk.remove(MAKING);
                self.store.borrow_mut().preallocated.no_room(self.clock.now());
                self.set_full(true);
                Ok(())
            }
            Err(error) => Err(failed("making", MAKING, &error)),
        }
    }

    async fn zero(&self, making: Option<(File, u64)>, bytes: u64) -> std::io::Result<()> {
        let whole = self.options.segment_bytes;
        let (file, made) = match making {
            Some(making) => making,
            None if self.disk.free_bytes()? < whole => {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            None => (self.disk.create(MAKING)?, 0),
        };
        let slice = bytes.min(whole - made);
        preallocate::fill(&file, made, slice)?;
        file.sync().await?;
        self.stats.borrow_mut().wrote(usize::try_from(slice).unwrap_or(0));
        if made + slice < whole {
            self.store.borrow_mut().preallocated.making = Some((file, made + slice));
            return Ok(());
        }
        let name = self.store.borrow_mut().preallocated.name();
        self.disk.rename(MAKING, &name)?;
        self.disk.sync_dir().await?;
        let len = whole;
        self.store.borrow_mut().preallocated.put(Preallocated { name, file, len });
        self.set_full(false);
        Ok(())
    }

    fn set_full(&self, full: bool) {
        if self.full.replace(full) != full {
            if full {
                tracing::warn!(place = self.disk.place(), "no room for another journal segment");
            } else {
                tracing::info!(place = self.disk.place(), "there is room again");
            }
            self.wake.borrow().notify();
        }
    }
}
