//! The node scope: what outlives every role.
//!
//! It owns the hard state (term and vote), the log, the state machine, the outbox and the mailbox. A
//! role borrows it for as long as it lasts, and asks it one thing: [`Core::next`], what happens
//! next? Everything that must be the same in every role is done before the answer: what is durable
//! is taken in, what is decided is applied, the past is dropped, the future is held.
//!
//! Order of work, always: decide, persist, speak. The hard state changes in memory in the same poll in
//! which its record is handed to the journal, and is never taken back; a message leaves only when
//! the hard state that it rests on is durable.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use crate::config::Config;
use crate::env::{Env, Time};
use crate::error::{Fatal, Refused};
use crate::id::{ClusterId, Index, NodeId, Term};
use crate::journal::{Journal, Lsn};
use crate::raft::entries::Entries;
use crate::raft::event::{Event as Told, Observer};
use crate::raft::host::Host;
use crate::raft::log::Log;
use crate::raft::mailbox::Mailbox;
use crate::raft::message::{Envelope, Message, Position, Received};
use crate::raft::node::Role;
use crate::raft::rules::{self, HardState};
use crate::raft::snapshot::Snapshots;
use crate::scope::notify::Notify;
use crate::scope::oneshot::Reply;

/// The journal's name for a record of the hard state alone.
pub(crate) const RECORD_HARD_STATE: u8 = 2;
/// The journal's name for a record of everything that is not entries.
pub(crate) const RECORD_CHECKPOINT: u8 = 3;

/// Entries applied between two looks at everything else: some 100 µs of work.
const APPLY_SLICE: usize = 128;
/// Bytes of entries read at once for applying.
const APPLY_BYTES: usize = 256 << 10;

/// What the node is, and its hard state: written at bootstrap and after each snapshot, so that older
/// records can be released.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Checkpoint {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) members: Vec<NodeId>,
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: Position,
}

/// Why a role is left without a successor.
#[derive(Debug, Clone)]
pub(crate) enum Stop {
    /// This node must stop.
    Fatal(Fatal),
    /// It was asked to end.
    Shutdown,
}

impl From<Fatal> for Stop {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

/// What happens next, to whichever role asks.
#[derive(Debug)]
pub(crate) enum Event {
    /// A member sent this, in the present term.
    Received(Received),
    /// A higher term exists; it has been adopted. The message that told of it comes next.
    Overtaken,
    /// More is durable, or decided, than before.
    Advanced,
    /// A snapshot has been installed.
    Installed,
    /// Clients of this node ask for something.
    Requests,
    /// The deadline has passed.
    Elapsed,
}

/// One question to the leader of "from which index on may I read?".
pub(crate) type ReadReply = Reply<Result<(), Refused>>;

/// A read that waits for a leader's answer, and since when.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) since: Time,
    pub(crate) reply: ReadReply,
}

/// The node scope.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) env: Env,
    pub(crate) journal: Journal,
    pub(crate) observer: Observer,
    pub(crate) wake: Notify,
    pub(crate) log: RefCell<Log>,
    pub(crate) host: Rc<RefCell<dyn Host>>,
    pub(crate) snapshots: Snapshots,
    pub(crate) view: View,
    pub(crate) commit: Cell<Index>,
    pub(crate) applied: Cell<Index>,
    pub(crate) now: Cell<Time>,
    pub(crate) shutdown: Cell<bool>,
    pub(crate) malformed: Cell<u64>,
    pub(crate) reads: RefCell<VecDeque<Read>>,
    pub(crate) requested: Cell<bool>,
    next_read_id: Cell<u64>,
    reads_at: RefCell<BTreeMap<Index, Vec<Read>>>,
    hard_state: Cell<HardState>,
    hard_state_lsn: Cell<Lsn>,
    hard_state_durable: Cell<bool>,
    outbox: RefCell<VecDeque<(Lsn, NodeId, Bytes)>>,
    pub(crate) mailbox: Mailbox,
    /// Something grew that the role should know of.
    pub(crate) advanced: Cell<bool>,
    sweep_due: Cell<Time>,
    /// What the simulator may do to a role.
    #[cfg(feature = "sim")]
    pub(crate) cancel_injector: RefCell<crate::scope::cancel::CancelInjector>,
}

/// What the outside sees of the present role.
pub(crate) struct View {
    pub(crate) role: Cell<Role>,
    pub(crate) leader: Cell<Option<NodeId>>,
    /// When the present leader was last heard; `None` if there is none.
    pub(crate) heard: Cell<Option<Time>>,
    pub(crate) peers: RefCell<Vec<crate::raft::node::PeerStatus>>,
}

/// What was read back from the journal.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    pub(crate) hard_state: HardState,
    pub(crate) applied: Index,
    /// The journal is new, or does not know of the snapshot yet.
    pub(crate) checkpoint_due: bool,
}

impl Core {
    pub(crate) fn new(
        config: Config,
        env: Env,
        journal: Journal,
        observer: Observer,
        host: Rc<RefCell<dyn Host>>,
        recovered: Recovered,
    ) -> Self {
        let wake = Notify::new();
        env.net.notify_on_arrival(wake.clone());
        journal.notify_on_sync(wake.clone());
        let now = env.clock.now();
        let read_id = env.rng.u64() >> 1;
        Self {
            wake,
            log: RefCell::new(recovered.log),
            host,
            snapshots: Snapshots::default(),
            view: View {
                role: Cell::new(Role::Follower),
                leader: Cell::new(None),
                heard: Cell::new(None),
                peers: RefCell::default(),
            },
            commit: Cell::new(recovered.applied),
            applied: Cell::new(recovered.applied),
            now: Cell::new(now),
            shutdown: Cell::new(false),
            malformed: Cell::new(0),
            reads: RefCell::default(),
            requested: Cell::new(false),
            next_read_id: Cell::new(read_id),
            reads_at: RefCell::default(),
            hard_state: Cell::new(recovered.hard_state),
            hard_state_lsn: Cell::new(Lsn(0)),
            hard_state_durable: Cell::new(true),
            outbox: RefCell::default(),
            mailbox: Mailbox::default(),
            advanced: Cell::new(false),
            sweep_due: Cell::new(now),
            #[cfg(feature = "sim")]
            cancel_injector: RefCell::default(),
            config,
            env,
            journal,
            observer,
        }
    }

    pub(crate) fn me(&self) -> NodeId {
        self.config.node
    }

    pub(crate) fn term(&self) -> Term {
        self.hard_state.get().term
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state.get()
    }

    /// Whether the present hard state is on disk.
    pub(crate) fn hard_state_is_durable(&self) -> bool {
        self.hard_state_durable.get()
    }

    /// A random instant at which a follower that hears nothing gives up waiting.
    pub(crate) fn election_deadline(&self) -> Time {
        let timing = &self.config.timing;
        self.now.get() + self.env.rng.between(timing.election_min, timing.election_max)
    }

    /// A client of this node asks for something.
    pub(crate) fn request(&self) {
        self.requested.set(true);
        self.wake.notify();
    }

    /// Enters the scope of a role.
    pub(crate) fn enter(&self, role: Role, leader: Option<NodeId>) {
        let term = self.term();
        self.view.role.set(role);
        self.view.leader.set(leader);
        self.view.heard.set(leader.map(|_| self.now.get()));
        self.requested.set(true);
        tracing::info!(node = %self.me(), ?role, %term, ?leader, "entered");
        self.observer.tell(|| Told::Entered { role, term, leader });
    }

    /// Leaves it: all that was in it has been dropped.
    pub(crate) fn leave(&self, role: Role, why: &'static str) {
        let term = self.term();
        tracing::info!(node = %self.me(), ?role, %term, why, "left");
        self.observer.tell(|| Told::Left { role, term, why });
    }

    // ---- hard state and messages ----

    /// Sets the term and perhaps the vote: in memory now, on disk soon, never taken back.
    ///
    /// # Panics
    /// If it would take back a term or a vote.
    pub(crate) fn set_hard_state(&self, hard_state: HardState) {
        let before = self.hard_state.get();
        assert!(hard_state.term >= before.term, "a term never goes back");
        assert!(
            hard_state.term > before.term
                || before.vote.is_none()
                || before.vote == hard_state.vote,
            "one vote a term"
        );
        let record = borsh::to_vec(&hard_state).expect("memory does not refuse a write");
        self.hard_state_lsn.set(self.journal.submit(RECORD_HARD_STATE, &[&record]));
        self.hard_state_durable.set(false);
        self.hard_state.set(hard_state);
        let HardState { term, vote } = hard_state;
        self.observer.tell(|| Told::HardStateSet { term, vote });
    }

    pub(crate) fn adopt(&self, term: Term) {
        self.set_hard_state(HardState { term, vote: None });
    }

    /// Sends a message in the present term, as soon as that term is durable.
    pub(crate) fn send(&self, to: NodeId, message: Message) {
        self.send_as(self.term(), to, message);
    }

    /// The same with another term in it: a pre-vote names the term it asks about.
    pub(crate) fn send_as(&self, term: Term, to: NodeId, message: Message) {
        let frame = Envelope { term, message }.encode();
        if self.hard_state_durable.get() {
            self.env.net.send(to, frame);
        } else {
            self.outbox.borrow_mut().push_back((self.hard_state_lsn.get(), to, frame));
        }
    }

    /// Answers a request for a vote of the present term; whether it was granted.
    pub(crate) fn answer_vote(&self, from: NodeId, last: Position) -> bool {
        let hard_state = self.hard_state.get();
        let granted = rules::may_vote(hard_state, from, last, self.log.borrow().last());
        if granted && hard_state.vote.is_none() {
            self.set_hard_state(HardState { vote: Some(from), ..hard_state });
        }
        self.send(from, Message::RequestVoteReply { granted });
        granted
    }

    // ---- the log ----

    /// Writes entries at the end of the log, or in place of all from their first one on.
    pub(crate) fn write(&self, log: &mut Log, entries: Entries) {
        if self.observer.is_some() {
            if entries.first() <= log.last().index {
                self.observer.tell(|| Told::Truncated { from: entries.first() });
            }
            for entry in entries.iter() {
                let (index, term, digest) = (entry.index, entry.term, entry.digest());
                self.observer.tell(|| Told::Appended { index, term, digest });
            }
        }
        assert!(entries.first() > self.commit.get(), "what is decided is never overwritten");
        log.append(&self.journal, entries);
    }

    /// Everything up to `index` is decided: it will be applied before the next event.
    pub(crate) fn commit_to(&self, index: Index) {
        if index > self.commit.get() {
            self.commit.set(index);
            self.advanced.set(true);
            self.observer.tell(|| Told::Committed { index });
        }
    }

    pub(crate) fn take_synced(&self) {
        let synced = self.journal.synced();
        if !self.hard_state_durable.get() && self.hard_state_lsn.get() <= synced {
            self.hard_state_durable.set(true);
            self.advanced.set(true);
        }
        let mut outbox = self.outbox.borrow_mut();
        while let Some((_, to, frame)) = outbox.pop_front_if(|(lsn, ..)| *lsn <= synced) {
            self.env.net.send(to, frame);
        }
        drop(outbox);
        if self.log.borrow_mut().take_synced(synced) {
            self.advanced.set(true);
            let index = self.log.borrow().durable();
            self.observer.tell(|| Told::Synced { index });
        }
        self.snapshots.release_synced(&self.journal);
    }

    /// Applies some of what is decided, and answers who waits for it.
    pub(crate) fn apply_slice(&self) -> Result<(), Fatal> {
        let (applied, commit) = (self.applied.get(), self.commit.get());
        if applied >= commit {
            return Ok(());
        }
        let entries = self.log.borrow().read(&self.journal, applied.next(), APPLY_BYTES)?;
        let entries = entries.expect("what is not applied is not compacted");
        let mut host = self.host.borrow_mut();
        for entry in entries.iter().take(APPLY_SLICE).take_while(|entry| entry.index <= commit) {
            host.apply(self.me(), entry);
            self.applied.set(entry.index);
        }
        if host.has_queued() {
            // A later term was applied: what an earlier leader took is asked for again.
            self.requested.set(true);
        }
        drop(host);
        let index = self.applied.get();
        self.observer.tell(|| Told::Applied { index });
        self.answer_reads();
        self.log.borrow_mut().trim_cache(index);
        self.snapshots.consider(self);
        Ok(())
    }

    /// Answers a read as soon as everything up to `index` is applied.
    pub(crate) fn answer_read_at(&self, index: Index, read: Read) {
        if self.applied.get() >= index {
            read.reply.send(Ok(()));
        } else {
            self.reads_at.borrow_mut().entry(index).or_default().push(read);
        }
    }

    pub(crate) fn answer_reads(&self) {
        let mut waiting = self.reads_at.borrow_mut();
        while let Some(entry) = waiting.first_entry()
            && *entry.key() <= self.applied.get()
        {
            entry.remove().into_iter().for_each(|read| read.reply.send(Ok(())));
        }
    }

    /// A number for a question to the leader, never used before.
    pub(crate) fn fresh_read_id(&self) -> u64 {
        let id = self.next_read_id.get();
        self.next_read_id.set(id + 1);
        id
    }

    // ---- now and then ----

    /// When somebody who waits now should be told that it has been too long.
    pub(crate) fn next_sweep(&self) -> Time {
        let somebody = self.host.borrow().waiting() > 0
            || !self.reads.borrow().is_empty()
            || !self.reads_at.borrow().is_empty();
        if somebody { self.sweep_due.get() } else { Time::NEVER }
    }

    /// Refuses what has waited too long.
    pub(crate) fn sweep(&self) {
        let now = self.now.get();
        if now < self.sweep_due.get() {
            return;
        }
        let patience = self.config.timing.request_timeout();
        self.sweep_due.set(now + patience / 8);
        self.host.borrow_mut().expire(now, patience);
        let overdue = |read: &Read| now.since(read.since) >= patience;
        let refuse = |read: Read| read.reply.send(Err(Refused::TimedOut));
        while let Some(read) = self.reads.borrow_mut().pop_front_if(|read| overdue(read)) {
            refuse(read);
        }
        self.reads_at.borrow_mut().retain(|_, reads| {
            reads.extract_if(.., |read| overdue(read)).for_each(refuse);
            !reads.is_empty()
        });
    }

    /// Ends everything that waits: the node's life is over.
    pub(crate) fn close(&self) {
        self.host.borrow_mut().close();
        for read in self.reads.take() {
            read.reply.send(Err(Refused::ShuttingDown));
        }
        for read in self.reads_at.take().into_values().flatten() {
            read.reply.send(Err(Refused::ShuttingDown));
        }
    }

    /// How late this scope may be before it must not lead, or campaign, on what it knows.
    pub(crate) fn lateness_max(&self) -> Duration {
        self.config.timing.election_min
    }
}
