//! The data directory behind one handle: real files, memory, or the simulator's disk.
//!
//! A [`Disk`] is one flat directory. Its writes are not durable until the file is synced, and a
//! new name, a rename or a removal is not durable until the directory is synced: the two are told
//! apart here exactly as an operating system tells them apart, so that the journal cannot get away
//! with less in simulation than in production.
//!
//! # Where a sync runs
//!
//! A sync blocks the thread that calls it. On a fast device calling it in place is the quickest
//! for who waits for it ([`SyncMode::Inline`]); on a slow or unknown one it would hold up
//! everything else on the loop, so it is handed to one helper thread ([`SyncMode::Thread`], thread
//! `quorate-sync`, started with its first job and joined when the last handle is gone).
//! [`SyncMode::Auto`] measures a few syncs when the directory is opened: on a fast device small
//! writes are synced in place and large ones, for which many wait, by the helper. The `journal`
//! page of the manual has the figures.
//!
//! Handing a write over starts it when the returned future is first polled; dropping the future
//! after that does not undo it: what was handed to the disk may land.

mod memory;
mod real;

use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::error::Fatal;

/// An operation of the disk under way.
pub type Done<T> = Pin<Box<dyn Future<Output = io::Result<T>>>>;

/// Where syncs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// On the executor's own thread: quickest on a device that syncs well below a millisecond.
    Inline,
    /// On the one helper thread: the loop goes on while a slow device works.
    Thread,
    /// Measured when the directory is opened: small writes inline and large ones on the thread if
    /// the median is below 1 ms, else all on the thread.
    Auto,
}

/// What a directory can do: the seam behind [`Disk`].
pub trait Device {
    /// The directory's name, for messages.
    fn place(&self) -> String;
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file; an existing one of that name is emptied.
    fn create(&self, name: &str) -> io::Result<File>;
    /// Opens an existing file to read and write.
    fn open(&self, name: &str) -> io::Result<File>;
    /// Renames a file, replacing one that has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name; those who have the file open go on using it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes new, changed and removed names durable, on the calling thread.
    fn sync_dir_now(&self) -> io::Result<()>;
    /// Makes new, changed and removed names durable.
    fn sync_dir(&self) -> Done<()>;
    /// Bytes that an unprivileged process may still allocate.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Nothing is written any more, and the directory is free for another: see [`Disk::close`].
    fn close(&self) {}
}

/// What an open file can do: the seam behind [`File`].
pub trait DeviceFile {
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `data`; durable only after a sync.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes the contents durable, on the calling thread.
    fn sync_now(&self) -> io::Result<()>;
    /// Makes the contents durable.
    fn sync(&self) -> Done<()>;
    /// Writes all of `data` and makes it durable; gives the buffer back.
    fn commit(&self, offset: u64, data: Vec<u8>) -> Done<Vec<u8>>;
}

/// A data directory; clones are handles on the same one.
#[derive(Clone)]
pub struct Disk {
    device: Rc<dyn Device>,
    mode: SyncMode,
    probed: Option<Duration>,
}

/// An open file; clones are handles on the same one. It stays usable after its name is gone.
#[derive(Clone)]
pub struct File(Rc<dyn DeviceFile>);

impl Disk {
    /// Opens the directory at `path`, making it if need be, and locks it until it is
    /// [closed](Self::close), or the last clone of this handle is dropped.
    ///
    /// # Errors
    /// [`Fatal::Locked`] if another process holds it, with that process's id; [`Fatal::Disk`] if it
    /// cannot be made, opened or written.
    pub fn open(path: impl AsRef<Path>, mode: SyncMode) -> Result<Self, Fatal> {
        let (device, mode, probed) = real::open(path.as_ref(), mode)?;
        Ok(Self { device: Rc::new(device), mode, probed })
    }

    /// An empty directory in memory, whose syncs are instant and which is gone with the last
    /// handle: for examples and benchmarks.
    #[must_use]
    pub fn memory() -> Self {
        Self::with(Rc::new(memory::Memory::default()))
    }

    /// A directory on `device`: the seam for the simulator.
    #[must_use]
    pub fn with(device: Rc<dyn Device>) -> Self {
        Self { device, mode: SyncMode::Inline, probed: None }
    }

    /// Where syncs run. [`SyncMode::Auto`] has been decided: it stays `Auto` on a fast device and is
    /// `Thread` on a slow one.
    #[must_use]
    pub fn sync_mode(&self) -> SyncMode {
        self.mode
    }

    /// The median of the syncs measured at open, if any were.
    #[must_use]
    pub fn probed(&self) -> Option<Duration> {
        self.probed
    }

    /// The directory's name, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        self.device.place()
    }

    /// The names of all files, sorted.
    ///
    /// # Errors
    /// As the operating system says; so for all that follow.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.device.list()?;
        names.sort_unstable();
        Ok(names)
    }

    /// Makes an empty file; an existing one of that name is emptied.
    pub fn create(&self, name: &str) -> io::Result<File> {
        self.device.create(name)
    }

    /// Opens an existing file to read and write.
    pub fn open_file(&self, name: &str) -> io::Result<File> {
        self.device.open(name)
    }

    /// Renames a file, replacing one that has the new name.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.device.rename(from, to)
    }

    /// Removes a name; those who have the file open go on using it.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.device.remove(name)
    }

    /// Makes new, changed and removed names durable, on the calling thread: at start only.
    pub fn sync_dir_now(&self) -> io::Result<()> {
        self.device.sync_dir_now()
    }

    /// Makes new, changed and removed names durable. Dropping it does not stop it once polled.
    pub async fn sync_dir(&self) -> io::Result<()> {
        self.device.sync_dir().await
    }

    /// Waits until the work that has begun is done, and gives the directory free: it can be opened
    /// again, in this process or another. Whatever is asked of this handle, its clones and its
    /// files afterwards is refused. The life of a node does this when it ends.
    pub fn close(&self) {
        self.device.close();
    }

    /// Bytes that may still be allocated.
    pub fn free_bytes(&self) -> io::Result<u64> {
        self.device.free_bytes()
    }
}

impl File {
    /// A file of a device: the seam for the simulator.
    #[must_use]
    pub fn with(file: Rc<dyn DeviceFile>) -> Self {
        Self(file)
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// As the operating system says; so for all that follow.
    pub fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    /// The whole contents.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.size()?).map_err(io::Error::other)?;
        self.read_at(0, len)
    }

    /// Up to `len` bytes from `offset`; fewer only at the end of the file.
    pub fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut buf = vec![0; len];
        let read = self.0.read_at(offset, &mut buf)?;
        buf.truncate(read);
        Ok(buf)
    }

    /// Writes all of `data`; durable only after a sync.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }

    /// Makes the contents durable, on the calling thread: at start only.
    pub fn sync_now(&self) -> io::Result<()> {
        self.0.sync_now()
    }

    /// Makes the contents durable. Dropping it does not stop it once polled.
    pub async fn sync(&self) -> io::Result<()> {
        self.0.sync().await
    }

    /// Writes all of `data`, makes it durable and gives the buffer back. Dropping it does not
    /// stop it once polled: the write may land.
    pub async fn commit(&self, offset: u64, data: Vec<u8>) -> io::Result<Vec<u8>> {
        self.0.commit(offset, data).await
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({}, {:?})", self.place(), self.mode)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("File")
    }
}

/// Whether an error says that there is no room: the one kind that is not fatal for a new file.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
