//! The election timer, through the engine and to the nanosecond.

use std::time::Duration;

use quorate::helix::Event;
use quorate::helix::protocol::event::Entry;
use quorate::helix::protocol::message::Message;
use quorate::id::View;

use crate::helix_rig::{Act, Rig, Setup, What, id};
use crate::nesting::left;

const SECOND: Duration = Duration::from_secs(1);

/// Four nodes of which nobody ever makes a block, with the protocol's own timer.
fn idle() -> Rig {
    let rig = Rig::new(Setup { timer: Some(4 * SECOND), ..Setup::default() });
    rig.set(What::Create, Act::Never);
    rig.settle();
    rig
}

/// When each view of height 1 was left by a node, in seconds; checked a nanosecond before and at.
fn instants(rig: &Rig, views: usize) -> Vec<u64> {
    let mut found = Vec::new();
    while found.len() < views {
        let elapsed =
            |rig: &Rig| left(rig, id(1), 1).iter().filter(|(_, why)| *why == "elapsed").count();
        let before = elapsed(rig);
        let at = rig.time.next_deadline().expect("a timer runs");
        rig.time.advance_to(at);
        rig.settle();
        for _ in before..elapsed(rig) {
            assert_eq!(rig.now().0 % 1_000_000_000, 0, "{:?}", rig.now());
            found.push(rig.now().0 / 1_000_000_000);
        }
    }
    found
}

/// base × 2^V: 4, 8, 16, 32 s, so views end 4, 12, 28 and 60 s after the beginning.
#[test]
fn views_last_four_eight_sixteen_seconds() {
    assert_eq!(instants(&idle(), 6), [4, 12, 28, 60, 124, 252]);
}

/// A view lasts from when it could begin: who is alone does not run ahead of the others.
#[test]
fn a_node_that_is_cut_off_waits_in_the_view_that_it_asks_for() {
    let rig = idle();
    rig.cut(id(1));
    rig.run_for(3600 * SECOND);
    assert_eq!(rig.status(id(1)).view, View(1));
    assert!(rig.status(id(2)).view > View(8), "the others go on");
}

/// A view that is asked for by a quorum at 4 s, and begins at 6 s with its block, ends at 12 s all
/// the same.
#[test]
fn the_same_height_and_view_does_not_set_the_timer_anew() {
    let rig = idle();
    rig.app(id(2)).set(What::Create, Act::After(2 * SECOND));
    rig.set(What::Validate, Act::Never);
    rig.run_for(6 * SECOND);
    let began =
        |e: &Event| matches!(e, Event::ViewEntered { entry: Entry::NewView, view: View(1), .. });
    assert!(rig.events_of(id(3)).iter().any(began));
    rig.run_for(6 * SECOND - Duration::from_nanos(1));
    assert_eq!([2, 3].map(|n| rig.status(id(n)).view), [View(1); 2]);
    rig.run_for(Duration::from_nanos(1));
    assert_eq!([2, 3].map(|n| rig.status(id(n)).view), [View(2); 2]);
}

/// A new height resets everything: the timer of the old one never fires.
#[test]
fn a_new_height_sets_the_timer_anew() {
    let rig = Rig::new(Setup { timer: Some(4 * SECOND), stop_at: Some(2), ..Setup::default() });
    rig.app(id(1)).plan(What::Create, &[Act::After(3 * SECOND), Act::Never]);
    rig.run_for(3 * SECOND);
    assert_eq!(rig.tip(), 1);
    rig.run_for(4 * SECOND - Duration::from_nanos(1));
    assert_eq!(rig.status(id(1)).view, View(0), "at 7 s less a nanosecond");
    rig.run_for(Duration::from_nanos(1));
    assert_eq!(rig.status(id(1)).view, View(1));
    assert_eq!(left(&rig, id(1), 1), [(0, "decided")]);
}

/// An idle chain has no timer: it runs from when there is something to decide.
#[test]
fn the_first_view_is_timed_from_when_a_block_is_wanted() {
    let rig = Rig::new(Setup { timer: Some(4 * SECOND), ..Setup::default() });
    rig.set(What::Create, Act::Never);
    rig.ids().into_iter().for_each(|node| rig.app(node).wanted.set(false));
    rig.run_for(100 * SECOND);
    assert_eq!(rig.status(id(1)).view, View(0));
    // A word of this height says that somebody wants one.
    let vote = quorate::helix::protocol::message::Vote {
        height: quorate::id::Height(1),
        view: View(0),
        hash: quorate::helix::Hash([9; 32]),
        signature: quorate::helix::protocol::message::Signature([0; 64]),
    };
    rig.inject(id(2), id(1), &Message::Prepare(vote));
    rig.run_for(4 * SECOND - Duration::from_nanos(1));
    assert_eq!(rig.status(id(1)).view, View(0));
    rig.run_for(Duration::from_nanos(1));
    assert_eq!(rig.status(id(1)).view, View(1));
}

/// The timer is the view's own future: with the node it is gone, and nothing waits for time.
#[test]
fn the_clock_is_the_default_and_a_hand_may_take_its_place() {
    let by_hand = Rig::new(Setup::default());
    by_hand.set(What::Create, Act::Never);
    by_hand.run_for(1000 * SECOND);
    assert_eq!(by_hand.status(id(1)).view, View(0), "no clock ends a view of a manual trigger");
    by_hand.fire_all(1, 0);
    by_hand.settle();
    assert_eq!(by_hand.status(id(1)).view, View(1));

    let mut rig = idle();
    rig.run_for(5 * SECOND);
    for node in rig.ids() {
        rig.crash(node, true);
    }
    assert_eq!(rig.time.pending(), 0, "a timer outlives its node");
}
