//! A frame between nodes of helix: whatever is read is written back to the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::helix::protocol::message::{Envelope, HEIGHT_MAX, VIEW_MAX};
use quorate::id::ClusterId;
use quorate_fuzz::bounded;

const INSTANCE: ClusterId = ClusterId(1);

fuzz_target!(|input: &[u8]| {
    let Ok(message) = bounded(input.len(), || Envelope::decode(input, INSTANCE)) else {
        return;
    };
    assert_eq!(Envelope::encode(INSTANCE, &message), input, "{message:?}");
    assert!(message.height().is_none_or(|height| height <= HEIGHT_MAX));
    assert!(message.view().is_none_or(|view| view <= VIEW_MAX));
    let elsewhere = Envelope::decode(input, ClusterId(2));
    assert!(elsewhere.is_err(), "it is of one instance only");
});
