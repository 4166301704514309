//! Revisions, ranges, compaction, limits, and what entries look like.

use super::*;

#[test]
fn a_new_store_is_at_revision_1_and_the_first_put_makes_2() {
    let mut m = Machine::new();
    assert_eq!(m.store.revision(), 1);
    assert_eq!(m.put("a", "1"), 2);
    assert_eq!(m.store.revision(), 2);
}

#[test]
fn version_counts_puts_and_begins_again_after_a_deletion() {
    let mut m = Machine::new();
    m.put("a", "1");
    m.put("a", "2");
    let kv = m.get("a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
    assert_eq!(m.delete("a", ""), 1);
    m.put("a", "3");
    let kv = m.get("a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn a_deletion_that_finds_nothing_keeps_the_revision() {
    let mut m = Machine::new();
    m.put("a", "1");
    assert_eq!(m.delete("b", ""), 0);
    assert_eq!(m.delete("b", "\0"), 0);
    assert_eq!(m.delete("z", "b"), 0, "an interval that ends before it begins");
    assert_eq!(m.store.revision(), 2);
    assert_eq!(m.delete("a", "\0"), 1);
    assert_eq!(m.store.revision(), 3);
}

#[test]
fn intervals_are_one_key_or_half_open_or_without_end() {
    let mut m = Machine::new();
    for key in ["a", "b", "ba", "c"] {
        m.put(key, "");
    }
    assert_eq!(m.now("b", ""), "b=");
    assert_eq!(m.now("a", "c"), "a= b= ba=");
    assert_eq!(m.now("b", "\0"), "b= ba= c=");
    assert_eq!(m.now("\0", "\0"), "a= b= ba= c=");
    assert_eq!(m.now("c", "a"), "");
    assert_eq!(m.now("b", "b"), "");
}

#[test]
fn history_reads_as_it_was() {
    let mut m = Machine::new();
    m.put("a", "1");
    m.put("b", "1");
    m.put("a", "2");
    m.delete("b", "");
    m.put("b", "3");
    let all = |rev| m.at(rev, "\0", "\0").unwrap();
    assert_eq!(all(1), "");
    assert_eq!(all(2), "a=1");
    assert_eq!(all(3), "a=1 b=1");
    assert_eq!(all(4), "a=2 b=1");
    assert_eq!(all(5), "a=2");
    assert_eq!(all(6), "a=2 b=3");
    assert_eq!(m.at(7, "a", ""), Err(KvError::FutureRevision));
}

#[test]
fn count_ignores_limit_and_filters_and_more_tells_of_the_limit() {
    let mut m = Machine::new();
    for key in ["a", "b", "c", "d"] {
        m.put(key, key);
    }
    let read = |request: RangeRequest| m.store.range(&request).unwrap();
    let all = || range("a", "\0");
    let r = read(RangeRequest { limit: 2, ..all() });
    assert_eq!((words(&r.kvs).as_str(), r.more, r.count), ("a=a b=b", true, 4));
    let r = read(RangeRequest { limit: 4, ..all() });
    assert_eq!((r.kvs.len(), r.more, r.count), (4, false, 4));
    let r = read(RangeRequest { limit: -1, ..all() });
    assert_eq!((r.kvs.len(), r.more), (4, false));
    let r = read(RangeRequest { min_mod_revision: 3, max_create_revision: 4, limit: 1, ..all() });
    assert_eq!((words(&r.kvs).as_str(), r.more, r.count), ("b=b", true, 4));
    let r = read(RangeRequest { count_only: true, ..all() });
    assert_eq!((r.kvs.len(), r.more, r.count), (0, false, 4));
    let r = read(RangeRequest { keys_only: true, limit: 1, ..all() });
    assert_eq!(words(&r.kvs), "a=");
}

#[test]
fn ranges_are_sorted_by_target_and_direction() {
    let mut m = Machine::new();
    for (key, value) in [("b", "3"), ("a", "2"), ("c", "1"), ("b", "0")] {
        m.put(key, value);
    }
    let read = |sort_target, sort_order, limit| {
        let request = RangeRequest { sort_target, sort_order, limit, ..range("a", "\0") };
        words(&m.store.range(&request).unwrap().kvs)
    };
    use SortOrder::{Ascend, Descend};
    assert_eq!(read(SortTarget::Key, Descend, 0), "c=1 b=0 a=2");
    assert_eq!(read(SortTarget::Value, Ascend, 0), "b=0 c=1 a=2");
    assert_eq!(read(SortTarget::Value, Descend, 1), "a=2");
    assert_eq!(read(SortTarget::Create, Ascend, 0), "b=0 a=2 c=1");
    assert_eq!(read(SortTarget::Mod, Descend, 0), "b=0 c=1 a=2");
    assert_eq!(read(SortTarget::Version, Descend, 0), "b=0 a=2 c=1");
    m.put("d", "");
    assert_eq!(
        m.value_sorted(2),
        "b=0 c=1",
        "without a direction etcd takes one more than the limit by key, then sorts upwards"
    );
}

#[test]
fn put_can_keep_value_or_lease_of_a_key_that_exists() {
    let mut m = Machine::new();
    m.grant(7, 60);
    let ignore = |ignore_value, ignore_lease| PutRequest {
        ignore_value,
        ignore_lease,
        prev_kv: true,
        ..put("a", "")
    };
    let missing = m.apply(Command::Put(ignore(true, false)));
    assert_eq!(missing, Err(KvError::KeyNotFound));
    m.put("a", "kept");
    m.apply(Command::Put(PutRequest { lease: 7, ..ignore(true, false) })).unwrap();
    let kv = m.get("a").unwrap();
    assert_eq!((&*kv.value, kv.lease), (&b"kept"[..], 7));
    let Ok(Response::Put(response)) =
        m.apply(Command::Put(PutRequest { value: b"new".into(), ..ignore(false, true) }))
    else {
        panic!()
    };
    assert_eq!(response.prev_kv, Some(kv));
    let kv = m.get("a").unwrap();
    assert_eq!((&*kv.value, kv.lease), (&b"new"[..], 7));
}

#[test]
fn requests_that_make_no_sense_are_refused_as_etcd_does() {
    let mut m = Machine::new();
    m.put("a", "1");
    let mut refused = |request| m.apply(Command::Put(request)).unwrap_err();
    assert_eq!(refused(put("", "1")), KvError::EmptyKey);
    let request = PutRequest { ignore_value: true, ..put("a", "1") };
    assert_eq!(refused(request), KvError::ValueProvided);
    let request = PutRequest { ignore_lease: true, lease: 1, ..put("a", "1") };
    assert_eq!(refused(request), KvError::LeaseProvided);
    let request = PutRequest { lease: 1, ..put("a", "1") };
    assert_eq!(refused(request), KvError::LeaseNotFound);
    assert_eq!(m.store.range(&range("", "")), Err(KvError::EmptyKey));
    let request = Command::DeleteRange(delete("", "\0"));
    assert_eq!(request.check(), Err(KvError::EmptyKey));
    assert_eq!(m.apply(request), Err(KvError::EmptyKey));
    assert_eq!(m.store.revision(), 2);
}

#[test]
fn compaction_keeps_its_revision_and_refuses_what_is_before() {
    let mut m = Machine::new();
    for value in ["1", "2", "3"] {
        m.put("a", value);
    }
    m.delete("a", "");
    let mut compact = |revision| m.apply(Command::Compact { revision });
    assert_eq!(compact(6), Err(KvError::FutureRevision));
    assert_eq!(compact(4), Ok(Response::Compact { revision: 5 }));
    assert_eq!(compact(4), Err(KvError::Compacted));
    assert_eq!(m.at(3, "a", ""), Err(KvError::Compacted));
    assert_eq!(m.at(4, "a", "").unwrap(), "a=3");
    assert_eq!(m.at(5, "a", "").unwrap(), "");
    assert_eq!(m.now("a", ""), "", "now is never compacted");
    m.apply(Command::Compact { revision: 5 }).unwrap();
    assert_eq!(m.now("a", "\0"), "");
    assert_eq!(m.put("a", "4"), 6);
    assert_eq!(m.get("a").unwrap().version, 1);
}

#[test]
fn history_is_bounded_by_revisions_and_by_bytes() {
    let limits = Limits { history_revisions: 10, ..Limits::default() };
    let mut m = Machine::with_limits(limits);
    for i in 0..100 {
        m.put("a", &i.to_string());
    }
    assert_eq!(m.store.revision(), 101);
    assert_eq!(m.store.compact_revision(), 92);
    assert_eq!(m.at(92, "a", "").unwrap(), "a=90");
    assert_eq!(m.at(91, "a", ""), Err(KvError::Compacted));
    let limits = Limits { history_bytes: 2_000, ..Limits::default() };
    m.apply(Command::Configure(limits)).unwrap();
    for _ in 0..100 {
        m.put("a", &"x".repeat(300));
    }
    assert!(m.store.history_bytes() <= 2_000);
    assert!(m.store.compact_revision() > 190);
    m.put("b", &"y".repeat(10_000));
    m.put("b", "");
    assert_eq!(m.store.compact_revision(), m.store.revision());
    assert_eq!(m.now("b", ""), "b=", "the present revision always stays");
}

#[test]
fn growth_beyond_the_quota_is_refused_and_everything_else_goes_on() {
    let limits = Limits { quota_bytes: 2_000, ..Limits::default() };
    let mut m = Machine::with_limits(limits);
    m.put("a", &"x".repeat(1_500));
    let big = Command::Put(put("b", &"x".repeat(1_000)));
    assert_eq!(m.apply(big.clone()), Err(KvError::NoSpace));
    let inside = TxnRequest {
        success: vec![RequestOp::Put(put("b", &"x".repeat(1_000)))],
        ..TxnRequest::default()
    };
    assert_eq!(m.txn(inside), Err(KvError::NoSpace));
    assert_eq!(m.store.revision(), 2);
    m.put("a", &"y".repeat(1_500));
    m.put("a", "short");
    m.apply(big).unwrap();
    assert_eq!(m.delete("a", "\0"), 2);
    assert_eq!((m.store.data_bytes(), m.store.key_count()), (0, 0));
}

#[test]
fn an_entry_that_is_no_command_is_answered_and_changes_nothing() {
    let mut m = Machine::new();
    m.put("a", "1");
    let digest = m.store.digest();
    let nested = {
        let mut bytes = Vec::new();
        for _ in 0..100_000 {
            bytes.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 3]);
        }
        [vec![2], bytes].concat()
    };
    let mut trailing = Command::LeaseRenew { id: 1 }.encode();
    trailing.push(0);
    let long_key = [0x80, 5, b'a'];
    let not_shortest = [0x80, 0x81, 0x00, b'a'];
    let zero_lease = [0x88, 1, 0, 0, 0, 0, 0, 0, 0, 0, b'a'];
    let payloads: [&[u8]; 10] = [
        &[],
        &[0],
        &[0x90, 1, b'a'],
        &[255; 40],
        &[2, 255, 255, 255, 255],
        &long_key,
        &not_shortest,
        &zero_lease,
        &trailing,
        &nested,
    ];
    for payload in payloads {
        assert_eq!(m.apply_bytes(payload), Err(KvError::Unreadable));
        assert_eq!(Command::decode(payload), Err(KvError::Unreadable));
    }
    assert_eq!(m.store.digest(), digest);
}

#[test]
fn a_plain_put_costs_two_bytes_above_key_and_value() {
    let command = Command::Put(put("key", "value"));
    let bytes = command.encode();
    assert_eq!(bytes.len(), 2 + 3 + 5);
    assert_eq!(Command::decode(&bytes), Ok(command));
    let long = Command::Put(PutRequest {
        lease: -5,
        prev_kv: true,
        ignore_lease: true,
        ..put(&"k".repeat(300), "")
    });
    assert_eq!(Command::decode(&long.encode()), Ok(long));
}

#[test]
fn errors_carry_the_text_and_the_code_of_etcd() {
    let said = |e: KvError| format!("{} {e}", e.code());
    assert_eq!(said(KvError::EmptyKey), "3 etcdserver: key is not provided");
    assert_eq!(
        said(KvError::Compacted),
        "11 etcdserver: mvcc: required revision has been compacted"
    );
    assert_eq!(said(KvError::NoSpace), "8 etcdserver: mvcc: database space exceeded");
    assert_eq!(said(KvError::LeaseExists), "9 etcdserver: lease already exists");
    assert_eq!(said(KvError::LeaseNotFound), "5 etcdserver: requested lease not found");
}
