//! The file of a snapshot: it is refused, or it has the contents that its head announces, wherever
//! and in whichever pieces they are read.
//!
//! The first byte says whether the checksums are made right, so that what they protect is reached.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_fuzz::disk::{files, open, with_files};

const HEAD: usize = 64;

fn u32_at(bytes: &[u8], at: usize) -> usize {
    let word = bytes[at..at + 4].try_into();
    u32::from_le_bytes(word.expect("four bytes")) as usize
}

fn put(bytes: &mut [u8], at: usize, check: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&check.to_le_bytes());
    }
}

/// Gives the head, the meta data and each block the checksum that belongs there.
fn seal(file: &mut [u8]) {
    if file.len() < HEAD {
        return;
    }
    let check = crc32c::crc32c(&file[..HEAD - 4]);
    put(file, HEAD - 4, check);
    let (meta_len, block) = (u32_at(file, 12), u32_at(file, 24).max(1));
    if let Some(meta) = file.get(HEAD..HEAD + meta_len) {
        let check = crc32c::crc32c(meta);
        put(file, HEAD + meta_len, check);
    }
    let mut at = HEAD + meta_len + 4;
    for number in 0u64.. {
        let end = file.len().saturating_sub(4).min(at + block);
        if end <= at {
            return;
        }
        let seed = crc32c::crc32c(&number.to_le_bytes());
        let check = crc32c::crc32c_append(seed, &file[at..end]);
        put(file, end, check);
        at = end + 4;
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((is_sealed, file)) = input.split_first() else {
        return;
    };
    let mut file = file.to_vec();
    if is_sealed % 2 == 1 {
        seal(&mut file);
    }
    let name = "snapshot-0000000000000001.snap";
    let disk = with_files([(name.to_owned(), file.clone())]);
    let Ok((journal, _)) = open(&disk) else {
        assert!(files(&disk) == [(name.to_owned(), file)], "what is refused is left as it is");
        return;
    };
    let snapshot = journal.snapshot().expect("there is one");
    let len = usize::try_from(snapshot.len()).expect("a short file");
    let whole = snapshot.read_at(0, len + 1).expect("it was verified");
    assert_eq!(whole.len(), len);
    assert!(HEAD + 4 + snapshot.meta().len() + len <= file.len(), "all of it is in the file");
    for (offset, piece) in [(0, 1), (1, 7), (len / 2, len), (len, 1), (len + 1, 1)] {
        let read = snapshot.read_at(offset as u64, piece).expect("it was verified");
        let from = offset.min(len);
        assert_eq!(read, whole[from..len.min(from + piece)]);
    }
    let (meta, digest) = (snapshot.meta().clone(), snapshot.digest());
    drop((journal, snapshot));
    let again = open(&disk).expect("what was opened opens again").0.snapshot();
    let again = again.expect("it is still there");
    assert_eq!((again.meta(), again.digest(), again.len()), (&meta, digest, len as u64));
});
