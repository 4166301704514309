//! Node sync against work in progress: what ends, in which order, and in how many polls.

use std::time::Duration;

use quorate::helix::Event;
use quorate::helix::protocol::message::Message;
use quorate::id::Height;

use crate::helix_rig::{Act, End, Rig, Setup, Step, What, foreign, id};
use crate::nesting::{check_all, is, left, place};

/// A rig whose node 1 makes a block for ever, and whose others would judge one for ever.
fn blocked(seed: Option<u64>) -> Rig {
    let rig = Rig::new(Setup { stop_at: Some(9), seed, ..Setup::default() });
    rig.set(What::Create, Act::Never);
    rig.set(What::Validate, Act::Never);
    rig.settle();
    rig
}

/// The reference's "node sync is still handled although a block is being made"; and of the work
/// that ignores everything it is exactly nothing that runs on.
#[test]
fn sync_is_taken_in_the_next_poll_while_a_block_is_being_made() {
    for seed in 0..200 {
        let rig = blocked((seed > 0).then_some(seed));
        let making = rig.app(id(1)).live(What::Create).remove(0);
        let (work, polls) = (making.polls.get(), rig.polls(id(1)));
        let (block, proof) = foreign(1, "synced");
        rig.engine(id(1)).update_state(block, proof);
        assert!(rig.settle_until(|_| making.end.get().is_some()));
        assert_eq!(rig.polls(id(1)) - polls, 1, "seed {seed}: at once is the next poll");
        assert_eq!(making.polls.get(), work, "seed {seed}: the old view was polled again");
        assert_eq!(making.end.get(), Some(End::Dropped));
        rig.settle();
        assert_eq!(rig.status(id(1)).height, Height(2));
        assert_eq!(left(&rig, id(1), 1), [(0, "learned")]);
    }
}

#[test]
fn sync_is_taken_in_the_next_poll_while_a_block_is_being_judged() {
    for seed in 0..200 {
        let rig = blocked((seed > 0).then_some(seed));
        rig.app(id(1)).set(What::Create, Act::Now);
        rig.fire_all(1, 0);
        rig.settle();
        rig.fire_all(1, 1);
        rig.fire_all(1, 2);
        rig.settle();
        // Whoever leads by now, somebody judges or makes; all of them end alike.
        let (block, proof) = foreign(1, "synced");
        for node in rig.ids() {
            let live: Vec<_> =
                [What::Create, What::Validate].map(|what| rig.app(node).live(what)).concat();
            let before: Vec<_> = live.iter().map(|call| call.polls.get()).collect();
            let polls = rig.polls(node);
            rig.engine(node).update_state(block.clone(), proof.clone());
            assert!(rig.settle_until(|rig| rig.status(node).tip == Height(1)));
            assert!(rig.polls(node) - polls <= 2, "seed {seed}");
            let after: Vec<_> = live.iter().map(|call| call.polls.get()).collect();
            assert_eq!(before, after, "seed {seed}: polled after the event");
            assert!(live.iter().all(|call| call.end.get() == Some(End::Dropped)));
        }
        check_all(&rig);
    }
}

/// Cancel first, then hand over the event: the old pair is gone when the new term is entered.
#[test]
fn on_sync_the_view_ends_then_the_term_then_the_next_begins() {
    for seed in 0..100 {
        let rig = blocked((seed > 0).then_some(seed));
        let (block, proof) = foreign(3, "a jump");
        rig.engine(id(1)).update_state(block, proof);
        rig.settle();
        let steps = rig.steps_of(id(1));
        let at = place(&steps, 0, |s| matches!(s, Step::Gone(What::Create, ..)));
        let at = place(&steps, at, is(|e| matches!(e, Event::ViewLeft { why: "learned", .. })));
        let at = place(&steps, at, is(|e| matches!(e, Event::TermLeft { why: "learned", .. })));
        let at = place(&steps, at, is(|e| matches!(e, Event::Learned { height: Height(3), .. })));
        let at = place(&steps, at, |s| matches!(s, Step::Asked(What::Committee, Height(4), _)));
        let at = place(&steps, at, is(|e| matches!(e, Event::TermEntered { .. })));
        let at = place(&steps, at, |s| matches!(s, Step::Round(Height(4), false)));
        place(&steps, at, is(|e| matches!(e, Event::ViewEntered { height: Height(4), .. })));
        check_all(&rig);
    }
}

/// Three kinds of events in one turn: the newest knowledge wins, and none is lost.
#[test]
fn sync_election_and_words_in_one_turn() {
    for seed in 0..100 {
        let rig = blocked((seed > 0).then_some(seed));
        let making = rig.app(id(1)).live(What::Create).remove(0);
        let work = making.polls.get();
        let (block, proof) = foreign(1, "synced");
        let note = Message::App(bytes::Bytes::from_static(b"word"));
        (0..500).for_each(|_| rig.inject(id(2), id(1), &note));
        rig.fire(id(1), 1, 0);
        rig.engine(id(1)).update_state(block, proof);
        let polls = rig.polls(id(1));
        assert!(rig.settle_until(|_| making.end.get().is_some()));
        assert_eq!(rig.polls(id(1)) - polls, 1, "control does not queue behind words");
        assert_eq!(making.polls.get(), work);
        rig.settle();
        assert_eq!(rig.status(id(1)).height, Height(2), "the sync was not lost");
        assert_eq!(rig.manual(id(1)).pending(), Some((Height(1), quorate::id::View(0))));
        assert_eq!(
            rig.status(id(1)).view.0,
            0,
            "a trigger of the old term ends no view of the new"
        );
    }
}

#[test]
fn sync_that_brings_nothing_new_ends_nothing() {
    let rig = blocked(None);
    let (block, proof) = foreign(2, "new");
    rig.ids().iter().for_each(|&n| rig.engine(n).update_state(block.clone(), proof.clone()));
    rig.settle();
    rig.fire_all(3, 0);
    rig.settle();
    let making = rig.app(id(2)).live(What::Create).remove(0);
    let told = rig.log.borrow().len();
    for height in [1, 2] {
        let (block, proof) = foreign(height, "old");
        rig.engine(id(2)).update_state(block, proof);
    }
    rig.settle();
    assert_eq!(making.end.get(), None, "an old block dropped the work of the present");
    assert!(!rig.log.borrow()[told..].iter().any(|(_, s)| matches!(s, Step::Gone(..))));
}

#[test]
fn of_two_blocks_that_wait_the_higher_wins_in_either_order() {
    for order in [[3, 5], [5, 3]] {
        let rig = blocked(None);
        for height in order {
            let (block, proof) = foreign(height, "told");
            rig.engine(id(1)).update_state(block, proof);
        }
        rig.settle();
        assert_eq!(rig.status(id(1)).height, Height(6));
    }
}

/// "A block that was synced is hardly the newest": its receiver does not lead the next first view.
#[test]
fn a_synced_node_does_not_lead_the_next_first_view() {
    let rig = blocked(None);
    let (block, proof) = foreign(1, "synced");
    rig.ids().iter().for_each(|&n| rig.engine(n).update_state(block.clone(), proof.clone()));
    rig.settle();
    assert_eq!(rig.status(id(1)).leader, Some(id(1)));
    assert_eq!(rig.app(id(1)).live(What::Create).len(), 0);
    rig.fire_all(2, 0);
    rig.settle();
    assert_eq!(rig.app(id(2)).live(What::Create).len(), 1, "but a later view");
}

/// A committee that cannot be had holds up the term and nothing else.
#[test]
fn a_failing_committee_request_is_repeated_and_blocks_neither_sync_nor_shutdown() {
    let rig = Rig::unstarted(Setup { stop_at: Some(3), ..Setup::default() });
    let mut rig = rig;
    for node in rig.ids() {
        rig.start(node).unwrap();
    }
    rig.set(What::Create, Act::Never);
    let app = rig.app(id(4)).clone();
    app.plan(What::Committee, &[Act::Fail; 5]);
    rig.run_for(Duration::from_millis(999));
    assert_eq!(app.count(What::Committee), 5, "every 200 ms");
    assert!(rig.status(id(4)).trouble.is_some_and(|trouble| trouble.contains("no committee")));
    rig.run_for(Duration::from_millis(1));
    assert_eq!(app.count(What::Committee), 6);
    assert_eq!(rig.status(id(4)).trouble, None, "the trouble is over");

    app.set(What::Committee, Act::Never);
    let (block, proof) = foreign(1, "synced");
    rig.ids().iter().for_each(|&n| rig.engine(n).update_state(block.clone(), proof.clone()));
    rig.settle();
    let asking = app.live(What::Committee).remove(0);
    assert_eq!(asking.height, Height(2));
    let (block, proof) = foreign(2, "synced further");
    rig.engine(id(4)).update_state(block, proof);
    rig.settle();
    assert_eq!(asking.end.get(), Some(End::Dropped));
    assert_eq!(app.live(What::Committee).remove(0).height, Height(3));
    rig.engine(id(4)).shutdown();
    rig.settle();
    assert!(matches!(rig.ended(id(4)), Some(Ok(()))));
    assert_eq!(app.all_live(), 0);
}
