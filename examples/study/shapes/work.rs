//! The work that is the same in all shapes: commands, frames, the log, the state machine, the rule
//! of the majority, and the peers.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::workers::{Worker, output};

/// Bytes of one command.
const COMMAND: usize = 256;
/// Length and index before each command, wherever it goes.
pub(crate) const HEAD: usize = 12;
/// The log begins anew after so many bytes, all of which exist before the first write.
pub(crate) const LOG_BYTES: u64 = 4 << 20;

/// Who holds a write: the log of the node itself, or a peer.
pub(crate) const LOG: usize = 0;

/// The frame of command number `index`: what is logged and what is sent.
pub(crate) fn frame(index: u64) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD + COMMAND);
    frame.extend((COMMAND as u32).to_le_bytes());
    frame.extend(index.to_le_bytes());
    frame.extend((index % 1_000).to_le_bytes());
    frame.resize(HEAD + COMMAND, index as u8);
    frame
}

/// The index of a frame.
pub(crate) fn index_of(frame: &[u8]) -> u64 {
    let bytes = frame.get(4..HEAD).and_then(|bytes| bytes.try_into().ok());
    u64::from_le_bytes(bytes.unwrap_or_default())
}

/// Frames from a stream: reads what is there, gives out whole frames.
#[derive(Default)]
pub(crate) struct Frames(Vec<u8>);

impl Frames {
    /// Waits for at least one whole frame and returns all whole ones, in one piece; `None` at the
    /// end of the stream.
    pub(crate) fn read(&mut self, from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
        let mut room = vec![0; 64 << 10];
        loop {
            let whole = self.0.len() - self.0.len() % (HEAD + COMMAND);
            if whole > 0 {
                let rest = self.0.split_off(whole);
                return Ok(Some(std::mem::replace(&mut self.0, rest)));
            }
            match from.read(&mut room)? {
                0 => return Ok(None),
                read => self.0.extend_from_slice(&room[..read]),
            }
        }
    }
}

/// The frames of a piece, one by one.
pub(crate) fn each(frames: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    frames.chunks_exact(HEAD + COMMAND)
}

/// The index of the last frame.
pub(crate) fn last(frames: &[u8]) -> u64 {
    each(frames).next_back().map_or(0, index_of)
}

/// Where the next `len` bytes of the log go.
pub(crate) fn place(end: &mut u64, len: usize) -> u64 {
    if *end + len as u64 > LOG_BYTES {
        *end = 0;
    }
    let at = *end;
    *end += len as u64;
    at
}

/// A log whose blocks exist already, as those of a journal do.
pub(crate) struct Log {
    file: File,
    end: u64,
}

impl Log {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all_at(&vec![0; LOG_BYTES as usize], 0)?;
        file.sync_data()?;
        Ok(Self { file, end: 0 })
    }

    /// Writes frames and makes them durable.
    pub(crate) fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        self.file.write_all_at(frames, place(&mut self.end, frames.len()))?;
        self.file.sync_data()
    }
}

/// The state machine: a thousand keys, each with the last command about it.
#[derive(Default)]
pub(crate) struct Machine(BTreeMap<u64, Vec<u8>>);

impl Machine {
    pub(crate) fn apply(&mut self, frame: &[u8]) {
        let command = frame.get(HEAD..).unwrap_or_default();
        let key = command.first_chunk().map_or(0, |key| u64::from_le_bytes(*key));
        self.0.insert(key, command.to_vec());
    }
}

/// What the core knows: which writes are under way, who holds what, what is applied.
#[derive(Debug)]
pub(crate) struct Ledger {
    window: u64,
    issued: u64,
    held: [u64; 3],
    committed: u64,
    pub(crate) applied: u64,
}

impl Ledger {
    pub(crate) fn new(window: u64) -> Self {
        Self { window, issued: 0, held: [0; 3], committed: 0, applied: 0 }
    }

    /// The writes to begin now.
    pub(crate) fn issue(&mut self) -> RangeInclusive<u64> {
        let first = self.issued + 1;
        self.issued = self.applied + self.window;
        first..=self.issued
    }

    /// Somebody holds everything up to `index`: what is decided by that.
    pub(crate) fn hold(&mut self, who: usize, index: u64) -> RangeInclusive<u64> {
        self.held[who] = index;
        let mut sorted = self.held;
        sorted.sort_unstable();
        let first = self.committed + 1;
        self.committed = self.committed.max(sorted[1]);
        first..=self.committed
    }
}

/// Starts a peer with its log at `path`; it listens on the port returned.
pub(crate) fn start_peer(path: &Path) -> io::Result<(Worker, u16)> {
    let (worker, _, mut output) = Worker::start(&["peer", &path.to_string_lossy()])?;
    let mut port = [0; 2];
    output.read_exact(&mut port)?;
    Ok((worker, u16::from_le_bytes(port)))
}

/// The peer: writes what it is sent, syncs it, says up to where.
pub(crate) fn peer_job(path: &Path) -> io::Result<()> {
    let mut log = Log::create(path)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    output()?.write_all(&listener.local_addr()?.port().to_le_bytes())?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut frames = Frames::default();
    // The node ends without a word: that is no error here.
    while let Ok(Some(batch)) = frames.read(&mut stream) {
        log.append(&batch)?;
        if stream.write_all(&last(&batch).to_le_bytes()).is_err() {
            break;
        }
    }
    Ok(())
}

/// A blocking connection to a peer, and one batch there and the answer back.
pub(crate) struct Peer(TcpStream);

impl Peer {
    pub(crate) fn dial(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sends a batch and waits until the peer holds it; returns up to where it does.
    pub(crate) fn copy(&mut self, frames: &[u8]) -> io::Result<u64> {
        self.0.write_all(frames)?;
        let mut index = [0; 8];
        self.0.read_exact(&mut index)?;
        Ok(u64::from_le_bytes(index))
    }
}
