//! The one snapshot of the state: a file that replaces the log below it.
//!
//! It is written under a temporary name, block by block, synced, renamed and the directory synced;
//! only then is the older one removed. So a file with a snapshot's name is always complete, and
//! one that is not is damaged. A reader that was opened before keeps its file.
//!
//! ```text
//! head (64 bytes)   magic, version, length of meta, length of contents, bytes of a block, digest
//!                   of the contents, checksum
//! meta, checksum    whatever the engine wants to know without reading the rest
//! blocks            contents and a checksum each; the last may be shorter
//! ```
//!
//! The checksums are CRC-32C; that of a block is seeded with its number. All are verified in one
//! pass at start, and again when a piece is read. The digest is SHA-256: it tells whether two
//! snapshots are the same, and whether one has been put together from the right pieces.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use futures_lite::future::yield_now;
use sha2::{Digest as _, Sha256};

use crate::config::Slices;
use crate::env::Disk;
use crate::env::disk::{self, File};
use crate::error::Fatal;

use super::sector::{u32_at, u64_at};
use super::segment::{damaged, failed, number};

const MAGIC: &[u8; 8] = b"quorsnap";
const VERSION: u32 = 2;
/// Bytes of the head.
const HEAD: usize = 64;
/// Where the head's checksum stands.
const HEAD_CHECK: usize = 60;
/// The largest block: what reading a piece costs at most besides the piece.
const BLOCK_MAX: usize = 1 << 20;
/// Meta data is read into memory at start, and is the engine's own: a few hundred bytes.
const META_MAX: usize = 1 << 20;

/// Why a snapshot could not be written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotError {
    /// There is no room for it. What was written of it is gone; the log goes on as before.
    #[error("there is no room for a snapshot")]
    Full,
    /// The disk failed: the node must stop.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// The snapshots of a directory.
#[derive(Clone, Debug)]
pub(super) struct Snapshots(Rc<Shelf>);

#[derive(Debug)]
struct Shelf {
    disk: Disk,
    /// Contents are synced each time this much was written, so that no single sync takes long.
    sync_bytes: u64,
    block: usize,
    current: RefCell<Option<Snapshot>>,
    number: Cell<u64>,
}

/// A complete snapshot; clones read the same file, which stays readable when a newer one has
/// taken its place.
#[derive(Clone)]
pub struct Snapshot(Rc<Inner>);

struct Inner {
    name: String,
    number: u64,
    file: File,
    meta: Bytes,
    shape: Shape,
}

/// What the head of a snapshot says of its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    len: u64,
    /// Bytes of a block's contents, at least one.
    block: usize,
    digest: Digest,
}

/// SHA-256 of a snapshot's contents.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Digest(pub [u8; 32]);

/// A snapshot being written. Dropping it unfinished leaves a temporary file, which the next start
/// removes.
pub struct SnapshotWriter {
    shelf: Rc<Shelf>,
    name: String,
    file: File,
    meta: Bytes,
    block: Vec<u8>,
    /// Contents in whole blocks that were written.
    len: u64,
    unsynced: u64,
    /// On the heap, for futures carry the writer.
    digest: Box<Sha256>,
}

impl Snapshots {
    /// Finds the newest snapshot and verifies all of it; removes what a crash left behind.
    pub(super) fn find(disk: &Disk, slices: Slices) -> Result<Self, Fatal> {
        let names = disk.list().map_err(|e| failed("listing", &disk.place(), &e))?;
        let complete = |name: &String| Some((number(name, "snapshot-", ".snap")?, name.clone()));
        let mut found: Vec<_> = names.iter().filter_map(complete).collect();
        found.sort_unstable();
        let newest = found.pop();
        let current = match &newest {
            Some((number, name)) => Some(Snapshot::verify(disk, name, *number)?),
            None => None,
        };
        let unfinished = |name: &&String| number(name, "snapshot-", ".tmp").is_some();
        let older = found.iter().map(|(_, name)| name);
        for name in names.iter().filter(unfinished).chain(older) {
            disk.remove(name).map_err(|e| failed("removing", name, &e))?;
        }
        Ok(Self(Rc::new(Shelf {
            disk: disk.clone(),
            sync_bytes: slices.snapshot_sync_bytes,
            block: slices.snapshot_block_bytes.clamp(1, BLOCK_MAX),
            current: RefCell::new(current),
            number: Cell::new(newest.map_or(0, |(number, _)| number)),
        })))
    }

    pub(super) fn current(&self) -> Option<Snapshot> {
        self.0.current.borrow().clone()
    }

    pub(super) fn begin(&self, meta: &[u8]) -> Result<SnapshotWriter, SnapshotError> {
        assert!(meta.len() <= META_MAX, "the meta data of a snapshot is small");
        let shelf = self.0.clone();
        let name = format!("snapshot-{:016x}.tmp", shelf.next());
        let file = match shelf.disk.create(&name) {
            Ok(file) => file,
            Err(error) => return Err(refused(&shelf.disk, &name, &error)),
        };
        let block = Vec::with_capacity(shelf.block + 4);
        let writer = SnapshotWriter {
            shelf,
            name,
            file,
            meta: Bytes::copy_from_slice(meta),
            block,
            len: 0,
            unsynced: 0,
            digest: Box::default(),
        };
        let mut raw = meta.to_vec();
        raw.extend_from_slice(&crc32c::crc32c(meta).to_le_bytes());
        writer.checked(writer.file.write_at(HEAD as u64, &raw))?;
        Ok(writer)
    }
}

impl Shelf {
    fn next(&self) -> u64 {
        self.number.set(self.number.get() + 1);
        self.number.get()
    }
}

impl SnapshotWriter {
    /// Appends to the contents. Whole blocks are written as they fill, and synced from time to
    /// time.
    ///
    /// # Errors
    /// [`SnapshotError::Full`]: the snapshot is abandoned; drop the writer.
    /// [`SnapshotError::Fatal`]: the node must stop.
    ///
    /// Not cancel safe: a writer whose `write` was dropped must be dropped, too.
    pub async fn write(&mut self, mut contents: &[u8]) -> Result<(), SnapshotError> {
        self.digest.update(contents);
        while !contents.is_empty() {
            let room = self.shelf.block - self.block.len();
            let (now, later) = contents.split_at(room.min(contents.len()));
            self.block.extend_from_slice(now);
            contents = later;
            if self.block.len() == self.shelf.block {
                self.put_block()?;
            }
            if self.unsynced >= self.shelf.sync_bytes {
                self.unsynced = 0;
                self.checked(self.file.sync().await)?;
                yield_now().await;
            }
        }
        Ok(())
    }

    /// The digest of what was written so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(Sha256::finalize((*self.digest).clone()).into())
    }

    /// Makes the snapshot durable and current, then removes the one before it.
    ///
    /// # Errors
    /// As [`write`](Self::write); the older snapshot stays current then.
    ///
    /// Dropped before it returns, it may or may not have taken place.
    pub async fn finish(mut self) -> Result<Snapshot, SnapshotError> {
        if !self.block.is_empty() {
            self.put_block()?;
        }
        let shape = Shape { len: self.len, block: self.shelf.block, digest: self.digest() };
        let head = head(self.meta.len(), shape);
        self.checked(self.file.write_at(0, &head))?;
        self.checked(self.file.sync().await)?;
        let disk = &self.shelf.disk;
        let number = self.shelf.next();
        let name = format!("snapshot-{number:016x}.snap");
        self.checked(disk.rename(&self.name, &name))?;
        self.checked(disk.sync_dir().await)?;
        let snapshot = Snapshot(Rc::new(Inner {
            name,
            number,
            file: self.file.clone(),
            meta: self.meta.clone(),
            shape,
        }));
        let current = self.shelf.current.borrow().clone();
        let (older, newer) = match current {
            Some(current) if current.0.number > number => (Some(snapshot.clone()), current),
            current => (current, snapshot.clone()),
        };
        self.shelf.current.replace(Some(newer));
        if let Some(older) = older {
            // Not synced: if it comes back, the next start removes it.
            self.checked(disk.remove(&older.0.name))?;
        }
        Ok(snapshot)
    }

    fn put_block(&mut self) -> Result<(), SnapshotError> {
        let at = self.len / self.shelf.block as u64;
        let check = block_check(at, &self.block);
        self.len += self.block.len() as u64;
        self.unsynced += self.block.len() as u64;
        self.block.extend_from_slice(&check.to_le_bytes());
        let offset = block_offset(self.meta.len(), self.shelf.block, at);
        let written = self.file.write_at(offset, &self.block);
        self.block.clear();
        self.checked(written)
    }

    fn checked(&self, result: std::io::Result<()>) -> Result<(), SnapshotError> {
        result.map_err(|error| refused(&self.shelf.disk, &self.name, &error))
    }
}

/// No room is not fatal for a snapshot; what was written of it is given back.
fn refused(disk: &Disk, name: &str, error: &std::io::Error) -> SnapshotError {
    if !disk::is_full(error) {
        return failed("writing", name, error).into();
    }
    let _ = disk.remove(name);
    SnapshotError::Full
}

impl Snapshot {
    /// What the engine gave with it.
    #[must_use]
    pub fn meta(&self) -> &Bytes {
        &self.0.meta
    }

    /// Bytes of its contents.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // an empty snapshot is nothing special
    pub fn len(&self) -> u64 {
        self.0.shape.len
    }

    /// Tells it from others.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.shape.digest
    }

    /// Up to `len_max` bytes of the contents from `offset`; empty at the end.
    ///
    /// # Errors
    /// [`Fatal::Damaged`] with file and offset if they are not what was written; [`Fatal::Disk`].
    pub fn read_at(&self, offset: u64, len_max: usize) -> Result<Bytes, Fatal> {
        let Shape { len, block: size, .. } = self.0.shape;
        let end = offset.saturating_add(len_max as u64).min(len);
        let mut contents =
            Vec::with_capacity(usize::try_from(end.saturating_sub(offset)).unwrap_or(0));
        let mut at = offset;
        while at < end {
            let block = self.block(at / size as u64)?;
            let from = usize::try_from(at % size as u64).unwrap_or(0);
            let until = block.len().min(from + usize::try_from(end - at).unwrap_or(size));
            contents.extend_from_slice(&block[from..until]);
            at += (until - from) as u64;
        }
        Ok(contents.into())
    }

    /// One block, verified.
    fn block(&self, at: u64) -> Result<Vec<u8>, Fatal> {
        let inner = &*self.0;
        let Shape { len, block: size, .. } = inner.shape;
        let len = usize::try_from(len - at * size as u64).map_or(size, |left| left.min(size));
        let offset = block_offset(inner.meta.len(), size, at);
        let read = inner.file.read_at(offset, len + 4);
        let mut raw = read.map_err(|e| failed("reading", &inner.name, &e))?;
        if raw.len() < len + 4 || block_check(at, &raw[..len]) != u32_at(&raw, len) {
            let why = "a block of the snapshot does not match its checksum";
            return Err(damaged(&inner.name, offset, why));
        }
        raw.truncate(len);
        Ok(raw)
    }

    /// Opens a snapshot and reads all of it once.
    fn verify(disk: &Disk, name: &str, number: u64) -> Result<Self, Fatal> {
        let reading = |e: std::io::Error| failed("reading", name, &e);
        let file = disk.open_file(name).map_err(reading)?;
        let raw = file.read_at(0, HEAD).map_err(reading)?;
        let (meta_len, shape) = check_head(name, &raw)?;
        let raw = file.read_at(HEAD as u64, meta_len + 4).map_err(reading)?;
        if raw.len() < meta_len + 4 || crc32c::crc32c(&raw[..meta_len]) != u32_at(&raw, meta_len) {
            let why = "the snapshot's meta data does not match its checksum";
            return Err(damaged(name, HEAD as u64, why));
        }
        let file_len = file.size().map_err(reading)?;
        let snapshot = Self(Rc::new(Inner {
            name: name.into(),
            number,
            file,
            meta: Bytes::from(raw).slice(..meta_len),
            shape,
        }));
        let blocks = shape.len.div_ceil(shape.block as u64);
        for at in 0..blocks {
            snapshot.block(at)?;
        }
        let expected = block_offset(meta_len, shape.block, 0) + shape.len + blocks * 4;
        if file_len != expected {
            return Err(damaged(name, expected.min(file_len), "the snapshot's length is wrong"));
        }
        Ok(snapshot)
    }
}

fn head(meta_len: usize, shape: Shape) -> Vec<u8> {
    let meta_len = u32::try_from(meta_len).expect("its limit is below 4 GiB");
    let mut raw = MAGIC.to_vec();
    raw.extend_from_slice(&VERSION.to_le_bytes());
    raw.extend_from_slice(&meta_len.to_le_bytes());
    raw.extend_from_slice(&shape.len.to_le_bytes());
    let block = u32::try_from(shape.block).expect("its limit is below 4 GiB");
    raw.extend_from_slice(&block.to_le_bytes());
    raw.extend_from_slice(&shape.digest.0);
    raw.extend_from_slice(&crc32c::crc32c(&raw).to_le_bytes());
    debug_assert_eq!(raw.len(), HEAD);
    raw
}

/// The length of the meta data, and the shape of the contents.
fn check_head(name: &str, raw: &[u8]) -> Result<(usize, Shape), Fatal> {
    let intact = raw.len() == HEAD && crc32c::crc32c(&raw[..HEAD_CHECK]) == u32_at(raw, HEAD_CHECK);
    if !intact {
        let why = "the head of the snapshot does not match its checksum";
        return Err(damaged(name, 0, why));
    }
    let version = u32_at(raw, 8);
    if &raw[..8] != MAGIC || version != VERSION {
        return Err(Fatal::Mismatch(format!(
            "{name} has version {version} of the snapshot format; this program reads version \
             {VERSION}: use the program that wrote it"
        )));
    }
    let meta_len = u32_at(raw, 12) as usize;
    if meta_len > META_MAX {
        return Err(damaged(name, 12, "the snapshot's meta data is larger than possible"));
    }
    let block = u32_at(raw, 24) as usize;
    if !(1..=BLOCK_MAX).contains(&block) {
        return Err(damaged(name, 24, "the snapshot's blocks have an impossible length"));
    }
    let digest = Digest(raw[28..HEAD_CHECK].try_into().expect("32 bytes"));
    Ok((meta_len, Shape { len: u64_at(raw, 16), block, digest }))
}

fn block_check(at: u64, contents: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&at.to_le_bytes()), contents)
}

/// Where a block and its checksum stand.
fn block_offset(meta_len: usize, block: usize, at: u64) -> u64 {
    (HEAD + meta_len + 4) as u64 + at * (block as u64 + 4)
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}…", u64_at(&self.0, 0).swap_bytes())
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({}, {} bytes)", self.0.name, self.len())
    }
}

impl fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotWriter({}, {} bytes)", self.name, self.len)
    }
}
