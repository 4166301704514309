//! Elections: the old view is dropped in the poll that sees the trigger, and never polled again; a
//! trigger is for one view only.

use std::cell::Cell;

use quorate::helix::Event;
use quorate::helix::protocol::event::Entry;
use quorate::helix::protocol::message::Message;
use quorate::id::{Height, View};

use crate::helix_rig::{Act, End, Rig, Setup, Step, What, id};
use crate::nesting::{check_all, is, left, place};

/// The reference's "making a block does not hold up an election": whatever the work does.
#[test]
fn an_election_drops_work_of_any_kind_without_another_poll() {
    for act in [Act::Never, Act::Gate, Act::Worker, Act::Slices(1_000_000)] {
        for (what, node) in [(What::Create, id(1)), (What::Validate, id(3))] {
            let rig = Rig::new(Setup { stop_at: Some(1), ..Setup::default() });
            rig.set(what, act);
            assert!(rig.settle_until(|rig| {
                let waiting = |n| !rig.app(id(n)).live(what).is_empty();
                if what == What::Create { waiting(1) } else { (2..=4).all(waiting) }
            }));
            let work = rig.app(node).live(what).remove(0);
            let (polls, turns) = (work.polls.get(), rig.polls(node));
            rig.fire(node, 1, 0);
            assert!(rig.settle_until(|_| work.end.get().is_some()));
            assert_eq!(work.end.get(), Some(End::Dropped), "{act:?} {what:?}");
            assert_eq!(work.polls.get(), polls, "{act:?} {what:?}: polled after the election");
            assert_eq!(rig.polls(node) - turns, 1, "{act:?} {what:?}: at once is the next poll");
            check_all(&rig);
        }
    }
}

#[test]
fn a_new_view_that_arrives_drops_the_old_one_without_another_poll() {
    for seed in 0..100 {
        let rig = Rig::new(Setup { stop_at: Some(1), seed: Some(seed), ..Setup::default() });
        rig.set(What::Validate, Act::Never);
        rig.settle();
        let work = rig.app(id(4)).live(What::Validate).remove(0);
        let polls = work.polls.get();
        // Node 4 hears neither of the elections nor of view 1 but from its leader.
        rig.gate(|_, to, word| to != id(4) || !matches!(word, Message::ViewChange { .. }));
        [1, 2, 3].iter().for_each(|&n| rig.fire(id(n), 1, 0));
        assert!(rig.settle_until(|_| work.end.get().is_some()));
        assert_eq!(work.polls.get(), polls, "seed {seed}");
        rig.settle();
        assert_eq!(left(&rig, id(4), 1), [(0, "overtaken")]);
        let entered = |e: &Event| matches!(e, Event::ViewEntered { entry: Entry::NewView, .. });
        place(&rig.steps_of(id(4)), 0, is(entered));
        check_all(&rig);
    }
}

/// Cancel, then the new view: and the term is the same one, with all that it knows.
#[test]
fn on_election_the_view_ends_then_the_next_begins_and_the_term_goes_on() {
    for seed in 0..100 {
        let rig = Rig::new(Setup { stop_at: Some(1), seed: Some(seed), ..Setup::default() });
        rig.set(What::Create, Act::Never);
        rig.settle();
        rig.fire_all(1, 0);
        rig.settle();
        let steps = rig.steps_of(id(1));
        let at = place(&steps, 0, |s| matches!(s, Step::Gone(What::Create, ..)));
        let at = place(&steps, at, is(|e| matches!(e, Event::ViewLeft { view: View(0), .. })));
        place(&steps, at, is(|e| matches!(e, Event::ViewEntered { view: View(1), .. })));
        for node in rig.ids() {
            let entered = |e: &&Event| matches!(e, Event::TermEntered { .. });
            let left = |e: &Event| matches!(e, Event::TermLeft { .. });
            let events = rig.events_of(node);
            assert_eq!(events.iter().filter(entered).count(), 1, "one term");
            assert!(!events.iter().any(left), "an election ended the term of node {node}");
        }
        check_all(&rig);
    }
}

/// The trigger and the decision in one turn, in all orders that there are: whichever comes first,
/// the other finds nobody. `nesting::check` would see anything said in the name of a dead scope.
#[test]
fn a_trigger_in_the_turn_in_which_its_term_ends_fires_for_nobody() {
    let (elapsed, decided) = (Cell::new(0), Cell::new(0));
    for seed in 0..4_000 {
        let rig = Rig::new(Setup { stop_at: Some(2), seed: Some(seed), ..Setup::default() });
        let node = id(1 + seed % 4);
        // A COMMIT that may decide height 1 for this node has arrived, and not been heard: now.
        let commits = |rig: &Rig| {
            let heard = rig.heard.borrow();
            let commit =
                |w: &&(_, _, Message)| w.1 == node && matches!(w.2, Message::Commit { .. });
            heard.iter().filter(commit).count()
        };
        let when = 1 + seed as usize / 4 % 3;
        rig.settle_until(|rig| commits(rig) >= when || rig.status(node).height > Height(1));
        rig.steps(seed / 12 % 3);
        rig.fire(node, 1, 0);
        rig.settle();
        let views = left(&rig, node, 1);
        match views.first() {
            Some((0, "elapsed")) => elapsed.set(elapsed.get() + 1),
            Some((0, "decided")) => {
                decided.set(decided.get() + 1);
                let stale = |event: &Event| matches!(event, Event::ViewEntered { view, .. } if *view > View::ZERO);
                assert!(!rig.events_of(node).iter().any(stale), "seed {seed}: it fired later");
            }
            other => panic!("seed {seed}: {other:?}"),
        }
        check_all(&rig);
    }
    let (elapsed, decided) = (elapsed.get(), decided.get());
    assert!(elapsed > 400 && decided > 400, "{elapsed} and {decided}: both orders happen");
}

/// The same with the clock: the block is ready at the very instant at which every timer is due.
#[test]
fn a_timer_due_at_the_instant_of_the_decision() {
    let span = std::time::Duration::from_secs(4);
    let (mut elapsed, mut decided) = (0, 0);
    for seed in 0..1_000 {
        let setup =
            Setup { stop_at: Some(2), seed: Some(seed), timer: Some(span), ..Setup::default() };
        let rig = Rig::new(setup);
        rig.app(id(1)).plan(What::Create, &[Act::After(span)]);
        rig.run_until(span * 40, |rig| rig.tip() == 2);
        assert_eq!(rig.tip(), 2, "seed {seed}");
        for node in rig.ids() {
            match left(&rig, node, 1)[0] {
                (0, "decided") => decided += 1,
                _ => elapsed += 1,
            }
        }
        check_all(&rig);
    }
    assert!(elapsed > 0 && elapsed + decided == 4_000, "{elapsed} {decided}");
}

#[test]
fn triggers_that_nobody_reads_are_one_and_stale_ones_do_nothing() {
    let rig = Rig::new(Setup { stop_at: Some(1), ..Setup::default() });
    rig.set(What::Create, Act::Never);
    rig.settle();
    let events = rig.log.borrow().len();
    (5..500).for_each(|view| rig.fire(id(1), 1, view));
    rig.fire(id(1), 0, 0);
    rig.fire(id(1), 2, 0);
    assert_eq!(rig.manual(id(1)).pending(), Some((Height(2), View(0))), "the newest, and no other");
    rig.settle();
    assert_eq!(rig.log.borrow().len(), events, "nothing happened");
    rig.fire(id(1), 1, 0);
    rig.settle();
    assert_eq!(left(&rig, id(1), 1), [(0, "elapsed")]);
    rig.fire(id(1), 1, 0);
    rig.settle();
    assert_eq!(left(&rig, id(1), 1), [(0, "elapsed")], "the view is over already");
}

/// A word for a view that has not begun waits for it.
#[test]
fn an_early_trigger_waits_for_its_view() {
    let rig = Rig::new(Setup { stop_at: Some(1), ..Setup::default() });
    rig.set(What::Create, Act::Never);
    rig.settle();
    rig.fire(id(1), 1, 1);
    rig.settle();
    assert_eq!(rig.status(id(1)).view, View(0));
    [2, 3].iter().for_each(|&n| rig.fire(id(n), 1, 0));
    rig.settle();
    assert_eq!(rig.status(id(1)).view, View(2), "it joined view 1, and left it at once");
}

/// Everything that must be looked at again is: COMMITs that came before the block.
#[test]
fn a_decision_waits_for_no_further_word_when_the_block_comes_last() {
    let rig = Rig::new(Setup { stop_at: Some(1), ..Setup::default() });
    rig.app(id(1)).set(What::Create, Act::Never);
    rig.app(id(4)).set(What::Validate, Act::Never);
    rig.settle();
    rig.gate(|_, to, word| {
        to != id(4) || !matches!(word, Message::ViewChange { .. } | Message::NewView(_))
    });
    [1, 2, 3].iter().for_each(|&n| rig.fire(id(n), 1, 0));
    rig.settle();
    assert_eq!([1, 2, 3, 4].map(|n| rig.status(id(n)).tip.0), [1, 1, 1, 0]);
    let words = rig.words.borrow();
    let new_view = words.iter().find(|(_, to, w)| *to == id(4) && matches!(w, Message::NewView(_)));
    let new_view = new_view.expect("it was said").2.clone();
    drop(words);
    rig.inject(id(2), id(4), &new_view);
    rig.settle();
    assert_eq!(rig.status(id(4)).tip.0, 1, "without judging, and without another word");
}
