//! The hello of either side of a connection, with a right or a wrong checksum.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::tcp::link::{HELLO, Hello, VERSION};

fuzz_target!(|input: [u8; HELLO + 1]| {
    let Some((keep, bytes)) = input.split_last() else {
        return;
    };
    let mut bytes: [u8; HELLO] = bytes.try_into().expect("all but one");
    if keep % 2 == 0 {
        let check = crc32c::crc32c(&bytes[..HELLO - 4]);
        bytes[HELLO - 4..].copy_from_slice(&check.to_le_bytes());
    }
    let Ok(hello) = Hello::decode(&bytes) else {
        return;
    };
    // Of another version only the version is believed.
    if hello.version == VERSION {
        assert_eq!(hello.encode(), bytes, "{hello:?}");
    }
});
