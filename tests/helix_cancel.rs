//! The cancel explorer: instead of hoping that an election, a synced block or a power cut hits the
//! one bad moment, every moment is tried.
//!
//! A short story of four nodes is told again and again; each time something is dropped one poll
//! later: the view of a node, its term, or the whole node, which then starts again on its disk.
//! Then the story goes on. The ledger of the rig hears every frame that leaves and sees every
//! decision, over all lives: nobody signs against what it has said, nobody hides what it has
//! committed to, there is one chain, it is delivered in order; and the cluster decides on.

mod helix_rig;

use std::time::Duration;

use helix_rig::{Act, Rig, Setup, What, id};
use quorate::helix::protocol::config::Timing;
use quorate::helix::protocol::message::Message;
use quorate::helix::{Block, BlockProof};
use quorate::id::{Height, NodeId};

/// What is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drop {
    /// The view of one node, by its trigger.
    View,
    /// The views of all nodes, by theirs: there is an election.
    AllViews,
    /// The term, by the next decided block, if there is one.
    Term,
    /// The node, by `kill -9`: what was written is there.
    Node,
    /// The node, by a power cut: what was not synced is gone, or not.
    Power,
}

const ALL: [Drop; 5] = [Drop::View, Drop::AllViews, Drop::Term, Drop::Node, Drop::Power];

/// Stories of a few hundred polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// Three blocks, one after the other.
    Happy,
    /// A block is prepared, the COMMITs are lost, the view changes, the block is decided.
    Prepared,
    /// Making and judging take a while.
    Slow,
    /// A node is cut off, and learns what the others have decided.
    Behind,
    /// Two nodes are started again in the middle.
    Restarts,
}

const STORIES: [Story; 5] =
    [Story::Happy, Story::Prepared, Story::Slow, Story::Behind, Story::Restarts];

/// Every disk takes its time, so that there are moments between a promise and its word.
const SYNC: Duration = Duration::from_millis(1);

/// A rig at the beginning of a story.
fn begin(story: Story) -> Rig {
    let (timing, timer) = (Timing::LAN, Some(Timing::LAN.base));
    let setup = Setup { timer, timing, stop_at: Some(4), ..Setup::default() };
    let rig = Rig::new(setup);
    for node in rig.ids() {
        rig.disk(node).set_sync_latency(SYNC, SYNC);
    }
    match story {
        Story::Happy | Story::Restarts => {}
        Story::Prepared => {
            // The first COMMITs of view 0 are lost.
            rig.gate(|_, _, word| {
                !matches!(word, Message::Commit { vote, .. } if
                vote.view.0 == 0 && vote.height == Height(1))
            });
        }
        Story::Slow => {
            rig.set(What::Create, Act::After(Duration::from_millis(3)));
            rig.set(What::Validate, Act::Slices(3));
            rig.set(What::Commit, Act::After(Duration::from_millis(2)));
        }
        Story::Behind => rig.cut(id(3)),
    }
    rig
}

/// Tells the story on, one step; what belongs to it happens by itself.
fn tell(rig: &mut Rig, story: Story, step: u64) {
    match story {
        Story::Prepared if step == 120 => rig.fire_all(1, 0),
        Story::Behind if step == 200 => rig.heal(),
        Story::Restarts if step == 100 || step == 180 => {
            let node = id(if step == 100 { 1 } else { 2 });
            if rig.is_up(node) {
                rig.crash(node, step == 100);
                rig.start(node).expect("it starts again");
            }
        }
        _ => {}
    }
    if !rig.step()
        && let Some(at) = rig.time.next_deadline()
    {
        rig.time.advance_to(at);
    }
}

/// A block that another node has decided and this one has not, as node sync would bring it.
fn decided(rig: &Rig, node: NodeId) -> Option<(Block, BlockProof)> {
    let next = rig.status(node).tip.next();
    rig.decided(next)
}

fn strike(rig: &mut Rig, node: NodeId, what: Drop) {
    let status = rig.status(node);
    let (height, view) = (status.height.0, status.view.0);
    match what {
        Drop::View => rig.fire(node, height, view),
        Drop::AllViews => rig.fire_all(height, view),
        Drop::Term => {
            if let Some((block, proof)) = decided(rig, node) {
                rig.engine(node).update_state(block, proof);
            }
        }
        Drop::Node | Drop::Power => {
            rig.crash(node, what == Drop::Node);
            rig.start(node).expect("it starts again");
        }
    }
}

/// Tells a story with one blow after `moment` steps; what was left after that is time's: the rig's
/// timers, and the words that are said again.
fn explore(story: Story, node: NodeId, what: Drop, moment: u64) {
    let mut rig = begin(story);
    for step in 0..moment {
        tell(&mut rig, story, step);
    }
    strike(&mut rig, node, what);
    for step in moment..400 {
        tell(&mut rig, story, step);
    }
    rig.heal();
    let done = rig.run_until(Duration::from_secs(600), |rig| rig.tip() == 4);
    assert!(done, "{story:?}: after the blow ({what:?} of {node} at {moment}) nothing is decided");
    for node in rig.ids() {
        rig.run_until(Duration::from_secs(60), |rig| rig.status(node).delivered == Height(4));
        let taken = rig.app(node).taken.borrow();
        let last: Vec<_> = taken.iter().rev().take(1).map(|(height, _)| height.0).collect();
        let told = rig.status(node).delivered;
        assert!(last == [4] || told == Height(4), "{story:?} {what:?} {node} {moment}");
    }
}

/// How many steps a story is looked at: beyond, nothing new happens.
const MOMENTS: u64 = 220;

fn explore_all(story: Story) {
    let mut points = 0;
    for what in ALL {
        for moment in 0..MOMENTS {
            // All of the one who leads first and of one who follows; the next leader now and then.
            for node in [1, 3, 2].map(id).into_iter().take(if moment % 8 == 0 { 3 } else { 2 }) {
                explore(story, node, what, moment);
                points += 1;
            }
        }
    }
    assert!(points > 1_000, "{points}");
}

#[test]
fn whatever_is_dropped_while_all_goes_well() {
    explore_all(Story::Happy);
}

#[test]
fn whatever_is_dropped_while_a_prepared_block_changes_views() {
    explore_all(Story::Prepared);
}

#[test]
fn whatever_is_dropped_while_blocks_take_time() {
    explore_all(Story::Slow);
}

#[test]
fn whatever_is_dropped_while_a_node_is_behind() {
    explore_all(Story::Behind);
}

#[test]
fn whatever_is_dropped_among_restarts() {
    explore_all(Story::Restarts);
}

/// The stories are what they say: each shows, without any blow, what it is named after.
#[test]
fn the_stories_tell_what_they_promise() {
    for story in STORIES {
        let mut rig = begin(story);
        let steps = if story == Story::Slow { MOMENTS } else { 400 };
        (0..steps).for_each(|step| tell(&mut rig, story, step));
        let words = rig.words.borrow();
        let count = |kind: fn(&Message) -> bool| words.iter().filter(|w| kind(&w.2)).count();
        let new_views = count(|word| matches!(word, Message::NewView(_)));
        let fetched = count(|word| matches!(word, Message::Blocks(_)));
        let (tip, told) = (rig.tip(), format!("{story:?}: {new_views} {fetched}"));
        match story {
            Story::Happy => assert_eq!((tip, new_views, fetched), (4, 0, 0), "{told}"),
            Story::Prepared => {
                let proven = |word: &Message| {
                    let Message::NewView(new_view) = word else { return false };
                    new_view.changes.iter().any(|(_, change)| change.prepared.is_some())
                };
                assert!(words.iter().any(|word| proven(&word.2)) && tip > 0, "{told}");
            }
            Story::Slow => assert!((2..4).contains(&tip), "{told}: it goes on to the end"),
            Story::Behind => assert!(tip == 4 && fetched > 0, "{told}"),
            Story::Restarts => assert_eq!(tip, 4, "{told}"),
        }
    }
}
