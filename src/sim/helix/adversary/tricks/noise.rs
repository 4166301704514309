//! Liars that need no idea of the protocol: silence, noise, and words of others.

use bytes::Bytes;

use crate::helix::commands::app_message::AppMessage;
use crate::helix::protocol::block::Hash;
use crate::helix::protocol::message::{Envelope, HEIGHT_MAX, Kind, Message, VIEW_MAX};
use crate::id::{ClusterId, Height, NodeId, View};
use crate::sim::helix::adversary::hand::{Hand, Trick};
use crate::sim::helix::events::INSTANCE;

/// Says what its puppet says.
#[derive(Debug)]
pub(super) struct Honest;

impl Trick for Honest {}

/// Says nothing.
#[derive(Debug)]
pub(super) struct Mute;

impl Trick for Mute {
    fn says(&mut self, _: &mut Hand, _: NodeId, _: Message) {}
}

/// Says everything to some.
#[derive(Debug)]
pub(super) struct Withholder;

impl Trick for Withholder {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        // Whom it ignores changes every few heights, and differs for words of different views.
        let turn = hand.height.0 / 3 + message.view().map_or(0, |view| view.0);
        if !(to.0 + turn).is_multiple_of(3) {
            hand.send(to, &message);
        }
    }
}

/// Speaks in the name of others.
#[derive(Debug)]
pub(super) struct Impersonator;

impl Trick for Impersonator {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        let others = hand.others();
        let claimed = others[hand.rng.below(others.len())];
        hand.send_as(claimed, to, Envelope::encode(INSTANCE, &message));
        hand.send(to, &message);
    }

    fn hears(&mut self, hand: &mut Hand, from: NodeId, message: &Message) -> bool {
        // What one has signed, out of the mouth of another; what it signs itself, out of theirs.
        let others = hand.others();
        let claimed = others[hand.rng.below(others.len())];
        let to = others[hand.rng.below(others.len())];
        if claimed != from {
            hand.send_as(claimed, to, Envelope::encode(INSTANCE, message));
        }
        if let Message::Prepare(vote) | Message::Commit { vote, .. } = message {
            let vote = hand.signer.vote(Kind::Commit, vote.height, vote.view, vote.hash);
            let commit = Message::Commit { vote, share: None };
            hand.send_as(claimed, to, Envelope::encode(INSTANCE, &commit));
        }
        true
    }

    fn idles(&mut self, hand: &mut Hand) {
        let others = hand.others();
        let claimed = others[hand.rng.below(others.len())];
        for to in others {
            let ahead = Height(hand.height.0 + hand.rng.within(0..=1_000_000));
            for message in [Message::Tip(ahead), Message::FetchBlocks(Height(1))] {
                hand.send_as(claimed, to, Envelope::encode(INSTANCE, &message));
            }
        }
    }
}

/// Says again what it has heard.
#[derive(Debug)]
pub(super) struct Replayer;

impl Trick for Replayer {
    fn idles(&mut self, hand: &mut Hand) {
        for _ in 0..6 {
            if hand.lore.is_empty() {
                return;
            }
            let (from, frame) = hand.lore[hand.rng.below(hand.lore.len())].clone();
            let others = hand.others();
            let to = others[hand.rng.below(others.len())];
            hand.send_as(from, to, frame.clone());
            hand.send_raw(to, frame.clone());
            if let Ok(message) = Envelope::decode(&frame, INSTANCE) {
                hand.send_as(from, to, Envelope::encode(ClusterId(INSTANCE.0 + 1), &message));
            }
        }
    }
}

/// The copyist sends some of so many of the last frames again.
const COPIED: usize = 60;

/// Passes on what it hears in the name of who said it, later and in another order, and answers
/// in the name of others.
#[derive(Debug, Default)]
pub(super) struct Copyist {
    /// An answer that it gave a reader some time ago.
    before: Height,
}

impl Trick for Copyist {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        if let Message::App(bytes) = &message
            && let Some(AppMessage::Answer(number, height)) = AppMessage::decode(bytes)
        {
            let copy = Message::App(AppMessage::Answer(number, self.before).encode());
            for from in hand.others() {
                hand.send_as(from, to, Envelope::encode(INSTANCE, &copy));
            }
            if hand.rng.chance(50) {
                self.before = height;
            }
        }
        hand.send(to, &message);
    }

    fn hears(&mut self, hand: &mut Hand, from: NodeId, message: &Message) -> bool {
        // Then a COMMIT comes to some before the PREPAREs that it rests on. Not each time: two of
        // this kind would pass one on to each other for ever.
        if matches!(message, Message::Commit { .. }) && hand.rng.chance(300) {
            for to in hand.others() {
                hand.send_as(from, to, Envelope::encode(INSTANCE, message));
            }
        }
        true
    }

    fn idles(&mut self, hand: &mut Hand) {
        let others = hand.others();
        for _ in 0..4 {
            let back = hand.rng.below(COPIED) + 1;
            let place = hand.lore.len().checked_sub(back);
            let Some((from, frame)) = place.map(|place| hand.lore[place].clone()) else { return };
            hand.send_as(from, others[hand.rng.below(others.len())], frame);
        }
    }
}

/// Sends a lot.
#[derive(Debug)]
pub(super) struct Flooder;

impl Flooder {
    fn huge(hand: &Hand) -> (Height, View) {
        let height = match hand.rng.below(6) {
            0 => Height(u64::MAX),
            1 => HEIGHT_MAX,
            2 => Height(hand.height.0 + hand.rng.within(1..=10)),
            3 => Height(hand.rng.u64()),
            _ => hand.height,
        };
        let view = match hand.rng.below(6) {
            0 => View(u64::MAX),
            1 => View((1 << 63) + 1),
            2 => VIEW_MAX,
            3 => View(hand.view.0 + hand.rng.within(1..=100)),
            _ => hand.view,
        };
        (height, view)
    }

    fn word(hand: &Hand) -> Message {
        let (height, view) = Self::huge(hand);
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&hand.rng.u64().to_le_bytes());
        let hash = Hash(hash);
        match hand.rng.below(5) {
            0 => Message::Prepare(hand.signer.vote(Kind::Prepare, height, view, hash)),
            1 => {
                let vote = hand.signer.vote(Kind::Commit, height, view, hash);
                Message::Commit { vote, share: None }
            }
            2 => {
                let block = hand.block(height, hash, hand.rng.u64());
                let hash = block.hash(INSTANCE);
                let vote = hand.signer.vote(Kind::PrePrepare, height, view, hash);
                Message::PrePrepare { vote, block }
            }
            3 => {
                let change = hand.signer.view_change(height, view, None);
                Message::ViewChange { change, block: None }
            }
            _ => {
                let block = hand.block(height, hash, hand.rng.u64());
                let new_view = hand.signer.new_view(height, view, vec![], block);
                Message::NewView(Box::new(new_view))
            }
        }
    }
}

impl Trick for Flooder {
    fn idles(&mut self, hand: &mut Hand) {
        for to in hand.others() {
            for _ in 0..4 {
                let word = Self::word(hand);
                hand.send(to, &word);
            }
            let len = hand.rng.below(200);
            let mut noise: Vec<u8> = (0..len).map(|_| hand.rng.below(256) as u8).collect();
            hand.send_raw(to, Bytes::from(noise.clone()));
            // The beginning of a real frame, and then nothing that makes sense.
            let word = Envelope::encode(INSTANCE, &Self::word(hand));
            let begin = word.len().min(hand.rng.below(40) + 9);
            noise.splice(..0, word[..begin].iter().copied());
            hand.send_raw(to, Bytes::from(noise));
            hand.send_raw(to, Bytes::new());
        }
    }
}
