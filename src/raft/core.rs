//! The state of a node that outlives its roles: the paper's figure 2, without the leader's part.
//!
//! A role borrows the core while it runs, and waits on one function only: [`Core::next`] returns
//! the next event. The state is divided among types with private fields and one method for each
//! change:
//!
//! | type | state |
//! |---|---|
//! | [`HardStates`] | the term and the vote (section 5.2), and their journal records |
//! | [`Log`] | the entries, and the index up to which they are durable (5.3) |
//! | [`Decided`] | the commit index and the applied index |
//! | [`Outbox`] | the messages that wait until the hard state is durable |
//! | [`AnyMachine`] | the state machine, and its waiting clients |
//! | [`Reads`] | the waiting reads |
//! | [`Snapshots`] | the snapshot that is built or received (7) |
//! | [`Mailbox`] | the next event, and the time of the current one |
//! | [`Published`] | the status of the current role, for the handle |
//!
//! The order is always: decide, persist, send. The hard state changes in memory in the same poll in
//! which its record goes to the journal, and a change is never undone. A message leaves when the
//! hard state of its term is durable.

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

/// The state of a node that outlives its roles.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) env: Env,
    pub(crate) journal: Journal,
    pub(crate) observer: Observer,
    /// Notified when a frame arrives, the journal syncs, or a client asks: the role then wakes.
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
    /// Lets the simulator drop the roles at a poll.
    #[cfg(feature = "sim")]
    pub(crate) cancel_injector: RefCell<crate::scope::cancel::CancelInjector>,
}

/// The paper's `commitIndex` and `lastApplied`. Both only grow.
#[derive(Debug)]
pub(crate) struct Decided {
    commit: Cell<Index>,
    applied: Cell<Index>,
}

impl Decided {
    /// The commit index: all entries up to it are committed.
    pub(crate) fn commit(&self) -> Index {
        self.commit.get()
    }

    /// The applied index: all entries up to it are applied.
    pub(crate) fn applied(&self) -> Index {
        self.applied.get()
    }

    /// Whether there are committed entries to apply.
    pub(crate) fn is_behind(&self) -> bool {
        self.applied.get() < self.commit.get()
    }
}

/// The state that was read back from the journal.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    pub(crate) hard_state: HardState,
    pub(crate) applied: Index,
    /// Whether the journal lacks a checkpoint of the snapshot, or is new.
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

    /// The time of the current event.
    pub(crate) fn now(&self) -> Time {
        self.mailbox.now()
    }

    pub(crate) fn term(&self) -> Term {
        self.hard_state().term
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_states.get()
    }

    /// Whether the current hard state is on disk.
    pub(crate) fn hard_state_is_durable(&self) -> bool {
        self.hard_states.rests_on().is_none()
    }

    pub(crate) fn log(&self) -> Ref<'_, Log> {
        self.log.borrow()
    }

    /// The end of a new random election timeout (section 5.2).
    pub(crate) fn election_deadline(&self) -> Time {
        let timing = &self.config.timing;
        self.now() + self.env.rng.between(timing.election_min, timing.election_max)
    }

    /// The longest delay of its event loop or disk with which a node may go on leading.
    pub(crate) fn lateness_max(&self) -> Duration {
        self.config.timing.election_min
    }

    // ---- roles ----

    /// Enters the scope of a role. The reads that the previous role had sent are sent again.
    pub(crate) fn enter(&self, role: Role, leader: Option<NodeId>) {
        let term = self.term();
        self.published.entered(role, leader, self.now());
        self.reads.ask_again();
        self.mailbox.request();
        tracing::info!(node = %self.me(), ?role, %term, ?leader, "entered");
        self.observer.tell(|| Event::Entered { role, term, leader });
    }

    /// Leaves the scope of a role, after its futures have been dropped.
    pub(crate) fn leave(&self, role: Role, why: &'static str) {
        let term = self.term();
        tracing::info!(node = %self.me(), ?role, %term, why, "left");
        self.observer.tell(|| Event::Left { role, term, why });
    }

    // ---- hard state and messages ----

    /// Sets the term and perhaps the vote, in memory, and submits the record to the journal.
    pub(crate) fn set_hard_state(&self, state: HardState) {
        self.hard_states.set(&self.journal, state);
        let HardState { term, vote } = state;
        self.observer.tell(|| Event::HardStateSet { term, vote });
    }

    /// Adopts a higher term, without a vote.
    pub(crate) fn adopt(&self, term: Term) {
        self.set_hard_state(HardState { term, vote: None });
    }

    /// Sends a message in the current term, as soon as the hard state is durable.
    pub(crate) fn send(&self, to: NodeId, message: Message) {
        self.send_as(self.term(), to, message);
    }

    /// Like [`send`](Self::send), with another term in it: a pre-vote names the term it asks about.
    pub(crate) fn send_as(&self, term: Term, to: NodeId, message: Message) {
        let frame = Envelope { term, message }.encode();
        match self.hard_states.rests_on() {
            None => self.env.net.send(to, frame),
            Some(lsn) => self.outbox.push(lsn, (to, frame)),
        }
    }

    /// Answers a vote request of the current term. Returns whether the vote was granted.
    pub(crate) fn answer_vote(&self, from: NodeId, last: Position) -> bool {
        let state = self.hard_state();
        let granted = rules::may_vote(state, from, last, self.log().last());
        if granted && state.vote.is_none() {
            self.set_hard_state(HardState { vote: Some(from), ..state });
        }
        self.send(from, Message::RequestVoteReply { granted });
        granted
    }

    /// Takes in the journal's synced position, and sends the messages that waited for it.
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

    /// Appends entries to the log. Existing entries from the first new index on are removed.
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

    /// Raises the commit index to `index`. The new committed entries are applied before the next
    /// event.
    pub(crate) fn commit_to(&self, index: Index) {
        if index > self.decided.commit() {
            self.decided.commit.set(index);
            self.observer.tell(|| Event::Committed { index });
        }
    }

    /// Removes entries that a durable snapshot up to `covers` replaces. Returns the first journal
    /// record that is still needed.
    pub(crate) fn compact_log(&self, covers: Position) -> Option<Lsn> {
        self.log.borrow_mut().compact(covers, self.config.limits.snapshot_keep_entries)
    }

    /// Takes in the leader's snapshot up to `covers`. If the log has another entry there, the whole
    /// log is removed: entries after an entry that conflicts are not the leader's (section 7).
    pub(crate) fn follow_snapshot(&self, covers: Position) {
        self.log.borrow_mut().follow(covers);
        self.decided.applied.set(covers.index);
    }

    /// Applies some committed entries and answers the clients that wait for them.
    pub(crate) fn apply_slice(&self) -> Result<(), Fatal> {
        let slices = self.config.limits.slices;
        let (applied, commit) = (self.decided.applied(), self.decided.commit());
        if applied >= commit {
            return Ok(());
        }
        let entries = self.log().read(&self.journal, applied.next(), slices.apply_bytes)?;
        let entries = entries.expect("what is not applied is not compacted");
        let mut machine = self.machine.borrow_mut();
        for entry in
            entries.iter().take(slices.apply_entries).take_while(|entry| entry.index <= commit)
        {
            machine.apply(self.me(), entry);
            self.decided.applied.set(entry.index);
        }
        if machine.has_queued() {
            // An entry of a later term was applied: the requests that an earlier leader took and
            // did not commit are sent again.
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

    /// Notes that a client of this node has a new request.
    pub(crate) fn request(&self) {
        self.mailbox.request();
        self.wake.notify();
    }

    /// Lets these reads run when all entries up to `index` are applied.
    pub(crate) fn place_reads(&self, reads: &[u64], index: Index) {
        self.reads.place(reads, index, self.decided.applied());
    }

    /// The earliest deadline of the waiting clients.
    pub(crate) fn clients_due(&self) -> Time {
        self.machine.borrow().due().min(self.reads.due())
    }

    /// Refuses the clients whose deadline has passed.
    pub(crate) fn expire_clients(&self) {
        self.machine.borrow_mut().expire(self.now());
        self.reads.expire(self.now());
    }

    /// Refuses all waiting clients, now and later: the node's life is over.
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
