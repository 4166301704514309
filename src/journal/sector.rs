//! The unit that a disk writes whole: 512 bytes, each of which says what it is.
//!
//! ```text
//! 0            504        508        512
//! | body       | stamp    | checksum |
//! ```
//!
//! The *stamp* is `generation << 1 | first`: the generation grows each time a segment is begun and
//! each time the journal is opened; `first` marks the first sector of a batch. The *checksum*
//! (CRC-32C) covers body and stamp and is seeded with the journal's id and the sector's position
//! in its file. So recovery can tell three cases apart, for each sector by itself: what was
//! written by this life of the file, what an earlier life left (or zeros), and what nobody wrote,
//! which is rot, or a sector that landed in the wrong place.

/// Bytes of a sector: what a disk writes whole or not at all.
pub(crate) const SECTOR: usize = 512;
/// Bytes of a sector that carry contents.
pub(crate) const BODY: usize = 504;
/// Where the checksum stands.
const CHECK: usize = 508;

/// A journal that has come to this generation is not opened any more: so many more segments can be
/// begun in one life, and a stamp has room for no more than that.
pub(crate) const GENERATION_MAX: u32 = 1 << 30;

/// What a sector says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Which life wrote it; never zero.
    pub(crate) generation: u32,
    /// Whether a batch (or a segment) begins here.
    pub(crate) first: bool,
}

/// What is found at a sector's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Zeros: never written.
    Blank,
    /// Intact and in its place.
    Intact(Stamp),
    /// Neither: rot, or not ours.
    Bad,
}

/// How many sectors hold `len` bytes of contents.
pub(crate) const fn sectors(len: usize) -> usize {
    len.div_ceil(BODY)
}

/// The seed of a journal's checksums.
pub(crate) fn seed(journal: u64) -> u32 {
    crc32c::crc32c(&journal.to_le_bytes())
}

/// Stamps and checks one sector in place; `at` counts sectors from the start of the file.
pub(crate) fn seal(sector: &mut [u8], seed: u32, at: u32, stamp: Stamp) {
    let word = stamp.generation << 1 | u32::from(stamp.first);
    sector[BODY..CHECK].copy_from_slice(&word.to_le_bytes());
    let check = crc32c::crc32c_append(seed ^ at, &sector[..CHECK]);
    sector[CHECK..SECTOR].copy_from_slice(&check.to_le_bytes());
}

/// Looks at one whole sector.
pub(crate) fn inspect(sector: &[u8], seed: u32, at: u32) -> Found {
    let word = u32_at(sector, BODY);
    if word == 0 && sector.iter().all(|&byte| byte == 0) {
        return Found::Blank;
    }
    let check = crc32c::crc32c_append(seed ^ at, &sector[..CHECK]);
    if check != u32_at(sector, CHECK) || word >> 1 == 0 {
        return Found::Bad;
    }
    Found::Intact(Stamp { generation: word >> 1, first: word & 1 == 1 })
}

/// The contents of whole sectors, put together.
pub(crate) fn body(raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(raw.len() / SECTOR * BODY);
    for sector in raw.chunks_exact(SECTOR) {
        body.extend_from_slice(&sector[..BODY]);
    }
    body
}

/// The little-endian number at `at`, which the caller has checked to be inside.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..at + 4].try_into();
    u32::from_le_bytes(word.expect("four bytes are four bytes"))
}

/// The little-endian number at `at`, which the caller has checked to be inside.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes[at..at + 8].try_into();
    u64::from_le_bytes(word.expect("eight bytes are eight bytes"))
}
