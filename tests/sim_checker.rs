//! The checker itself: each invariant, broken by hand, is found and named.

use quorate::id::{Index, NodeId, Term};
use quorate::machine::Committed;
use quorate::raft::{Event, Role};
use quorate::sim::checks::{Checks, Invariants};
use quorate::sim::raft::checker::{Checker, Claim};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);

fn start(checker: &mut Checker, node: NodeId, term: u64, durable: u64) {
    let (snapshot, durable) = (Index::ZERO, Index(durable));
    checker.event(node, Event::Started { term: Term(term), vote: None, snapshot, durable });
}

fn append(checker: &mut Checker, node: NodeId, index: u64, term: u64, digest: u32) {
    checker.event(node, Event::Appended { index: Index(index), term: Term(term), digest });
}

fn synced(checker: &mut Checker, node: NodeId, index: u64) {
    checker.event(node, Event::Synced { index: Index(index) });
}

fn lead(checker: &mut Checker, node: NodeId, term: u64) {
    let (role, term) = (Role::Leader, Term(term));
    checker.event(node, Event::HardStateSet { term, vote: Some(node) });
    checker.event(node, Event::Entered { role, term, leader: Some(node) });
}

fn commit(checker: &mut Checker, node: NodeId, index: u64) {
    checker.event(node, Event::Committed { index: Index(index) });
}

fn broken(checker: &Checker) -> Option<&'static str> {
    checker.violation().map(|violation| violation.invariant)
}

/// n1 led term 1; its two entries are durable on n1 and n2, and decided by n1.
fn cluster() -> Checker {
    let mut checker = Checker::new(3);
    [N1, N2, N3].into_iter().for_each(|node| start(&mut checker, node, 0, 0));
    lead(&mut checker, N1, 1);
    for node in [N1, N2] {
        append(&mut checker, node, 1, 1, 11);
        append(&mut checker, node, 2, 1, 12);
        synced(&mut checker, node, 2);
    }
    commit(&mut checker, N1, 2);
    assert_eq!(checker.violation(), None);
    checker
}

#[test]
fn two_leaders_of_a_term_are_found() {
    let mut checker = cluster();
    lead(&mut checker, N1, 1);
    assert_eq!(broken(&checker), None);
    lead(&mut checker, N2, 1);
    assert_eq!(broken(&checker), Some("I1"));
}

#[test]
fn logs_that_differ_below_an_equal_entry_are_found() {
    let mut checker = cluster();
    append(&mut checker, N3, 1, 1, 99);
    assert_eq!(broken(&checker), Some("I2"), "another payload");
    let mut checker = cluster();
    append(&mut checker, N1, 3, 2, 13);
    append(&mut checker, N1, 4, 2, 14);
    append(&mut checker, N2, 3, 1, 13);
    append(&mut checker, N2, 4, 2, 14);
    assert_eq!(broken(&checker), Some("I2"), "another entry before it");
}

#[test]
fn a_leader_without_a_decided_entry_is_found() {
    let mut checker = cluster();
    append(&mut checker, N3, 1, 1, 11);
    lead(&mut checker, N3, 2);
    assert_eq!(broken(&checker), Some("I3"));
    let mut checker = cluster();
    lead(&mut checker, N2, 2);
    assert_eq!(broken(&checker), None);
}

#[test]
fn a_decided_entry_that_changes_is_found() {
    let mut checker = cluster();
    append(&mut checker, N3, 1, 2, 99);
    append(&mut checker, N3, 2, 2, 98);
    commit(&mut checker, N3, 1);
    assert_eq!(broken(&checker), Some("I4"), "decided otherwise");
    let mut checker = cluster();
    checker.event(N2, Event::Truncated { from: Index(2) });
    assert_eq!(broken(&checker), Some("I4"), "removed by one who does not know");
    let mut checker = cluster();
    commit(&mut checker, N2, 3);
    assert_eq!(broken(&checker), Some("I4"), "beyond its log");
}

#[test]
fn an_entry_decided_before_it_is_durable_is_found() {
    let mut checker = cluster();
    append(&mut checker, N1, 3, 1, 13);
    append(&mut checker, N2, 3, 1, 13);
    synced(&mut checker, N1, 3);
    commit(&mut checker, N1, 3);
    assert_eq!(broken(&checker), Some("I5"));
}

#[test]
fn a_log_that_lost_what_was_durable_is_found() {
    let mut checker = cluster();
    checker.crashed(N2);
    start(&mut checker, N2, 1, 1);
    append(&mut checker, N2, 1, 1, 11);
    assert_eq!(broken(&checker), Some("I5"));
}

#[test]
fn what_was_on_its_way_may_be_there_after_a_crash_or_not() {
    for durable in 2..=4 {
        let mut checker = cluster();
        append(&mut checker, N2, 3, 1, 13);
        append(&mut checker, N2, 4, 1, 14);
        checker.crashed(N2);
        start(&mut checker, N2, 1, durable);
        (1..=durable).for_each(|n| append(&mut checker, N2, n, 1, 10 + n as u32));
        assert_eq!(checker.violation(), None);
        synced(&mut checker, N2, durable);
    }
}

#[test]
fn a_truncated_suffix_that_comes_back_is_found() {
    for (durable, expected) in [(2, None), (3, Some("I5"))] {
        let mut checker = cluster();
        append(&mut checker, N3, 1, 1, 11);
        append(&mut checker, N3, 2, 2, 99);
        append(&mut checker, N3, 3, 2, 98);
        synced(&mut checker, N3, 3);
        checker.event(N3, Event::Truncated { from: Index(2) });
        append(&mut checker, N3, 2, 1, 12);
        synced(&mut checker, N3, 2);
        checker.crashed(N3);
        start(&mut checker, N3, 1, durable);
        append(&mut checker, N3, 1, 1, 11);
        match durable {
            2 => append(&mut checker, N3, 2, 1, 12),
            _ => {
                append(&mut checker, N3, 2, 2, 99);
                append(&mut checker, N3, 3, 2, 98);
            }
        }
        assert_eq!(broken(&checker), expected);
    }
}

#[test]
fn a_vote_that_changes_is_found_also_across_a_restart() {
    let mut checker = cluster();
    checker.event(N2, Event::HardStateSet { term: Term(2), vote: Some(N1) });
    checker.event(N2, Event::HardStateSet { term: Term(2), vote: Some(N3) });
    assert_eq!(broken(&checker), Some("I6"));
    let mut checker = cluster();
    checker.event(N3, Event::HardStateSet { term: Term(2), vote: Some(N1) });
    checker.said(N3, Claim::Vote(Term(2), N1));
    checker.crashed(N3);
    start(&mut checker, N3, 2, 0);
    assert_eq!(broken(&checker), Some("I6"), "the vote was spoken, but not durable");
    let mut checker = cluster();
    checker.event(N3, Event::HardStateSet { term: Term(2), vote: None });
    checker.said(N3, Claim::Term(Term(2)));
    checker.crashed(N3);
    start(&mut checker, N3, 1, 0);
    assert_eq!(broken(&checker), Some("I6"), "so was the term");
}

#[test]
fn an_acknowledgement_of_what_is_not_durable_is_found() {
    let mut checker = cluster();
    append(&mut checker, N2, 3, 1, 13);
    checker.said(N2, Claim::Durable(Index(2)));
    assert_eq!(broken(&checker), None);
    checker.said(N2, Claim::Durable(Index(3)));
    assert_eq!(broken(&checker), Some("I5"));
}

#[test]
fn states_that_differ_are_found() {
    let entry = |payload| Committed { index: 1, epoch: 1, payload };
    let mut checker = cluster();
    checker.applied(N1, entry(b"a"), 7);
    checker.applied(N2, entry(b"a"), 7);
    assert_eq!(broken(&checker), None);
    checker.applied(N3, entry(b"a"), 8);
    assert_eq!(broken(&checker), Some("I11"));
    let mut checker = cluster();
    checker.applied(N1, entry(b"a"), 7);
    checker.applied(N2, entry(b"b"), 7);
    assert_eq!(broken(&checker), Some("I4"));
    let mut checker = cluster();
    checker.applied(N1, entry(b"a"), 7);
    checker.applied(N1, entry(b"a"), 7);
    assert_eq!(broken(&checker), Some("I8"), "applied twice");
}

#[test]
fn a_restored_state_is_compared_with_what_others_had() {
    let entry = Committed { index: 1, epoch: 1, payload: b"a" };
    for (digest, expected) in [(7, None), (8, Some("I11"))] {
        let mut checker = cluster();
        checker.applied(N1, entry, 7);
        checker.event(N3, Event::Installed { index: Index(2), term: Term(1) });
        checker.restored(N3, digest);
        assert_eq!(broken(&checker), expected);
    }
}

#[test]
fn to_act_or_speak_in_a_term_that_was_not_promised_is_found() {
    let mut checker = cluster();
    let (role, leader) = (Role::Follower, None);
    checker.event(N3, Event::Entered { role, term: Term(0), leader });
    assert_eq!(broken(&checker), None);
    checker.event(N3, Event::Entered { role, term: Term(1), leader });
    assert_eq!(broken(&checker), Some("I6"));
    let mut checker = cluster();
    checker.said(N1, Claim::Term(Term(1)));
    assert_eq!(broken(&checker), None);
    checker.said(N1, Claim::Term(Term(2)));
    assert_eq!(broken(&checker), Some("I6"));
}
