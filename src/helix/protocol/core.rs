//! The node scope: what outlives every term and every view.
//!
//! A scope inside borrows it for as long as it lasts. The state of the node is in rooms: each has
//! private fields, and one method for each change.
//!
//! | room | what it owns |
//! |---|---|
//! | `vote_state` | the view, the vote record and the lock record of the present height |
//! | `tip`, [`BlockStore`] | the end of the chain, and where the blocks before it are |
//! | [`EvidencePool`] | what members have signed that contradicts itself |
//! | [`Outbox`] | what may be said when the records before it are durable |
//! | [`Mailbox`] | what has come, and is kept for later heights |
//! | [`Sync`] | what is known of the peers' chains |
//! | [`Signer`] | the keys, and how often they were used |
//! | [`Published`] | what the outside sees of the present scopes |
//!
//! Order of work, always: decide, persist, speak. The vote state changes in memory in the same poll
//! in which its record is handed to the journal, and is never taken back; a message leaves only when
//! the record that it rests on is durable, and it is counted here at that same moment and not
//! before. Dropping the scope that spoke takes nothing back.

use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;

use crate::env::{Env, Time};
use crate::helix::protocol::app::{App, Blocks, Chain, Membership, Trigger};
use crate::helix::protocol::block::{Block, Hash};
use crate::helix::protocol::block_store::BlockStore;
use crate::helix::protocol::config::Config;
use crate::helix::protocol::event::{Event, Observer};
use crate::helix::protocol::evidence::{Evidence, EvidencePool};
use crate::helix::protocol::mailbox::Mailbox;
use crate::helix::protocol::message::{Envelope, Kind, Message};
use crate::helix::protocol::record::{Accepted, Locked, RECORD, Record, VoteState};
use crate::helix::protocol::recover::{Recovered, Tip};
use crate::helix::protocol::rules;
use crate::helix::protocol::signer::Signer;
use crate::helix::protocol::status::Published;
use crate::helix::protocol::sync::Sync;
use crate::host::shutdown::Shutdown;
use crate::id::{Height, NodeId, View};
use crate::journal::{Journal, Lsn, Outbox};
use crate::scope::notify::Notify;

/// A message on its way out.
#[derive(Debug)]
struct Outgoing {
    to: Vec<NodeId>,
    frame: Bytes,
    /// To be counted here, too.
    own: Option<Message>,
}

/// The node scope.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) env: Env,
    pub(crate) journal: Journal,
    pub(crate) observer: Observer,
    pub(crate) signer: Signer,
    pub(crate) membership: Box<dyn Membership>,
    pub(crate) blocks: Box<dyn Blocks>,
    pub(crate) chain: Box<dyn Chain>,
    pub(crate) trigger: Box<dyn Trigger>,
    /// Notified by whatever may be of interest to the scopes: frames, syncs, words of the application.
    pub(crate) wake: Notify,
    pub(crate) shutdown: Shutdown,
    pub(crate) mailbox: Mailbox,
    pub(crate) sync: Sync,
    pub(crate) published: Published,
    tip: RefCell<Tip>,
    vote_state: RefCell<VoteState>,
    block_store: RefCell<BlockStore>,
    evidence_pool: RefCell<EvidencePool>,
    /// The last decision, not handed to the journal yet: it goes with the next record.
    unwritten: RefCell<Option<Record>>,
    outbox: Outbox<Outgoing>,
    /// Own messages that are durable and not counted yet.
    own: RefCell<VecDeque<Message>>,
    /// What the simulator may do to a term.
    #[cfg(feature = "sim")]
    pub(crate) cancel_injector: RefCell<crate::scope::cancel::CancelInjector>,
}

impl Core {
    pub(crate) fn new(
        config: Config,
        env: Env,
        journal: Journal,
        app: App,
        observer: Observer,
        recovered: Recovered,
    ) -> Self {
        let wake = Notify::new();
        env.net.notify_on_arrival(wake.clone());
        journal.notify_on_sync(wake.clone());
        let mut evidence_pool = EvidencePool::new(config.limits.evidence_max);
        for evidence in recovered.evidence {
            evidence_pool.insert(evidence);
        }
        let core = Self {
            signer: Signer::new(config.node, config.instance, app.keys),
            membership: app.membership,
            blocks: app.blocks,
            chain: app.chain,
            trigger: app.trigger,
            shutdown: Shutdown::default(),
            mailbox: Mailbox::default(),
            sync: Sync::default(),
            published: Published::default(),
            tip: RefCell::new(recovered.tip),
            vote_state: RefCell::new(recovered.vote_state),
            block_store: RefCell::new(recovered.block_store),
            evidence_pool: RefCell::new(evidence_pool),
            unwritten: RefCell::default(),
            outbox: Outbox::default(),
            own: RefCell::default(),
            #[cfg(feature = "sim")]
            cancel_injector: RefCell::default(),
            wake,
            config,
            env,
            journal,
            observer,
        };
        if recovered.is_new {
            let (instance, node) = (core.config.instance, core.me());
            let lsn = core.submit(&Record::Identity { instance, node });
            core.block_store.borrow_mut().begins(Height(1), lsn);
        }
        let (tip, view) = (core.tip.borrow().height, core.vote_state.borrow().view);
        core.observer.tell(|| Event::Started { tip, view });
        core
    }

    pub(crate) fn me(&self) -> NodeId {
        self.config.node
    }

    pub(crate) fn now(&self) -> Time {
        self.env.clock.now()
    }

    pub(crate) fn tip(&self) -> Ref<'_, Tip> {
        self.tip.borrow()
    }

    pub(crate) fn vote_state(&self) -> Ref<'_, VoteState> {
        self.vote_state.borrow()
    }

    pub(crate) fn block_store(&self) -> Ref<'_, BlockStore> {
        self.block_store.borrow()
    }

    pub(crate) fn evidence_pool(&self) -> Ref<'_, EvidencePool> {
        self.evidence_pool.borrow()
    }

    /// Waits until `ready` has something. A change of what it looks at notifies `wake`, or is
    /// polled before it.
    ///
    /// Everything of a node is one task and is polled whenever anything happens, so this needs no
    /// waker of its own.
    pub(crate) async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        poll_fn(|_| ready().map_or(Poll::Pending, Poll::Ready)).await
    }

    // ---- the vote state ----

    fn submit(&self, record: &Record) -> Lsn {
        self.write_decision();
        self.journal.submit(RECORD, &[&record.encode()])
    }

    /// Hands the last decision to the journal, if that was not done yet.
    pub(crate) fn write_decision(&self) {
        let Some(record) = self.unwritten.take() else { return };
        let lsn = self.journal.submit(RECORD, &[&record.encode()]);
        let next = self.tip.borrow().height.next();
        self.block_store.borrow_mut().begins(next, Lsn(lsn.0 + 1));
    }

    /// Hands a decision to the journal when no other record has come along for a while; for ever.
    pub(crate) async fn write_decisions(&self) -> std::convert::Infallible {
        loop {
            self.until(|| self.unwritten.borrow().is_some().then_some(())).await;
            self.env.clock.sleep(self.config.timing.resend).await;
            self.write_decision();
        }
    }

    /// Leaves for a view: nothing of an earlier one will be signed.
    ///
    /// # Panics
    /// If it would take back an earlier promise.
    pub(crate) fn record_view(&self, view: View) {
        let mut vote_state = self.vote_state.borrow_mut();
        assert!(view >= vote_state.view, "a view never goes back");
        if view > vote_state.view {
            vote_state.view = view;
            self.submit(&Record::View { height: vote_state.height, view });
        }
    }

    /// Votes for a block, if that contradicts no earlier promise; whether it did.
    pub(crate) fn record_vote(&self, accepted: Accepted) -> bool {
        let mut vote_state = self.vote_state.borrow_mut();
        let (view, hash) = (accepted.view, accepted.hash);
        if vote_state.voted() == Some((view, hash)) && vote_state.view == view {
            return true;
        }
        if !rules::may_accept(vote_state.view, vote_state.voted(), view, hash) {
            return false;
        }
        let known = vote_state.block(hash).is_some();
        self.submit(&Record::Vote {
            height: vote_state.height,
            view,
            hash,
            proposal: accepted.proposal,
            block: (!known).then(|| (*accepted.block).clone()),
        });
        vote_state.view = view;
        vote_state.accepted = Some(accepted);
        true
    }

    /// Holds on to a block that a quorum has accepted.
    ///
    /// # Panics
    /// If this node did not vote for it, or has left the view.
    pub(crate) fn record_lock(&self, locked: Locked) {
        let mut vote_state = self.vote_state.borrow_mut();
        let (view, hash) = (locked.proof.view, locked.proof.hash);
        assert_eq!(vote_state.voted(), Some((view, hash)), "a lock follows a vote");
        assert_eq!(vote_state.view, view, "nothing of an earlier view is signed");
        let height = vote_state.height;
        self.submit(&Record::Lock { height, proof: locked.proof.clone() });
        self.observer.tell(|| Event::Prepared { height, view, hash });
        vote_state.locked = Some(locked);
    }

    /// Puts a decided block at the end of the chain. What was promised for its height is fulfilled.
    ///
    /// Its record is handed to the journal with the next one: a decision is nothing that only this
    /// node knows, for a quorum has its votes on disk. So a height costs two syncs and not three.
    pub(crate) fn extend(&self, tip: Tip) {
        self.write_decision();
        let Some((block, proof)) = &tip.decided else { return };
        let known = self.vote_state.borrow().block(tip.hash).is_some();
        let known = known && self.vote_state.borrow().height == tip.height;
        let block = (!known).then(|| (**block).clone());
        self.unwritten.replace(Some(Record::Decided { proof: (**proof).clone(), block }));
        self.vote_state.replace(VoteState::new(tip.height.next()));
        self.tip.replace(tip);
        // Words about a height that is decided help nobody who cannot fetch the block.
        self.own.borrow_mut().clear();
        self.outbox.each(|message| message.own = None);
    }

    /// Keeps evidence against a member.
    pub(crate) fn accuse(&self, evidence: Evidence) {
        let Evidence { node, kind, height, view, .. } = evidence;
        if self.evidence_pool.borrow_mut().insert(evidence.clone()) {
            tracing::warn!(%node, ?kind, %height, %view, "a member contradicted itself");
            self.submit(&Record::Evidence(evidence));
            self.observer.tell(|| Event::Evidence { node, kind, height, view });
        }
    }

    // ---- messages ----

    /// Says a message of the protocol to `to`, as soon as everything promised so far is durable, and
    /// counts `own` here then. Returns the frame, to be said again.
    pub(crate) fn say(&self, to: Vec<NodeId>, message: &Message, own: Option<Message>) -> Bytes {
        let frame = Envelope::encode(self.config.instance, message);
        let lsn = self.journal.submitted();
        self.outbox.push(lsn, Outgoing { to, frame: frame.clone(), own });
        self.take_synced();
        self.wake.notify();
        frame
    }

    /// Tells the observer what was signed.
    pub(crate) fn tell_signed(&self, kind: Kind, height: Height, view: View, subject: Hash) {
        self.observer.tell(|| Event::Signed { kind, height, view, subject });
    }

    /// Says again what was said before, or a message that promises nothing.
    pub(crate) fn send(&self, to: NodeId, frame: Bytes) {
        self.env.net.send(to, frame);
    }

    /// Sends a message that promises nothing.
    pub(crate) fn tell(&self, to: NodeId, message: &Message) {
        self.send(to, Envelope::encode(self.config.instance, message));
    }

    /// Lets the messages leave whose records are durable.
    pub(crate) fn take_synced(&self) {
        let synced = self.journal.synced();
        while let Some(Outgoing { to, frame, own }) = self.outbox.pop(synced) {
            for to in to {
                self.env.net.send(to, frame.clone());
            }
            self.own.borrow_mut().extend(own);
        }
    }

    /// The next own message that has left and is to be counted.
    pub(crate) fn take_own(&self) -> Option<Message> {
        self.own.borrow_mut().pop_front()
    }

    /// Whether a block may stand at the present height: its head is right and it is not too large.
    pub(crate) fn fits(&self, block: &Block, proposer: Option<NodeId>) -> bool {
        let tip = self.tip.borrow();
        block.height == tip.height.next()
            && block.previous == tip.hash
            && block.payload.len() <= self.config.limits.block_bytes_max
            && proposer.is_none_or(|proposer| block.proposer == proposer)
    }
}
