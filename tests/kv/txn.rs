//! Transactions.

use super::*;

fn compare(key: &str, result: CompareResult, target: CompareTarget) -> Compare {
    Compare { key: key.into(), range_end: vec![], result, target }
}

fn ops(ops: impl Into<Vec<RequestOp>>) -> TxnRequest {
    TxnRequest { success: ops.into(), ..TxnRequest::default() }
}

fn op_put(key: &str, value: &str) -> RequestOp {
    RequestOp::Put(put(key, value))
}

fn op_delete(key: &str, end: &str) -> RequestOp {
    RequestOp::DeleteRange(delete(key, end))
}

fn op_range(key: &str, end: &str) -> RequestOp {
    RequestOp::Range(range(key, end))
}

/// Whether the condition holds now.
fn holds(m: &Machine, compare: Compare) -> bool {
    let request = TxnRequest { compare: vec![compare], ..TxnRequest::default() };
    m.store.txn(&request).unwrap().unwrap().succeeded
}

#[test]
fn every_target_compares_in_every_way() {
    let mut m = Machine::new();
    m.grant(9, 60);
    m.put("a", "1");
    m.apply(Command::Put(PutRequest { lease: 9, ..put("a", "m") })).unwrap();
    use CompareResult::{Equal, Greater, Less, NotEqual};
    use CompareTarget::{Create, Lease, Mod, Value, Version};
    type Target = fn(i64) -> CompareTarget;
    let number: [(Target, i64); 4] = [(Version, 2), (Create, 2), (Mod, 3), (Lease, 9)];
    for (target, value) in number {
        for (result, yes, no) in [(Equal, 0, 1), (NotEqual, 1, 0), (Greater, -1, 0), (Less, 1, 0)] {
            assert!(holds(&m, compare("a", result, target(value + yes))));
            assert!(!holds(&m, compare("a", result, target(value + no))));
        }
    }
    let value = |text: &str| Value(text.into());
    assert!(holds(&m, compare("a", Equal, value("m"))));
    assert!(holds(&m, compare("a", Greater, value("b"))));
    assert!(holds(&m, compare("a", Less, value("ma"))));
    assert!(!holds(&m, compare("a", NotEqual, value("m"))));
}

#[test]
fn an_absent_key_counts_as_zero_and_never_has_a_value() {
    let m = Machine::new();
    use CompareResult::{Equal, Less, NotEqual};
    use CompareTarget::{Create, Lease, Mod, Value, Version};
    for target in [Version(0), Create(0), Mod(0), Lease(0)] {
        assert!(holds(&m, compare("a", Equal, target)));
    }
    assert!(holds(&m, compare("a", Less, Create(1))));
    for result in [Equal, NotEqual] {
        assert!(!holds(&m, compare("a", result, Value(vec![]))));
    }
}

#[test]
fn a_condition_on_an_interval_must_hold_for_each_key() {
    let mut m = Machine::new();
    m.put("a", "1");
    m.put("b", "1");
    let on =
        |target| Compare { range_end: b"z".into(), ..compare("a", CompareResult::Less, target) };
    assert!(holds(&m, on(CompareTarget::Mod(4))));
    assert!(!holds(&m, on(CompareTarget::Mod(3))));
}

#[test]
fn operations_see_earlier_ones_and_share_one_revision() {
    let mut m = Machine::new();
    m.put("c", "0");
    let response = m
        .txn(ops([
            op_range("a", "\0"),
            op_put("a", "1"),
            op_range("a", "\0"),
            op_delete("c", ""),
            op_put("b", "1"),
            op_range("a", "\0"),
        ]))
        .unwrap();
    assert_eq!(response.revision, 3);
    let seen: Vec<_> = response
        .responses
        .iter()
        .filter_map(|r| match r {
            ResponseOp::Range(r) => Some((r.revision, words(&r.kvs))),
            _ => None,
        })
        .collect();
    let expect = [(2, "c=0"), (3, "a=1 c=0"), (3, "a=1 b=1")];
    assert_eq!(seen, expect.map(|(r, w)| (r, w.to_string())));
    assert_eq!(m.store.revision(), 3);
    assert_eq!(m.get("a").unwrap().mod_revision, 3);
    assert_eq!(m.get("b").unwrap().mod_revision, 3);
    assert_eq!(m.at(2, "a", "\0").unwrap(), "c=0");
}

#[test]
fn a_transaction_that_changes_nothing_keeps_the_revision() {
    let mut m = Machine::new();
    m.put("a", "1");
    let response = m.txn(ops([op_range("a", ""), op_delete("b", "")]));
    assert_eq!(response.unwrap().revision, 2);
    assert_eq!(m.store.revision(), 2);
}

#[test]
fn nested_conditions_see_the_state_before_the_whole() {
    let mut m = Machine::new();
    let absent = compare("a", CompareResult::Equal, CompareTarget::Version(0));
    let inner = TxnRequest {
        compare: vec![absent],
        success: vec![op_put("b", "absent")],
        failure: vec![op_put("b", "present")],
    };
    let outer = ops([op_put("a", "1"), RequestOp::Txn(inner)]);
    let response = m.txn(outer.clone()).unwrap();
    assert_eq!(m.now("a", "\0"), "a=1 b=absent");
    let ResponseOp::Txn(inner) = &response.responses[1] else { panic!() };
    assert!(inner.succeeded);
    m.txn(outer).unwrap();
    assert_eq!(m.now("a", "\0"), "a=1 b=present");
}

#[test]
fn one_key_is_written_once_in_a_branch() {
    let twice = |request: TxnRequest| Command::Txn(request).check() == Err(KvError::DuplicateKey);
    let nest = |success: &[RequestOp], failure: &[RequestOp]| {
        RequestOp::Txn(TxnRequest {
            compare: vec![],
            success: success.into(),
            failure: failure.into(),
        })
    };
    let a = || op_put("a", "");
    assert!(twice(ops([a(), a()])));
    assert!(twice(ops([a(), op_delete("a", "")])));
    assert!(twice(ops([op_delete("A", "b"), a()])));
    assert!(!twice(ops([a(), op_delete("b", "c")])));
    assert!(!twice(ops([op_delete("a", "c"), op_delete("b", "d")])));
    assert!(twice(ops([a(), nest(&[a()], &[])])));
    assert!(twice(ops([nest(&[a()], &[]), nest(&[], &[a()])])));
    assert!(!twice(ops([nest(&[a()], &[a()])])), "only one is taken");
    assert!(twice(ops([op_delete("a", ""), nest(&[], &[a()])])));
    assert!(twice(ops([nest(&[op_delete("a", "b")], &[]), a()])));
    assert!(twice(ops([nest(&[op_delete("a", "")], &[]), nest(&[a()], &[])])));
    // What etcd lets through:
    assert!(!twice(ops([nest(&[a()], &[]), nest(&[op_delete("a", "")], &[])])));
    assert!(!twice(ops([op_delete("A", "\0"), a()])));
    let failing = TxnRequest { failure: vec![a(), a()], ..TxnRequest::default() };
    assert!(twice(failing));
}

#[test]
fn a_key_put_and_deleted_in_one_revision_is_gone_and_both_are_told() {
    let mut m = Machine::new();
    let nested = |op| RequestOp::Txn(ops([op]));
    let request = ops([nested(op_put("a", "1")), nested(op_delete("a", ""))]);
    let wake = quorate::scope::notify::Notify::new();
    let request_all = WatchRequest { key: b"a".into(), ..WatchRequest::default() };
    let mut watcher = m.store.watch(&request_all, &wake);
    m.txn(request).unwrap();
    assert_eq!(m.store.revision(), 2);
    assert_eq!(m.now("a", ""), "");
    let kinds: Vec<_> = watcher.next_batch(0).unwrap().events;
    let kinds: Vec<_> = kinds.iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [EventKind::Put, EventKind::Delete]);
    assert_eq!(m.restored().store.digest(), m.store.digest());
}

#[test]
fn an_ignored_value_of_a_key_deleted_in_the_same_transaction_is_empty() {
    let mut m = Machine::new();
    m.put("a", "1");
    let keep = RequestOp::Put(PutRequest { ignore_value: true, ..put("a", "") });
    m.txn(ops([op_delete("a", "\0"), keep])).unwrap();
    assert_eq!(m.now("a", ""), "a=");
}

#[test]
fn operations_and_depth_are_limited() {
    let many = |n| ops(vec![op_range("a", ""); n]);
    let refused = |request: TxnRequest| Command::Txn(request).check().is_err();
    assert!(!refused(many(TXN_OPS_MAX)));
    assert!(refused(many(TXN_OPS_MAX + 1)));
    assert!(!refused(ops([RequestOp::Txn(many(TXN_OPS_MAX - 1))])));
    assert!(refused(ops([RequestOp::Txn(many(TXN_OPS_MAX))])));
    let mut deep = TxnRequest::default();
    for _ in 0..TXN_OPS_MAX {
        deep = ops([RequestOp::Txn(deep)]);
    }
    assert!(!refused(deep.clone()));
    let command = Command::Txn(deep.clone());
    assert_eq!(Command::decode(&command.encode()), Ok(command));
    assert!(refused(ops([RequestOp::Txn(deep)])));
}

#[test]
fn a_transaction_fails_as_a_whole_before_it_changes_anything() {
    let mut m = Machine::new();
    m.put("a", "1");
    let digest = m.store.digest();
    let future = RequestOp::Range(RangeRequest { revision: 3, ..range("a", "") });
    let failed = m.txn(ops([op_put("a", "2"), future]));
    assert_eq!(failed, Err(KvError::FutureRevision));
    let leased = RequestOp::Put(PutRequest { lease: 4, ..put("b", "") });
    let failed = m.txn(ops([op_put("a", "2"), leased]));
    assert_eq!(failed, Err(KvError::LeaseNotFound));
    let ignoring = RequestOp::Put(PutRequest { ignore_value: true, ..put("b", "") });
    let failed = m.txn(ops([op_put("a", "2"), RequestOp::Txn(ops([ignoring]))]));
    assert_eq!(failed, Err(KvError::KeyNotFound));
    assert_eq!(m.store.digest(), digest);
}

#[test]
fn only_a_transaction_without_writes_is_answered_without_an_entry() {
    let mut m = Machine::new();
    m.put("a", "1");
    let nested = ops([RequestOp::Txn(ops([op_range("a", "")]))]);
    assert!(nested.is_read_only());
    assert_eq!(m.store.txn(&nested).unwrap().unwrap().revision, 2);
    assert_eq!(m.store.txn(&ops([op_put("a", "")])), Ok(None));
}
