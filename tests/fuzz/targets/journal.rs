//! A journal as a disk may show it: opening it is refused and changes nothing, or it is whole, takes
//! one more record, and opens again with all of them.
//!
//! The first byte: bit 0, whether the checksums of sectors are made right, so that what they protect
//! is reached; bit 1, whether files are filled up with zeros to their full length. The rest are
//! parts, each a segment whose number is the one in its head.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::env::Disk;
use quorate::journal::Record;
use quorate_fuzz::disk::{SECTOR, SEGMENT, files, open, with_files, write_all};
use quorate_fuzz::parts;

const FILES_MAX: usize = 4;

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_le_bytes)
}

/// Gives every sector that is not blank the checksum that belongs there.
fn seal(segment: &mut [u8]) {
    let seed = crc32c::crc32c(&u64_at(segment, 16).to_le_bytes());
    for (at, sector) in (0..).zip(segment.chunks_exact_mut(SECTOR)) {
        if sector.iter().any(|&byte| byte != 0) {
            let check = crc32c::crc32c_append(seed ^ at, &sector[..SECTOR - 4]);
            sector[SECTOR - 4..].copy_from_slice(&check.to_le_bytes());
        }
    }
}

fn disk(flags: u8, input: &[u8]) -> Disk {
    with_files(parts(input).take(FILES_MAX).map(|part| {
        let mut segment = part.to_vec();
        if flags & 2 != 0 {
            segment.resize(part.len().max(SEGMENT), 0);
        }
        if flags & 1 != 0 {
            seal(&mut segment);
        }
        (format!("journal-{:016x}.log", u64_at(&segment, 24)), segment)
    }))
}

fn are_consecutive(records: &[Record]) -> bool {
    records.is_sorted_by(|one, next| one.lsn.0 + 1 == next.lsn.0)
}

fuzz_target!(|input: &[u8]| {
    let Some((&flags, input)) = input.split_first() else {
        return;
    };
    let disk = disk(flags, input);
    let before = files(&disk);
    let Ok((journal, records)) = open(&disk) else {
        assert!(files(&disk) == before, "what is refused is left as it is");
        return;
    };
    assert!(are_consecutive(&records));
    assert!(records.last().is_none_or(|last| last.lsn == journal.synced()));
    for record in &records {
        let read = journal.read(record.lsn).expect("it was read before");
        assert_eq!(read.as_ref(), Some(record));
    }
    let lsn = journal.submit(9, &[b"one more"]);
    write_all(&journal);
    drop(journal);

    let (journal, again) = open(&disk).expect("what was opened opens again");
    let (last, all) = again.split_last().expect("one was added");
    assert!(all == records, "nothing is lost and nothing appears");
    assert_eq!((last.lsn, last.kind, &last.payload[..]), (lsn, 9, &b"one more"[..]));
    assert_eq!(journal.recovery().torn, None, "an end is cut once");
});
