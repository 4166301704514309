//! The two streams that a process writes for people. A line may be lost, a process never: its
//! reader may have gone away, the disk below may be full, the stream may be closed.
//!
//! The standard library's `print` macros panic then, and a panic ends a node; so no other file
//! uses them, and none writes to these streams by itself.
//!
//! The log has one more rule: it does not wait. A reader that stands still (a pager, a stopped
//! terminal, a log collector that hangs) would stop the one thread that everything runs on. A line
//! that there is no room for is left out, and the next one that is written says how many were.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pipe that is ready takes as much as this without waiting (POSIX: `PIPE_BUF` is 512 at least,
/// and 4096 on Linux).
const PIECE: usize = 4096;

/// Lines of the log that were left out since the last one that was written.
static LOST: AtomicU32 = AtomicU32::new(0);

/// Writes `bytes` to standard output, now.
///
/// # Errors
/// As the operating system says: `BrokenPipe` if nobody reads any more.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Writes a line to standard output, for who reads it; it is lost if nobody does.
pub fn line(text: impl Display) {
    let _lost = write(format!("{text}\n").as_bytes());
}

/// Writes a line to standard error, for who reads it; it is lost if nobody does.
pub fn complain(text: impl Display) {
    let _lost = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Standard error for a log: no write fails, and none waits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lost = LOST.swap(0, Ordering::Relaxed);
        let written =
            (lost == 0 || put(format!("({lost} lines were lost)\n").as_bytes())) && put(line);
        if !written {
            LOST.fetch_add(lost.saturating_add(1), Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to standard error what there is room for; whether that was all.
fn put(bytes: &[u8]) -> bool {
    let err = io::stderr();
    bytes.chunks(PIECE).all(|piece| {
        let mut ready = [PollFd::new(&err, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut ready, Some(&now)).is_ok()
            && ready[0].revents().contains(PollFlags::OUT)
            && err.lock().write_all(piece).is_ok()
    })
}
