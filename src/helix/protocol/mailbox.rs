//! The mailbox of the node scope: drop the past, hold the future, deliver the present.
//!
//! Whatever arrives passes here once. A message about a height that is decided is dropped, and its
//! sender is told how far we are. A message about one of the next heights is kept, if its signature is
//! right: for each sender one of each kind and height, so nobody can fill the memory, and nothing
//! that a liar says changes what is kept of others. What is further ahead is only a hint that we
//! are behind. A message about the present height is delivered to the term. Everything that is no
//! message of the protocol is answered here, in every scope alike.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::env::Time;
use crate::helix::protocol::core::Core;
use crate::helix::protocol::message::{Envelope, Kind, Message};
use crate::id::{Height, NodeId};

/// A message about the present height.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) from: NodeId,
    pub(crate) message: Message,
    /// Its signature is known to be right.
    pub(crate) checked: bool,
}

/// What has come next.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // returned and looked at, never stored
pub(crate) enum Next {
    /// A message about the present height.
    Message(Received),
    /// Something else: it has been dealt with.
    Handled,
    /// Nothing.
    Nothing,
}

/// What the mailbox remembers.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    /// messages about later heights, checked.
    later: RefCell<BTreeMap<(Height, NodeId, Kind), Message>>,
    /// When each peer was last told how far we are.
    told: RefCell<BTreeMap<NodeId, Time>>,
    pub(crate) malformed: Cell<u64>,
}

impl Core {
    /// Takes in what has come next; whoever loops over it yields now and then, by its
    /// [`effort_since`](Self::effort_since).
    pub(crate) fn next_message(&self, present: Height) -> Next {
        self.take_synced();
        if let Some(message) = self.take_own() {
            return Next::Message(Received { from: self.me(), message, checked: true });
        }
        if let Some(received) = self.take_kept(present) {
            return Next::Message(received);
        }
        let Some((from, frame)) = self.env.net.receive() else { return Next::Nothing };
        let message = match Envelope::decode(&frame, self.config.instance) {
            Ok(message) if self.config.nodes.contains(&from) && from != self.me() => message,
            refused => {
                self.drop_malformed();
                tracing::debug!(%from, ?refused, "dropped a frame");
                return Next::Handled;
            }
        };
        self.sync.heard(from, self.now());
        let Some(height) = message.height() else {
            self.answer(from, message);
            return Next::Handled;
        };
        if height == present {
            return Next::Message(Received { from, message, checked: false });
        }
        if height < present {
            self.help(from);
        } else {
            self.keep(from, height, present, message);
        }
        Next::Handled
    }

    /// What was done since `checked` signatures had been checked, in messages heard: checking a
    /// signature takes as long as hearing some thirty.
    pub(crate) fn effort_since(&self, checked: u64) -> u32 {
        let checked = self.signer.verified() - checked;
        u32::try_from(checked).unwrap_or(u32::MAX).saturating_mul(32).saturating_add(1)
    }

    pub(crate) fn drop_malformed(&self) {
        self.mailbox.malformed.set(self.mailbox.malformed.get() + 1);
    }

    fn take_kept(&self, present: Height) -> Option<Received> {
        let mut later = self.mailbox.later.borrow_mut();
        while let Some(entry) = later.first_entry() {
            let (height, from, _) = *entry.key();
            if height > present {
                return None;
            }
            let message = entry.remove();
            if height == present {
                return Some(Received { from, message, checked: true });
            }
        }
        None
    }

    /// Keeps a vote about one of the next heights, if it is genuine.
    fn keep(&self, from: NodeId, height: Height, present: Height, message: Message) {
        let (kind, vote) = match &message {
            Message::PrePrepare { vote, .. } => (Kind::PrePrepare, vote),
            Message::Prepare(vote) => (Kind::Prepare, vote),
            Message::Commit { vote, .. } => (Kind::Commit, vote),
            // Changes of views are said again until they are answered.
            _ => return self.sync.claims(self, from, height.prev()),
        };
        let near = height.0 - present.0 <= self.config.limits.window;
        // A block is large: one of each sender is enough.
        let near = near && (kind != Kind::PrePrepare || height == present.next());
        let key = (height, from, kind);
        let kept = self.mailbox.later.borrow().contains_key(&key);
        if near && !kept && self.signer.is_vote(kind, from, vote) {
            self.mailbox.later.borrow_mut().insert(key, message);
        }
        self.sync.claims(self, from, height.prev());
    }

    /// How many messages about later heights are kept.
    pub(crate) fn kept(&self) -> usize {
        self.mailbox.later.borrow().len()
    }

    fn answer(&self, from: NodeId, message: Message) {
        match message {
            Message::Tip(height) => {
                if height < self.tip().height {
                    self.help(from);
                }
                self.sync.claims(self, from, height);
            }
            Message::FetchBlocks(height) => self.sync.is_asked(self, from, height),
            Message::Blocks(blocks) => self.sync.take_in(self, from, blocks),
            Message::App(message) => self.chain.heard(from, message),
            _ => {}
        }
    }

    /// Tells a peer that seems behind how far we are, but not all the time.
    fn help(&self, peer: NodeId) {
        let now = self.now();
        let mut told = self.mailbox.told.borrow_mut();
        let due = told.get(&peer).is_none_or(|at| now.since(*at) >= self.config.timing.resend / 2);
        if due {
            told.insert(peer, now);
            self.tell(peer, &Message::Tip(self.tip().height));
        }
    }

    /// Tells everybody how far we are, now and then; for ever.
    pub(crate) async fn announce(&self) -> std::convert::Infallible {
        loop {
            self.env.clock.sleep(self.config.timing.announce).await;
            for peer in self.config.peers() {
                self.tell(peer, &Message::Tip(self.tip().height));
            }
        }
    }
}
