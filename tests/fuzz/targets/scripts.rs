//! Scenarios as text: each is played or refused in words, and one that is played is written so that
//! it plays again to the same text.
//!
//! An input that begins with `helix` is for that protocol. Time is virtual, but costs some; so spans and
//! counts of more than two digits are not tried, and no more than a few lines.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::sim::helix::Helix;
use quorate::sim::raft::Raft;
use quorate::sim::script::{Play, play};

const LINES_MAX: usize = 8;

fn is_moderate(text: &str) -> bool {
    let digits = text.as_bytes().split(|byte| !byte.is_ascii_digit());
    text.lines().count() <= LINES_MAX && digits.map(<[u8]>::len).max().unwrap_or(0) <= 2
}

fn plays<P: Play>(text: &str) {
    match play::<P>(text) {
        Ok(played) => assert_eq!(play::<P>(&played).as_ref(), Ok(&played)),
        Err(why) => {
            let place = why.starts_with("line ");
            assert!(place, "it says where: {why}");
        }
    }
}

fuzz_target!(|input: &str| {
    if !is_moderate(input) {
        return;
    }
    match input.strip_prefix("helix\n") {
        Some(text) => plays::<Helix>(text),
        None => plays::<Raft>(input),
    }
});
