//! A term: the scope of one height. It holds view after view until the block of the height is
//! decided here, or a decided one arrives from elsewhere.
//!
//! Entered when the height before is decided and delivered; left with the block that comes next on
//! the chain, and never without one. It owns what outlives a view: the votes, the changes of views,
//! what was last proposed, the timer. A view is a future that the term polls and drops; four things
//! can end one, and the first in this order wins:
//!
//! 1. *overtaken*: a later view has begun, or must begin;
//! 2. *learned*: the decided block came from a peer or from the application;
//! 3. *decided*: a quorum has committed to a block, in this view or in an earlier one;
//! 4. *elapsed*: the timer of the view.
//!
//! The view itself is polled last, after all four. So once one of them has happened, whatever the
//! view was waiting for is not polled again, and an application that computes for long in one poll
//! holds up an election by that poll and by no other.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::FutureExt;
use futures_lite::future::yield_now;

use crate::helix::protocol::app::{Boxed, Round};
use crate::helix::protocol::block::{Block, Hash};
use crate::helix::protocol::committee::Committee;
use crate::helix::protocol::core::Core;
use crate::helix::protocol::election::{Changes, Ticket};
use crate::helix::protocol::event::Event;
use crate::helix::protocol::mailbox::{Next, Present, Received, Statement};
use crate::helix::protocol::message::{Kind, Message, Share, Signature, Vote};
use crate::helix::protocol::proof::BlockProof;
use crate::helix::protocol::record::Accepted;
use crate::helix::protocol::recover::Tip;
use crate::helix::protocol::signer::{Claimed, Strictness};
use crate::helix::protocol::sync::Learned;
use crate::helix::protocol::verify::block_proof;
use crate::helix::protocol::view;
use crate::helix::protocol::votes::{Inserted, Shares, Votes};
use crate::host::shutdown::Stop;
use crate::id::{Height, NodeId, View};
use crate::journal;
use crate::scope::first::{First, Named, first};

/// Pause between two requests for a committee.
const COMMITTEE_AGAIN: Duration = Duration::from_millis(200);

/// How a term ended: with the block of its height.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was decided here.
    Decided(Rc<Block>, Rc<BlockProof>),
    /// It, or a later one, was learned.
    Learned(Learned),
}

/// How a view ends: the first in this order wins.
enum ViewEnd {
    /// A later view has begun, or must begin; or the node must stop.
    Overtaken(Result<Ticket, Stop>),
    /// The decided block came from elsewhere.
    Learned(Learned),
    /// A quorum has committed to a block.
    Decided(Rc<Block>, Rc<BlockProof>),
    /// It has lasted too long.
    Elapsed,
}

/// The scope of one height.
pub(crate) struct Term<'a> {
    pub(crate) core: &'a Core,
    pub(crate) height: Height,
    pub(crate) tip: Tip,
    pub(crate) committee: Committee,
    /// The members but this node.
    others: Vec<NodeId>,
    /// The view whose scope is entered.
    pub(crate) view: Cell<View>,
    /// The last view that was entered by right: the first, or one whose leader was elected.
    pub(crate) settled: Cell<Option<View>>,
    /// Somebody has said something about this height.
    busy: Cell<bool>,
    /// The last genuine proposal, of whichever view; not judged yet.
    pub(crate) proposal: RefCell<Option<Accepted>>,
    prepares: RefCell<Votes>,
    commits: RefCell<Votes>,
    shares: RefCell<Shares>,
    pub(crate) changes: RefCell<Changes>,
    /// Messages of the present view, and the record on which each rests: to be said again.
    said: RefCell<Vec<(journal::Lsn, Vec<NodeId>, Bytes)>>,
}

/// Decides the height after the tip.
pub(crate) async fn run(core: &Core) -> Result<Ended, Stop> {
    let height = core.tip().height.next();
    let committee = {
        let (vouched, committee) = (pin!(vouched(core, height)), pin!(committee(core, height)));
        match first(vouched, committee).await {
            First::A(learned) => return Ok(Ended::Learned(learned)),
            First::B(committee) => committee?,
        }
    };
    let term = Term::new(core, committee);
    assert_eq!(core.vote_state().height, height, "nothing is promised for another height");
    assert!(core.published.delivered().next() >= height, "the height before is delivered");
    term.begin();
    let ended = term.decide().await;
    let why = match &ended {
        Ok(Ended::Decided(..)) => "decided",
        Ok(Ended::Learned(_)) => "learned",
        Err(Stop::Shutdown) => "shutdown",
        Err(Stop::Fatal(_)) => "failure",
    };
    core.observer.tell(|| Event::TermLeft { height, why });
    tracing::debug!(node = %core.me(), %height, why, "left a term");
    ended
}

/// What the application says is decided, at `height` or above.
pub(crate) async fn vouched(core: &Core, height: Height) -> Learned {
    core.until(|| core.sync.take_told(height)).await
}

/// Asks for the committee until there is one.
async fn committee(core: &Core, height: Height) -> Result<Committee, Stop> {
    let tip = core.tip().clone();
    loop {
        let asked = core.membership.committee(height, tip.seed, tip.block());
        let members = match first(asked, core.attend()).await {
            First::A(members) => members,
            First::B(stop) => return Err(stop),
        };
        let committee = members.and_then(|m| Committee::new(m).map_err(|why| why.to_string()));
        match committee {
            Ok(committee) => {
                core.published.set_trouble(None);
                return Ok(committee);
            }
            Err(why) => core.trouble(format!("there is no committee for height {height}: {why}")),
        }
        if let First::B(stop) = first(core.env.clock.sleep(COMMITTEE_AGAIN), core.attend()).await {
            return Err(stop);
        }
    }
}

impl<'a> Term<'a> {
    fn new(core: &'a Core, committee: Committee) -> Self {
        let tip = core.tip().clone();
        let members = committee.members().iter().map(|member| member.node);
        Self {
            core,
            height: tip.height.next(),
            others: members.filter(|&node| node != core.me()).collect(),
            view: Cell::new(View::ZERO),
            settled: Cell::new(None),
            busy: Cell::new(false),
            proposal: RefCell::default(),
            prepares: RefCell::new(Votes::new(Kind::Prepare)),
            commits: RefCell::new(Votes::new(Kind::Commit)),
            shares: RefCell::default(),
            changes: RefCell::default(),
            said: RefCell::default(),
            tip,
            committee,
        }
    }

    pub(crate) fn is_member(&self) -> bool {
        self.committee.contains(self.core.me())
    }

    fn begin(&self) {
        let (height, member) = (self.height, self.is_member());
        self.core.published.entered_term(height, member);
        self.core.observer.tell(|| Event::TermEntered { height, member });
        tracing::debug!(node = %self.core.me(), %height, member, "entered a term");
        self.core.chain.new_round(height, self.tip.block(), self.tip.may_lead);
    }

    /// View after view.
    async fn decide(&self) -> Result<Ended, Stop> {
        let mut ticket = self.first_ticket();
        let mut timer: Option<(View, Boxed<'_, ()>)> = None;
        loop {
            let view = ticket.view();
            // The timer is that of the view's number: being elected does not set it anew.
            let running = timer.take().filter(|(of, _)| *of == view);
            self.enter(&ticket);
            let mut elapsed = running.map_or_else(
                || -> Boxed<'_, ()> { Box::pin(self.elapsed(view)) },
                |(_, running)| running,
            );
            let outcome = {
                // Pinned here, once: a future that is handed on by value is stored twice.
                let (overtaken, learned) = (pin!(self.overtaken()), pin!(self.learned()));
                let decided = pin!(self.core.until(|| self.decision()));
                let attempt = pin!(view::run(self, ticket));
                overtaken
                    .named(ViewEnd::Overtaken)
                    .or(learned.named(ViewEnd::Learned))
                    .or(decided.named(|(block, proof)| ViewEnd::Decided(block, proof)))
                    .or((&mut elapsed).named(|()| ViewEnd::Elapsed))
                    .or(attempt.named(|never| match never {}))
                    .await
            };
            // Here everything that the view was waiting for has been dropped.
            ticket = match outcome {
                ViewEnd::Overtaken(overtaken) => {
                    self.leave(view, "overtaken");
                    overtaken?
                }
                ViewEnd::Learned(learned) => {
                    self.leave(view, "learned");
                    return Ok(Ended::Learned(learned));
                }
                ViewEnd::Decided(block, proof) => {
                    self.leave(view, "decided");
                    return Ok(Ended::Decided(block, proof));
                }
                ViewEnd::Elapsed => {
                    self.leave(view, "elapsed");
                    Ticket::Changing(view.next())
                }
            };
            timer = Some((view, elapsed));
        }
    }

    fn enter(&self, ticket: &Ticket) {
        assert!(ticket.view() >= self.core.vote_state().view, "nobody goes back to a view");
        let (core, height, view) = (self.core, self.height, ticket.view());
        let (leader, entry) = (self.committee.leader(view), ticket.entry());
        self.view.set(view);
        if ticket.is_settled() {
            self.settled.set(Some(view));
        }
        self.said.borrow_mut().clear();
        core.published.entered_view(view, leader);
        core.observer.tell(|| Event::ViewEntered { height, view, leader, entry });
        tracing::debug!(node = %core.me(), %height, %view, %leader, ?entry, "entered a view");
        core.chain.entered(&self.round(view));
    }

    fn leave(&self, view: View, why: &'static str) {
        let height = self.height;
        self.core.observer.tell(|| Event::ViewLeft { height, view, why });
        tracing::debug!(node = %self.core.me(), %height, %view, why, "left a view");
    }

    pub(crate) fn round(&self, view: View) -> Round {
        Round {
            height: self.height,
            view,
            leader: self.committee.leader(view),
            previous: self.tip.hash,
        }
    }

    // ---- what ends a view ----

    /// Hears what arrives, until it means that another view must begin.
    async fn overtaken(&self) -> Result<Ticket, Stop> {
        let mut turn = 0;
        loop {
            self.core.shutdown.check()?;
            let checked = self.core.signer.verified();
            match self.core.next_message(&self.present()) {
                Next::Message(received) => {
                    if let Some(ticket) = self.hear(received) {
                        return Ok(ticket);
                    }
                }
                Next::Handled => {}
                Next::Nothing => {
                    turn = 0;
                    self.core.wake.notified().await;
                    continue;
                }
            }
            turn = self.core.effort_since(checked).saturating_add(turn);
            if turn >= self.core.config.limits.slices.events {
                turn = 0;
                yield_now().await;
            }
        }
    }

    /// A decided block from elsewhere whose proof is right.
    async fn learned(&self) -> Learned {
        let (core, height) = (self.core, self.height);
        core.until(|| {
            if let Some(told) = core.sync.take_told(height) {
                return Some(told);
            }
            let learned = core.sync.take_arrived(height)?;
            let Learned { block, proof, from } = &learned;
            let proven = core.signer.is_block_proof(
                &self.committee,
                block,
                proof,
                &self.tip.seed,
                Strictness::Full,
            );
            if proven.is_ok() && core.fits(block, None) {
                return Some(learned);
            }
            tracing::debug!(?from, %height, ?proven, "dropped a block");
            core.drop_malformed();
            from.iter().for_each(|&peer| core.sync.doubt(peer));
            None
        })
        .await
    }

    /// The view has lasted too long. The first one is timed from when there is something to decide,
    /// a later one from when enough members are there that it could begin.
    async fn elapsed(&self, view: View) {
        let core = self.core;
        if !self.is_member() {
            std::future::pending::<()>().await;
        }
        if view > View::ZERO {
            core.until(|| self.may_begin(view).then_some(())).await;
            return core.trigger.elapsed(self.height, view).await;
        }
        let busy = core.until(|| self.busy.get().then_some(()));
        first(core.blocks.wanted(), busy).await;
        first(core.trigger.elapsed(self.height, view), core.blocks.neglected()).await;
    }

    // ---- messages ----

    /// What the mailbox compares with.
    fn present(&self) -> Present<'_> {
        let accepted = self.core.vote_state().accepted.as_ref().map(|accepted| accepted.view);
        let proposed = self.proposal.borrow().as_ref().map(|proposal| proposal.view);
        Present {
            height: self.height,
            committee: self.is_member().then_some(&self.committee),
            view: self.view.get(),
            settled: self.settled.get(),
            proposed: proposed.or(accepted),
        }
    }

    /// Takes in a message; a ticket if another view must begin.
    fn hear(&self, received: Received) -> Option<Ticket> {
        let Received { from, statement } = received;
        self.busy.set(true);
        match statement {
            Statement::PrePrepare(vote, block) => self.hear_proposal(from, vote, block),
            Statement::Prepare(vote) => self.hear_prepare(from, vote),
            Statement::Commit(vote, share) => self.hear_commit(from, vote, share),
            Statement::ViewChange(change, block) => {
                return self.hear_view_change(from, change, block);
            }
            Statement::NewView(new_view) => return self.hear_new_view(from, *new_view),
            Statement::NewViewAgain(new_view) => self.suspect(from, &new_view),
        }
        None
    }

    fn hear_proposal(&self, from: NodeId, vote: Claimed<Vote>, block: Block) {
        let core = self.core;
        if from == core.me() {
            return;
        }
        if from != self.committee.leader(View::ZERO) {
            return core.drop_malformed();
        }
        let before = self.proposal.borrow().clone().or_else(|| core.vote_state().accepted.clone());
        if before.as_ref().is_some_and(|before| before.hash == vote.hash) {
            return;
        }
        let Some(vote) = core.signer.genuine_vote(Kind::PrePrepare, from, vote) else {
            return core.drop_malformed();
        };
        if let Some(before) = before {
            let first = (before.hash, before.proposal);
            return self.accuse(from, Kind::PrePrepare, *vote, first);
        }
        if block.hash(core.config.instance) != vote.hash || !core.fits(&block, Some(from)) {
            return core.drop_malformed();
        }
        self.keep_proposal(&vote, Rc::new(block));
    }

    /// The leader's proposal is its vote: a PREPARE of the leader does not count.
    fn hear_prepare(&self, from: NodeId, vote: Claimed<Vote>) {
        if from != self.committee.leader(vote.view) {
            self.count(&self.prepares, from, vote);
        }
    }

    fn hear_commit(&self, from: NodeId, vote: Claimed<Vote>, share: Option<Share>) {
        let (signer, seed) = (&self.core.signer, &self.tip.seed);
        let mut shares = self.shares.borrow_mut();
        if !shares.insert(signer, self.height, seed, from, share.as_ref()) {
            return self.core.drop_malformed();
        }
        self.count(&self.commits, from, vote);
    }

    fn count(&self, votes: &RefCell<Votes>, from: NodeId, vote: Claimed<Vote>) {
        match votes.borrow_mut().insert(&self.core.signer, from, vote) {
            Inserted::New | Inserted::Known => {}
            Inserted::Refused => self.core.drop_malformed(),
            Inserted::Contradicts(evidence) => self.core.accuse(evidence),
        }
    }

    pub(crate) fn keep_proposal(&self, vote: &Vote, block: Rc<Block>) {
        let Vote { view, hash, signature, .. } = *vote;
        self.proposal.replace(Some(Accepted { view, hash, proposal: signature, block }));
        // A quorum may have committed to it already.
        self.core.wake.notify();
    }

    // ---- what a view asks for ----

    /// Votes of a quorum for the block, if there are.
    pub(crate) fn prepared(&self, view: View, hash: Hash) -> Option<Vec<(NodeId, Signature)>> {
        let leader = Some(self.committee.leader(view));
        let (committee, signer) = (&self.committee, &self.core.signer);
        self.prepares.borrow_mut().quorum(committee, signer, view, hash, leader)
    }

    /// The block that a quorum has committed to, in whichever view, and the proof.
    pub(crate) fn decision(&self) -> Option<(Rc<Block>, Rc<BlockProof>)> {
        let mut commits = self.commits.borrow_mut();
        let (committee, signer, height) = (&self.committee, &self.core.signer, self.height);
        let (view, hash) = commits.candidate(committee)?;
        let block = self.known_block(hash)?;
        let commits = commits.quorum(committee, signer, view, hash, None)?;
        let seed = self.shares.borrow().aggregate(signer, committee, height);
        Some((block, Rc::new(block_proof(committee, height, view, hash, commits, seed))))
    }

    fn known_block(&self, hash: Hash) -> Option<Rc<Block>> {
        let proposal = self.proposal.borrow();
        let proposed = proposal.as_ref().filter(|proposal| proposal.hash == hash);
        proposed.map(|p| p.block.clone()).or_else(|| self.core.vote_state().block(hash))
    }

    /// Sends a message of this view to all members, again and again until the view ends; a vote is
    /// counted here, too.
    pub(crate) fn say(&self, message: &Message) {
        let is_vote = matches!(message, Message::Prepare(_) | Message::Commit { .. });
        self.say_to(self.others.clone(), message, is_vote.then(|| message.clone()));
    }

    /// Says it to some, and counts `own` here.
    pub(crate) fn say_to(&self, to: Vec<NodeId>, message: &Message, own: Option<Message>) {
        let frame = self.core.say(to.clone(), message, own);
        self.said.borrow_mut().push((self.core.journal.submitted(), to, frame));
    }

    /// The members but this node and `node`.
    pub(crate) fn others_but(&self, node: NodeId) -> Vec<NodeId> {
        self.others.iter().copied().filter(|&other| other != node).collect()
    }

    /// Says again what nobody has answered, for ever, ever more slowly.
    pub(crate) async fn insist(&self) -> std::convert::Infallible {
        let core = self.core;
        let mut pause = core.config.timing.resend;
        let longest = pause * 8;
        loop {
            core.until(|| (!self.said.borrow().is_empty()).then_some(())).await;
            core.env.clock.sleep(pause).await;
            pause = (pause * 2).min(longest);
            let synced = core.journal.synced();
            for (lsn, to, frame) in self.said.borrow().iter() {
                if *lsn <= synced {
                    to.iter().for_each(|&to| core.send(to, frame.clone()));
                }
            }
        }
    }
}
