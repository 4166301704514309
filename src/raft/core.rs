//! The node scope: what outlives every role.
//!
//! A role borrows it for as long as it lasts, and asks it one thing: [`Core::next`], what happens
//! next? The state of the node is in rooms: each room has private fields, and one method for each
//! change.
//!
//! | room | what it owns |
//! |---|---|
//! | [`HardStates`] | the term and the vote, and their records |
//! | [`Log`] | the entries, and which of them are durable |
//! | [`Decided`] | how far the log is decided, and applied |
//! | [`Outbox`] | what may be said when the hard state is durable |
//! | [`AnyMachine`] | the state machine, and the clients that wait for it |
//! | [`Reads`] | the reads that wait |
//! | [`Snapshots`] | the snapshot that is built or comes in |
//! | [`Mailbox`] | what is to happen next, and when it is now |
//! | [`Published`] | what the outside sees of the present role |
//!
//! Order of work, always: decide, persist, speak. The hard state changes in memory in the same poll
//! in which its record is handed to the journal, and is never taken back; a message leaves only when
//! the hard state that it rests on is durable.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::Config;
use crate::env::{Env, Time};
use crate::error::Fatal;
use crate::host::reads::Reads;
use crate::host::shutdown::Shutdown;
use crate::id::{Index, NodeId, Term};
use crate::journal::{Journal, Lsn, Outbox};
use crate::raft::entries::Entries;
use crate::raft::event::{Event, Observer};
use crate::raft::hard_state::HardStates;
use crate::raft::log::Log;
use crate::raft::machine::AnyMachine;
use crate::raft::mailbox::Mailbox;
use crate::raft::message::{Envelope, Message, Position};
use crate::raft::rules::{self, HardState};
use crate::raft::snapshot::Snapshots;
use crate::raft::status::{Published, Role};
use crate::scope::notify::Notify;

/// Entries applied between two looks at everything else: some 100 µs of work.
const APPLY_SLICE: usize = 128;
/// Bytes of entries read at once for applying.
const APPLY_BYTES: usize = 256 << 10;

/// The node scope.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) env: Env,
    pub(crate) journal: Journal,
    pub(crate) observer: Observer,
    /// Notified by everything that may be of interest to the role: frames, syncs, clients.
    pub(crate) wake: Notify,
    pub(crate) shutdown: Shutdown,
    pub(crate) machine: Rc<RefCell<dyn AnyMachine>>,
    pub(crate) reads: Reads<Index>,
    pub(crate) snapshots: Snapshots,
    pub(crate) mailbox: Mailbox,
    pub(crate) published: Published,
    pub(crate) decided: Decided,
    hard_states: HardStates,
    outbox: Outbox<(NodeId, Bytes)>,
    log: RefCell<Log>,
    /// What the simulator may do to a role.
    #[cfg(feature = "sim")]
    pub(crate) cancel_injector: RefCell<crate::scope::cancel::CancelInjector>,
}

/// How far the log is decided, and applied here. Both only grow.
#[derive(Debug)]
pub(crate) struct Decided {
    commit: Cell<Index>,
    applied: Cell<Index>,
}

impl Decided {
    /// Everything up to here is decided.
    pub(crate) fn commit(&self) -> Index {
        self.commit.get()
    }

    /// Everything up to here is applied.
    pub(crate) fn applied(&self) -> Index {
        self.applied.get()
    }

    /// Whether something is decided and not applied yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.applied.get() < self.commit.get()
    }
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
        machine: Rc<RefCell<dyn AnyMachine>>,
        recovered: Recovered,
    ) -> Self {
        let wake = Notify::new();
        env.net.notify_on_arrival(wake.clone());
        journal.notify_on_sync(wake.clone());
        let applied = recovered.applied;
        Self {
            wake,
            shutdown: Shutdown::default(),
            machine,
            reads: Reads::new(config.limits.proposals_max, config.timing.request_timeout()),
            snapshots: Snapshots::default(),
            mailbox: Mailbox::new(env.clock.now(), env.rng.u64() >> 1),
            published: Published::default(),
            decided: Decided { commit: Cell::new(applied), applied: Cell::new(applied) },
            hard_states: HardStates::recovered(recovered.hard_state),
            outbox: Outbox::default(),
            log: RefCell::new(recovered.log),
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

    /// When the present event happened.
    pub(crate) fn now(&self) -> Time {
        self.mailbox.now()
    }

    pub(crate) fn term(&self) -> Term {
        self.hard_state().term
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_states.get()
    }

    /// Whether the present hard state is on disk.
    pub(crate) fn hard_state_is_durable(&self) -> bool {
        self.hard_states.rests_on().is_none()
    }

    pub(crate) fn log(&self) -> Ref<'_, Log> {
        self.log.borrow()
    }

    /// A random instant at which a follower that hears nothing gives up waiting.
    pub(crate) fn election_deadline(&self) -> Time {
        let timing = &self.config.timing;
        self.now() + self.env.rng.between(timing.election_min, timing.election_max)
    }

    /// How late this scope may be before it must not lead, or campaign, on what it knows.
    pub(crate) fn lateness_max(&self) -> Duration {
        self.config.timing.election_min
    }

    // ---- roles ----

    /// Enters the scope of a role. Whatever the role before had asked for is asked for again.
    pub(crate) fn enter(&self, role: Role, leader: Option<NodeId>) {
        let term = self.term();
        self.published.entered(role, leader, self.now());
        self.reads.ask_again();
        self.mailbox.request();
        tracing::info!(node = %self.me(), ?role, %term, ?leader, "entered");
        self.observer.tell(|| Event::Entered { role, term, leader });
    }

    /// Leaves it: all that was in it has been dropped.
    pub(crate) fn leave(&self, role: Role, why: &'static str) {
        let term = self.term();
        tracing::info!(node = %self.me(), ?role, %term, why, "left");
        self.observer.tell(|| Event::Left { role, term, why });
    }

    // ---- hard state and messages ----

    /// Sets the term and perhaps the vote: in memory now, on disk soon, never taken back.
    pub(crate) fn set_hard_state(&self, state: HardState) {
        self.hard_states.set(&self.journal, state);
        let HardState { term, vote } = state;
        self.observer.tell(|| Event::HardStateSet { term, vote });
    }

    /// Goes on in a higher term.
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
        match self.hard_states.rests_on() {
            None => self.env.net.send(to, frame),
            Some(lsn) => self.outbox.push(lsn, (to, frame)),
        }
    }

    /// Answers a request for a vote of the present term; whether it was granted.
    pub(crate) fn answer_vote(&self, from: NodeId, last: Position) -> bool {
        let state = self.hard_state();
        let granted = rules::may_vote(state, from, last, self.log().last());
        if granted && state.vote.is_none() {
            self.set_hard_state(HardState { vote: Some(from), ..state });
        }
        self.send(from, Message::RequestVoteReply { granted });
        granted
    }

    /// Takes in what the journal has synced: what rests on it may leave.
    pub(crate) fn take_synced(&self) {
        let synced = self.journal.synced();
        if self.hard_states.take_synced(synced) {
            self.mailbox.hard_state_is_durable();
        }
        while let Some((to, frame)) = self.outbox.pop(synced) {
            self.env.net.send(to, frame);
        }
        if self.log.borrow_mut().take_synced(synced) {
            self.mailbox.log_is_synced();
            let index = self.log().durable();
            self.observer.tell(|| Event::Synced { index });
        }
        self.snapshots.release_synced(&self.journal);
    }

    // ---- the log ----

    /// Writes entries at the end of the log, or in place of all from their first one on.
    pub(crate) fn write(&self, entries: Entries) {
        let mut log = self.log.borrow_mut();
        if self.observer.is_some() {
            if entries.first() <= log.last().index {
                self.observer.tell(|| Event::Truncated { from: entries.first() });
            }
            for entry in entries.iter() {
                let (index, term, digest) = (entry.index, entry.term, entry.digest());
                self.observer.tell(|| Event::Appended { index, term, digest });
            }
        }
        assert!(entries.first() > self.decided.commit(), "what is decided is never overwritten");
        log.append(&self.journal, entries);
    }

    /// Everything up to `index` is decided: it will be applied before the next event.
    pub(crate) fn commit_to(&self, index: Index) {
        if index > self.decided.commit() {
            self.decided.commit.set(index);
            self.observer.tell(|| Event::Committed { index });
        }
    }

    /// A durable snapshot of `covers` exists: forgets what it covers. Returns the first record that
    /// is still needed.
    pub(crate) fn compact_log(&self, covers: Position) -> Option<Lsn> {
        self.log.borrow_mut().compact(covers, self.config.limits.snapshot_keep_entries)
    }

    /// The leader's snapshot is in the place of the state up to `covers`: what follows an entry that
    /// the leader does not have is not the leader's, either.
    pub(crate) fn follow_snapshot(&self, covers: Position) {
        self.log.borrow_mut().follow(covers);
        self.decided.applied.set(covers.index);
    }

    /// Applies some of what is decided, and answers the clients that wait for it.
    pub(crate) fn apply_slice(&self) -> Result<(), Fatal> {
        let (applied, commit) = (self.decided.applied(), self.decided.commit());
        if applied >= commit {
            return Ok(());
        }
        let entries = self.log().read(&self.journal, applied.next(), APPLY_BYTES)?;
        let entries = entries.expect("what is not applied is not compacted");
        let mut machine = self.machine.borrow_mut();
        for entry in entries.iter().take(APPLY_SLICE).take_while(|entry| entry.index <= commit) {
            machine.apply(self.me(), entry);
            self.decided.applied.set(entry.index);
        }
        if machine.has_queued() {
            // A later term was applied: what an earlier leader took is asked for again.
            self.mailbox.request();
        }
        drop(machine);
        let index = self.decided.applied();
        self.observer.tell(|| Event::Applied { index });
        self.reads.applied(index);
        self.log.borrow_mut().trim_cache(index);
        self.snapshots.consider(self);
        Ok(())
    }

    // ---- clients ----

    /// A client of this node asks for something.
    pub(crate) fn request(&self) {
        self.mailbox.request();
        self.wake.notify();
    }

    /// These reads may be answered as soon as everything up to `index` is applied.
    pub(crate) fn place_reads(&self, reads: &[u64], index: Index) {
        self.reads.place(reads, index, self.decided.applied());
    }

    /// When a client that waits must be told that it has been too long.
    pub(crate) fn clients_due(&self) -> Time {
        self.machine.borrow().due().min(self.reads.due())
    }

    /// Refuses the clients that have waited too long.
    pub(crate) fn expire_clients(&self) {
        self.machine.borrow_mut().expire(self.now());
        self.reads.expire(self.now());
    }

    /// Refuses everybody who waits, now and from now on.
    pub(crate) fn close(&self) {
        self.machine.borrow_mut().close();
        self.reads.close();
    }

    /// The node's life is over: its disk is free for the next one, whatever handles there are.
    pub(crate) fn end(&self) {
        self.close();
        self.env.disk.close();
    }
}
