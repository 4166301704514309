//! Liars about blocks: proposals that are not what they should be, and histories that never were.

use bytes::Bytes;

use crate::helix::protocol::block::{Block, Hash};
use crate::helix::protocol::message::{HEIGHT_MAX, Kind, Message, Signature};
use crate::helix::protocol::proof::BlockProof;
use crate::id::{Height, NodeId, View};
use crate::sim::helix::adversary::hand::{Hand, Trick};
use crate::sim::helix::events::INSTANCE;
use crate::sim::helix::settings::TIMING;
use crate::sim::helix::test_app::TestBlock;

/// Proposes bad blocks.
#[derive(Debug)]
pub(super) struct Swindler;

impl Swindler {
    /// A block that is wrong, by the height in one of several ways, and what its word says of it.
    fn wrong(hand: &Hand, block: &Block) -> (Block, Hash) {
        let good = block.clone();
        let bad = match block.height.0 % 6 {
            0 => Block { previous: Hash([7; 32]), ..good },
            1 => Block { height: Height(good.height.0 + 1), ..good },
            2 => {
                let payload = TestBlock { maker: hand.me, number: 1, sound: false }.payload();
                Block { payload, ..good }
            }
            3 => Block { proposer: hand.others()[0], ..good },
            4 => Block { payload: Bytes::from_static(b"no block at all"), ..good },
            // A word about one block, and another one attached.
            _ => return (hand.other(block, 5), block.hash(INSTANCE)),
        };
        let hash = bad.hash(INSTANCE);
        (bad, hash)
    }
}

impl Trick for Swindler {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        match message {
            Message::PrePrepare { vote, block } => {
                let (block, hash) = Self::wrong(hand, &block);
                let vote = hand.signer.vote(Kind::PrePrepare, vote.height, vote.view, hash);
                hand.send(to, &Message::PrePrepare { vote, block });
            }
            Message::NewView(mut new) => {
                let (block, _) = Self::wrong(hand, &new.block);
                if new.view.0.is_multiple_of(2) {
                    // The words are about the block that is right; the attached one is not.
                    new.block = block;
                } else {
                    *new = hand.signer.new_view(new.height, new.view, new.changes, block);
                }
                hand.send(to, &Message::NewView(new));
            }
            other => hand.send(to, &other),
        }
    }
}

/// Pretends to know a longer chain.
#[derive(Debug)]
pub(super) struct Poisoner;

impl Trick for Poisoner {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        match message {
            // The proof without its block.
            Message::ViewChange { change, .. } => {
                hand.send(to, &Message::ViewChange { change, block: None });
            }
            // It never helps anybody.
            Message::Blocks(mut blocks) => {
                for (block, proof) in &mut blocks {
                    match block.height.0 % 3 {
                        0 => block.payload = Bytes::from_static(b"changed"),
                        1 => proof.commits.truncate(1),
                        _ => proof.view = View(proof.view.0 + 1),
                    }
                }
                hand.send(to, &Message::Blocks(blocks));
            }
            other => hand.send(to, &other),
        }
    }

    fn hears(&mut self, hand: &mut Hand, from: NodeId, message: &Message) -> bool {
        let Message::FetchBlocks(height) = message else {
            return true;
        };
        if hand.rng.chance(500) {
            // Its puppet answers, and what it says is changed on the way.
            return true;
        }
        let block = hand.block(*height, Hash([9; 32]), 1);
        let hash = block.hash(INSTANCE);
        let view = View::ZERO;
        let own = hand.signer.vote(Kind::Commit, *height, view, hash).signature;
        let sign = |node| (node, if node == hand.me { own } else { Signature([3; 64]) });
        let commits = (1..=hand.nodes).map(NodeId).map(sign).collect();
        let proof = BlockProof { height: *height, view, hash, commits, seed: None };
        hand.send(from, &Message::Blocks(vec![(block, proof)]));
        false
    }

    fn idles(&mut self, hand: &mut Hand) {
        let ahead = [Height(hand.height.0 + 3), Height(hand.height.0 + 100_000), HEIGHT_MAX];
        let ahead = ahead[hand.rng.below(3)];
        hand.send_all(&Message::Tip(ahead));
        if hand.rng.chance(100) {
            hand.send_all(&Message::FetchBlocks(Height(1)));
        }
    }
}

/// Ignores commands.
#[derive(Debug)]
pub(super) struct Censor;

impl Trick for Censor {
    fn hears(&mut self, hand: &mut Hand, from: NodeId, message: &Message) -> bool {
        let ignored = hand.halves().0.contains(&from);
        !(ignored && matches!(message, Message::App(_)))
    }
}

/// Serves one block at a time, just before it would be doubted, and claims to know more than anybody
/// else.
#[derive(Debug)]
pub(super) struct Dripper;

/// How far above its own tip it claims to be.
const BOASTED: u64 = 50;

impl Trick for Dripper {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        match message {
            Message::Blocks(mut blocks) => {
                blocks.truncate(1);
                // Who asks waits twice as long as until a word is said again.
                hand.send_later(TIMING.resend * 8 / 5, to, Message::Blocks(blocks));
            }
            Message::Tip(tip) => hand.send(to, &Message::Tip(Height(tip.0 + BOASTED))),
            other => hand.send(to, &other),
        }
    }

    fn idles(&mut self, hand: &mut Hand) {
        hand.send_all(&Message::Tip(Height(hand.height.0 + BOASTED)));
    }
}
