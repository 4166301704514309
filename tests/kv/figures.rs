//! Figures, not checks: `cargo test --release --test kv figures -- --ignored --nocapture`.

#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::time::Instant;

use super::*;

/// Resident bytes of this process.
fn resident() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|p| p.parse::<i64>().ok());
    pages.unwrap_or(0) * 4096
}

fn keys(count: usize) -> Vec<Vec<u8>> {
    // Scattered, as hashed names are: the map is not filled in order.
    let mut keys: Vec<_> = (0..count)
        .map(|i| format!("{:016x}", (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .map(String::into_bytes)
        .collect();
    keys.truncate(count);
    keys
}

fn puts(keys: &[Vec<u8>], len: usize) -> Vec<Vec<u8>> {
    let put = |key: &Vec<u8>| {
        Command::Put(PutRequest {
            key: key.clone(),
            value: vec![b'x'; len],
            ..PutRequest::default()
        })
    };
    keys.iter().map(|key| put(key).encode()).collect()
}

#[test]
#[ignore = "figures for people"]
fn figures_puts_and_gets() {
    let keys = keys(10_000);
    let payloads = puts(&keys, 256);
    let mut m = Machine::new();
    for round in 0..4 {
        let begun = Instant::now();
        for _ in 0..50 {
            for payload in &payloads {
                let _ = m.apply_bytes(payload);
            }
        }
        let ns = begun.elapsed().as_nanos() / (50 * payloads.len() as u128);
        println!("put, 10k keys of 16, values of 256, round {round}: {ns} ns");
    }
    let requests: Vec<_> = keys
        .iter()
        .map(|key| RangeRequest { key: key.clone(), ..RangeRequest::default() })
        .collect();
    let begun = Instant::now();
    for _ in 0..50 {
        for request in &requests {
            assert_eq!(m.store.range(request).unwrap().kvs.len(), 1);
        }
    }
    println!("get: {} ns", begun.elapsed().as_nanos() / 500_000);
}

#[test]
#[ignore = "figures for people"]
fn figures_memory_and_snapshot() {
    for count in [100_000, 1_000_000] {
        let before = resident();
        let mut m = Machine::with_limits(Limits { quota_bytes: 1 << 40, ..Limits::default() });
        for key in keys(count) {
            let _ = m.apply_bytes(&puts(&[key], 256)[0]);
        }
        let per_key = (resident() - before) / count as i64;
        println!("{count} keys: {per_key} bytes resident per key of 16 + 256");
        let begun = Instant::now();
        let mut snapshot = m.store.snapshot();
        println!("{count} keys: snapshot() takes {:?}", begun.elapsed());
        let (mut longest, mut bytes) = (0, 0);
        loop {
            let begun = Instant::now();
            let Some(chunk) = snapshot.next() else {
                break;
            };
            longest = longest.max(begun.elapsed().as_micros());
            bytes += chunk.len();
        }
        println!("{count} keys: longest chunk {longest} us, {bytes} bytes in all");
        drop(snapshot);
        let bytes: Vec<u8> = m.store.snapshot().flatten().collect();
        let begun = Instant::now();
        Store::new().restore(&bytes).unwrap();
        println!("{count} keys: restore takes {:?}", begun.elapsed());
    }
}

/// What one entry and one read cost at most: each is one step of the loop.
#[test]
#[ignore = "figures for people"]
fn figures_everything_at_once() {
    for count in [100_000, 1_000_000] {
        let mut m = Machine::new();
        for payload in puts(&keys(count), 64) {
            let _ = m.apply_bytes(&payload);
        }
        let everything = || (vec![0], vec![0]);
        let (key, range_end) = everything();
        let begun = Instant::now();
        let request = RangeRequest { key, range_end, ..RangeRequest::default() };
        assert_eq!(m.store.range(&request).unwrap().kvs.len(), count);
        println!("{count} keys: read in one range: {:?}", begun.elapsed());
        let (key, range_end) = everything();
        let delete = DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() };
        let payload = Command::DeleteRange(delete).encode();
        let begun = Instant::now();
        let _ = m.apply_bytes(&payload);
        println!("{count} keys: deleted by one entry: {:?}", begun.elapsed());
    }
}
