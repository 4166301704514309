//! The payload of a block, the batch of commands: read, judged, remembered.

#![no_main]

use std::cell::RefCell;

use futures_lite::future::block_on;
use libfuzzer_sys::fuzz_target;
use quorate::Height;
use quorate::helix::commands::batch::{
    COMMAND_WINDOW, COMMANDS_MAX, Recent, decode, encode, judge,
};
use quorate_fuzz::bounded;

const COMMAND_BYTES_MAX: usize = 100;

fuzz_target!(|input: &[u8]| {
    let Some((height, payload)) = input.split_first() else {
        return;
    };
    let height = Height(u64::from(*height));
    let Ok(batch) = bounded(payload.len(), || block_on(decode(payload))) else {
        return;
    };
    let commands = &batch.commands;
    assert!(commands.len() <= COMMANDS_MAX);
    let again = encode(batch.life, commands.iter().map(|named| &named.command));
    assert_eq!(again, payload, "{batch:?}");

    let recent = RefCell::new(Recent::default());
    if block_on(judge(&recent, height, commands, COMMAND_BYTES_MAX)).is_err() {
        return;
    }
    let mut recent = recent.into_inner();
    for named in commands {
        assert!(recent.admits(height, named).is_ok());
        recent.remember(named);
        assert!(recent.admits(height, named).is_err(), "no command counts twice");
    }
    assert_eq!(recent.len(), commands.len(), "no command is in it twice");
    recent.forget(Height(height.0 + COMMAND_WINDOW));
    assert!(recent.is_empty(), "no command is remembered beyond the window");
});
