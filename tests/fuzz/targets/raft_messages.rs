//! A frame between nodes of raft: whatever is read is written back to the same bytes.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate::raft::message::{Envelope, Message};
use quorate_fuzz::bounded;

fuzz_target!(|input: &[u8]| {
    let frame = Bytes::copy_from_slice(input);
    let Ok(envelope) = bounded(input.len(), || Envelope::decode(&frame)) else {
        return;
    };
    assert_eq!(envelope.encode(), frame, "{envelope:?}");
    if let Message::AppendEntries { prev, entries, .. } = &envelope.message {
        assert_eq!(entries.first().prev(), prev.index);
        let count = entries.iter().count() as u64;
        assert_eq!(entries.last().0, prev.index.0 + count, "no index is left out");
    }
});
