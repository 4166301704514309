//! Frames: any size, any cut of the stream, any dropped future, any garbage.

#![allow(clippy::unwrap_used)] // a test may fail by panicking

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_lite::future::{block_on, poll_once};
use futures_lite::{AsyncRead, AsyncWrite};
use quorate::env::Rng;
use quorate::tcp::Cause;
use quorate::tcp::frame::{Broken, HEADER, Inlet, Outlet};

/// A stream of fixed bytes that gives at most `piece` at a time and is pending before each.
struct Trickle {
    bytes: Vec<u8>,
    at: usize,
    piece: usize,
    ready: bool,
}

impl Trickle {
    fn new(bytes: Vec<u8>, piece: usize) -> Self {
        Self { bytes, at: 0, piece, ready: false }
    }
}

impl AsyncRead for Trickle {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.ready = !self.ready;
        if self.ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = self.piece.min(buf.len()).min(self.bytes.len() - self.at);
        buf[..piece].copy_from_slice(&self.bytes[self.at..self.at + piece]);
        self.at += piece;
        Poll::Ready(Ok(piece))
    }
}

fn payloads(rng: &Rng, sizes: &[usize]) -> Vec<Bytes> {
    let filled = |&len: &usize| {
        let start = rng.u64().to_le_bytes()[0];
        (0..len).map(|at| start.wrapping_add(at as u8)).collect()
    };
    sizes.iter().map(filled).collect()
}

fn encoded(frames: &[Bytes]) -> Vec<u8> {
    let mut outlet = Outlet::new(8 << 20);
    for frame in frames {
        assert!(outlet.push(frame));
    }
    let mut bytes = futures_lite::io::Cursor::new(Vec::new());
    block_on(outlet.flush(&mut bytes)).unwrap();
    assert!(outlet.is_empty());
    bytes.into_inner()
}

/// Reads all frames; drops the future of every `drop_every`-th poll before polling again.
fn decoded(stream: &mut Trickle, drop_every: usize) -> (Vec<Bytes>, Broken) {
    let mut inlet = Inlet::new(4 << 20);
    let mut frames = Vec::new();
    let mut polls = 0;
    loop {
        match inlet.take() {
            Ok(Some(frame)) => frames.push(frame),
            Err(broken) => return (frames, broken),
            Ok(None) => loop {
                // One future for up to `drop_every` polls, then another one.
                let mut fill = std::pin::pin!(inlet.fill(stream));
                let mut left = drop_every;
                let outcome = loop {
                    polls += 1;
                    assert!(polls < 10_000_000, "the reader makes no progress");
                    match block_on(poll_once(fill.as_mut())) {
                        None if left > 1 => left -= 1,
                        outcome => break outcome,
                    }
                };
                match outcome {
                    None => {}
                    Some(Ok(_)) => break,
                    Some(Err(broken)) => return (frames, broken),
                }
            },
        }
    }
}

const SIZES: [usize; 14] =
    [0, 1, 7, 8, 100, 65_527, 65_528, 65_529, 65_536, 3, 200_000, 1_000_000, 4 << 20, 5];

#[test]
fn frames_of_all_sizes_arrive_whole_and_in_order_however_the_stream_is_cut() {
    let frames = payloads(&Rng::seeded(1), &SIZES);
    let bytes = encoded(&frames);
    for piece in [997, 65_536, usize::MAX] {
        let (arrived, end) = decoded(&mut Trickle::new(bytes.clone(), piece), usize::MAX);
        assert!(arrived == frames, "cut into {piece}");
        assert!(matches!(end, Broken::Closed), "{end}");
    }
    let small = payloads(&Rng::seeded(2), &[0, 1, 2, 9, 300]);
    let (arrived, _) = decoded(&mut Trickle::new(encoded(&small), 1), usize::MAX);
    assert_eq!(arrived, small);
}

#[test]
fn a_reader_dropped_at_every_kth_poll_loses_nothing() {
    let frames = payloads(&Rng::seeded(3), &[5, 0, 70_000, 12, 4_000, 1]);
    let bytes = encoded(&frames);
    for k in 1..=4 {
        for piece in [1, 13, 65_536] {
            let (arrived, end) = decoded(&mut Trickle::new(bytes.clone(), piece), k);
            assert!(arrived == frames, "dropped at every poll {k}, cut into {piece}");
            assert!(matches!(end, Broken::Closed), "{end}");
        }
    }
}

#[test]
fn an_end_in_the_middle_of_a_frame_is_an_error_not_a_frame() {
    let bytes = encoded(&payloads(&Rng::seeded(4), &[50]));
    for cut in 1..bytes.len() {
        let (arrived, end) = decoded(&mut Trickle::new(bytes[..cut].to_vec(), 64), usize::MAX);
        assert!(arrived.is_empty());
        assert!(matches!(end, Broken::Io(_)), "cut at {cut}: {end}");
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let frames = payloads(&Rng::seeded(5), &[20, 3]);
    let bytes = encoded(&frames);
    for bit in 0..(HEADER + 20) * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (arrived, end) = decoded(&mut Trickle::new(bytes, 64), usize::MAX);
        assert!(arrived.is_empty(), "bit {bit} went unseen");
        assert!(matches!(end, Broken::Rejected(Cause::Checksum)), "bit {bit}: {end}");
    }
}

/// A reader that believed a damaged length would wait for bytes that never come.
#[test]
fn a_damaged_length_is_refused_when_the_header_is_there() {
    let frames = payloads(&Rng::seeded(5), &[20]);
    let bytes = encoded(&frames);
    for bit in 0..8 * 8 {
        let mut header = bytes[..HEADER].to_vec();
        header[bit / 8] ^= 1 << (bit % 8);
        let mut inlet = Inlet::new(1 << 20);
        assert_eq!(inlet.feed(&header), HEADER);
        assert!(matches!(inlet.take(), Err(Broken::Rejected(Cause::Checksum))), "bit {bit}");
    }
}

#[test]
fn an_inlet_says_of_how_many_bytes_a_part_has_arrived() {
    let bytes = encoded(&payloads(&Rng::seeded(5), &[20, 100_000]));
    let mut inlet = Inlet::new(1 << 20);
    assert_eq!(inlet.partial(), None);
    for (fed, byte) in bytes.iter().enumerate() {
        inlet.feed(&[*byte]);
        while inlet.take().expect("nothing is damaged").is_some() {}
        let at = (fed + 1).checked_sub(HEADER + 20).unwrap_or(fed + 1);
        let len = if fed + 1 < HEADER + 20 { 20 } else { 100_000 };
        let expected = match at {
            0 => None,
            _ if at < HEADER => Some(HEADER),
            _ if at == HEADER + 100_000 => None,
            _ => Some(len),
        };
        assert_eq!(inlet.partial(), expected, "after {} bytes", fed + 1);
    }
}

#[test]
fn a_frame_that_claims_four_gigabytes_is_refused_at_its_header() {
    let header = |len: u32| {
        let len = len.to_le_bytes();
        [len, crc32c::crc32c(&len).to_le_bytes(), [0; 4]].concat()
    };
    let (arrived, end) = decoded(&mut Trickle::new(header(u32::MAX), 64), usize::MAX);
    assert!(arrived.is_empty());
    assert!(matches!(end, Broken::Rejected(Cause::FrameTooLarge)), "{end}");
    let header = header((4 << 20) + 1);
    let (_, end) = decoded(&mut Trickle::new(header, 64), usize::MAX);
    assert!(matches!(end, Broken::Rejected(Cause::FrameTooLarge)), "{end}");
}

/// A sink that takes at most three bytes at a time and is pending before each.
#[derive(Default)]
struct Narrow {
    taken: Vec<u8>,
    ready: bool,
}

impl AsyncWrite for Narrow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.ready = !self.ready;
        if self.ready {
            return Poll::Pending;
        }
        let piece = buf.len().min(3);
        self.taken.extend_from_slice(&buf[..piece]);
        Poll::Ready(Ok(piece))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_flush_dropped_at_every_poll_goes_on_where_it_stopped() {
    let frames = payloads(&Rng::seeded(6), &[50, 0, 7]);
    let mut outlet = Outlet::new(100);
    for frame in &frames {
        assert!(outlet.push(frame));
    }
    let mut sink = Narrow::default();
    while block_on(poll_once(outlet.flush(&mut sink))).is_none() {}
    assert!(sink.taken == encoded(&frames));
    assert!(outlet.is_empty());
}

#[test]
fn a_frame_beyond_the_limit_is_not_sent() {
    let mut outlet = Outlet::new(10);
    assert!(!outlet.push(&[0; 11]));
    assert!(outlet.is_empty());
    assert!(outlet.push(&[0; 10]));
}

#[test]
fn random_bytes_never_panic() {
    for seed in 0..2_000 {
        let rng = Rng::seeded(seed);
        let mut bytes: Vec<u8> = (0..rng.below(600)).map(|_| rng.u64() as u8).collect();
        if seed % 2 == 0 && bytes.len() > 4 {
            bytes[1..4].fill(0); // a length that may be believed
        }
        let (_, end) = decoded(&mut Trickle::new(bytes, 1 + rng.below(80)), 2);
        assert!(!end.to_string().is_empty());
    }
}
