//! Callbacks that compute, fail, never answer or panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use quorate::helix::Event;
use quorate::id::{Height, View};

use crate::helix_rig::{Act, End, Rig, Setup, What, foreign, id};
use crate::nesting::check_all;

/// Sliced work gives way after each slice: the election waits for none of those to come.
#[test]
fn sliced_work_ends_within_its_slice() {
    let rig = Rig::new(Setup { stop_at: Some(1), ..Setup::default() });
    rig.set(What::Validate, Act::Slices(1_000));
    let judging = |rig: &Rig| rig.app(id(3)).live(What::Validate).first().cloned();
    assert!(rig.settle_until(|rig| judging(rig).is_some_and(|call| call.polls.get() == 100)));
    let work = judging(&rig).unwrap();
    rig.fire(id(3), 1, 0);
    assert!(rig.settle_until(|_| work.end.get().is_some()));
    assert_eq!((work.polls.get(), work.end.get()), (100, Some(End::Dropped)));
}

/// Work off the thread: its late result is refused, by height and by view.
#[test]
fn a_late_result_from_another_thread_is_fenced() {
    let rig = Rig::new(Setup { stop_at: Some(2), ..Setup::default() });
    rig.set(What::Create, Act::Worker);
    rig.settle();
    rig.fire_all(1, 0);
    rig.settle();
    let (block, proof) = foreign(1, "synced");
    rig.ids().iter().for_each(|&n| rig.engine(n).update_state(block.clone(), proof.clone()));
    rig.settle();
    for node in [id(1), id(2)] {
        let workers = rig.app(node).workers.borrow();
        assert_eq!(workers.len(), 1);
        // A real worker is a thread: it sends from there, and sees the same.
        let sender = workers[0].1.clone();
        #[allow(clippy::disallowed_methods)] // the thread that the application brings
        let sent = std::thread::spawn(move || sender.try_send(7)).join().unwrap();
        assert!(sent.is_err(), "view and term are gone");
    }
    let polled = rig.polls(id(1));
    rig.settle();
    assert_eq!(rig.polls(id(1)), polled, "nobody was woken by it");
    let signed = |e: &Event| matches!(e, Event::Signed { height: Height(2), .. });
    assert!(rig.ids().iter().all(|&n| !rig.events_of(n).iter().any(signed)));
}

/// What is computed inline is the application's own: the loop turns when it is done. Here time is
/// polls, so it is one; `examples/drop_it.rs` has the microseconds.
#[test]
fn inline_work_holds_up_an_election_by_the_poll_in_progress_and_no_other() {
    let rig = Rig::new(Setup { stop_at: Some(1), ..Setup::default() });
    rig.set(What::Create, Act::Slices(u32::MAX));
    let making = |rig: &Rig| rig.app(id(1)).live(What::Create).first().cloned();
    assert!(rig.settle_until(|rig| making(rig).is_some_and(|call| call.polls.get() == 7)));
    let work = making(&rig).unwrap();
    // The event comes from within the poll: the present one is the last.
    let manual = rig.manual(id(1)).clone();
    let polls = work.polls.get();
    rig.app(id(1)).during(move || manual.fire(Height(1), View(0)));
    assert!(rig.settle_until(|_| work.end.get().is_some()));
    assert_eq!(work.polls.get(), polls + 1);
}

#[test]
fn a_delivery_that_fails_once_is_repeated_and_the_node_goes_on() {
    let rig = Rig::new(Setup { stop_at: Some(5), ..Setup::default() });
    let app = rig.app(id(3));
    app.plan(What::Commit, &[Act::Now, Act::Fail]);
    rig.settle();
    assert_eq!(rig.status(id(3)).tip, Height(2));
    assert_eq!(rig.status(id(3)).delivered, Height(1));
    assert!(rig.status(id(3)).trouble.is_some());
    rig.run_for(Duration::from_millis(99));
    assert_eq!(app.count(What::Commit), 2);
    rig.run_for(Duration::from_secs(5));
    assert_eq!(rig.tip(), 5);
    assert_eq!(rig.status(id(3)).trouble, None);
    let heights: Vec<_> = app.taken.borrow().iter().map(|taken| taken.0.0).collect();
    assert_eq!(heights, [1, 2, 3, 4, 5]);
}

#[test]
fn a_delivery_that_always_fails_stops_neither_the_others_nor_sync_nor_shutdown() {
    let rig = Rig::new(Setup { stop_at: Some(9), ..Setup::default() });
    let app = rig.app(id(1));
    app.set(What::Commit, Act::Fail);
    rig.set(What::Create, Act::Never);
    app.plan(What::Create, &[Act::Now]);
    rig.run_for(Duration::from_secs(3));
    assert_eq!(rig.status(id(1)).delivered, Height(0));
    assert_eq!(rig.status(id(2)).height, Height(2));
    // An election of the others: node 1, which would lead, is stuck.
    rig.app(id(2)).plan(What::Create, &[Act::Now]);
    rig.fire_all(2, 0);
    rig.settle();
    assert_eq!([2, 3, 4].map(|n| rig.status(id(n)).tip.0), [2, 2, 2]);
    // Sync: the application says that it has the block, and more.
    app.set(What::Commit, Act::Now);
    let failed = app.count(What::Commit);
    let decided = rig.words.borrow().iter().rev().find_map(|(_, _, word)| match word {
        quorate::helix::protocol::message::Message::NewView(new_view) => {
            Some(new_view.block.clone())
        }
        _ => None,
    });
    let block = decided.expect("view 1 of height 2 decided");
    let (_, mut proof) = foreign(2, "");
    proof.hash = block.hash(crate::helix_rig::INSTANCE);
    rig.engine(id(1)).update_state(block, proof);
    rig.run_for(Duration::from_secs(10));
    assert_eq!(rig.status(id(1)).height, Height(3));
    assert_eq!(app.count(What::Commit), failed, "what it has is not delivered");
}

#[test]
fn a_delivery_that_always_fails_is_ended_by_shutdown() {
    for act in [Act::Fail, Act::Never] {
        let rig = Rig::new(Setup { stop_at: Some(9), ..Setup::default() });
        rig.app(id(1)).set(What::Commit, act);
        rig.run_for(Duration::from_secs(3));
        rig.engine(id(1)).shutdown();
        rig.settle();
        assert!(matches!(rig.ended(id(1)), Some(Ok(()))), "{act:?}");
        assert_eq!(rig.app(id(1)).all_live(), 0);
    }
}

/// Making or judging a block that fails costs the view, and nothing else.
#[test]
fn a_view_without_a_block_goes_by() {
    for (what, at) in [(What::Create, vec![id(1)]), (What::Validate, vec![id(2), id(3)])] {
        let rig = Rig::new(Setup { stop_at: Some(1), ..Setup::default() });
        at.iter().for_each(|&node| rig.app(node).plan(what, &[Act::Fail]));
        rig.settle();
        assert_eq!(rig.tip(), 0);
        rig.fire_all(1, 0);
        rig.settle();
        assert_eq!(rig.tip(), 1, "{what:?}");
        check_all(&rig);
    }
}

/// A panic of the application is not caught: it goes up through the node's life, and ends the
/// process where panics abort, as they do in the binary.
#[test]
fn a_panic_of_a_callback_goes_up_through_the_life_and_others_go_on() {
    for what in [What::Create, What::Commit, What::Committee] {
        let mut rig = Rig::new(Setup { stop_at: Some(2), ..Setup::default() });
        rig.app(id(1)).plan(what, &[Act::Panic]);
        let panicked = catch_unwind(AssertUnwindSafe(|| rig.settle()));
        assert!(panicked.is_err(), "{what:?}: a panic was swallowed");
        rig.crash(id(1), false);
        rig.start(id(1)).unwrap();
        rig.run_for(Duration::from_secs(20));
        // It may have had to learn what it had decided: then another leads.
        rig.fire_all(rig.tip() + 1, 0);
        rig.run_for(Duration::from_secs(20));
        assert_eq!(rig.tip(), 2, "{what:?}: started again, it goes on where it was");
    }
}
