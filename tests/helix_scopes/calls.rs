//! Calls of the application, and what becomes of them when the scope that waits for them ends.

use std::rc::Rc;

use bytes::Bytes;
use quorate::env::net::{NetLimits, net};
use quorate::helix::Event;
use quorate::helix::protocol::message::Message;

use crate::helix_rig::{Act, End, Rig, Setup, What, foreign, id};
use crate::nesting::{check_all, left};

/// Bytes that say when they are gone.
struct Counted(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        b"frame"
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// The queue between node and transport outlives the node; the last handle frees it.
#[test]
fn what_was_queued_is_read_after_its_sender_is_gone_and_freed_with_the_last_handle() {
    let gone = std::sync::Arc::default();
    let (node, wire) = net(id(1), [id(2)], NetLimits::default());
    for _ in 0..10 {
        node.send(id(2), Bytes::from_owner(Counted(std::sync::Arc::clone(&gone))));
    }
    drop(node);
    for _ in 0..4 {
        assert_eq!(wire.take(id(2)).as_deref(), Some(&b"frame"[..]));
    }
    let count = || gone.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(count(), 4);
    drop(wire);
    assert_eq!(count(), 10);
}

/// The same of the channel with which a worker thread answers.
#[test]
fn a_channel_gives_what_was_sent_and_then_says_closed() {
    let (sender, receiver) = async_channel::bounded(4);
    let token = Rc::new(());
    (0..3).for_each(|n| sender.try_send((n, token.clone())).unwrap());
    drop(sender);
    let read: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok()).map(|(n, _)| n).collect();
    assert_eq!(read, [0, 1, 2]);
    assert_eq!(receiver.try_recv().unwrap_err(), async_channel::TryRecvError::Closed);
    let (sender, receiver) = async_channel::bounded(4);
    sender.try_send((9, token.clone())).unwrap();
    drop((sender, receiver));
    assert_eq!(Rc::strong_count(&token), 1);
}

/// A rig in which node 2 makes a block in view 1 while node 4 still judges that of view 0.
fn making_and_judging() -> Rig {
    let rig = Rig::new(Setup { stop_at: Some(2), ..Setup::default() });
    rig.set(What::Validate, Act::Gate);
    rig.app(id(2)).set(What::Create, Act::Gate);
    rig.settle();
    rig.gate(|_, to, message| to != id(4) || !matches!(message, Message::ViewChange { .. }));
    [1, 2, 3].iter().for_each(|&n| rig.fire(id(n), 1, 0));
    rig.settle();
    assert_eq!(rig.app(id(2)).live(What::Create).len(), 1);
    assert_eq!(rig.app(id(4)).live(What::Validate).len(), 1);
    rig
}

#[test]
fn a_term_that_closes_leaves_no_call_behind_and_takes_no_late_answer() {
    let rig = making_and_judging();
    let making = rig.app(id(2)).live(What::Create).remove(0);
    let judging = rig.app(id(4)).live(What::Validate).remove(0);
    let polls = (making.polls.get(), judging.polls.get());
    let (block, proof) = foreign(1, "from elsewhere");
    for node in rig.ids() {
        rig.engine(node).update_state(block.clone(), proof.clone());
    }
    rig.set(What::Create, Act::Never);
    rig.settle();
    for node in rig.ids() {
        assert_eq!(rig.app(node).all_live(), 0, "node {node}");
    }
    rig.app(id(2)).open(true);
    rig.app(id(4)).open(true);
    rig.settle();
    assert_eq!((making.end.get(), judging.end.get()), (Some(End::Dropped), Some(End::Dropped)));
    assert_eq!((making.polls.get(), judging.polls.get()), polls, "polled after its term");
    check_all(&rig);
    let signed = |event: &Event| matches!(event, Event::Signed { height, .. } if height.0 == 2);
    assert!(!rig.events_of(id(4)).iter().any(signed), "the answer of one term used in the next");
}

#[test]
fn a_decided_block_that_was_not_delivered_is_delivered_by_the_next_life() {
    let mut rig = Rig::new(Setup { stop_at: Some(1), ..Setup::default() });
    rig.app(id(3)).set(What::Commit, Act::Never);
    rig.settle();
    assert_eq!(rig.tip(), 1);
    let decided = rig.ledger.borrow().chain[&quorate::id::Height(1)];
    assert!(rig.app(id(3)).taken.borrow().is_empty());
    rig.crash(id(3), false);
    rig.app(id(3)).set(What::Commit, Act::Now);
    rig.start(id(3)).unwrap();
    // It may have to learn of the decision again: its votes are durable, and a quorum has them.
    rig.run_for(std::time::Duration::from_secs(20));
    assert_eq!(*rig.app(id(3)).taken.borrow(), [(quorate::id::Height(1), decided)]);
}

#[test]
fn a_delivery_is_dropped_by_no_election() {
    let rig = Rig::new(Setup { stop_at: Some(2), ..Setup::default() });
    rig.app(id(3)).set(What::Commit, Act::Gate);
    rig.set(What::Create, Act::Never);
    rig.app(id(1)).plan(What::Create, &[Act::Now]);
    rig.settle();
    let delivery = rig.app(id(3)).live(What::Commit).remove(0);
    rig.fire_all(1, 0);
    rig.fire_all(2, 0);
    rig.settle();
    assert_eq!(rig.status(id(1)).view.0, 1, "the others hold an election meanwhile");
    assert_eq!(delivery.end.get(), None);
    rig.app(id(3)).open(true);
    rig.settle();
    assert_eq!(delivery.end.get(), Some(End::Returned));
    assert_eq!(rig.app(id(3)).count(What::Commit), 1, "delivered once");
    assert_eq!(rig.status(id(3)).height.0, 2);
}

/// The channel is made by the call and belongs to it: the answer to one call cannot reach another.
#[test]
fn a_late_result_of_one_call_is_never_read_by_the_next() {
    let rig = Rig::new(Setup { stop_at: Some(1), ..Setup::default() });
    rig.set(What::Validate, Act::Worker);
    rig.settle();
    rig.fire_all(1, 0);
    rig.settle();
    let app = rig.app(id(3));
    let workers = app.workers.borrow();
    let [(before, late), (present, due)] = &workers[..] else { panic!("two calls were made") };
    assert_eq!((before.view.0, present.view.0), (0, 1));
    assert!(late.is_closed(), "nobody listens for the first result any more");
    assert!(late.try_send(111).is_err());
    rig.settle();
    assert!(app.read.borrow().is_empty());
    due.try_send(222).unwrap();
    rig.settle();
    assert_eq!(app.read.borrow().iter().map(|read| read.0).collect::<Vec<_>>(), [222]);
    assert_eq!(left(&rig, id(3), 1)[0], (0, "elapsed"));
}

#[test]
fn a_thousand_terms_are_lent_the_same_three_services() {
    let rig = Rig::new(Setup { stop_at: Some(1000), ..Setup::default() });
    rig.set(What::Create, Act::After(std::time::Duration::from_millis(1)));
    assert!(rig.run_until(std::time::Duration::from_secs(60), |rig| rig.tip() == 1000));
    rig.settle();
    for node in rig.ids() {
        let app = rig.app(node);
        assert_eq!((app.made.get(), app.unmade.get()), (3, 0), "one way to deliver per life");
        assert_eq!(app.all_live(), 0);
        let heights: Vec<_> = app.taken.borrow().iter().map(|(height, _)| height.0).collect();
        assert_eq!(heights, (1..=1000).collect::<Vec<_>>(), "each once, in order");
        // The rig's own handle, and one for each service.
        assert_eq!(Rc::strong_count(app), 4, "a term kept what it was lent");
    }
    for node in rig.ids() {
        rig.engine(node).shutdown();
    }
    rig.settle();
    for node in rig.ids() {
        assert!(matches!(rig.ended(node), Some(Ok(()))));
    }
}
