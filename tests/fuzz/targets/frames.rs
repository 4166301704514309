//! A stream of frames, as a connection brings it: cut anywhere, with right or wrong checksums.
//!
//! The first byte says whether the rest is the stream itself or parts, each made a frame; the
//! second one, how much arrives at a time.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate::tcp::Cause;
use quorate::tcp::frame::{Broken, HEADER, Inlet, Outlet};
use quorate_fuzz::{bounded, parts};

const FRAME_BYTES_MAX: usize = 200_000;

/// The frames of a stream that arrives `piece` bytes at a time, and what broke it, if anything.
fn arrive(stream: &[u8], piece: usize) -> (Vec<Bytes>, Option<Broken>) {
    let mut inlet = Inlet::new(FRAME_BYTES_MAX);
    let (mut frames, mut rest) = (Vec::new(), stream);
    loop {
        loop {
            match inlet.take() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(broken) => return (frames, Some(broken)),
            }
        }
        if let Some(len) = inlet.partial() {
            assert!(len <= FRAME_BYTES_MAX, "a frame beyond the limit is waited for");
        }
        if rest.is_empty() {
            return (frames, None);
        }
        let fed = inlet.feed(&rest[..piece.min(rest.len())]);
        assert!(fed > 0, "there is room when no whole frame is there");
        rest = &rest[fed..];
    }
}

fn sent(payloads: &[Bytes]) -> Vec<u8> {
    let mut outlet = Outlet::new(FRAME_BYTES_MAX);
    for payload in payloads {
        assert!(outlet.push(payload), "what was received can be sent");
    }
    outlet.bytes().to_vec()
}

fuzz_target!(|input: &[u8]| {
    let Some(([is_stream, piece], rest)) = input.split_first_chunk() else {
        return;
    };
    let piece = 1 + usize::from(*piece) * 16;
    if is_stream % 2 == 1 {
        // The read buffer itself is 64 KiB.
        let (frames, broken) = bounded((64 << 10) + rest.len(), || arrive(rest, piece));
        let again = sent(&frames);
        assert_eq!(again, rest[..again.len()], "frames are what the stream says");
        let whole = arrive(rest, usize::MAX);
        assert_eq!(whole.0, frames, "it does not matter how the stream is cut");
        match (broken, whole.1) {
            (None, None) => {}
            (Some(Broken::Rejected(one)), Some(Broken::Rejected(other))) => assert_eq!(one, other),
            (one, other) => panic!("{one:?} in pieces, {other:?} as a whole"),
        }
        return;
    }
    let payloads: Vec<_> = parts(rest).map(Bytes::copy_from_slice).collect();
    let mut stream = sent(&payloads);
    let (frames, broken) = arrive(&stream, piece);
    assert!(broken.is_none() && frames == payloads, "what was sent arrives");
    // One wrong bit anywhere is found before the frame that it is in is believed.
    let at = crc32c::crc32c(rest) as usize % (stream.len() * 8).max(1);
    if let Some(byte) = stream.get_mut(at / 8) {
        *byte ^= 1 << (at % 8);
        let (frames, broken) = arrive(&stream, piece);
        let whole = payloads.iter().scan(0, |end, payload| {
            *end += HEADER + payload.len();
            Some(*end)
        });
        assert_eq!(frames.len(), whole.take_while(|&end| end <= at / 8).count());
        let found = matches!(broken, Some(Broken::Rejected(Cause::Checksum)));
        assert!(found, "bit {at} is wrong: {broken:?}");
    }
});
