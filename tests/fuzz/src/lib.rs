//! What the fuzz targets share: a meter of allocations, and a way to cut one input into parts.

pub mod disk;
pub mod json;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that any decoder may allocate, however short its input: `borsh` takes a mebibyte at most for
/// a field that the input ends in.
const FREE: usize = (1 << 20) + (64 << 10);

/// Bytes that a decoder may allocate for each byte of its input.
const PER_BYTE: usize = 256;

/// Runs a decoder on `len` bytes of input.
///
/// # Panics
/// If what it allocates follows from a length that the input claims, and not from the input's own.
pub fn bounded<T>(len: usize, decode: impl FnOnce() -> T) -> T {
    let region = Region::new(MEMORY);
    let decoded = decode();
    let allocated = region.change().bytes_allocated;
    let most = FREE + PER_BYTE * len;
    assert!(allocated <= most, "{allocated} bytes were allocated for an input of {len}");
    decoded
}

/// Cuts an input into parts, each behind its length in two bytes; the last may be shorter.
pub fn parts(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = input.split_first_chunk()?;
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (part, rest) = rest.split_at(len);
        input = rest;
        Some(part)
    })
}

/// Puts parts together, as [`parts`] cuts them.
///
/// # Panics
/// If one has 64 KiB or more.
#[must_use]
pub fn joined(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    let mut input = Vec::new();
    for part in parts {
        let part = part.as_ref();
        let len = u16::try_from(part.len()).expect("a seed has short parts");
        input.extend_from_slice(&len.to_le_bytes());
        input.extend_from_slice(part);
    }
    input
}

/// The calls of the gateway that have a body, in the order in which inputs number them.
pub const CALLS: [&str; 7] = ["put", "range", "deleterange", "txn", "compaction", "grant", "watch"];
