//! Frames on a stream: `length u32 · check u32 · crc32c u32 · payload`, little-endian, and the two
//! structs that keep what is half done. The first check is the CRC-32C of the length: a length is
//! believed only if it is right, for a wrong one would swallow the frames behind it, and let the
//! reader wait for bytes that never come. The second one is over the length and the payload.
//!
//! - [`Inlet`] holds the bytes that have arrived and are not yet a frame. It outlives every future
//!   that reads into it, so a dropped read loses nothing.
//! - [`Outlet`] holds whole frames on their way out and how far they got. A flush that was dropped
//!   is continued by the next one; whoever gives up in between must close the connection.
//!
//! A frame that is taken out owns its memory and nothing more: it is copied out of the read buffer.
//! A slice of that buffer would save a copy that costs less than the system call that fetched the
//! bytes, and would let a hundred bytes in the log's cache hold 64 KiB alive.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use futures_lite::{AsyncRead, AsyncWrite};

use crate::tcp::stats::Cause;

/// Bytes before the payload.
pub const HEADER: usize = 12;

/// Bytes of the read buffer: what one system call can fetch at most.
const READ_BYTES: usize = 64 << 10;

/// Bytes that are gathered into one write; a larger frame goes alone.
const WRITE_BYTES: usize = 256 << 10;

/// Why a stream cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// The other side ended it between two frames.
    #[error("the other side closed the connection")]
    Closed,
    /// The other side sent what no node of ours sends.
    #[error("{0}")]
    Rejected(Cause),
    /// The operating system ended it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The two checksums of a frame: of its length, and of its length and its payload.
fn checksums(len: [u8; 4], payload: &[u8]) -> (u32, u32) {
    let check = crc32c::crc32c(&len);
    (check, crc32c::crc32c_append(check, payload))
}

/// What a header announces.
#[derive(Debug, Clone, Copy)]
struct Header {
    len: u32,
    crc: u32,
}

impl Header {
    /// Reads a header, if all of it is there.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, &[u8])>, Broken> {
        let parts = bytes.split_first_chunk::<4>().and_then(|(len, rest)| {
            let (check, rest) = rest.split_first_chunk::<4>()?;
            let (crc, rest) = rest.split_first_chunk::<4>()?;
            Some((len, check, crc, rest))
        });
        let Some((len, check, crc, rest)) = parts else {
            return Ok(None);
        };
        if crc32c::crc32c(len) != u32::from_le_bytes(*check) {
            return Err(Broken::Rejected(Cause::Checksum));
        }
        let header = Self { len: u32::from_le_bytes(*len), crc: u32::from_le_bytes(*crc) };
        Ok(Some((header, rest)))
    }

    fn payload_len(self) -> usize {
        self.len as usize
    }

    fn admits(self, payload: &[u8]) -> Result<(), Broken> {
        if checksums(self.len.to_le_bytes(), payload).1 == self.crc {
            Ok(())
        } else {
            Err(Broken::Rejected(Cause::Checksum))
        }
    }
}

/// A frame larger than the read buffer, as far as it has arrived.
#[derive(Debug)]
struct Large {
    header: Header,
    payload: Vec<u8>,
}

/// The receiving end of a stream of frames.
#[derive(Debug)]
pub struct Inlet {
    buffer: Box<[u8]>,
    /// The bytes in `buffer` that have arrived and are not taken: `start..end`.
    start: usize,
    end: usize,
    large: Option<Large>,
    frame_bytes_max: usize,
}

impl Inlet {
    /// An inlet that has seen nothing and accepts payloads of at most `frame_bytes_max` bytes.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> Self {
        Self {
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            large: None,
            frame_bytes_max,
        }
    }

    /// Takes the next whole frame, if it has arrived.
    ///
    /// # Errors
    /// [`Broken::Rejected`] if the length is beyond the limit or the checksum is wrong; the stream
    /// is then of no further use.
    pub fn take(&mut self) -> Result<Option<Bytes>, Broken> {
        if self.large.is_some() {
            return self.take_large();
        }
        let arrived = &self.buffer[self.start..self.end];
        let Some((header, rest)) = Header::parse(arrived)? else {
            return Ok(None);
        };
        let len = header.payload_len();
        if len > self.frame_bytes_max {
            return Err(Broken::Rejected(Cause::FrameTooLarge));
        }
        if let Some(payload) = rest.get(..len) {
            header.admits(payload)?;
            let frame = Bytes::copy_from_slice(payload);
            self.start += HEADER + len;
            return Ok(Some(frame));
        }
        if HEADER + len > READ_BYTES {
            self.start += HEADER;
            let payload = Vec::new();
            self.large = Some(Large { header, payload });
            return self.take_large();
        }
        Ok(None)
    }

    /// Moves what has arrived of a large frame out of the buffer; its memory grows with the bytes
    /// that are there, not with those that were announced.
    fn take_large(&mut self) -> Result<Option<Bytes>, Broken> {
        let Some(large) = &mut self.large else {
            return Ok(None);
        };
        let len = large.header.payload_len();
        let missing = len - large.payload.len();
        let end = self.end.min(self.start + missing);
        let part = &self.buffer[self.start..end];
        let needed = large.payload.len() + part.len();
        if needed > large.payload.capacity() {
            let capacity = (needed * 2).min(len);
            large.payload.reserve_exact(capacity - large.payload.len());
        }
        large.payload.extend_from_slice(part);
        self.start = end;
        if large.payload.len() < len {
            return Ok(None);
        }
        large.header.admits(&large.payload)?;
        Ok(self.large.take().map(|large| Bytes::from(large.payload)))
    }

    /// Takes in bytes that have arrived, as many as there is room for; returns how many. There is
    /// room when [`take`](Self::take) has no more.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        self.make_room();
        let count = bytes.len().min(self.buffer.len() - self.end);
        self.buffer[self.end..self.end + count].copy_from_slice(&bytes[..count]);
        self.end += count;
        count
    }

    /// Bytes of the frame of which a part has arrived, when [`take`](Self::take) has no more; none
    /// between two frames.
    #[must_use]
    pub fn partial(&self) -> Option<usize> {
        if let Some(large) = &self.large {
            return Some(large.header.payload_len());
        }
        let arrived = &self.buffer[self.start..self.end];
        let header = Header::parse(arrived).ok().flatten();
        let len = header.map_or(HEADER, |(header, _)| header.payload_len());
        (!arrived.is_empty()).then_some(len)
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// Waits for more bytes and takes as many as one system call gives; returns how many.
    ///
    /// Call it when [`take`](Self::take) has no more. Cancel safe: nothing changes until it is
    /// ready, and then all of it is kept.
    ///
    /// # Errors
    /// [`Broken::Closed`] at an end between two frames; any other end is an error of the stream.
    pub async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<usize, Broken> {
        self.make_room();
        let (end, room) = (self.end, &mut self.buffer[self.end..]);
        let read = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, room)).await?;
        if read == 0 {
            return Err(if end == 0 && self.large.is_none() {
                Broken::Closed
            } else {
                Broken::Io(io::ErrorKind::UnexpectedEof.into())
            });
        }
        self.end += read;
        Ok(read)
    }
}

/// The sending end of a stream of frames.
#[derive(Debug)]
pub struct Outlet {
    buffer: Vec<u8>,
    sent: usize,
    frame_bytes_max: usize,
}

impl Outlet {
    /// An outlet that holds nothing and takes payloads of at most `frame_bytes_max` bytes.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            sent: 0,
            frame_bytes_max: frame_bytes_max.min(u32::MAX as usize),
        }
    }

    /// Adds a frame to the next write; `false` if it is larger than the other side would accept,
    /// and then it is not added.
    #[must_use]
    pub fn push(&mut self, payload: &[u8]) -> bool {
        let Ok(len) = u32::try_from(payload.len()) else {
            return false;
        };
        if payload.len() > self.frame_bytes_max {
            return false;
        }
        let len = len.to_le_bytes();
        let (check, crc) = checksums(len, payload);
        for part in [len, check.to_le_bytes(), crc.to_le_bytes()] {
            self.buffer.extend_from_slice(&part);
        }
        self.buffer.extend_from_slice(payload);
        true
    }

    /// The bytes that wait to be written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.sent..]
    }

    /// Whether the next write is large enough, so that more frames should wait for the one after.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= WRITE_BYTES
    }

    /// Bytes that wait to be written, headers included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// Whether nothing waits to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Writes all that was added; returns how many writes it took.
    ///
    /// Cancel safe in that the next call goes on where a dropped one stopped. A stream that is
    /// given up in between ends in half a frame and must be closed.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn flush(&mut self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<u64> {
        let mut writes = 0;
        while self.sent < self.buffer.len() {
            let rest = &self.buffer[self.sent..];
            let wrote = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, rest)).await?;
            if wrote == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.sent += wrote;
            writes += 1;
        }
        self.buffer.clear();
        self.buffer.shrink_to(2 * WRITE_BYTES);
        self.sent = 0;
        Ok(writes)
    }
}
