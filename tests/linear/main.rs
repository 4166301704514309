//! The judge of histories: what a store can have shown passes, and each kind of fault is found.

mod random;
mod rig;

use quorate::kv::{Command, Event, PutRequest, Response};
use quorate::sim::linear::{Answer, Promise, Request, check};

use rig::{Rig, SECOND, all_changes, all_keys, delete, put, put_on, range_of, swap};

/// A few writes and reads with which nothing is wrong.
fn fine() -> Rig {
    let mut rig = Rig::default();
    rig.call(put("a", "1"));
    rig.call(put("b", "2"));
    rig.read(all_keys());
    rig.call(swap("a", "1", "b", "3"));
    rig.call(swap("a", "1", "b", "4"));
    rig.call(delete("b"));
    rig.call(delete("b"));
    rig.read(all_keys());
    rig
}

#[test]
fn a_history_with_which_nothing_is_wrong_passes() {
    let verdict = fine().check().expect("nothing is wrong");
    assert_eq!((verdict.calls, verdict.answered, verdict.keys, verdict.reads), (8, 4, 2, 2));
}

#[test]
fn a_stale_read_is_found() {
    let mut rig = fine();
    let before = rig.store.range(&all_keys()).expect("a range");
    rig.call(put("a", "9"));
    let operation = rig.read(all_keys());
    rig.log.operations[operation].answer = Answer::Range(before.clone());
    rig.finds("revision 6 was shown before");
    rig.searches("this fits nowhere");
    // Whoever is content with an old state may see one, but not a wrong one.
    let request = Request::Range { request: all_keys(), stale: true };
    rig.log.operations[operation].request = request;
    rig.check().expect("an old state");
    let mut wrong = before;
    wrong.revision += 1;
    rig.log.operations[operation].answer = Answer::Range(wrong);
    rig.finds("the answer must be");
}

#[test]
fn a_lost_write_is_found() {
    let mut rig = fine();
    let operation = rig.call(put("a", "9"));
    let mut other = fine();
    other.call(put("a", "8"));
    let what = check(&rig.log, &other.changes(), &Promise::default()).expect_err("it is lost");
    assert!(what.contains("answered was"), "{what}");
    let what = check(&rig.log, &fine().changes(), &Promise::default()).expect_err("it is lost");
    assert!(what.contains("is the last"), "{what}");
    // What nobody was told of may be lost.
    rig.log.operations[operation].answer = Answer::Unknown;
    check(&rig.log, &fine().changes(), &Promise::default()).expect("it may have been lost");
}

#[test]
fn a_write_that_happens_twice_is_found() {
    let mut rig = fine();
    rig.call(put("a", "9"));
    rig.apply(&put("a", "9")).expect("a put");
    rig.finds("nobody is the author of revision 7");
    let mut rig = fine();
    rig.ask(Request::Command(put("a", "9")));
    rig.apply(&put("a", "9")).expect("a put");
    rig.read(range_of("a"));
    rig.check().expect("it happened, although nobody was told");
    rig.call(put("a", "8"));
    rig.apply(&put("a", "9")).expect("a put");
    rig.read(range_of("a"));
    rig.finds("nobody is the author of revision 8");
    rig.searches("this fits nowhere");
}

#[test]
fn a_value_that_nobody_wrote_is_found() {
    let mut rig = fine();
    rig.apply(&put("a", "9")).expect("a put");
    rig.read(all_keys());
    rig.finds("nobody is the author of revision 6");
    rig.searches("this fits nowhere");
}

#[test]
fn a_write_that_was_refused_has_no_effect() {
    let mut rig = fine();
    let operation = rig.ask(Request::Command(put("a", "9")));
    rig.apply(&put("a", "9")).expect("a put");
    rig.answer(operation, Answer::Nothing);
    rig.finds("nobody is the author of revision 6");
}

#[test]
fn a_write_that_is_seen_before_it_is_asked_for_is_found() {
    let mut rig = fine();
    rig.apply(&put("a", "9")).expect("a put");
    rig.read(all_keys());
    rig.ask(Request::Command(put("a", "9")));
    rig.finds("nobody is the author of revision 6");
    rig.searches("this fits nowhere");
}

#[test]
fn a_torn_transaction_is_found() {
    let mut rig = fine();
    rig.call(put("b", "5"));
    let operation = rig.ask(Request::Command(swap("a", "3", "b", "9")));
    rig.apply(&put("a", "9")).expect("half of it");
    rig.finds("nobody is the author of revision 7");
    rig.apply(&put("b", "9")).expect("the other half");
    rig.finds("nobody is the author of revision 7");
    let mut whole = fine();
    whole.call(put("b", "5"));
    let response = whole.apply(&swap("a", "3", "b", "9")).expect("as it should be");
    rig.answer(operation, Answer::Done(response));
    rig.finds("answered was");
}

#[test]
fn a_transaction_that_takes_the_wrong_branch_is_found() {
    let mut rig = fine();
    rig.call(put("b", "5"));
    let operation = rig.call(swap("a", "7", "b", "9"));
    let answer = rig.log.operations[operation].answer.clone();
    let right = rig.call(swap("a", "3", "b", "9"));
    rig.check().expect("nothing is wrong yet");
    rig.log.operations[right].answer = answer;
    rig.finds("");
    rig.searches("this fits nowhere");
}

#[test]
fn a_wrong_value_before_is_found() {
    let mut rig = fine();
    let request = PutRequest {
        key: b"a".to_vec(),
        value: b"9".to_vec(),
        prev_kv: true,
        ..PutRequest::default()
    };
    let operation = rig.call(Command::Put(request));
    rig.check().expect("nothing is wrong yet");
    if let Answer::Done(Response::Put(put)) = &mut rig.log.operations[operation].answer {
        put.prev_kv = None;
    }
    rig.finds("the answer must be");
    rig.searches("this fits nowhere");
}

#[test]
fn two_answers_with_one_revision_are_found() {
    let mut rig = fine();
    rig.call(put("a", "9"));
    let other = rig.ask(Request::Command(put("a", "9")));
    let answer = rig.log.operations[8].answer.clone();
    rig.answer(other, answer);
    rig.finds("has two authors");
}

#[test]
fn revisions_that_are_missing_and_counts_that_do_not_follow_are_found() {
    let rig = fine();
    let mut changes = rig.changes();
    changes.remove(1);
    assert!(check(&rig.log, &changes, &Promise::default()).is_err());
    let mut changes = rig.changes();
    changes[2].kv.version = 1;
    let what = check(&rig.log, &changes, &Promise::default()).expect_err("version 2");
    assert!(what.contains("it must be version 2"), "{what}");
}

/// A watch from the first revision on, told one change at a time.
fn watched() -> Rig {
    let mut rig = fine();
    let watch = rig.log.watch(rig.now, 2, all_changes(1), rig.store.revision());
    for event in rig.changes() {
        rig.now += 10;
        let of_it = |told: &Event| told.kv.mod_revision == event.kv.mod_revision;
        match rig.log.watches[watch].told.last_mut().filter(|told| of_it(&told.events[0])) {
            Some(told) => told.events.push(event),
            None => rig.log.tell(rig.now, watch, vec![event], None),
        }
    }
    rig.log.tell(rig.now, watch, vec![], Some(rig.store.revision()));
    rig.check().expect("nothing is wrong yet");
    rig
}

#[test]
fn a_gap_in_a_watch_is_found() {
    let mut rig = watched();
    rig.log.watches[0].told.remove(1);
    rig.finds("told Event");
    let mut rig = watched();
    rig.log.watches[0].told.remove(3);
    rig.finds("not told");
    let mut rig = watched();
    rig.log.watches[0].told.drain(1..4);
    rig.finds("not told");
}

#[test]
fn a_change_that_a_watch_is_told_twice_or_too_late_or_by_halves_is_found() {
    let mut rig = watched();
    let told = rig.log.watches[0].told[1].clone();
    rig.log.watches[0].told.insert(2, told);
    rig.finds("told Event");
    let mut rig = watched();
    rig.log.watches[0].told.swap(0, 1);
    rig.finds("told Event");
    let mut rig = watched();
    let mut half = rig.log.watches[0].told[2].clone();
    rig.log.watches[0].told[2].events.truncate(1);
    half.events.remove(0);
    rig.log.watches[0].told.insert(3, half);
    rig.finds("not told");
    let mut rig = watched();
    rig.log.watches[0].told[0].events[0].kv.value = (*b"7").into();
    rig.finds("told Event");
}

#[test]
fn a_watch_that_ends_as_compacted_without_a_reason_is_found() {
    let mut rig = watched();
    rig.log.watches[0].told.truncate(2);
    rig.log.watches[0].compacted = Some(5);
    rig.finds("ended as compacted");
    rig.call(Command::Compact { revision: 5 });
    rig.log.watches[0].compacted = Some(4);
    let changes = watched().changes();
    check(&rig.log, &changes, &Promise::default()).expect_err("not that far");
    rig.log.watches[0].compacted = Some(5);
    check(&rig.log, &changes, &Promise::default()).expect("it was compacted");
}

fn leased() -> Rig {
    let mut rig = fine();
    rig.call(Command::LeaseGrant { id: 7, ttl_s: 5 });
    rig.call(put_on(7, "a", "5"));
    rig.call(put_on(7, "c", "6"));
    rig.lease(7);
    rig.check().expect("nothing is wrong yet");
    rig
}

#[test]
fn a_lease_that_ends_takes_its_keys_with_it_and_is_nobodys_write() {
    let mut rig = leased();
    rig.apply(&Command::LeaseRevoke { id: 7 }).expect("as an expiry does");
    rig.now += 5 * SECOND;
    rig.read(all_keys());
    rig.lease(7);
    let verdict = rig.check().expect("nothing is wrong");
    assert_eq!(verdict.lease_ends, 1);
}

#[test]
fn a_lease_that_ends_before_its_time_is_found() {
    let mut rig = leased();
    rig.now += 3 * SECOND;
    rig.call(Command::LeaseRenew { id: 7 });
    rig.apply(&Command::LeaseRevoke { id: 7 }).expect("as an expiry does");
    rig.now += 3 * SECOND;
    rig.read(all_keys());
    rig.finds("lease 7 was promised until");
    let changes = rig.changes();
    let quick = Promise { clock_rate_max: 2_000 };
    check(&rig.log, &changes, &quick).expect("some clock may run twice as fast");
}

#[test]
fn a_lease_that_is_gone_or_there_without_a_reason_is_found() {
    let mut rig = leased();
    let operation = rig.lease(7);
    rig.log.operations[operation].answer = Answer::Lease(rig.store.revision(), None);
    rig.finds("was promised until");
    let mut rig = leased();
    rig.call(Command::LeaseRevoke { id: 7 });
    rig.lease(7);
    rig.check().expect("nothing is wrong");
    let operation = rig.ask(Request::Command(Command::LeaseRenew { id: 7 }));
    let revision = rig.store.revision();
    rig.answer(operation, Answer::Done(Response::LeaseRenew { revision, id: 7, ttl_s: 5 }));
    rig.finds("was revoked before");
}

#[test]
fn a_lease_whose_keys_were_deleted_before_is_revoked_without_a_change() {
    let mut rig = leased();
    rig.call(delete("c"));
    rig.ask(Request::Command(delete("a")));
    rig.apply(&delete("a")).expect("it happened, although nobody was told");
    rig.read(all_keys());
    rig.call(Command::LeaseRevoke { id: 7 });
    let verdict = rig.check().expect("nothing is wrong");
    assert_eq!((verdict.unanswered, verdict.lease_ends), (1, 0));
}

#[test]
fn keys_that_outlive_their_lease_are_found() {
    let mut rig = leased();
    let operation = rig.ask(Request::Command(Command::LeaseRevoke { id: 7 }));
    rig.apply(&delete("a")).expect("half of it");
    let revision = rig.store.revision();
    rig.answer(operation, Answer::Done(Response::LeaseRevoke { revision }));
    rig.finds("keys outlive their lease");
}
