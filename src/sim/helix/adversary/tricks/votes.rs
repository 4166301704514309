//! Liars about votes: two at a time, too many, or those of others.

use std::collections::BTreeMap;

use crate::helix::protocol::app::Member;
use crate::helix::protocol::block::{Block, Hash};
use crate::helix::protocol::committee::Committee;
use crate::helix::protocol::message::{Envelope, Kind, Message, NewView, Signature, ViewChange};
use crate::helix::protocol::proof::{BlockProof, PreparedProof};
use crate::id::{Height, NodeId, View};
use crate::sim::helix::adversary::hand::{Hand, Trick};
use crate::sim::helix::events::INSTANCE;

/// Two blocks for two halves, and votes for both.
#[derive(Debug, Default)]
pub(super) struct Equivocator {
    /// The other block of a view, for the other half.
    others: BTreeMap<(Height, View), Block>,
}

impl Equivocator {
    fn other(&mut self, hand: &Hand, view: View, block: &Block) -> Block {
        self.others.retain(|&(height, _), _| height.0 + 8 > block.height.0);
        let other = hand.other(block, view.0);
        self.others.entry((block.height, view)).or_insert(other).clone()
    }
}

impl Trick for Equivocator {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        let (_, half) = hand.halves();
        if !half.contains(&to) {
            return hand.send(to, &message);
        }
        match message {
            Message::PrePrepare { vote, block } => {
                let block = self.other(hand, vote.view, &block);
                let hash = block.hash(INSTANCE);
                let vote = hand.signer.vote(Kind::PrePrepare, vote.height, vote.view, hash);
                hand.send(to, &Message::PrePrepare { vote, block });
                let vote = hand.signer.vote(Kind::Commit, vote.height, vote.view, hash);
                hand.send(to, &Message::Commit { vote, share: None });
            }
            Message::NewView(new) => {
                let block = self.other(hand, new.view, &new.block);
                let new = hand.signer.new_view(new.height, new.view, new.changes, block);
                let hash = new.block.hash(INSTANCE);
                let vote = hand.signer.vote(Kind::Commit, new.height, new.view, hash);
                hand.send(to, &Message::NewView(Box::new(new)));
                hand.send(to, &Message::Commit { vote, share: None });
            }
            Message::Prepare(vote) => {
                hand.send(to, &Message::Prepare(vote));
                let other = Hash([4; 32]);
                let vote = hand.signer.vote(Kind::Prepare, vote.height, vote.view, other);
                hand.send(to, &Message::Prepare(vote));
            }
            Message::Commit { vote, share } => {
                let known = self.others.get(&(vote.height, vote.view));
                let hash = known.map_or(vote.hash, |block| block.hash(INSTANCE));
                let vote = hand.signer.vote(Kind::Commit, vote.height, vote.view, hash);
                hand.send(to, &Message::Commit { vote, share });
            }
            Message::ViewChange { mut change, .. } => {
                // To some it has seen nothing prepared.
                change = hand.signer.view_change(change.height, change.view, None);
                hand.send(to, &Message::ViewChange { change, block: None });
            }
            other => hand.send(to, &other),
        }
    }
}

/// Asks for the next view, always.
#[derive(Debug)]
pub(super) struct Racer;

impl Trick for Racer {
    fn idles(&mut self, hand: &mut Hand) {
        let far = if hand.rng.chance(100) { 1 << 20 } else { 1 };
        let view = View(hand.view.0 + far);
        let change = hand.signer.view_change(hand.height, view, None);
        hand.send_all(&Message::ViewChange { change, block: None });
    }
}

/// Invents votes.
#[derive(Debug)]
pub(super) struct Forger;

impl Forger {
    /// View changes of a quorum for a view, all of them its own invention but one.
    fn changes(hand: &Hand, committee: &Committee, view: View) -> Vec<(NodeId, ViewChange)> {
        let own = hand.signer.view_change(hand.height, view, None);
        let invent = |member: &Member| {
            let is_own = member.node == hand.me || hand.rng.chance(500);
            let signature = if is_own { own.signature } else { Signature([5; 64]) };
            (member.node, ViewChange { signature, ..own.clone() })
        };
        let changes = committee.members().iter().map(invent);
        committee.just_quorum(0, changes).unwrap_or_default()
    }

    /// A proof that the liar's own block was prepared in a view that it led.
    fn prepared(hand: &Hand, committee: &Committee, block: &Block, view: View) -> PreparedProof {
        let signer = if hand.rng.chance(500) { &hand.signer } else { &hand.abroad };
        let hash = block.hash(INSTANCE);
        let proposal = signer.vote(Kind::PrePrepare, hand.height, view, hash).signature;
        let own = signer.vote(Kind::Prepare, hand.height, view, hash).signature;
        let leader = committee.leader(view);
        let others = committee.members().iter().filter(|member| member.node != leader);
        let votes = others.map(|member| (member.node, own));
        let mut prepares = committee.just_quorum(committee.weight(leader), votes);
        if hand.rng.chance(300) {
            prepares = None;
        }
        PreparedProof { view, hash, proposal, prepares: prepares.unwrap_or_default() }
    }

    fn lie(hand: &mut Hand, kind: usize) {
        let Some((committee, previous)) = hand.committee() else {
            return;
        };
        let (height, view) = (hand.height, hand.next_lead(&committee));
        let block = hand.block(height, previous, view.0 << 8 | kind as u64);
        let hash = block.hash(INSTANCE);
        match kind {
            0 => {
                let changes = Self::changes(hand, &committee, view);
                let new = hand.signer.new_view(height, view, changes, block);
                hand.send_all(&Message::NewView(Box::new(new)));
            }
            1 => {
                let before = View(hand.view.0 - hand.rng.within(0..=hand.view.0));
                let proof = Self::prepared(hand, &committee, &block, before);
                let after = View(before.0 + hand.rng.within(1..=3));
                let change = hand.signer.view_change(height, after, Some(proof));
                let block = hand.rng.chance(500).then_some(block);
                hand.send_all(&Message::ViewChange { change, block });
            }
            2 => {
                // A bare proposal of a later view, or of a first one that somebody else leads.
                let view = if hand.rng.chance(500) { View::ZERO } else { view };
                let vote = hand.signer.vote(Kind::PrePrepare, height, view, hash);
                hand.send_all(&Message::PrePrepare { vote, block });
            }
            _ => {
                let change = hand.signer.view_change(height, view, None);
                let change = ViewChange { view: View(view.0 + 1), ..change };
                return hand.send_all(&Message::ViewChange { change, block: None });
            }
        }
        let vote = hand.signer.vote(Kind::Commit, height, view, hash);
        hand.send_all(&Message::Commit { vote, share: None });
    }
}

impl Trick for Forger {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        match message {
            Message::NewView(new) if hand.rng.chance(700) => {
                let NewView { height, view, mut changes, block, .. } = *new;
                // Votes that hold a proof are replaced by such that hold none, or another block is
                // put in the place of the proven one.
                let block = if hand.rng.chance(500) {
                    hand.other(&block, 3)
                } else {
                    for (_, change) in &mut changes {
                        change.prepared = None;
                    }
                    hand.other(&block, 4)
                };
                let new = hand.signer.new_view(height, view, changes, block);
                hand.send(to, &Message::NewView(Box::new(new)));
            }
            other => hand.send(to, &other),
        }
    }

    fn hears(&mut self, hand: &mut Hand, from: NodeId, message: &Message) -> bool {
        // A PREPARE is passed on as a COMMIT, and a few of them as the proof of a decision.
        if let Message::Prepare(vote) = message
            && hand.rng.chance(300)
        {
            let commit = Message::Commit { vote: *vote, share: None };
            for to in hand.others() {
                hand.send_as(from, to, Envelope::encode(INSTANCE, &commit));
            }
            let block = hand.block(vote.height, Hash([6; 32]), 80);
            let own = hand.signer.vote(Kind::Commit, vote.height, vote.view, vote.hash).signature;
            let commits = vec![(hand.me, own), (from, vote.signature)];
            let (height, view, hash) = (vote.height, vote.view, vote.hash);
            let proof = BlockProof { height, view, hash, commits, seed: None };
            hand.send_all(&Message::Blocks(vec![(block, proof)]));
        }
        true
    }

    fn idles(&mut self, hand: &mut Hand) {
        let kind = hand.rng.below(4);
        Self::lie(hand, kind);
    }
}
