//! The life of a node: what there is of it, and how it ends.

use std::time::Duration;

use bytes::Bytes;
use quorate::helix::Event;
use quorate::helix::protocol::message::Message;
use quorate::id::Height;

use crate::helix_rig::{Act, Rig, Setup, Step, What, id};
use crate::nesting::{check_all, is, place};

/// Where the sketch has goroutines for gossip, sync, listener and main loop, a node is one task:
/// term, view, timer and journal are futures inside it.
#[test]
fn a_node_is_one_task_at_every_moment() {
    for seed in 0..20 {
        let rig = Rig::new(Setup { stop_at: Some(5), seed: Some(seed), ..Setup::default() });
        rig.app(id(2)).set(What::Commit, Act::Slices(3));
        let mut steps = 0;
        while rig.step() {
            steps += 1;
            if steps % 50 == 0 && steps < 2_000 {
                rig.fire_all(rig.status(id(1)).height.0, rig.status(id(1)).view.0);
            }
            assert!(rig.ids().iter().all(|&node| rig.census(node) == 1));
        }
    }
}

fn shut_down(rig: &Rig) {
    for node in rig.ids() {
        rig.engine(node).shutdown();
    }
    rig.settle();
    for node in rig.ids() {
        assert!(matches!(rig.ended(node), Some(Ok(()))), "{:?}", rig.ended(node));
        assert_eq!(rig.app(node).all_live(), 0, "a call outlives node {node}");
        assert_eq!(rig.census(node), 0, "a task outlives node {node}");
    }
    assert_eq!(rig.time.pending(), 0, "a timer outlives its node");
}

#[test]
fn shutdown_ends_everything_at_once_whatever_it_is_doing() {
    let plans = [
        (What::Create, Act::Never),
        (What::Validate, Act::Never),
        (What::Validate, Act::Slices(u32::MAX)),
        (What::Commit, Act::Never),
        (What::Commit, Act::Fail),
        (What::Committee, Act::Never),
        (What::Committee, Act::Fail),
    ];
    for (what, act) in plans {
        for polls in [1, 5, 50, 400] {
            let rig = Rig::new(Setup { stop_at: Some(9), seed: Some(polls), ..Setup::default() });
            rig.set(what, act);
            rig.steps(polls);
            shut_down(&rig);
            check_all(&rig);
        }
    }
}

/// What was promised before the shutdown is durable after it: a power cut loses nothing.
#[test]
fn a_shutdown_drains_the_journal() {
    for polls in 1..200 {
        let mut rig = Rig::new(Setup { stop_at: Some(3), ..Setup::default() });
        rig.steps(polls);
        shut_down(&rig);
        let promised: Vec<_> = rig.ids().iter().map(|&n| rig.status(n).tip).collect();
        for node in rig.ids() {
            rig.crash(node, false);
            rig.disk(node).power_cut_keeping(|_| false);
            rig.start(node).unwrap();
        }
        let found: Vec<_> = rig.ids().iter().map(|&n| rig.status(n).tip).collect();
        assert_eq!(found, promised, "after {polls} steps");
    }
}

/// The order of the end: the work, the view, the term, the node.
#[test]
fn shutdown_leaves_the_view_before_the_term() {
    let rig = Rig::new(Setup::default());
    rig.set(What::Create, Act::Never);
    rig.settle();
    rig.engine(id(1)).shutdown();
    rig.settle();
    let steps = rig.steps_of(id(1));
    let at = place(&steps, 0, |s| matches!(s, Step::Gone(What::Create, ..)));
    let at = place(&steps, at, is(|e| matches!(e, Event::ViewLeft { .. })));
    let at = place(&steps, at, is(|e| matches!(e, Event::TermLeft { why: "shutdown", .. })));
    assert_eq!(at, steps.len() - 1, "and nothing after it");
}

/// Dropping the life at any poll is `kill -9`: nothing of it remains. `Rig::crash` counts.
#[test]
fn a_life_dropped_at_any_poll_leaves_nothing() {
    for polls in 0..150 {
        let mut rig = Rig::new(Setup { stop_at: Some(3), ..Setup::default() });
        rig.set(What::Validate, Act::Slices(2));
        rig.steps(polls);
        for node in rig.ids() {
            rig.crash(node, true);
        }
        assert_eq!(rig.time.pending(), 0);
        for node in rig.ids() {
            let app = rig.app(node);
            assert_eq!((app.made.get(), app.unmade.get()), (3, 3), "a service is kept");
        }
    }
}

#[test]
fn a_node_stops_at_the_height_that_it_was_told_and_still_answers() {
    let rig = Rig::new(Setup { stop_at: Some(3), ..Setup::default() });
    rig.run_for(Duration::from_secs(60));
    for node in rig.ids() {
        assert_eq!(rig.status(node).tip, Height(3));
        let next = |e: &Event| matches!(e, Event::TermEntered { height: Height(4), .. });
        assert!(!rig.events_of(node).iter().any(next));
    }
    rig.words.borrow_mut().clear();
    rig.inject(id(2), id(1), &Message::FetchBlocks(Height(1)));
    rig.inject(id(2), id(1), &Message::App(Bytes::from_static(b"hello")));
    rig.settle();
    let blocks = |word: &Message| match word {
        Message::Blocks(blocks) => Some(blocks.len()),
        _ => None,
    };
    let served: Vec<_> = rig.words.borrow().iter().filter_map(|w| blocks(&w.2)).collect();
    assert_eq!(served, [3]);
    shut_down(&rig);
}
