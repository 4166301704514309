//! Entries of the key-value store, good and bad: each is a command in one way only, every store
//! comes to the same state by them, and so does one that is restored from a snapshot on the way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::kv::{Command, RangeRequest, Store};
use quorate::{Committed, StateMachine};
use quorate_fuzz::{bounded, parts};

const ENTRIES_MAX: usize = 64;

fn restored(store: &Store) -> Store {
    let bytes: Vec<u8> = store.snapshot().flatten().collect();
    let mut copy = Store::new();
    copy.restore(&bytes).expect("a snapshot of ours");
    assert_eq!(copy.digest(), store.digest(), "a snapshot is the whole state");
    copy
}

/// Reads everything as of each revision that can be read.
fn look_back(store: &Store) {
    for revision in store.compact_revision().max(1)..=store.revision() {
        let request =
            RangeRequest { key: vec![0], range_end: vec![0], revision, ..RangeRequest::default() };
        let answer = store.range(&request).expect("it is neither compacted nor to come");
        assert!(answer.kvs.iter().all(|kv| kv.mod_revision <= revision));
        assert!(answer.kvs.is_sorted_by(|one, next| one.key < next.key));
    }
}

fuzz_target!(|input: &[u8]| {
    let (mut one, mut other) = (Store::new(), Store::new());
    for (index, payload) in (1..).zip(parts(input).take(ENTRIES_MAX)) {
        if payload.is_empty() {
            other = restored(&other);
            continue;
        }
        if let Ok(command) = bounded(payload.len(), || Command::decode(payload)) {
            assert_eq!(command.encode(), payload, "{command:?}");
        }
        let entry = Committed { index, epoch: 1, payload };
        assert_eq!(one.apply(entry), other.apply(entry), "both nodes answer the same");
    }
    assert_eq!(one.digest(), other.digest(), "both nodes have the same state");
    assert_eq!(restored(&one).key_count(), one.key_count());
    look_back(&one);
});
