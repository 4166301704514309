//! Watches.

use super::*;
use quorate::scope::notify::Notify;

fn watch(key: &str, end: &str, start_revision: i64) -> WatchRequest {
    WatchRequest {
        key: key.into(),
        range_end: end.into(),
        start_revision,
        ..WatchRequest::default()
    }
}

/// Whether it was notified since the last look.
fn was_notified(wake: &Notify) -> bool {
    use futures_lite::future::{block_on, poll_once};
    block_on(poll_once(wake.notified())).is_some()
}

fn told(batch: &Batch) -> String {
    let word = |e: &Event| {
        let kind = if e.kind == EventKind::Put { "+" } else { "-" };
        let revision = e.kv.mod_revision;
        format!("{kind}{}@{revision}", words(std::slice::from_ref(&e.kv)))
    };
    batch.events.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_watch_is_told_of_its_keys_from_the_next_revision_on() {
    let mut m = Machine::new();
    m.put("a", "0");
    let (one, many) = (Notify::new(), Notify::new());
    let mut single = m.store.watch(&watch("a", "", 0), &one);
    let mut wide = m.store.watch(&watch("a", "c", 0), &many);
    assert!(!was_notified(&one));
    m.put("b", "1");
    assert!(!was_notified(&one) && was_notified(&many));
    m.put("c", "1");
    assert!(!was_notified(&one) && !was_notified(&many));
    m.put("a", "1");
    m.delete("a", "");
    assert!(was_notified(&one));
    assert_eq!(told(&single.next_batch(9_999).unwrap()), "+a=1@5 -a=@6");
    assert_eq!(told(&wide.next_batch(9_999).unwrap()), "+b=1@3 +a=1@5 -a=@6");
    assert_eq!(told(&single.next_batch(9_999).unwrap()), "");
    assert_eq!(single.progress(), Some(6));
    m.put("a", "2");
    assert!(was_notified(&one), "it is notified again after it was drained");
    assert_eq!(single.progress(), None);
}

#[test]
fn a_watch_can_begin_in_the_past_and_in_the_future() {
    let mut m = Machine::new();
    m.put("a", "1");
    m.put("a", "2");
    let wake = Notify::new();
    let mut past = m.store.watch(&watch("a", "", 3), &wake);
    assert!(was_notified(&wake));
    assert_eq!(told(&past.next_batch(9_999).unwrap()), "+a=2@3");
    let mut future = m.store.watch(&watch("a", "", 6), &wake);
    m.put("a", "3");
    m.put("a", "4");
    assert_eq!(told(&future.next_batch(9_999).unwrap()), "");
    m.put("a", "5");
    assert_eq!(told(&future.next_batch(9_999).unwrap()), "+a=5@6");
    let mut all = m.store.watch(&watch("", "\0", 2), &wake);
    assert_eq!(all.next_batch(9_999).unwrap().events.len(), 5);
}

#[test]
fn previous_versions_and_filters() {
    let mut m = Machine::new();
    let wake = Notify::new();
    let request =
        |no_put, no_delete| WatchRequest { prev_kv: true, no_put, no_delete, ..watch("a", "", 0) };
    let mut puts = m.store.watch(&request(false, true), &wake);
    let mut deletes = m.store.watch(&request(true, false), &Notify::new());
    m.put("a", "1");
    m.put("a", "2");
    m.delete("a", "");
    assert!(was_notified(&wake));
    let batch = puts.next_batch(9_999).unwrap();
    assert_eq!(told(&batch), "+a=1@2 +a=2@3");
    let before = |e: &Event| e.prev_kv.as_ref().map(|kv| kv.value.to_vec());
    assert_eq!(before(&batch.events[0]), None);
    assert_eq!(before(&batch.events[1]), Some(b"1".to_vec()));
    let batch = deletes.next_batch(9_999).unwrap();
    assert_eq!(told(&batch), "-a=@4");
    assert_eq!(before(&batch.events[0]), Some(b"2".to_vec()));
    m.put("a", "3");
    let drained = deletes.progress();
    assert_eq!(drained, Some(5), "a filtered change wakes nobody");
}

#[test]
fn a_revision_is_never_split_over_batches() {
    let mut m = Machine::new();
    let mut watcher = m.store.watch(&watch("a", "\0", 0), &Notify::new());
    for value in ["1", "2"] {
        let success = ["a", "b", "c"].map(|key| RequestOp::Put(put(key, value)));
        m.txn(TxnRequest { success: success.into(), ..TxnRequest::default() }).unwrap();
    }
    let first = watcher.next_batch(1).unwrap();
    assert_eq!(told(&first), "+a=1@2 +b=1@2 +c=1@2");
    assert!(first.more);
    assert_eq!((first.revision, watcher.progress()), (2, None));
    let second = watcher.next_batch(1).unwrap();
    assert_eq!(told(&second), "+a=2@3 +b=2@3 +c=2@3");
    assert!(!second.more);
}

#[test]
fn a_watch_that_fell_out_of_history_ends_and_never_skips() {
    let mut m = Machine::new();
    let mut slow = m.store.watch(&watch("a", "", 0), &Notify::new());
    let mut idle = m.store.watch(&watch("b", "", 0), &Notify::new());
    let mut exact = m.store.watch(&watch("a", "", 3), &Notify::new());
    m.put("a", "1");
    m.put("a", "2");
    m.put("a", "3");
    m.apply(Command::Compact { revision: 3 }).unwrap();
    let ended = Err(Compacted { revision: 3 });
    assert_eq!(slow.next_batch(9_999), ended);
    assert_eq!(slow.next_batch(9_999), ended);
    assert_eq!(idle.progress(), Some(4), "one that missed nothing goes on");
    m.put("b", "1");
    assert_eq!(told(&idle.next_batch(9_999).unwrap()), "+b=1@5");
    assert_eq!(told(&exact.next_batch(9_999).unwrap()), "+a=2@3 +a=3@4");
    let mut late = m.store.watch(&watch("a", "", 2), &Notify::new());
    assert_eq!(late.next_batch(9_999), ended);
    let mut negative = m.store.watch(&watch("a", "", -5), &Notify::new());
    assert_eq!(negative.next_batch(9_999), ended);
}

#[test]
fn one_call_looks_at_a_limited_number_of_changes() {
    let mut m = Machine::new();
    m.put("rare", "1");
    for i in 0..10_000 {
        m.put("busy", &i.to_string());
    }
    m.put("rare", "2");
    let mut watcher = m.store.watch(&watch("rare", "", 2), &Notify::new());
    let (mut calls, mut events) = (0, 0);
    loop {
        let batch = watcher.next_batch(9_999).unwrap();
        calls += 1;
        events += batch.events.len();
        if !batch.more {
            break;
        }
    }
    assert_eq!((calls, events), (3, 2));
}

#[test]
fn a_watch_goes_on_when_the_state_is_replaced_by_a_later_one() {
    let mut m = Machine::new();
    m.put("a", "1");
    let wake = Notify::new();
    let mut watcher = m.store.watch(&watch("a", "", 0), &wake);
    let mut behind = m.restored();
    let mut left = behind.store.watch(&watch("a", "", 0), &wake);
    m.put("a", "2");
    m.put("a", "3");
    let bytes: Vec<u8> = m.store.snapshot().flatten().collect();
    behind.store.restore(&bytes).unwrap();
    let same = "+a=2@3 +a=3@4";
    assert_eq!(told(&left.next_batch(9_999).unwrap()), same);
    assert_eq!(told(&watcher.next_batch(9_999).unwrap()), same);
    behind.put("a", "4");
    assert_eq!(told(&left.next_batch(9_999).unwrap()), "+a=4@5");
    m.put("a", "4");
    let revision = 5;
    m.apply(Command::Compact { revision }).unwrap();
    m.put("a", "5");
    let mut far_behind = Machine::new();
    let mut left = far_behind.store.watch(&watch("a", "", 0), &wake);
    let bytes: Vec<u8> = m.store.snapshot().flatten().collect();
    far_behind.store.restore(&bytes).unwrap();
    assert_eq!(left.next_batch(9_999), Err(Compacted { revision }));
}

#[test]
fn a_dropped_watch_is_forgotten() {
    let mut m = Machine::new();
    let wake = Notify::new();
    let one = m.store.watch(&watch("a", "", 0), &wake);
    let two = m.store.watch(&watch("a", "", 0), &wake);
    let wide = m.store.watch(&watch("a", "b", 0), &wake);
    drop(one);
    m.put("a", "1");
    assert!(was_notified(&wake));
    drop((two, wide));
    m.put("a", "2");
    assert!(!was_notified(&wake));
}
