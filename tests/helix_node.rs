//! Helix with a state machine on it: commands, reads, leaders that fail or ignore, restarts.

mod helix_node_rig;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use helix_node_rig::{List, Rig};
use quorate::error::Refused;
use quorate::helix::commands::batch::COMMAND_WINDOW;
use quorate::helix::protocol::message::Message;
use quorate::id::{Height, NodeId};

fn texts(payloads: Vec<Vec<u8>>) -> Vec<String> {
    payloads.into_iter().map(|bytes| String::from_utf8(bytes).expect("text")).collect()
}

#[test]
fn what_is_proposed_anywhere_is_applied_everywhere_in_one_order() {
    let rig = Rig::new();
    let begun: Vec<_> = (0..40)
        .map(|number| {
            let node = rig.node(number % 4 + 1);
            rig.begin(async move { node.propose(Bytes::from(number.to_string())).await })
        })
        .collect();
    rig.until("all answers", || begun.iter().all(|one| one.is_done()));
    assert!(begun.into_iter().all(|one| one.take().is_ok()));
    let everywhere: Vec<_> = (1..=4).map(|id| texts(rig.read(id))).collect();
    assert!(everywhere.windows(2).all(|pair| pair[0] == pair[1]), "{everywhere:?}");
    let mut once = everywhere[0].clone();
    once.sort();
    once.dedup();
    assert_eq!((once.len(), everywhere[0].len()), (40, 40));
    assert!(rig.node(1).status().height < Height(40), "many commands share a block");
}

#[test]
fn a_read_on_any_node_shows_what_was_answered_on_another() {
    let rig = Rig::new();
    for number in 0..12u64 {
        let (writer, reader) = (number % 4 + 1, (number + 1) % 4 + 1);
        rig.write(writer, &format!("{number}"));
        assert_eq!(rig.read(reader).len() as u64, number + 1);
    }
}

#[test]
fn an_idle_cluster_decides_nothing_and_says_little() {
    let rig = Rig::new();
    rig.write(2, "one");
    rig.read(3);
    rig.pass(Duration::from_secs(1));
    let words = Rc::new(Cell::new(0));
    let count = words.clone();
    rig.filter(move |_, _, message| {
        assert!(matches!(message, Message::Tip(_)), "{message:?}");
        count.set(count.get() + 1);
        true
    });
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.node(4).status().height, Height(1));
    assert!(words.get() < 1_000, "{} words in a minute", words.get());
}

#[test]
fn a_request_outlives_its_leader_and_is_applied_once() {
    let mut rig = Rig::new();
    rig.write(1, "before");
    assert_eq!(rig.leader(), Some(NodeId(1)));
    let begun: Vec<_> = (0..20)
        .map(|number| {
            let node = rig.node(number % 3 + 2);
            rig.begin(async move { node.propose(Bytes::from(format!("r{number}"))).await })
        })
        .collect();
    // The notes have left; the leader dies with them.
    rig.pass(Duration::ZERO);
    rig.kill(1);
    rig.until("all answers", || begun.iter().all(|one| one.is_done()));
    assert!(begun.into_iter().all(|one| one.take().is_ok()));
    let found = texts(rig.read(3));
    let mut once = found.clone();
    once.sort();
    once.dedup();
    assert_eq!((once.len(), found.len()), (21, 21), "{found:?}");
    rig.start(1);
    rig.until("the first node to catch up", || {
        rig.node(1).read_stale(|list| list.0.len()) == found.len()
    });
    assert_eq!(texts(rig.read(1)), found);
}

/// A leader that hears no notes is, for the others, one that takes no commands but its own: it is
/// replaced although blocks are being decided all the time.
#[test]
fn a_leader_that_ignores_others_is_replaced_although_it_makes_blocks() {
    let rig = Rig::new();
    rig.write(1, "first");
    rig.filter(|_, to, message| !(to == NodeId(1) && matches!(message, Message::App(_))));
    let node = rig.node(3);
    let begun = rig.begin(async move { node.propose(Bytes::from("ignored")).await });
    let since = rig.time.now();
    let mut number = 0;
    while !begun.is_done() {
        number += 1;
        assert!(number < 1_000, "it is ignored for ever");
        let node = rig.node(1);
        let busy =
            rig.begin(async move { node.propose(Bytes::from(format!("own {number}"))).await });
        rig.until("a block", || busy.is_done() || begun.is_done());
        rig.pass(Duration::from_millis(50));
    }
    assert!(begun.take().is_ok());
    let waited = rig.time.now().since(since);
    assert!(waited > Duration::from_secs(2) && waited < Duration::from_secs(7), "{waited:?}");
    assert!(number > 10, "the leader made {number} blocks meanwhile");
    let proposer = rig.node(2).status().engine.proposer;
    assert_ne!(proposer, Some(NodeId(1)));
}

/// Nobody hears of a request until long after it can be applied as it was asked: it is asked
/// again, as another command, and applied once.
#[test]
fn a_request_that_nobody_heard_in_time_is_asked_again_and_applied_once() {
    let rig = Rig::new();
    rig.write(1, "first");
    let copies = Rc::new(std::cell::RefCell::new(Vec::new()));
    let kept = copies.clone();
    rig.filter(move |from, to, message| {
        if let (NodeId(4), Message::App(note)) = (from, message) {
            kept.borrow_mut().push((to, note.clone()));
            return false;
        }
        true
    });
    let node = rig.node(4);
    let begun = rig.begin(async move { node.propose(Bytes::from("late")).await });
    for number in 0..COMMAND_WINDOW + 5 {
        rig.write(1, &number.to_string());
    }
    assert!(!begun.is_done());
    rig.filter(|_, _, _| true);
    rig.until("the answer", || begun.is_done());
    assert!(begun.take().is_ok());
    // Every copy that was held back comes after all, to everybody.
    assert!(!copies.borrow().is_empty());
    for (to, note) in copies.take() {
        rig.node(4).engine().tell(to, note);
    }
    rig.write(2, "last");
    let found = texts(rig.read(1));
    assert_eq!(found.iter().filter(|text| *text == "late").count(), 1);
}

#[test]
fn a_copy_of_a_request_is_not_applied_again() {
    let rig = Rig::new();
    let copies = Rc::new(std::cell::RefCell::new(Vec::new()));
    let kept = copies.clone();
    rig.filter(move |_, _, message| {
        if let Message::App(note) = message {
            kept.borrow_mut().push(note.clone());
        }
        true
    });
    rig.write(3, "once");
    rig.filter(|_, _, _| true);
    assert!(!copies.borrow().is_empty());
    for note in copies.take() {
        (1..=3).for_each(|to| rig.node(4).engine().tell(NodeId(to), note.clone()));
    }
    rig.write(2, "other");
    rig.pass(Duration::from_secs(10));
    assert_eq!(texts(rig.read(1)), ["once", "other"]);
    assert_eq!(rig.node(1).status().height, Height(2), "nobody wants another block");
}

#[test]
fn a_whole_cluster_that_lost_power_has_the_same_state_again() {
    let mut rig = Rig::new();
    for number in 0..300 {
        rig.write(number % 4 + 1, &number.to_string());
    }
    let before = rig.node(2).read_stale(|list| list.0.clone());
    (1..=4).for_each(|id| rig.kill(id));
    (1..=4).for_each(|id| rig.start(id));
    assert_eq!(rig.read(3).len(), 300);
    assert_eq!(rig.node(3).read_stale(|list| list.0.clone()), before, "indexes and epochs, too");
    rig.write(4, "after");
    assert_eq!(rig.read(1).len(), 301);
}

/// An epoch is the run of blocks of one proposer; nobody leads an epoch that is another's.
#[test]
fn an_era_belongs_to_one_leader() {
    let mut rig = Rig::new();
    rig.pass(Duration::ZERO);
    assert_eq!((rig.node(1).leading(), rig.node(1).epoch()), (Some(0), 0));
    rig.write(3, "a");
    rig.write(2, "b");
    assert_eq!((rig.node(1).leading(), rig.node(2).epoch()), (Some(1), 1));
    rig.kill(1);
    rig.write(3, "c");
    rig.until("the others to have it", || rig.up().iter().all(|node| node.epoch() > 1));
    let epochs: Vec<_> = rig.up().iter().map(|node| node.epoch()).collect();
    assert_eq!(epochs, [3, 3, 3]);
    rig.write(4, "d");
    assert_eq!(rig.leader(), Some(NodeId(2)), "who was elected goes on");
    let epochs = rig.node(4).read_stale(|list: &List| {
        list.0.iter().map(|&(index, epoch, _)| (index, epoch)).collect::<Vec<_>>()
    });
    assert_eq!(epochs, [(1, 1), (2, 1), (3, 3), (4, 3)]);
}

/// What a leader was about to propose when it died may still be decided, so its next life must not
/// lead the same epoch.
#[test]
fn a_leader_that_is_started_again_never_leads_its_old_era() {
    let mut rig = Rig::new();
    rig.write(1, "a");
    assert_eq!(rig.node(1).leading(), Some(1));
    rig.kill(1);
    rig.start(1);
    for _ in 0..40 {
        rig.pass(Duration::from_millis(250));
        assert_ne!(rig.node(1).leading(), Some(1));
        rig.node(1).want_leader();
    }
    let leader = rig.leader().expect("somebody leads, for it was wanted");
    assert!(rig.node(leader.0).epoch() > 1);
}

/// The same where nobody is left to take over: all begin with the old leader's last block, and it
/// ends its old epoch by itself, with one empty block.
#[test]
fn a_leader_that_is_started_again_with_everybody_begins_an_era() {
    let mut rig = Rig::new();
    rig.write(1, "a");
    (1..=4).for_each(|id| rig.kill(id));
    (1..=4).for_each(|id| rig.start(id));
    rig.until("an epoch", || rig.node(1).leading().is_some_and(|epoch| epoch > 1));
    let height = rig.node(1).status().height;
    rig.pass(Duration::from_secs(30));
    assert_eq!(rig.node(2).status().height, height, "one empty block, and no more");
}

#[test]
fn a_request_whose_words_were_lost_is_said_again() {
    let rig = Rig::new();
    rig.write(1, "a");
    rig.filter(|_, _, message| !matches!(message, Message::App(_)));
    let node = rig.node(3);
    let begun = rig.begin(async move { node.propose(Bytes::from("b")).await });
    rig.pass(Duration::from_millis(100));
    rig.filter(|_, _, _| true);
    rig.pass(Duration::from_millis(900));
    assert!(begun.is_done(), "told to everybody after half a view");
}

/// An idle cluster does not miss its leader, unless somebody does.
#[test]
fn a_dead_leader_is_replaced_if_one_is_wanted() {
    let mut rig = Rig::new();
    rig.write(1, "a");
    rig.kill(1);
    rig.pass(Duration::from_secs(60));
    assert_eq!((rig.node(3).epoch(), rig.leader()), (1, None));
    rig.node(3).want_leader();
    rig.until("another leader", || rig.leader() == Some(NodeId(2)));
    let height = rig.node(3).status().height;
    for _ in 0..60 {
        rig.node(3).want_leader();
        rig.pass(Duration::from_secs(1));
    }
    assert_eq!(rig.node(3).status().height, height, "it lives, so nothing happens");
}

#[test]
fn without_a_quorum_nothing_is_answered_and_everything_in_time() {
    let mut rig = Rig::new();
    rig.write(1, "a");
    rig.kill(3);
    rig.kill(4);
    let (one, other) = (rig.node(1), rig.node(2));
    let write = rig.begin(async move { one.propose(Bytes::from("b")).await });
    let read = rig.begin(async move { other.read(|_| ()).await });
    let since = rig.time.now();
    rig.until("both refusals", || write.is_done() && read.is_done());
    let waited = rig.time.now().since(since);
    assert!(waited >= Duration::from_secs(7) && waited < Duration::from_secs(8), "{waited:?}");
    assert_eq!(write.take(), Err(Refused::TimedOut));
    assert_eq!(read.take(), Err(Refused::TimedOut));
    rig.start(3);
    // By now the views are long; a client tries again.
    let node = rig.node(2);
    let again = move || {
        let node = node.clone();
        rig.run(async move { node.propose(Bytes::from("c")).await })
    };
    assert!((0..3).any(|_| again().is_ok()));
}

#[test]
fn a_life_that_ends_answers_everybody() {
    let mut rig = Rig::new();
    rig.write(1, "a");
    let node = rig.node(2);
    let (writer, reader) = (node.clone(), node.clone());
    let write = rig.begin(async move { writer.propose(Bytes::from("b")).await });
    let read = rig.begin(async move { reader.read(|_| ()).await });
    rig.kill(2);
    rig.until("both refusals", || write.is_done() && read.is_done());
    assert_eq!(write.take(), Err(Refused::ShuttingDown));
    assert_eq!(read.take(), Err(Refused::ShuttingDown));
    assert_eq!(
        rig.run(async move { node.propose(Bytes::new()).await }),
        Err(Refused::ShuttingDown)
    );
}

/// Bytes of a peer that are no note, or a batch that is none, are counted and change nothing.
#[test]
fn nonsense_of_a_peer_is_counted() {
    let rig = Rig::new();
    rig.write(1, "a");
    let liar = rig.node(4);
    for nonsense in
        [&b""[..], b"\0", b"\x01", b"\x01\xff\xff\xff\xff", b"\x02abc", b"\x03", b"\x04"]
    {
        liar.engine().tell(NodeId(1), Bytes::copy_from_slice(nonsense));
    }
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.node(1).status().vitals.malformed, 7);
    rig.write(2, "b");
    assert_eq!(texts(rig.read(1)), ["a", "b"]);
}
