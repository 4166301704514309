//! Liars that are nearly good leaders: nothing that they say is false.

use std::time::Duration;

use crate::helix::protocol::message::Message;
use crate::helix::protocol::rules::timeout;
use crate::id::{Height, NodeId, View};
use crate::sim::helix::adversary::hand::{Hand, Trick};
use crate::sim::helix::settings::TIMING;

/// Lets others prepare its blocks, and never commits.
#[derive(Debug)]
pub(super) struct Saboteur;

impl Saboteur {
    /// Just enough members to prepare a block with it, other ones in other heights.
    fn audience(hand: &Hand, height: Height) -> Vec<NodeId> {
        let Some(committee) = hand.schedule.committee(hand.nodes, height) else {
            return vec![];
        };
        let mut others = hand.others();
        let turn = height.0 as usize % others.len();
        others.rotate_left(turn);
        let is_quorum =
            |count: &usize| committee.is_quorum(others[..*count].iter().copied().chain([hand.me]));
        others.truncate((0..others.len()).find(is_quorum).unwrap_or(others.len()));
        others
    }
}

impl Trick for Saboteur {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        let proposed = match &message {
            Message::Commit { .. } => return,
            Message::PrePrepare { vote, .. } => Some(vote.height),
            Message::NewView(new) => Some(new.height),
            _ => None,
        };
        if proposed.is_none_or(|height| Self::audience(hand, height).contains(&to)) {
            hand.send(to, &message);
        }
    }
}

/// Proposes just before the view ends.
#[derive(Debug)]
pub(super) struct Dawdler;

impl Dawdler {
    /// Four fifths of what a view lasts: a clock may be a tenth fast, and a block takes a while.
    fn pause(view: View) -> Duration {
        timeout(TIMING.base, TIMING.cap, view) * 4 / 5
    }
}

impl Trick for Dawdler {
    fn says(&mut self, hand: &mut Hand, to: NodeId, message: Message) {
        match &message {
            Message::PrePrepare { vote, .. } => {
                hand.send_later(Self::pause(vote.view), to, message);
            }
            Message::NewView(new) => hand.send_later(Self::pause(new.view), to, message),
            _ => hand.send(to, &message),
        }
    }
}
