//! Bytes as a snapshot of the key-value store: they are refused and leave the store as it was, or they
//! are a state that has one snapshot, and goes on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::kv::{Command, PutRequest, RangeRequest, Store};
use quorate::{Committed, StateMachine};
use quorate_fuzz::bounded;

fn snapshot(store: &Store) -> Vec<u8> {
    store.snapshot().flatten().collect()
}

fuzz_target!(|input: &[u8]| {
    let mut store = Store::new();
    let before = store.digest();
    if bounded(input.len(), || store.restore(input)).is_err() {
        assert_eq!(store.digest(), before, "what is refused leaves no trace");
        return;
    }
    let bytes = snapshot(&store);
    let mut again = Store::new();
    again.restore(&bytes).expect("a snapshot of ours");
    assert_eq!(snapshot(&again), bytes, "equal states have equal bytes");

    let all = RangeRequest { key: vec![0], range_end: vec![0], ..RangeRequest::default() };
    assert_eq!(store.range(&all), again.range(&all));
    let put =
        PutRequest { key: b"key".to_vec(), value: b"value".to_vec(), ..PutRequest::default() };
    let payload = Command::Put(put).encode();
    let entry = Committed { index: 1, epoch: 1, payload: &payload };
    assert_eq!(store.apply(entry), again.apply(entry), "both go on in the same way");
    assert_eq!(snapshot(&store), snapshot(&again));
});
