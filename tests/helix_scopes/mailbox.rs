//! The mailbox: floods, filters, and words for later.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use futures_lite::future::yield_now;
use quorate::env::net::NetLimits;
use quorate::helix::Hash;
use quorate::helix::protocol::message::{Envelope, Message, Signature, Vote};
use quorate::id::{ClusterId, Height, View};

use crate::helix_rig::{Act, End, Rig, Setup, Step, What, id};

fn prepare(height: u64, byte: u8) -> Message {
    let (height, view, hash) = (Height(height), View(0), Hash([byte; 32]));
    Message::Prepare(Vote { height, view, hash, signature: Signature([0; 64]) })
}

/// A handler that waits for ever and a hundred thousand words: others on the loop have their turn
/// after every few, and an election its own in the next poll.
#[test]
fn a_flood_with_a_blocked_handler_leaves_the_loop_turning() {
    const FLOOD: u64 = 100_000;
    let net = NetLimits { frames_max: FLOOD as usize, bytes_max: 1 << 30 };
    let rig = Rig::new(Setup { net, stop_at: Some(1), ..Setup::default() });
    rig.set(What::Validate, Act::Never);
    rig.settle();
    (0..FLOOD).for_each(|_| rig.inject(id(2), id(3), &prepare(1, 9)));
    let beats = Rc::new(Cell::new(0u64));
    let count = beats.clone();
    let others = rig.executor.group();
    let _beat = rig.executor.spawn(others, async move {
        while count.get() < 1_000_000 {
            count.set(count.get() + 1);
            yield_now().await;
        }
    });
    let before = rig.polls(id(3));
    let work = rig.app(id(3)).live(What::Validate).remove(0);
    rig.settle_until(|rig| rig.polls(id(3)) - before == 100);
    assert!(beats.get() >= 99, "the others have their turn after each of the node's");
    rig.fire(id(3), 1, 0);
    let now = rig.polls(id(3));
    assert!(rig.settle_until(|_| work.end.get().is_some()));
    assert_eq!(rig.polls(id(3)) - now, 1, "an election does not wait for the flood to end");
    rig.settle_until(|_| beats.get() == 1_000_000);
    rig.settle();
    assert!(rig.polls(id(3)) - before >= FLOOD / 64, "at most 64 words a turn");
}

/// A flood of words that must be checked, and are all false: some of other heights, some of none.
#[test]
fn a_flood_of_false_words_is_looked_at_a_few_at_a_time() {
    let rig = Rig::new(Setup { stop_at: Some(1), ..Setup::default() });
    rig.set(What::Validate, Act::Never);
    rig.settle();
    let (hash, signature) = (Hash([9; 32]), Signature([1; 64]));
    for n in 0..4_000 {
        let vote = Vote { height: Height(1 + n % 4), view: View(n % 2), hash, signature };
        rig.inject(
            id(2),
            id(3),
            &if n % 3 == 0 { Message::Tip(Height(1)) } else { Message::Prepare(vote) },
        );
    }
    let work = rig.app(id(3)).live(What::Validate).remove(0);
    let (mut before, mut checked, mut most) = (rig.polls(id(3)), rig.status(id(3)).verified, 0);
    let first = checked;
    for turn in 0..2_000 {
        rig.step();
        let (polls, status) = (rig.polls(id(3)), rig.status(id(3)));
        if polls > before {
            most = most.max(status.verified - checked);
            (before, checked) = (polls, status.verified);
        }
        if turn == 100 {
            rig.fire(id(3), 1, 0);
            let now = rig.polls(id(3));
            assert!(rig.settle_until(|_| work.end.get().is_some()));
            assert_eq!(rig.polls(id(3)) - now, 1, "an election does not wait for the flood");
            checked = rig.status(id(3)).verified;
        }
    }
    rig.settle();
    assert!(rig.status(id(3)).verified - first > 1_500, "they are all looked at in the end");
    assert!(most <= 3, "{most} signatures in one turn");
}

/// Words arrive in the order in which their sender said them.
#[test]
fn the_order_of_a_sender_is_kept() {
    let (net, wire) = quorate::env::net::net(id(1), [id(2), id(3)], NetLimits::default());
    for n in 0..100u8 {
        wire.deliver(id(2 + u64::from(n % 2)), Bytes::copy_from_slice(&[n]));
    }
    let read: Vec<_> = std::iter::from_fn(|| net.receive()).collect();
    for sender in [id(2), id(3)] {
        let of: Vec<_> = read.iter().filter(|(from, _)| *from == sender).map(|r| r.1[0]).collect();
        assert!(of.is_sorted() && of.len() == 50);
    }
}

#[test]
fn own_words_foreign_instances_strangers_and_nonsense_are_dropped_and_counted() {
    let rig = Rig::new(Setup { stop_at: Some(1), ..Setup::default() });
    rig.set(What::Create, Act::Never);
    rig.settle();
    let happened = || {
        let log = rig.log.borrow();
        log.iter().filter(|(_, step)| !matches!(step, Step::Polled(..))).count()
    };
    let before = happened();
    let malformed = || rig.status(id(1)).vitals.malformed;
    let tell = |from: u64, frame: Bytes| {
        rig.wire(id(1)).deliver(id(from), frame);
        rig.settle();
    };
    let right = |message| Envelope::encode(crate::helix_rig::INSTANCE, &message);
    tell(1, right(prepare(1, 1)));
    assert_eq!(malformed(), 1, "in its own name");
    tell(2, Envelope::encode(ClusterId(8), &prepare(1, 1)));
    assert_eq!(malformed(), 2, "of another instance");
    tell(77, right(prepare(1, 1)));
    assert_eq!(malformed(), 3, "of a stranger");
    tell(2, Bytes::new());
    tell(2, Bytes::from_static(b"\x01garbage"));
    assert_eq!(malformed(), 5, "of no sense");
    let mut late = right(prepare(1, 1)).to_vec();
    late.push(0);
    tell(2, late.into());
    assert_eq!(malformed(), 6, "with a tail");
    assert_eq!(happened(), before, "and nothing happened");
}

#[test]
fn the_past_is_dropped_and_its_sender_told_how_far_we_are() {
    let rig = Rig::new(Setup { stop_at: Some(2), ..Setup::default() });
    rig.app(id(1)).plan(What::Create, &[Act::Now, Act::Never]);
    rig.settle();
    assert_eq!(rig.tip(), 1);
    rig.run_for(std::time::Duration::from_secs(1));
    rig.words.borrow_mut().clear();
    rig.inject(id(2), id(1), &prepare(1, 9));
    rig.settle();
    let words = rig.words.borrow();
    assert_eq!(*words, [(id(1), id(2), Message::Tip(Height(1)))]);
    assert_eq!(rig.status(id(1)).vitals.malformed, 0);
}

/// Words about the next height are kept while this one is being delivered, and heard once.
#[test]
fn the_future_is_kept_and_replayed_once() {
    let rig = Rig::new(Setup { stop_at: Some(2), ..Setup::default() });
    rig.app(id(4)).set(What::Commit, Act::Gate);
    rig.settle();
    assert_eq!([1, 2, 3, 4].map(|n| rig.status(id(n)).tip.0), [2, 2, 2, 1]);
    // A proposal, two votes, three commits: one word of each sender and kind.
    assert_eq!(rig.status(id(4)).kept, 6);
    rig.gate(|_, to, _| to != id(4));
    rig.app(id(4)).open(true);
    rig.settle();
    assert_eq!(rig.status(id(4)).tip, Height(2), "decided by what was kept, and nothing else");
    assert_eq!(rig.status(id(4)).kept, 0);
    let judged = rig.app(id(4)).calls.borrow().iter().filter(|c| c.height == Height(2)).count();
    assert!(judged <= 3, "committee, judging, delivery: once each");
}

/// What is kept is bounded for each sender, and a word about a far height is only a hint.
#[test]
fn nobody_fills_the_memory_with_the_future() {
    let rig = Rig::new(Setup { stop_at: Some(9), ..Setup::default() });
    rig.set(What::Create, Act::Never);
    rig.settle();
    for height in 2..200 {
        for byte in 0..20 {
            rig.inject(id(2), id(1), &prepare(height, byte));
        }
    }
    rig.inject(id(2), id(1), &prepare(1 << 60, 1));
    rig.settle();
    assert_eq!(rig.status(id(1)).kept, 4, "one of each kind for each of the next four heights");
    rig.inject(id(3), id(1), &prepare(3, 1));
    rig.settle();
    assert_eq!(rig.status(id(1)).kept, 5, "what one says takes nothing from another");
}

/// A word about a later height, heard too early by a full turn, does not end a call in progress.
#[test]
fn words_of_other_heights_end_nothing() {
    let rig = Rig::new(Setup { stop_at: Some(9), ..Setup::default() });
    rig.set(What::Validate, Act::Never);
    rig.settle();
    let work = rig.app(id(3)).live(What::Validate).remove(0);
    for height in [0, 2, 3, 900] {
        rig.inject(id(2), id(3), &prepare(height, 1));
    }
    rig.settle();
    assert_eq!(work.end.get(), None::<End>);
}
