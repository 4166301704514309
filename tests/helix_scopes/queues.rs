//! Queues: what the literal designs do, and that ours neither block nor grow.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use futures_lite::future::or;
use quorate::env::Rng;
use quorate::env::net::NetLimits;
use quorate::helix::Hash;
use quorate::helix::protocol::message::Message;
use quorate::helix::protocol::message::{Signature, Vote};
use quorate::id::{Height, View};
use quorate::sim::executor::{Executor, Order};

use crate::helix_rig::{Act, Rig, Setup, What, id};

/// An unbuffered channel: a send ends when its value has been taken.
struct Rendezvous<T> {
    value: RefCell<Option<T>>,
    sending: Cell<bool>,
    wakers: RefCell<Vec<Waker>>,
}

impl<T> Default for Rendezvous<T> {
    fn default() -> Self {
        Self { value: RefCell::new(None), sending: Cell::new(false), wakers: RefCell::default() }
    }
}

impl<T> Rendezvous<T> {
    fn wake(&self) {
        self.wakers.take().into_iter().for_each(Waker::wake);
    }

    async fn send(&self, value: T) {
        self.value.replace(Some(value));
        self.sending.set(true);
        self.wake();
        poll_fn(|cx| {
            if self.value.borrow().is_none() {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.sending.set(false);
    }

    async fn receive(&self) -> T {
        poll_fn(|cx| {
            if let Some(value) = self.value.take() {
                self.wake();
                return Poll::Ready(value);
            }
            self.wakers.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// The sketch, to the message: the main loop writes to the term's messages, the term writes to the
/// main loop's commits, both unbuffered. Every second message commits. (Go's select takes either of
/// two that are ready; here it is the message.)
fn literal_design(order: Order, seed: u64, messages: u32) -> (bool, bool, u32) {
    let executor = Executor::new(order, Rng::seeded(seed));
    let group = executor.group();
    let message = Rc::new(Rendezvous::<u32>::default());
    let commit = Rc::new(Rendezvous::<u32>::default());
    let committed = Rc::new(Cell::new(0));
    let (sender, gossip) = async_channel::bounded(16);
    (1..=messages).for_each(|n| sender.try_send(n).expect("it has room"));
    let (to_term, from_term, count) = (message.clone(), commit.clone(), committed.clone());
    let _main_loop = executor.spawn(group, async move {
        loop {
            let commits = async { Err(from_term.receive().await) };
            let messages = async { Ok(gossip.recv().await) };
            match or(messages, commits).await {
                Ok(Ok(message)) => to_term.send(message).await,
                Ok(Err(_)) => break,
                Err(_) => count.set(count.get() + 1),
            }
        }
    });
    let (messages, commits) = (message.clone(), commit.clone());
    let _term_loop = executor.spawn(group, async move {
        loop {
            let message = messages.receive().await;
            if message % 2 == 0 {
                commits.send(message).await;
            }
        }
    });
    while executor.step().is_some() {}
    (message.sending.get(), commit.sending.get(), committed.get())
}

/// Nothing is ready, and both wait to write: neither will ever read.
#[test]
fn two_unbuffered_writers_lock_each_other_for_ever() {
    assert_eq!(literal_design(Order::Fifo, 0, 3), (true, true, 0));
    assert_eq!(literal_design(Order::Fifo, 0, 1), (false, false, 0), "one message is no trouble");
    let stuck = (0..200).filter(|&seed| {
        let (message, commit, _) = literal_design(Order::Seeded, seed, 16);
        message && commit
    });
    assert!(stuck.count() > 150, "whatever the order");
}

/// The same script here: words keep coming while the term ends with a block to deliver.
#[test]
fn words_that_come_during_a_delivery_lock_nothing() {
    for seed in 0..50 {
        let timer = Some(std::time::Duration::from_secs(1));
        let rig = Rig::new(Setup { stop_at: Some(5), seed: Some(seed), timer, ..Setup::default() });
        rig.set(What::Commit, Act::Slices(20));
        let mut steps = 0;
        while rig.tip() < 5 {
            steps += 1;
            rig.inject(id(2), id(1), &prepare(1 + steps % 7));
            rig.step();
            if steps % 1_000 == 0 {
                // Whoever fell behind asks after a while, and does not lead then.
                rig.run_for(std::time::Duration::from_millis(250));
            }
        }
    }
}

fn prepare(height: u64) -> Message {
    let signature = Signature([1; 64]);
    Message::Prepare(Vote { height: Height(height), view: View(0), hash: Hash([7; 32]), signature })
}

/// In the sketch senders wait for room; when the term is gone, all of them end in one turn.
#[test]
fn a_thousand_waiting_senders_end_with_the_term_they_wait_for() {
    let executor = Executor::new(Order::Seeded, Rng::seeded(3));
    let (senders, terms) = (executor.group(), executor.group());
    let (sender, receiver) = async_channel::bounded::<u32>(1);
    let tasks: Vec<_> = (0..1000)
        .map(|n| {
            let sender = sender.clone();
            executor.spawn(senders, async move {
                let _ = sender.send(n).await;
            })
        })
        .collect();
    let term = executor.spawn(terms, async move {
        std::future::pending::<()>().await;
        drop(receiver);
    });
    while executor.step().is_some() {}
    assert_eq!(executor.census(senders), 999, "one found room, the rest wait");
    let before = executor.polls(senders);
    executor.kill(terms, Some(term));
    while executor.step().is_some() {}
    assert_eq!(executor.census(senders), 0);
    assert_eq!(executor.polls(senders) - before, 999, "one poll each");
    drop(tasks);
}

/// Here nobody waits for room: what does not fit is dropped and counted, and the loop goes on.
#[test]
fn a_full_queue_drops_and_counts_and_blocks_nobody() {
    let limits = NetLimits { frames_max: 100, bytes_max: 1 << 20 };
    let rig = Rig::new(Setup { net: limits, stop_at: Some(1), ..Setup::default() });
    rig.set(What::Create, Act::Gate);
    rig.settle();
    for _ in 0..1000 {
        rig.inject(id(2), id(1), &Message::App(Bytes::from_static(b"flood")));
    }
    assert_eq!(rig.status(id(1)).vitals.dropped, 900);
    rig.app(id(1)).open(true);
    rig.settle();
    assert_eq!(rig.tip(), 1);
}

/// Delivery is a call, not a queue: nothing fills up when it takes for ever, and the node answers.
#[test]
fn a_delivery_that_never_ends_holds_up_nothing_but_itself() {
    let rig = Rig::new(Setup { stop_at: Some(4), ..Setup::default() });
    rig.app(id(4)).set(What::Commit, Act::Never);
    rig.settle();
    assert_eq!([1, 2, 3, 4].map(|n| rig.status(id(n)).tip.0), [4, 4, 4, 1]);
    assert_eq!(rig.app(id(4)).count(What::Commit), 1);
    rig.inject(id(1), id(4), &Message::FetchBlocks(Height(1)));
    rig.settle();
    let words = rig.words.borrow();
    let blocks = |(from, to, word): &&(_, _, Message)| {
        (*from, *to) == (id(4), id(1)) && matches!(word, Message::Blocks(_))
    };
    assert_eq!(words.iter().filter(blocks).count(), 1, "it serves what it has");
}

/// What holds things back in `src/helix`, by the types of its fields.
fn queues_of_the_source() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/helix");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of the project").flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).expect("a readable source");
        let name = entry.file_name().to_string_lossy().replace(".rs", "");
        let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        for line in code.map(str::trim) {
            assert!(!line.contains("bounded("), "{name}: a channel that the table must name");
            let Some((field, kind)) = line.split_once(": RefCell<") else { continue };
            let holds = [
                "VecDeque<",
                "BTreeMap<",
                "Vec<",
                "Option<Learned>",
                "Option<Accepted>",
                "Option<Record>",
                "Requests",
                "Reads",
                "Pool",
                "Inbox",
                "Votes",
                "Shares",
                "Changes",
                "BlockStore",
                "EvidencePool",
            ];
            if holds.iter().any(|holds| kind.starts_with(holds)) {
                let field = field.rsplit(' ').next().expect("a field has a name");
                found.push(format!("helix::{name}::{field}"));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_table_of_queues_names_every_queue_of_the_source() {
    let page = include_str!("../../src/manual/architecture.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("| queue |"));
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    let words = rows.iter().flat_map(|line| line.split('`'));
    let of_helix = |word: &&str| word.starts_with("helix::") && word.matches("::").count() == 2;
    let mut named: Vec<_> = words.filter(of_helix).map(String::from).collect();
    named.sort();
    assert_eq!(named, queues_of_the_source(), "left: the table; right: the source");
    for row in rows {
        let cells = row.matches('|').count() - 1;
        assert_eq!(cells, 5, "owner, capacity, when full, when its reader is gone: {row}");
    }
}
