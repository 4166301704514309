//! The configuration of a node, as a file and as flags: what is read is printed as a file that says
//! the same; what makes no sense is refused in a text with its source.
//!
//! The input is text: first flags, one a line, then, behind a line `---`, the file.

#![no_main]
#![allow(dead_code)] // the modules are those of the program, which uses all of them

#[path = "../../../src/bin/quorate/address.rs"]
mod address;
#[path = "../../../src/bin/quorate/exit.rs"]
mod exit;
#[path = "../../../src/bin/quorate/fields.rs"]
mod fields;
#[path = "../../../src/bin/quorate/keys.rs"]
mod keys;
#[path = "../../../src/bin/quorate/settings.rs"]
mod settings;

/// What the modules above want of the program's own module of this name.
mod client {
    pub(crate) fn print(_: &[u8]) -> Result<(), crate::exit::Failure> {
        Ok(())
    }
}

use std::path::Path;

use clap::{Args, FromArgMatches};
use fields::{Flags, Values};
use libfuzzer_sys::fuzz_target;
use settings::Settings;

/// The values of a command line and a file, and what they mean; no file of the disk is read.
fn values(flags: &str, file: &str) -> Option<Values> {
    let command = Flags::augment_args(clap::Command::new("fuzz").no_binary_name(true));
    let matches = command.try_get_matches_from(flags.lines()).ok()?;
    let flags = Flags::from_arg_matches(&matches).ok()?;
    flags.gather_with(Some((Path::new("fuzz.toml"), file))).ok()
}

/// Everything but where it was given.
fn meaning(values: &Values) -> Result<String, String> {
    let settings = Settings::new(values).map_err(|failure| failure.message)?;
    Ok(format!("{settings:?}"))
}

fuzz_target!(|input: &str| {
    let (flags, file) = input.split_once("\n---\n").unwrap_or(("", input));
    let Some(values) = values(flags, file) else {
        return;
    };
    let meaning = match meaning(&values) {
        Ok(meaning) => meaning,
        Err(why) => return assert!(!why.is_empty()),
    };
    let printed = values.to_toml();
    let again = self::values("", &printed).expect("what is printed is read");
    assert_eq!(self::meaning(&again), Ok(meaning), "{printed}");
});
