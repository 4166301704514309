//! Real files: `std::fs`, one lock, and at most one helper thread.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, bounded};

use super::{Device, DeviceFile, Done, File, SyncMode, is_full};
use crate::error::Fatal;

/// The file whose lock keeps a second process out and whose contents name the holder.
const LOCK: &str = "LOCK";
/// The scratch file of the measurement at open; removed after it.
const PROBE: &str = "probe.tmp";
/// Syncs measured at open: enough for a median.
const PROBES: usize = 8;
/// The measurement stops after this long, so that starting stays quick on any device.
const PROBE_MAX: Duration = Duration::from_millis(4);
/// Below this median the device is a fast one.
const INLINE_BELOW: Duration = Duration::from_millis(1);
/// On such a device a write of up to this many bytes is synced in place: few wait for it, so the
/// way to the helper and back would be all it adds. A larger one goes to the helper, and the loop
/// prepares the next meanwhile.
const IN_PLACE_BYTES: usize = 2048;
/// Jobs that wait for the helper: the journal has one sync in flight and a snapshot another.
const JOBS_MAX: usize = 4;

/// A directory of real files.
pub(super) struct Real {
    path: PathBuf,
    dir: Arc<fs::File>,
    way: Way,
    /// Held, not used: closing it releases the lock. Last, so that the helper is gone before.
    lock: RefCell<Option<fs::File>>,
}

struct RealFile {
    file: Arc<fs::File>,
    way: Way,
}

/// Where syncs run.
#[derive(Clone)]
struct Way {
    /// `None` if all of them run in place.
    helper: Option<Rc<Helper>>,
    /// Writes of at most this many bytes are synced in place even so.
    in_place_bytes: usize,
    /// The directory is another's now.
    closed: Rc<Cell<bool>>,
}

impl Way {
    fn of(mode: SyncMode) -> Self {
        let (helper, in_place_bytes) = match mode {
            SyncMode::Inline => (None, usize::MAX),
            SyncMode::Auto => (Some(Rc::default()), IN_PLACE_BYTES),
            SyncMode::Thread => (Some(Rc::default()), 0),
        };
        Self { helper, in_place_bytes, closed: Rc::default() }
    }

    /// The helper, if it is to do this work.
    fn helper_for(&self, work: &Work) -> Option<Rc<Helper>> {
        match work {
            Work::Commit(_, data) if data.len() <= self.in_place_bytes => None,
            _ => self.helper.clone(),
        }
    }

    /// Does the work here, or on the helper thread.
    fn run(&self, file: &Arc<fs::File>, work: Work) -> Done<Vec<u8>> {
        let (helper, file, open) = (self.helper_for(&work), file.clone(), self.check());
        Box::pin(async move {
            open?;
            run(helper, file, work).await
        })
    }

    fn check(&self) -> io::Result<()> {
        match self.closed.get() {
            true => Err(io::Error::other("the node that used this directory has ended")),
            false => Ok(()),
        }
    }

    fn close(&self) {
        self.closed.set(true);
        self.helper.iter().for_each(|helper| helper.join());
    }
}

/// Opens, locks and measures `path`.
pub(super) fn open(
    path: &Path,
    mode: SyncMode,
) -> Result<(Real, SyncMode, Option<Duration>), Fatal> {
    let failed = |what: &str, error: io::Error| Fatal::Disk {
        what: format!("{what} {}", path.display()),
        error: error.to_string(),
    };
    fs::create_dir_all(path).map_err(|e| failed("making the data directory", e))?;
    let dir = fs::File::open(path).map_err(|e| failed("opening the data directory", e))?;
    let lock = lock(path)?;
    let probed = match mode {
        SyncMode::Auto => match probe(path) {
            // A node starts on a full disk, too: it serves reads. The device counts as slow.
            Err(error) if is_full(&error) => None,
            measured => Some(measured.map_err(|e| failed("writing to", e))?),
        },
        SyncMode::Inline | SyncMode::Thread => None,
    };
    let mode = match (mode, probed) {
        (SyncMode::Auto, Some(median)) if median < INLINE_BELOW => SyncMode::Auto,
        (SyncMode::Auto, _) => SyncMode::Thread,
        (chosen, _) => chosen,
    };
    let real =
        Real { path: path.into(), dir: Arc::new(dir), way: Way::of(mode), lock: Some(lock).into() };
    Ok((real, mode, probed))
}

/// Takes the lock and writes this process's id into it.
fn lock(path: &Path) -> Result<fs::File, Fatal> {
    let name = path.join(LOCK);
    let failed = |error: io::Error| Fatal::Disk {
        what: format!("locking {}", name.display()),
        error: error.to_string(),
    };
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut lock = options.open(&name).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // What stands there was written by another process: only shown, and only briefly.
            let _ = lock.take(64).read_to_string(&mut holder);
            return Err(Fatal::Locked(format!(
                "the data directory {} is in use by process {}; stop that process, or give this \
                 node a data directory of its own",
                path.display(),
                holder.trim(),
            )));
        }
    }
    let write = |lock: &mut fs::File| {
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())
    };
    match write(&mut lock) {
        // The lock holds without the name in it.
        Err(error) if !is_full(&error) => Err(failed(error)),
        Ok(()) | Err(_) => Ok(lock),
    }
}

/// The median of a few small syncs on a scratch file, which is removed.
fn probe(path: &Path) -> io::Result<Duration> {
    let name = path.join(PROBE);
    let measured = fs::File::create(&name).and_then(|file| measure(&file));
    let removed = fs::remove_file(&name);
    let median = measured?;
    removed.map(|()| median)
}

#[allow(clippy::disallowed_methods)] // a measurement of the real world, before there is a clock
fn measure(file: &fs::File) -> io::Result<Duration> {
    let began = Instant::now();
    file.write_all_at(&[0; 512 * PROBES], 0)?;
    file.sync_data()?;
    let mut spans = Vec::with_capacity(PROBES);
    for at in 0..PROBES {
        let start = Instant::now();
        file.write_all_at(&[1; 512], 512 * at as u64)?;
        file.sync_data()?;
        spans.push(start.elapsed());
        if began.elapsed() > PROBE_MAX {
            break;
        }
    }
    spans.sort_unstable();
    Ok(spans[spans.len() / 2])
}

impl Real {
    fn file(&self, file: fs::File) -> File {
        File::with(Rc::new(RealFile { file: Arc::new(file), way: self.way.clone() }))
    }
}

impl Device for Real {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.way.check()?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        self.way.check()?;
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(self.file(options.open(self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        self.way.check()?;
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true);
        Ok(self.file(options.open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.way.check()?;
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.way.check()?;
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir_now(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn sync_dir(&self) -> Done<()> {
        let work = self.way.run(&self.dir, Work::SyncAll);
        Box::pin(async move { work.await.map(|_| ()) })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&*self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn close(&self) {
        self.way.close();
        self.lock.take();
    }
}

impl DeviceFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.file.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.way.check()?;
        self.file.write_all_at(data, offset)
    }

    fn sync_now(&self) -> io::Result<()> {
        self.way.check()?;
        self.file.sync_data()
    }

    fn sync(&self) -> Done<()> {
        let work = self.way.run(&self.file, Work::Sync);
        Box::pin(async move { work.await.map(|_| ()) })
    }

    fn commit(&self, offset: u64, data: Vec<u8>) -> Done<Vec<u8>> {
        self.way.run(&self.file, Work::Commit(offset, data))
    }
}

type Reply = io::Result<Vec<u8>>;

enum Work {
    /// Write, then make the contents durable.
    Commit(u64, Vec<u8>),
    /// Make the contents durable.
    Sync,
    /// Make everything durable: a directory, whose entries `fdatasync` may leave behind.
    SyncAll,
}

impl Work {
    fn run(self, file: &fs::File) -> Reply {
        match self {
            Self::Commit(offset, data) => {
                file.write_all_at(&data, offset)?;
                file.sync_data()?;
                Ok(data)
            }
            Self::Sync => file.sync_data().map(|()| Vec::new()),
            Self::SyncAll => file.sync_all().map(|()| Vec::new()),
        }
    }
}

/// Does the work here, or on the helper thread if there is one.
async fn run(helper: Option<Rc<Helper>>, file: Arc<fs::File>, work: Work) -> Reply {
    let Some(helper) = helper else {
        return work.run(&file);
    };
    let gone = || io::Error::other("the thread that syncs has ended");
    let (reply, answer) = bounded(1);
    let jobs = helper.jobs()?;
    let job = Job { file, work, reply };
    jobs.send(job).await.map_err(|_| gone())?;
    answer.recv().await.map_err(|_| gone())?
}

struct Job {
    file: Arc<fs::File>,
    work: Work,
    reply: Sender<Reply>,
}

/// The one helper thread, started with the first job and joined when dropped.
#[derive(Default)]
struct Helper(RefCell<Option<(Sender<Job>, JoinHandle<()>)>>);

impl Helper {
    fn jobs(&self) -> io::Result<Sender<Job>> {
        let mut slot = self.0.borrow_mut();
        if let Some((jobs, _)) = &*slot {
            return Ok(jobs.clone());
        }
        let (jobs, queue) = bounded(JOBS_MAX);
        let thread =
            thread::Builder::new().name("quorate-sync".into()).spawn(move || serve(&queue))?;
        *slot = Some((jobs.clone(), thread));
        Ok(jobs)
    }
}

fn serve(queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv_blocking() {
        // Whoever asked may be gone; the work was done all the same.
        let _ = job.reply.try_send(job.work.run(&job.file));
    }
}

impl Helper {
    /// Ends the thread; what it was given is done then.
    fn join(&self) {
        if let Some((jobs, thread)) = self.0.borrow_mut().take() {
            jobs.close();
            let _ = thread.join();
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.join();
    }
}
