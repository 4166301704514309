//! A directory in memory whose syncs are instant.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::{Device, DeviceFile, Done, File};

#[derive(Clone, Default)]
struct Contents(Rc<RefCell<Vec<u8>>>);

/// The files by name.
#[derive(Default)]
pub(super) struct Memory(RefCell<BTreeMap<String, Contents>>);

impl Device for Memory {
    fn place(&self) -> String {
        "memory".into()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.borrow().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let file = Contents::default();
        self.0.borrow_mut().insert(name.into(), file.clone());
        Ok(File::with(Rc::new(file)))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let files = self.0.borrow();
        let file = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(File::with(Rc::new(file.clone())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.borrow_mut();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.0.borrow_mut().remove(name);
        removed.map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir_now(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self) -> Done<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl DeviceFile for Contents {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.borrow().len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let contents = self.0.borrow();
        let from = usize::try_from(offset).map_or(contents.len(), |at| at.min(contents.len()));
        let len = buf.len().min(contents.len() - from);
        buf[..len].copy_from_slice(&contents[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut contents = self.0.borrow_mut();
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let end = from + data.len();
        if contents.len() < end {
            contents.resize(end, 0);
        }
        contents[from..end].copy_from_slice(data);
        Ok(())
    }

    fn sync_now(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> Done<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn commit(&self, offset: u64, data: Vec<u8>) -> Done<Vec<u8>> {
        let written = self.write_at(offset, &data);
        Box::pin(std::future::ready(written.map(|()| data)))
    }
}
