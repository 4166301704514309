//! What a liar can do, and the loop that lets it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::env::net::{Net, Wire};
use crate::env::{Clock, Rng, Time};
use crate::helix::Event;
use crate::helix::protocol::block::{Block, Hash};
use crate::helix::protocol::committee::Committee;
use crate::helix::protocol::message::{Envelope, Message};
use crate::helix::protocol::signer::Signer;
use crate::id::{Height, NodeId, View};
use crate::scope::first::first;
use crate::scope::notify::Notify;
use crate::sim::helix::events::INSTANCE;
use crate::sim::helix::schedule::CommitteeSchedule;
use crate::sim::helix::test_app::TestBlock;
use crate::sim::net::{Flight, Network};
use crate::sim::trace::Trace;

/// How often a trick is asked whether it wants to do something by itself.
pub const IDLE: Duration = Duration::from_millis(50);

/// How many frames a liar remembers.
const LORE_MAX: usize = 2_000;

/// What a liar does with the words of its puppet, and without it.
pub trait Trick: fmt::Debug {
    /// The puppet would say this to `to`. Honest unless something else is said.
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        hand.send(to, &message);
    }

    /// Somebody says this to the liar. If it returns false, the puppet does not hear of it.
    fn hears(&mut self, hand: &mut Hand, from: NodeId, message: &Message) -> bool {
        let _ = (hand, from, message);
        true
    }

    /// Now and then.
    fn idles(&mut self, hand: &mut Hand) {
        let _ = hand;
    }
}

/// What a liar has: its identity with its keys, a way into the network, and a good memory.
pub struct Hand {
    /// Who it is.
    pub me: NodeId,
    /// How many nodes there are; their ids are 1, 2, ...
    pub nodes: u64,
    /// Who decides.
    pub schedule: CommitteeSchedule,
    /// Signs as this node, and nobody else.
    pub signer: Signer,
    /// Signs as this node for another instance of the protocol, in which it may say anything.
    pub abroad: Signer,
    /// Chance.
    pub rng: Rng,
    /// The frames that it has heard last.
    pub lore: VecDeque<(NodeId, Bytes)>,
    /// The highest height that an honest node has voted at.
    pub height: Height,
    /// The highest view that somebody has spoken of there.
    pub view: View,
    /// Of the last proposal of a first view: its height, the block before it, and who leads.
    pub ground: Option<(Height, Hash, NodeId)>,
    /// What it will send, when, and to whom.
    pub(crate) later: BTreeMap<(Time, u64), (NodeId, Message)>,
    pub(crate) clock: Clock,
    pub(crate) network: Rc<RefCell<Network>>,
    pub(crate) trace: Rc<Trace<Event>>,
}

impl Hand {
    /// Everybody else.
    #[must_use]
    pub fn others(&self) -> Vec<NodeId> {
        (1..=self.nodes).map(NodeId).filter(|&node| node != self.me).collect()
    }

    /// Two halves of the others, always the same: one to hear one thing, one to hear another.
    #[must_use]
    pub fn halves(&self) -> (Vec<NodeId>, Vec<NodeId>) {
        let others = self.others();
        let (one, other) = others.split_at(others.len() / 2);
        (one.to_vec(), other.to_vec())
    }

    /// The committee of the present height, in its order if that is sticky and its first leader has
    /// spoken, and the block before.
    #[must_use]
    pub fn committee(&self) -> Option<(Committee, Hash)> {
        let (_, previous, leader) = self.ground.filter(|&(height, ..)| height == self.height)?;
        let mut members = self.schedule.members(self.nodes, self.height);
        let first = members.iter().position(|member| member.node == leader)?;
        members.rotate_left(first);
        Some((Committee::new(members).ok()?, previous))
    }

    /// A view to come that it leads itself, if it is in the committee.
    #[must_use]
    pub fn next_lead(&self, committee: &Committee) -> View {
        let count = committee.members().len() as u64;
        let place = committee.place(self.me).map_or(0, |place| place as u64);
        let turn = self.view.0 / count + self.rng.within(0..=1);
        View((turn * count + place).max(1))
    }

    /// Sends a word to one node, but not yet.
    pub fn send_later(&mut self, span: Duration, to: NodeId, message: Message) {
        let (at, number) = (self.clock.now() + span, self.rng.u64());
        self.later.insert((at, number), (to, message));
    }

    fn send_due(&mut self) {
        while let Some(first) = self.later.first_entry()
            && first.key().0 <= self.clock.now()
        {
            let (to, message) = first.remove();
            self.send(to, &message);
        }
    }

    /// Sends a word to one node.
    pub fn send(&mut self, to: NodeId, message: &Message) {
        self.send_raw(to, Envelope::encode(INSTANCE, message));
    }

    /// Sends a word to everybody.
    pub fn send_all(&mut self, message: &Message) {
        let frame = Envelope::encode(INSTANCE, message);
        self.others().into_iter().for_each(|to| self.send_raw(to, frame.clone()));
    }

    /// Sends bytes.
    pub fn send_raw(&mut self, to: NodeId, frame: Bytes) {
        self.send_as(self.me, to, frame);
    }

    /// Sends bytes that seem to come from `from`.
    pub fn send_as(&mut self, from: NodeId, to: NodeId, frame: Bytes) {
        if from == to {
            return;
        }
        let now = self.clock.now();
        let mut told = |passage, flight: &Flight| self.trace.frame(now, passage, flight);
        self.network.borrow_mut().send(Flight { from, to, frame }, now, &mut told);
    }

    /// A block of this node that nobody has asked for; `number` makes it another one.
    #[must_use]
    pub fn block(&self, height: Height, previous: Hash, number: u64) -> Block {
        let payload = TestBlock { maker: self.me, number, sound: true }.payload();
        Block { height, previous, proposer: self.me, time: 0, payload }
    }

    /// The same block with another payload: as good as the first one, and not the first one.
    #[must_use]
    pub fn other(&self, block: &Block, number: u64) -> Block {
        Block { proposer: self.me, ..self.block(block.height, block.previous, 1 << 40 | number) }
    }

    fn remember(&mut self, from: NodeId, frame: &Bytes, message: Option<&Message>) {
        if self.lore.len() >= LORE_MAX {
            self.lore.pop_front();
        }
        self.lore.push_back((from, frame.clone()));
        if let Some(Message::PrePrepare { block, .. }) = message {
            self.ground = Some((block.height, block.previous, from));
        }
        let (Some(height), Some(view)) =
            (message.and_then(Message::height), message.and_then(Message::view))
        else {
            return;
        };
        // Another liar may invent a height; nobody believes more than a few steps.
        if height > self.height && height.0 < self.height.0.saturating_add(1_000) {
            (self.height, self.view) = (height, view);
        } else if height == self.height && view.0 < self.view.0.saturating_add(1_000) {
            self.view = self.view.max(view);
        }
    }
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hand({:?} at {:?} {:?})", self.me, self.height, self.view)
    }
}

/// Lies until it is dropped. `outer` is its place in the network, `puppet` the transport's end of
/// its engine, if it has one.
pub async fn perform(mut trick: Box<dyn Trick>, mut hand: Hand, outer: Net, puppet: Option<Wire>) {
    let wake = Notify::new();
    outer.notify_on_arrival(wake.clone());
    for peer in puppet.iter().flat_map(Wire::peers) {
        puppet.iter().for_each(|wire| wire.notify_on_send(peer, wake.clone()));
    }
    let mut next = hand.clock.now() + IDLE;
    loop {
        let clock = hand.clock.clone();
        let due = hand.later.first_key_value().map_or(next, |(&(at, _), _)| at.min(next));
        first(wake.notified(), clock.sleep_until(due)).await;
        hand.send_due();
        while let Some((from, frame)) = outer.receive() {
            let message = Envelope::decode(&frame, INSTANCE).ok();
            hand.remember(from, &frame, message.as_ref());
            let passes = message.is_none_or(|message| trick.hears(&mut hand, from, &message));
            if let Some(puppet) = puppet.as_ref().filter(|_| passes) {
                puppet.deliver(from, frame);
            }
        }
        if let Some(puppet) = &puppet {
            for to in puppet.peers() {
                while let Some(frame) = puppet.take(to) {
                    if let Ok(message) = Envelope::decode(&frame, INSTANCE) {
                        trick.says(&mut hand, to, message);
                    }
                }
            }
        }
        if clock.now() >= next {
            next = clock.now() + IDLE;
            trick.idles(&mut hand);
        }
    }
}
