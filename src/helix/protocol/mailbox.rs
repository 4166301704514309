//! The mailbox of the node scope: drop the past, hold the future, deliver the present.
//!
//! Every message passes here once, and this is the only place that compares heights and views. A
//! message about a height that is decided is dropped, and its sender is told how far this node is. A
//! message about one of the next heights is kept, if its signature is right: for each sender one of
//! each kind and height, so nobody can fill the memory, and nothing that a liar sends changes what is
//! kept of others. A message that is further ahead is only a hint that this node is behind. A
//! message about the present height is delivered to the term, unless its view is over. A vote in a
//! later view is checked first. Everything that is no message of the protocol is answered here, in
//! every scope alike.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::env::Time;
use crate::helix::protocol::block::Block;
use crate::helix::protocol::committee::Committee;
use crate::helix::protocol::core::Core;
use crate::helix::protocol::message::{Envelope, Kind, Message, NewView, Share, ViewChange, Vote};
use crate::helix::protocol::signer::{Claimed, Genuine};
use crate::id::{Height, NodeId, View};

/// Where the present scope is: the one thing that messages are compared with.
pub(crate) struct Present<'a> {
    /// The height that is being decided; in no term, the last decided one.
    pub(crate) height: Height,
    /// Who decides it; `None` in no term, or if this node is no member: nothing is delivered then.
    pub(crate) committee: Option<&'a Committee>,
    pub(crate) view: View,
    /// The last view that was entered by right.
    pub(crate) settled: Option<View>,
    /// The view of the last proposal that is known.
    pub(crate) proposed: Option<View>,
}

/// A message of a member about the present height, in a view that is not over.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) from: NodeId,
    pub(crate) statement: Statement,
}

/// What it says.
#[derive(Debug)]
pub(crate) enum Statement {
    /// A proposal for view 0.
    PrePrepare(Claimed<Vote>, Block),
    Prepare(Claimed<Vote>),
    Commit(Claimed<Vote>, Option<Share>),
    ViewChange(Claimed<ViewChange>, Option<Block>),
    /// A view that has not begun here has begun.
    NewView(Box<NewView>),
    /// The same of one that has begun here.
    NewViewAgain(Box<NewView>),
}

impl Statement {
    /// As a peer sent it.
    fn unchecked(message: Message) -> Option<Self> {
        Some(match message {
            Message::PrePrepare { vote, block } => {
                Self::PrePrepare(Claimed::Unchecked(vote), block)
            }
            Message::Prepare(vote) => Self::Prepare(Claimed::Unchecked(vote)),
            Message::Commit { vote, share } => Self::Commit(Claimed::Unchecked(vote), share),
            Message::ViewChange { change, block } => {
                Self::ViewChange(Claimed::Unchecked(change), block)
            }
            Message::NewView(new_view) => Self::NewView(new_view),
            Message::Tip(_) | Message::FetchBlocks(_) | Message::Blocks(_) | Message::App(_) => {
                return None;
            }
        })
    }

    /// As this node signed it.
    fn own(message: Message) -> Option<Self> {
        let genuine = |vote| Claimed::Genuine(Genuine::known(vote));
        Self::unchecked(message).map(|statement| match statement {
            Self::PrePrepare(Claimed::Unchecked(vote), block) => {
                Self::PrePrepare(genuine(vote), block)
            }
            Self::Prepare(Claimed::Unchecked(vote)) => Self::Prepare(genuine(vote)),
            Self::Commit(Claimed::Unchecked(vote), share) => Self::Commit(genuine(vote), share),
            Self::ViewChange(Claimed::Unchecked(change), block) => {
                Self::ViewChange(Claimed::Genuine(Genuine::known(change)), block)
            }
            other => other,
        })
    }

    /// The vote in it, with its kind, if it is one.
    fn vote(&mut self) -> Option<(Kind, &mut Claimed<Vote>)> {
        match self {
            Self::PrePrepare(vote, _) => Some((Kind::PrePrepare, vote)),
            Self::Prepare(vote) => Some((Kind::Prepare, vote)),
            Self::Commit(vote, _) => Some((Kind::Commit, vote)),
            Self::ViewChange(..) | Self::NewView(_) | Self::NewViewAgain(_) => None,
        }
    }
}

/// What has come next.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // returned and looked at, never stored
pub(crate) enum Next {
    /// A message for the term.
    Message(Received),
    /// Something else: it has been dealt with.
    Handled,
    /// Nothing.
    Nothing,
}

/// What the mailbox remembers.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    /// Messages about later heights, checked.
    later: RefCell<BTreeMap<(Height, NodeId, Kind), Statement>>,
    /// When each peer was last told how far this node is.
    told: RefCell<BTreeMap<NodeId, Time>>,
    malformed: Cell<u64>,
}

impl Mailbox {
    /// How many messages about later heights are kept.
    pub(crate) fn kept(&self) -> usize {
        self.later.borrow().len()
    }

    /// Messages that made no sense or were not genuine.
    pub(crate) fn malformed(&self) -> u64 {
        self.malformed.get()
    }

    fn take_kept(&self, present: Height) -> Option<(NodeId, Statement)> {
        let mut later = self.later.borrow_mut();
        while let Some(entry) = later.first_entry() {
            let (height, from, _) = *entry.key();
            if height > present {
                return None;
            }
            let statement = entry.remove();
            if height == present {
                return Some((from, statement));
            }
        }
        None
    }
}

impl Core {
    /// Takes in what has come next; a loop over it yields now and then, by its
    /// [`effort_since`](Self::effort_since).
    pub(crate) fn next_message(&self, present: &Present<'_>) -> Next {
        self.take_synced();
        if let Some(message) = self.take_own() {
            return self.deliver(self.me(), Statement::own(message), present);
        }
        if let Some((from, statement)) = self.mailbox.take_kept(present.height) {
            return self.deliver(from, Some(statement), present);
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
        match message.height() {
            None => self.answer(from, message),
            Some(height) if height < present.height => self.help(from),
            Some(height) if height > present.height => {
                self.keep(from, height, present.height, message);
            }
            Some(_) => return self.deliver(from, Statement::unchecked(message), present),
        }
        Next::Handled
    }

    /// Effort since `checked` signatures had been checked, in messages heard: checking a signature
    /// takes as long as hearing some thirty.
    pub(crate) fn effort_since(&self, checked: u64) -> u32 {
        let checked = self.signer.verified() - checked;
        u32::try_from(checked).unwrap_or(u32::MAX).saturating_mul(32).saturating_add(1)
    }

    pub(crate) fn drop_malformed(&self) {
        self.mailbox.malformed.set(self.mailbox.malformed.get() + 1);
    }

    /// Hands a statement about the present height to the term, if it is a member's.
    fn deliver(&self, from: NodeId, statement: Option<Statement>, present: &Present<'_>) -> Next {
        let Some(committee) = present.committee else { return Next::Handled };
        if !committee.contains(from) {
            self.drop_malformed();
            return Next::Handled;
        }
        let current = statement.and_then(|statement| self.current(from, statement, present));
        current.map_or(Next::Handled, |statement| Next::Message(Received { from, statement }))
    }

    /// Drops a statement whose view is over, and checks a vote in a later view.
    fn current(
        &self,
        from: NodeId,
        mut statement: Statement,
        present: &Present<'_>,
    ) -> Option<Statement> {
        let &Present { view: now, settled, proposed, .. } = present;
        match &mut statement {
            Statement::PrePrepare(vote, _) if vote.view > View::ZERO => {
                // A later view begins with a NEW_VIEW.
                self.drop_malformed();
                return None;
            }
            // The proposal of a later view is of more use.
            Statement::PrePrepare(..) if proposed > Some(View::ZERO) => return None,
            Statement::Prepare(vote) if vote.view < now => return None,
            Statement::ViewChange(change, _)
                if change.view < now || Some(change.view) == settled =>
            {
                return None;
            }
            Statement::NewView(new_view) if from == self.me() || new_view.view < now => {
                return None;
            }
            Statement::NewView(new_view) if settled >= Some(new_view.view) => {
                return Some(Statement::NewViewAgain(new_view.clone()));
            }
            _ => {}
        }
        if let Some((kind, vote)) = statement.vote()
            && vote.view > now
        {
            // Nothing is kept for later that is not known to be genuine.
            let Some(genuine) = self.signer.genuine_vote(kind, from, *vote) else {
                self.drop_malformed();
                return None;
            };
            *vote = Claimed::Genuine(genuine);
        }
        Some(statement)
    }

    /// Keeps a vote about one of the next heights, if it is genuine.
    fn keep(&self, from: NodeId, height: Height, present: Height, message: Message) {
        self.sync.claims(self, from, height.prev());
        // Changes of views are said again until they are answered.
        let Some(mut statement) = Statement::unchecked(message) else { return };
        let Some((kind, vote)) = statement.vote() else { return };
        let near = height.0 - present.0 <= self.config.limits.window;
        // A block is large: one of each sender is enough.
        let near = near && (kind != Kind::PrePrepare || height == present.next());
        let key = (height, from, kind);
        if !near || self.mailbox.later.borrow().contains_key(&key) {
            return;
        }
        if let Some(genuine) = self.signer.genuine_vote(kind, from, *vote) {
            *vote = Claimed::Genuine(genuine);
            self.mailbox.later.borrow_mut().insert(key, statement);
        }
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

    /// Tells a peer that seems behind how far this node is, but not all the time.
    fn help(&self, peer: NodeId) {
        let now = self.now();
        let mut told = self.mailbox.told.borrow_mut();
        let due = told.get(&peer).is_none_or(|at| now.since(*at) >= self.config.timing.resend / 2);
        if due {
            told.insert(peer, now);
            self.tell(peer, &Message::Tip(self.tip().height));
        }
    }

    /// Tells everybody how far this node is, now and then; for ever.
    pub(crate) async fn announce(&self) -> std::convert::Infallible {
        loop {
            self.env.clock.sleep(self.config.timing.announce).await;
            for peer in self.config.peers() {
                self.tell(peer, &Message::Tip(self.tip().height));
            }
        }
    }
}
