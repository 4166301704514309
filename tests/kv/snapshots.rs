//! Snapshots: whole, of one instant, lazy, and refused when damaged.

use super::*;

fn filled() -> Machine {
    let mut m = Machine::new();
    m.grant(7, 60);
    for i in 0..2_000 {
        m.put(&format!("key{:04}", i % 700), &"v".repeat(i % 400));
    }
    m.put_leased("leased", 7).unwrap();
    m.delete("key0000", "key0100");
    m.put("key0050", "again");
    m.apply(Command::Compact { revision: 1_500 }).unwrap();
    m
}

#[test]
fn a_restored_store_is_equal_and_goes_on_equally() {
    let mut m = filled();
    let mut r = m.restored();
    assert_eq!(m.store.digest(), r.store.digest());
    assert_eq!(m.store.data_bytes(), r.store.data_bytes());
    assert_eq!(m.store.history_bytes(), r.store.history_bytes());
    for revision in [1_500, 1_700, 2_002, 0] {
        let all = |m: &Machine| m.at(revision, "\0", "\0").unwrap();
        assert_eq!(all(&m), all(&r));
    }
    for m in [&mut m, &mut r] {
        m.put("key0001", "x");
        m.apply(Command::LeaseRevoke { id: 7 }).unwrap();
        m.apply(Command::Compact { revision: 2_001 }).unwrap();
        m.delete("key0300", "\0");
    }
    assert_eq!(m.store.digest(), r.store.digest());
}

#[test]
fn a_snapshot_shows_nothing_of_what_comes_after_it() {
    let mut m = filled();
    let digest = m.store.digest();
    let mut snapshot = m.store.snapshot();
    let mut bytes = snapshot.next().unwrap();
    for i in 0..3_000 {
        m.put(&format!("key{:04}", i % 900), "later");
        if i % 500 == 0 {
            bytes.extend(snapshot.next().unwrap_or_default());
        }
    }
    m.delete("key0400", "\0");
    let revision = m.store.revision();
    m.apply(Command::Compact { revision }).unwrap();
    m.apply(Command::LeaseRevoke { id: 7 }).unwrap();
    bytes.extend(snapshot.flatten());
    let mut store = Store::new();
    store.restore(&bytes).unwrap();
    assert_eq!(store.digest(), digest);
}

#[test]
fn a_snapshot_outlives_the_state_it_is_of() {
    let mut m = filled();
    let digest = m.store.digest();
    let mut snapshot = m.store.snapshot();
    let mut bytes = snapshot.next().unwrap();
    let mut other = Machine::new();
    other.put("other", "state");
    let replacement: Vec<u8> = other.store.snapshot().flatten().collect();
    m.store.restore(&replacement).unwrap();
    assert_eq!(m.now("\0", "\0"), "other=state");
    bytes.extend(snapshot.flatten());
    let mut store = Store::new();
    store.restore(&bytes).unwrap();
    assert_eq!(store.digest(), digest);
}

#[test]
fn what_a_snapshot_pinned_does_not_show_in_the_state() {
    let (mut pinned, mut free) = (Machine::new(), Machine::new());
    for m in [&mut pinned, &mut free] {
        m.put("a", "1");
        m.delete("a", "");
    }
    let snapshot = pinned.store.snapshot();
    for m in [&mut pinned, &mut free] {
        m.put("b", "1");
        m.apply(Command::Compact { revision: 4 }).unwrap();
        m.put("a", "2");
    }
    assert_eq!(pinned.store.digest(), free.store.digest());
    drop(snapshot);
    for m in [&mut pinned, &mut free] {
        m.put("c", "1");
    }
    assert_eq!(pinned.store.digest(), free.store.digest());
}

#[test]
fn chunks_are_of_even_size_whatever_the_values_are() {
    let mut m = Machine::new();
    m.put("big", &"x".repeat(1 << 20));
    for i in 0..1_000 {
        m.put(&i.to_string(), &"y".repeat(200));
    }
    let chunks: Vec<_> = m.store.snapshot().map(|c| c.len()).collect();
    assert!(chunks.len() > 16);
    assert!(chunks.iter().all(|&len| len > 0 && len <= 64 << 10));
}

#[test]
fn a_damaged_snapshot_is_refused_and_the_state_stays() {
    let mut m = Machine::new();
    m.put("a", "1");
    m.delete("a", "");
    m.put("b", "2");
    m.grant(3, 60);
    let bytes: Vec<u8> = m.store.snapshot().flatten().collect();
    let digest = m.store.digest();
    for len in 0..bytes.len() {
        assert!(m.store.restore(&bytes[..len]).is_err(), "cut at {len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(m.store.restore(&longer).is_err());
    let mut other_format = bytes.clone();
    other_format[0] = 99;
    let said = m.store.restore(&other_format).unwrap_err();
    assert!(said.contains("format 99"), "{said}");
    assert_eq!(m.store.digest(), digest);
    // Any single bit: refused or read as something else, never a panic.
    for at in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        let mut store = Store::new();
        if store.restore(&flipped).is_ok() {
            let _ = store.range(&range("\0", "\0"));
        }
    }
}

/// What restores must be a state that the store can go on from: these once did, and it could not.
#[test]
fn a_snapshot_that_contradicts_itself_is_refused() {
    let mut m = Machine::new();
    m.grant(3, 60);
    m.put("a", "1");
    let bytes: Vec<u8> = m.store.snapshot().flatten().collect();
    let (header, lease, key) = (0, 69, 69 + 32 + 16 + 2 * (4 + 1));
    let change = key + 4 * 8;
    for (what, at, word) in [
        ("no revision follows", header + 1, i64::MAX),
        ("a revision before the first", header + 1, 0),
        ("compacted beyond the present", header + 9, 3),
        ("no generation follows", header + 57, -1),
        ("more time left than granted", lease + 16, 61),
        ("a generation to come", lease + 24, 2),
        ("created after it was changed", key, 3),
        ("changed in a revision to come", key + 8, 3),
        ("put less than once", key + 16, -1),
        ("a lease that is not there", key + 24, 4),
        ("a change to come", change, 3),
    ] {
        let mut wrong = bytes.clone();
        wrong[at..at + 8].copy_from_slice(&word.to_le_bytes());
        let said = Store::new().restore(&wrong).expect_err(what);
        assert!(said.contains("contradicts itself"), "{what}: {said}");
    }
}

#[test]
fn the_same_commands_twice_give_the_same_digest_and_another_one_does_not() {
    let (mut a, b) = (filled(), filled());
    assert_eq!(a.store.digest(), b.store.digest());
    a.grant(8, 60);
    assert_ne!(a.store.digest(), b.store.digest());
}
