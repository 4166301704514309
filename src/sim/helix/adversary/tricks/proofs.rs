//! Liars about proofs. What they show is signed, each part of it, by whom it names: only that a vote
//! is there twice, is of another view, or comes late.

use crate::helix::protocol::block::Block;
use crate::helix::protocol::committee::Committee;
use crate::helix::protocol::message::{Kind, Message, NewView, ViewChange, Vote};
use crate::helix::protocol::proof::{BlockProof, PreparedProof};
use crate::id::{Height, NodeId, View};
use crate::sim::helix::adversary::hand::{Hand, Trick};
use crate::sim::helix::events::INSTANCE;

/// Counts its own vote as often as it takes.
#[derive(Debug)]
pub(super) struct Repeater;

impl Repeater {
    /// Its own vote until a quorum is complete; `given` is weight that counts already.
    fn list<T: Clone>(hand: &Hand, committee: &Committee, given: u64, own: &T) -> Vec<(NodeId, T)> {
        let missing = committee.quorum().saturating_sub(given);
        let count = missing.div_ceil(committee.weight(hand.me).max(1));
        (0..count).map(|_| (hand.me, own.clone())).collect()
    }

    /// That the proposal of another leader was prepared, by nobody but the liar.
    fn prepared(hand: &Hand, committee: &Committee, proposal: &Vote) -> PreparedProof {
        let &Vote { height, view, hash, signature } = proposal;
        let own = hand.signer.vote(Kind::Prepare, height, view, hash).signature;
        let given = committee.weight(committee.leader(view));
        let prepares = Self::list(hand, committee, given, &own);
        PreparedProof { view, hash, proposal: signature, prepares }
    }

    /// That a block of the liar's own was decided, by nobody but the liar.
    fn decided(hand: &Hand, block: &Block, view: View) -> Option<(Block, BlockProof)> {
        let block = hand.other(block, view.0);
        let (height, hash) = (block.height, block.hash(INSTANCE));
        let committee = hand.schedule.committee(hand.nodes, height)?;
        let own = hand.signer.vote(Kind::Commit, height, view, hash).signature;
        let commits = Self::list(hand, &committee, 0, &own);
        Some((block, BlockProof { height, view, hash, commits, seed: None }))
    }
}

impl Trick for Repeater {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        match message {
            Message::Blocks(blocks) => {
                let first =
                    blocks.first().and_then(|(b, proof)| Self::decided(hand, b, proof.view));
                hand.send(to, &Message::Blocks(first.into_iter().collect()));
            }
            other => hand.send(to, &other),
        }
    }

    fn hears(&mut self, hand: &mut Hand, _: NodeId, message: &Message) -> bool {
        let Message::PrePrepare { vote, block } = message else {
            return true;
        };
        if let Some((committee, _)) = hand.committee() {
            let proof = Self::prepared(hand, &committee, vote);
            let change = hand.signer.view_change(vote.height, View(1), Some(proof));
            hand.send_all(&Message::ViewChange { change, block: Some(block.clone()) });
        }
        true
    }

    fn idles(&mut self, hand: &mut Hand) {
        let Some((committee, previous)) = hand.committee().filter(|_| hand.rng.chance(300)) else {
            return;
        };
        let view = hand.next_lead(&committee);
        let own = hand.signer.view_change(hand.height, view, None);
        let changes = Self::list(hand, &committee, 0, &own);
        let block = hand.block(hand.height, previous, view.0);
        let hash = block.hash(INSTANCE);
        let new = hand.signer.new_view(hand.height, view, changes, block);
        let vote = hand.signer.vote(Kind::Commit, hand.height, view, hash);
        hand.send_all(&Message::NewView(Box::new(new)));
        hand.send_all(&Message::Commit { vote, share: None });
    }
}

/// Dates proofs anew: what was prepared in one view is shown as prepared in a later one.
#[derive(Debug, Default)]
pub(super) struct Redater {
    /// The oldest proof of this height that it has seen, and its block.
    oldest: Option<(Height, PreparedProof)>,
    /// The blocks of this height.
    blocks: Vec<Block>,
}

impl Redater {
    /// Remembers a block of the present height.
    fn see(&mut self, hand: &Hand, block: &Block) {
        self.blocks.retain(|known| known.height == hand.height);
        if block.height == hand.height && self.blocks.len() < 8 && !self.blocks.contains(block) {
            self.blocks.push(block.clone());
        }
    }

    fn learn(&mut self, height: Height, proof: Option<&PreparedProof>) {
        let held =
            self.oldest.as_ref().filter(|(of, _)| *of == height).map(|(_, proof)| proof.view);
        if let Some(proof) = proof.filter(|proof| held.is_none_or(|view| proof.view < view)) {
            self.oldest = Some((height, proof.clone()));
        }
    }

    /// The oldest proof, as if it were of the last view before `view`.
    fn dated(&self, height: Height, view: View) -> Option<(PreparedProof, Block)> {
        let (_, proof) = self.oldest.as_ref().filter(|(of, _)| *of == height)?;
        let is_it = |block: &&Block| block.hash(INSTANCE) == proof.hash;
        let block = self.blocks.iter().find(is_it)?.clone();
        Some((PreparedProof { view: view.prev(), ..proof.clone() }, block))
    }
}

impl Trick for Redater {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        match message {
            Message::ViewChange { change, block } => {
                self.learn(change.height, change.prepared.as_ref());
                let (height, view) = (change.height, change.view);
                let Some((proof, whole)) = self.dated(height, view) else {
                    return hand.send(to, &Message::ViewChange { change, block });
                };
                let change = hand.signer.view_change(height, view, Some(proof));
                hand.send(to, &Message::ViewChange { change, block: Some(whole) });
            }
            Message::NewView(new) => {
                let NewView { height, view, mut changes, .. } = *new.clone();
                let Some((proof, block)) = self.dated(height, view) else {
                    return hand.send(to, &Message::NewView(new));
                };
                // The proof as it was stays in the list, beside the one that is the liar's.
                let own = hand.signer.view_change(height, view, Some(proof));
                let mine = changes.iter_mut().filter(|(node, _)| *node == hand.me);
                mine.for_each(|(_, change)| *change = own.clone());
                let new = hand.signer.new_view(height, view, changes, block);
                hand.send(to, &Message::NewView(Box::new(new)));
            }
            Message::PrePrepare { vote, block } => {
                self.see(hand, &block);
                hand.send(to, &Message::PrePrepare { vote, block });
            }
            other => hand.send(to, &other),
        }
    }

    fn hears(&mut self, hand: &mut Hand, _: NodeId, message: &Message) -> bool {
        match message {
            Message::PrePrepare { block, .. } => self.see(hand, block),
            Message::NewView(new) => {
                self.see(hand, &new.block);
                let proofs = new.changes.iter().map(|(_, change)| change.prepared.as_ref());
                proofs.for_each(|proof| self.learn(new.height, proof));
            }
            Message::ViewChange { change, block } => {
                block.iter().for_each(|block| self.see(hand, block));
                self.learn(change.height, change.prepared.as_ref());
            }
            _ => {}
        }
        true
    }
}

/// For how many views the concealer hides a proof.
const HIDDEN: u64 = 3;

/// Hides what it holds for a few views, and shows it then.
#[derive(Debug)]
pub(super) struct Concealer;

impl Concealer {
    /// What it says of what it holds when it leaves for a view.
    fn change(hand: &Hand, change: ViewChange) -> ViewChange {
        let hides = |proof: &PreparedProof| change.view.0 - proof.view.0 <= HIDDEN;
        if !change.prepared.as_ref().is_some_and(hides) {
            return change;
        }
        hand.signer.view_change(change.height, change.view, None)
    }
}

impl Trick for Concealer {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        match message {
            Message::ViewChange { change, block } => {
                let change = Self::change(hand, change);
                let block = block.filter(|_| change.prepared.is_some());
                hand.send(to, &Message::ViewChange { change, block });
            }
            Message::NewView(new) => {
                // In the list, too; and if nobody else holds a proof, the block is its own choice.
                let NewView { height, view, mut changes, mut block, .. } = *new;
                for (node, change) in &mut changes {
                    if *node == hand.me {
                        *change = Self::change(hand, change.clone());
                    }
                }
                let binds = changes.iter().any(|(_, change)| change.prepared.is_some());
                if !binds && block.proposer != hand.me {
                    block = hand.other(&block, view.0);
                }
                let new = hand.signer.new_view(height, view, changes, block);
                hand.send(to, &Message::NewView(Box::new(new)));
            }
            other => hand.send(to, &other),
        }
    }
}
