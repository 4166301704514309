//! Liars about what clients ask for: reads and commands. Where there are no clients they have nothing
//! to lie about.

use std::collections::BTreeMap;

use borsh::BorshDeserialize;

use crate::helix::commands::app_message::{AppMessage, with_commands};
use crate::helix::commands::batch::{COMMAND_WINDOW, Command, encode};
use crate::helix::protocol::block::Block;
use crate::helix::protocol::message::{Kind, Message};
use crate::id::{Height, NodeId};
use crate::sim::helix::adversary::hand::{Hand, Trick};
use crate::sim::helix::events::INSTANCE;

/// Answers the questions of reads falsely.
#[derive(Debug)]
pub(super) struct Misleader;

impl Misleader {
    /// Too low, too high, or much too high.
    fn position(hand: &Hand, right: Height) -> Height {
        match hand.rng.below(5) {
            0 => Height::ZERO,
            1 => Height(right.0 - hand.rng.within(0..=right.0)),
            2 => Height(right.0 + hand.rng.within(1..=3)),
            3 => Height(right.0 + 1_000_000),
            _ => Height(u64::MAX),
        }
    }
}

impl Trick for Misleader {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        let Message::App(bytes) = &message else {
            return hand.send(to, &message);
        };
        let Some(AppMessage::Answer(number, right)) = AppMessage::decode(bytes) else {
            return hand.send(to, &message);
        };
        // And something else a moment later.
        for _ in 0..2 {
            let answer = AppMessage::Answer(number, Self::position(hand, right));
            hand.send(to, &Message::App(answer.encode()));
        }
    }
}

/// Offers commands out of their time: such that are not due yet to everybody, now and then, and such
/// that are just past in its own blocks.
#[derive(Debug, Default)]
pub(super) struct Peddler {
    /// Commands that stand in blocks, by the last height at which they may.
    stood: BTreeMap<Height, Command>,
}

impl Peddler {
    /// Remembers a command of a block, to offer it again.
    fn see(&mut self, block: &Block) {
        let batch = <(u64, Vec<Command>)>::try_from_slice(&block.payload);
        for command in batch.into_iter().flat_map(|(_, commands)| commands) {
            self.stood.insert(command.until, command);
        }
        self.stood.retain(|until, _| *until >= block.height.prev());
    }

    /// The block, and a command besides whose time was over at the height before, if one was.
    fn with_late(&self, block: &Block) -> Block {
        let late = self.stood.get(&block.height.prev());
        let batch = <(u64, Vec<Command>)>::try_from_slice(&block.payload);
        let (Some(late), Ok((life, mut commands))) = (late, batch) else {
            return block.clone();
        };
        commands.push(late.clone());
        Block { payload: encode(life, commands.iter()), ..block.clone() }
    }
}

impl Trick for Peddler {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        match message {
            Message::PrePrepare { vote, block } => {
                let block = self.with_late(&block);
                let hash = block.hash(INSTANCE);
                let vote = hand.signer.vote(Kind::PrePrepare, vote.height, vote.view, hash);
                hand.send(to, &Message::PrePrepare { vote, block });
            }
            other => hand.send(to, &other),
        }
    }

    fn hears(&mut self, _: &mut Hand, _: NodeId, message: &Message) -> bool {
        match message {
            Message::PrePrepare { block, .. } => self.see(block),
            Message::NewView(new) => self.see(&new.block),
            _ => {}
        }
        true
    }

    fn idles(&mut self, hand: &mut Hand) {
        let ahead = hand.rng.within(COMMAND_WINDOW / 2..=2 * COMMAND_WINDOW);
        let until = Height(hand.height.0 + ahead);
        let command = Command { origin: hand.me, number: hand.rng.u64(), until, payload: None };
        for message in with_commands(&[command], usize::MAX) {
            hand.send_all(&Message::App(message));
        }
    }
}
