//! What a node holds of a simulated disk: handles that die with its life.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::{Inode, NameChange, SECTOR, Shared, put};
use crate::env::disk::{Device, DeviceFile, Done, File};

/// How soon a sync notices that a stall has been ended.
const STALL_STEP: Duration = Duration::from_millis(10);

/// The directory, for one life.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) shared: Rc<Shared>,
    pub(super) life: u64,
}

/// A file, for one life.
#[derive(Clone)]
struct FileHandle {
    handle: Handle,
    inode: Rc<RefCell<Inode>>,
}

impl Handle {
    /// Whether this life goes on and has power.
    fn alive(&self) -> bool {
        let off_at = self.shared.troubles.borrow().off_at;
        self.life == self.shared.life.get()
            && off_at.is_none_or(|off_at| self.shared.operations.get() <= off_at)
    }

    /// Counts an operation that changes something; an error when there is no power for it.
    fn operation(&self) -> io::Result<()> {
        if self.life == self.shared.life.get() {
            self.shared.operations.set(self.shared.operations.get() + 1);
        }
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        if self.alive() { Ok(()) } else { Err(io::Error::other("the power is off")) }
    }

    /// Takes as long as a sync takes; never returns if the power fails meanwhile.
    async fn wait(&self) -> io::Result<()> {
        let clock = &self.shared.clock;
        let (least, most) = self.shared.troubles.borrow().latency;
        if !most.is_zero() {
            clock.sleep(self.shared.rng.between(least, most)).await;
        }
        loop {
            let until = self.shared.troubles.borrow().stalled_until;
            if clock.now() >= until {
                break;
            }
            // In steps, for a stall may be ended before its time.
            clock.sleep_until(until.min(clock.now() + STALL_STEP)).await;
        }
        if !self.alive() {
            futures_lite::future::pending::<()>().await;
        }
        Ok(())
    }

    fn file(&self, inode: Rc<RefCell<Inode>>) -> File {
        File::with(Rc::new(FileHandle { handle: self.clone(), inode }))
    }

    /// How many bytes all files may have.
    fn quota(&self) -> Option<u64> {
        let troubles = self.shared.troubles.borrow();
        troubles.quota.into_iter().chain(troubles.size).min()
    }

    fn used(&self) -> u64 {
        let state = self.shared.state.borrow();
        let len = |inode| state.inodes[inode].borrow().seen.len() as u64;
        state.names.values().map(len).sum()
    }

    /// A sync fails once if it was told to.
    fn sync_trouble(&self) -> io::Result<()> {
        if std::mem::take(&mut self.shared.troubles.borrow_mut().sync_fails) {
            return Err(io::Error::other("input/output error (simulated)"));
        }
        Ok(())
    }

    /// Carries the changes of names up to that number over to the medium; another sync may have
    /// carried some of them meanwhile.
    fn carry_names(&self, limit: u64) -> io::Result<()> {
        self.sync_trouble()?;
        let state = &mut *self.shared.state.borrow_mut();
        let count = usize::try_from(limit.saturating_sub(state.carried)).unwrap_or(usize::MAX);
        state.carried = state.carried.max(limit);
        for change in state.waiting.drain(..count) {
            change.apply(&mut state.durable);
        }
        state.collect();
        Ok(())
    }
}

impl Device for Handle {
    fn place(&self) -> String {
        "the simulated disk".into()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.check()?;
        Ok(self.shared.state.borrow().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<File> {
        self.operation()?;
        let state = &mut *self.shared.state.borrow_mut();
        let number = state.next_inode;
        state.next_inode += 1;
        let inode = Rc::new(RefCell::new(Inode::default()));
        state.inodes.insert(number, inode.clone());
        state.change(NameChange::Linked(name.into(), number));
        Ok(self.file(inode))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        self.check()?;
        let state = self.shared.state.borrow();
        let number = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(state.inodes[number].clone()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.operation()?;
        let state = &mut *self.shared.state.borrow_mut();
        let number = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(NameChange::Renamed(from.into(), to.into(), number));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operation()?;
        let state = &mut *self.shared.state.borrow_mut();
        let number = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        state.change(NameChange::Removed(name.into(), number));
        Ok(())
    }

    fn sync_dir_now(&self) -> io::Result<()> {
        self.operation()?;
        let limit = self.shared.state.borrow().changes();
        self.carry_names(limit)
    }

    fn sync_dir(&self) -> Done<()> {
        let handle = self.clone();
        Box::pin(async move {
            handle.operation()?;
            let limit = handle.shared.state.borrow().changes();
            handle.wait().await?;
            handle.carry_names(limit)
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.check()?;
        let quota = self.quota();
        Ok(quota.map_or(u64::MAX, |quota| quota.saturating_sub(self.used())))
    }
}

impl FileHandle {
    /// Carries what was written before `limit` over to the medium.
    fn carry(&self, limit: u64) -> io::Result<()> {
        let trouble = self.handle.sync_trouble();
        let inode = &mut *self.inode.borrow_mut();
        let covered = inode.waiting.partition_point(|&(number, ..)| number < limit);
        for (_, offset, data) in inode.waiting.drain(..covered) {
            if trouble.is_ok() {
                put(&mut inode.durable, offset, &data);
            }
        }
        trouble
    }
}

impl DeviceFile for FileHandle {
    fn size(&self) -> io::Result<u64> {
        self.handle.check()?;
        Ok(self.inode.borrow().seen.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.handle.check()?;
        let inode = self.inode.borrow();
        let from = usize::try_from(offset).map_or(inode.seen.len(), |at| at.min(inode.seen.len()));
        let len = buf.len().min(inode.seen.len() - from);
        buf[..len].copy_from_slice(&inode.seen[from..from + len]);
        let (meter, costs) = &*self.handle.shared.meter.borrow();
        meter.charge(costs.of_read(len));
        Ok(len)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.handle.operation()?;
        let len = self.inode.borrow().seen.len() as u64;
        let more = (offset + data.len() as u64).saturating_sub(len);
        let quota = self.handle.quota();
        if more > 0 && quota.is_some_and(|quota| self.handle.used() + more > quota) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let fails = std::mem::take(&mut self.handle.shared.troubles.borrow_mut().write_fails);
        let done = if fails { data.len() / 2 / SECTOR * SECTOR } else { data.len() };
        let data = &data[..done];
        let inode = &mut *self.inode.borrow_mut();
        put(&mut inode.seen, offset, data);
        inode.waiting.push((inode.next_write, offset, data.to_vec()));
        inode.next_write += 1;
        if fails {
            return Err(io::Error::other("input/output error (simulated)"));
        }
        Ok(())
    }

    fn sync_now(&self) -> io::Result<()> {
        self.handle.operation()?;
        self.carry(u64::MAX)
    }

    fn sync(&self) -> Done<()> {
        let file = self.clone();
        Box::pin(async move {
            file.handle.operation()?;
            let limit = file.inode.borrow().next_write;
            file.handle.wait().await?;
            file.carry(limit)
        })
    }

    fn commit(&self, offset: u64, data: Vec<u8>) -> Done<Vec<u8>> {
        let file = self.clone();
        Box::pin(async move {
            file.write_at(offset, &data)?;
            file.sync().await?;
            Ok(data)
        })
    }
}
