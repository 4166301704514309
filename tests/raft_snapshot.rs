//! A follower that is sent a snapshot piece by piece: what comes twice is written once, what is not
//! what was announced is not installed.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use futures_lite::future::{block_on, poll_once};
use quorate::env::clock::VirtualClock;
use quorate::env::net::{NetLimits, Wire, net};
use quorate::env::{Clock, Disk, Env, Rng, Spawner};
use quorate::id::{ClusterId, Index, NodeId, Term};
use quorate::journal::Digest;
use quorate::raft::message::{Envelope, Message, Position};
use quorate::raft::{Node, Observer};
use quorate::{Committed, Config, Life, StateMachine};
use sha2::Digest as _;

const LEADER: NodeId = NodeId(2);
/// Larger than what is written between two syncs, so that writing it waits.
const PIECE: usize = 2 << 20;
const COVERS: Position = Position { term: Term(1), index: Index(100) };

/// The bytes of the last snapshot that was installed.
struct State(Rc<RefCell<Vec<u8>>>);

impl StateMachine for State {
    type Response = ();

    fn apply(&mut self, _: Committed<'_>) {}

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        Box::new(std::iter::empty())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        *self.0.borrow_mut() = bytes.to_vec();
        Ok(())
    }
}

struct Follower {
    node: Node<State>,
    life: Life,
    wire: Wire,
    state: Rc<RefCell<Vec<u8>>>,
}

fn follower() -> Follower {
    let (me, third) = (NodeId(1), NodeId(3));
    let config = Config::new(me, ClusterId(1), [me, LEADER, third]).expect("valid");
    let (net, wire) = net(me, [LEADER, third], NetLimits::default());
    let env = Env {
        clock: Clock::simulated(VirtualClock::new()),
        rng: Rng::seeded(1),
        net,
        disk: Disk::memory(),
        spawner: Spawner::with(|_| unreachable!("a node spawns nothing")),
    };
    let state = Rc::new(RefCell::new(Vec::new()));
    let started = Node::start(config, env, State(state.clone()), Observer::default());
    let (node, life) = started.expect("it starts");
    Follower { node, life, wire, state }
}

/// `count` pieces that differ.
fn contents(count: usize) -> Vec<u8> {
    (0..count * PIECE).map(|at| (at / PIECE) as u8).collect()
}

fn digest(contents: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(contents).into())
}

impl Follower {
    /// Hears a piece of `whole` and works for `polls`.
    fn hears(&mut self, whole: &[u8], digest: Digest, number: usize, polls: u32) {
        let offset = number * PIECE;
        let message = Message::InstallSnapshot {
            covers: COVERS,
            len: whole.len() as u64,
            digest,
            offset: offset as u64,
            round: 0,
            piece: Bytes::copy_from_slice(&whole[offset..offset + PIECE]),
        };
        self.wire.deliver(LEADER, Envelope { term: Term(1), message }.encode());
        for _ in 0..polls {
            assert!(block_on(poll_once(&mut self.life)).is_none(), "it lives on");
        }
    }

    fn installed(&self) -> Index {
        self.node.status().applied_index
    }

    /// How much it says to have, the last time that it said so.
    fn says(&self) -> Option<u64> {
        let mut last = None;
        while let Some(frame) = self.wire.take(LEADER) {
            if let Ok(Envelope { message: Message::InstallReply { have, .. }, .. }) =
                Envelope::decode(&frame)
            {
                last = Some(have);
            }
        }
        last
    }
}

#[test]
fn a_piece_that_comes_again_is_written_once() {
    // While it is in hand, while it is being written, when it has been written.
    for polls in 0..12 {
        let (mut follower, whole) = (follower(), contents(4));
        for number in 0..4 {
            follower.hears(&whole, digest(&whole), number, polls);
            follower.hears(&whole, digest(&whole), number, 20);
        }
        assert_eq!(follower.installed(), COVERS.index, "repeated after {polls} polls");
        assert!(*follower.state.borrow() == whole, "repeated after {polls} polls");
    }
}

#[test]
fn a_transfer_that_begins_again_is_another_file() {
    // Another leader's snapshot of the same entries comes in the middle, and then the first again.
    for polls in 0..12 {
        let (mut follower, one) = (follower(), contents(3));
        let other: Vec<u8> = one.iter().map(|byte| byte + 9).collect();
        follower.hears(&one, digest(&one), 0, 20);
        follower.hears(&one, digest(&one), 1, polls);
        follower.hears(&other, digest(&other), 0, polls);
        for number in 0..3 {
            follower.hears(&one, digest(&one), number, 20);
        }
        assert_eq!(follower.installed(), COVERS.index, "after {polls} polls");
        assert!(*follower.state.borrow() == one, "after {polls} polls");
    }
}

#[test]
fn what_was_not_announced_is_not_installed_and_asked_for_again() {
    let (mut follower, whole) = (follower(), contents(2));
    let announced = digest(&contents(3));
    follower.hears(&whole, announced, 0, 20);
    assert_eq!(follower.says(), Some(PIECE as u64));
    follower.hears(&whole, announced, 1, 20);
    assert_eq!((follower.installed(), follower.state.borrow().len()), (Index::ZERO, 0));
    follower.hears(&whole, announced, 1, 20);
    assert_eq!(follower.says(), Some(0), "from the beginning");
    for number in 0..2 {
        follower.hears(&whole, digest(&whole), number, 20);
    }
    assert_eq!(follower.installed(), COVERS.index);
}
