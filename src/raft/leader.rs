//! The leader role: it appends entries to the log, replicates them to every peer, and commits them
//! when a majority holds them durably (sections 5.3 and 5.4).
//!
//! The scope is entered with [`Elected`]. A leader steps down when it adopts a higher term, when no
//! quorum answers it (thesis, section 6.2), or when its own event loop or disk is late. The scope
//! holds one replication future per peer. When it ends, all of them are dropped, and no append of
//! the old term leaves afterwards.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::env::Time;
use crate::error::Refused;
use crate::host::shutdown::Stop;
use crate::id::{Index, NodeId, Term};
use crate::quorum::majority;
use crate::raft::candidate::Elected;
use crate::raft::core::Core;
use crate::raft::entries::{Builder, HEADER, Kind, Origin};
use crate::raft::follower::Follower;
use crate::raft::mailbox::Event;
use crate::raft::message::{Declined, Message, Received};
use crate::raft::reads::Reads;
use crate::raft::replication::{self, Peer};
use crate::raft::rules;
use crate::raft::status::{PeerStatus, Role};
use crate::scope::first::{First, first};
use crate::scope::nursery::Nursery;

/// The longest time until a peer without waiting clients is told a new commit index. The next
/// append carries the index; without an append, the leader sends it alone after this time. A watch
/// on a follower is late by at most this time.
const TELL_AFTER: Duration = Duration::from_millis(10);

/// The state of a leader within its term. Its replication futures share it.
pub(crate) struct Lead<'a> {
    pub(crate) core: &'a Core,
    pub(crate) term: Term,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    reads: RefCell<Reads>,
    /// The number of heartbeats so far. At each one, a peer that was sent nothing since the one
    /// before is sent an empty append.
    beat: Cell<u64>,
    /// The index of the no-op entry with which this leader began its term.
    noop: Index,
    beat_due: Cell<Time>,
    tell_due: Cell<Time>,
}

/// Leads until the node steps down.
pub(crate) async fn run(core: &Core, elected: Elected) -> Result<Follower, Stop> {
    assert_eq!(elected.term(), core.term(), "elected in the present term");
    assert!(core.hard_state_is_durable(), "its own vote is on disk");
    assert!(core.log().last().term < elected.term(), "nobody has written in this term yet");
    core.enter(Role::Leader, Some(core.me()));
    let why = Lead::new(core, &elected).tenure().await?;
    core.leave(Role::Leader, why);
    Ok(Follower::leaderless(why))
}

impl<'a> Lead<'a> {
    fn new(core: &'a Core, elected: &Elected) -> Self {
        let last = core.log().last().index;
        let now = core.now();
        let lead = Self {
            core,
            term: elected.term(),
            peers: core.config.peers().map(|id| (id, Peer::new(id, last.next(), now))).collect(),
            reads: RefCell::new(Reads::default()),
            beat: Cell::new(0),
            noop: last.next(),
            beat_due: Cell::new(now + core.config.timing.heartbeat),
            tell_due: Cell::new(Time::NEVER),
        };
        // Section 8: the first entry of a leader is a no-op. When it is committed, the entries of
        // earlier leaders before it are committed, too.
        let mut noop = Builder::new(last.next(), lead.term, HEADER);
        noop.push(Kind::Noop, Origin { node: core.me(), request: 0 }, &[]);
        lead.append(noop);
        lead
    }

    /// The number of the latest heartbeat.
    pub(crate) fn beat(&self) -> u64 {
        self.beat.get()
    }

    /// The number of the latest round of reads.
    pub(crate) fn round(&self) -> u64 {
        self.reads.borrow().round()
    }

    /// Serves events until the node steps down, and returns the reason.
    async fn tenure(&self) -> Result<&'static str, Stop> {
        let mut replications = Nursery::new();
        for peer in self.peers.values() {
            replications.add(replication::run(self, peer));
        }
        loop {
            let deadline = self.beat_due.get().min(self.tell_due.get());
            let event = match first(replications.next(), self.core.next(deadline)).await {
                First::A(fatal) => return Err(fatal.into()),
                First::B(Err(Stop::Shutdown)) => {
                    self.hand_over();
                    return Err(Stop::Shutdown);
                }
                First::B(event) => event?,
            };
            match event {
                Event::Received(received) => self.hear(received),
                Event::Overtaken => return Ok("a higher term"),
                Event::Synced => self.advance(),
                Event::HardStateDurable | Event::PieceWritten | Event::Installed => {}
                Event::Requests => self.take_requests(),
                Event::Elapsed => {
                    if let Err(why) = self.elapsed() {
                        return Ok(why);
                    }
                }
            }
        }
    }

    fn hear(&self, received: Received) {
        let Some(peer) = self.peers.get(&received.from) else {
            return;
        };
        match received.message {
            Message::AppendReply { round, outcome } => {
                peer.hear(self, round, outcome);
                self.heard(round);
            }
            Message::InstallReply { covers, have, round } => {
                peer.hear_install(self.core.now(), round, covers, have);
                self.heard(round);
            }
            Message::Forward { commands } => self.take_forwarded(peer, &commands),
            Message::ReadIndex { id } => {
                self.reads.borrow_mut().ask_remote(received.from, id);
                self.start_reads();
            }
            Message::RequestVote(ballot) => {
                // A leader has voted for itself in this term, so the answer is no.
                self.core.answer_vote(received.from, ballot.last);
            }
            _ => {}
        }
    }

    fn heard(&self, round: u64) {
        self.advance();
        if round > 0 {
            self.confirm_reads();
        }
    }

    // ---- the log ----

    fn append(&self, entries: Builder) {
        self.core.write(entries.finish());
        self.notify_all();
    }

    pub(crate) fn notify_all(&self) {
        self.peers.values().for_each(|peer| peer.wake.notify());
    }

    /// Commits the entries that a majority holds durably.
    fn advance(&self) {
        let log = self.core.log();
        let mut matches: Vec<u64> = self.peers.values().map(|peer| peer.matched().0).collect();
        matches.push(log.durable().0);
        let before = self.core.decided.commit();
        let commit =
            rules::leader_commit(before, &mut matches, |index| log.term_at(index), self.term);
        drop(log);
        if commit == before {
            return;
        }
        self.core.commit_to(commit);
        for peer in self.peers.values() {
            peer.decided(commit);
        }
        if !self.peers.is_empty() && self.tell_due.get() == Time::NEVER {
            self.tell_due.set(self.core.now() + TELL_AFTER);
        }
        self.start_reads();
    }

    // ---- clients ----

    fn take_requests(&self) {
        self.take_commands();
        self.start_reads();
    }

    fn take_commands(&self) {
        let limit = self.core.config.limits.append_bytes_max;
        while self.core.machine.borrow().has_queued() {
            let last = self.core.log().last().index;
            let me = self.core.me();
            let mut batch = Builder::new(last.next(), self.term, 4 << 10);
            let mut refused = Vec::new();
            let full = self.core.journal.is_full();
            self.core.machine.borrow_mut().take_queued(
                self.term,
                limit,
                &mut |request, command| {
                    if full {
                        refused.push(request);
                    } else {
                        batch.push(Kind::Command, Origin { node: me, request }, command);
                    }
                },
            );
            for request in refused {
                self.core.machine.borrow_mut().refuse(request, self.term, Refused::DiskFull);
            }
            if batch.is_empty() {
                return;
            }
            self.append(batch);
        }
    }

    fn take_forwarded(&self, peer: &Peer, commands: &[(u64, Bytes)]) {
        let limits = &self.core.config.limits;
        let last = self.core.log().last().index;
        let undecided = last.0 - self.core.decided.commit().0;
        let too_large = |command: &Bytes| command.len() > limits.command_bytes_max;
        for (why, requests) in peer.declined(commands.iter().map(|(request, _)| *request)) {
            self.core.send(peer.id, Message::ForwardDeclined { requests, why });
        }
        let new: Vec<_> = commands.iter().filter(|(request, _)| peer.is_new(*request)).collect();
        if new.is_empty() {
            return;
        }
        let why = if self.core.journal.is_full() {
            Some(Declined::DiskFull)
        } else if undecided >= limits.proposals_max as u64
            || new.iter().any(|(_, command)| too_large(command))
        {
            Some(Declined::Overloaded)
        } else {
            None
        };
        if let Some(why) = why {
            let requests: Vec<_> = new.iter().map(|(request, _)| *request).collect();
            peer.decline(&requests, why);
            return self.core.send(peer.id, Message::ForwardDeclined { requests, why });
        }
        let bytes = new.iter().map(|(_, c)| HEADER + c.len()).sum();
        let mut batch = Builder::new(last.next(), self.term, bytes);
        for (request, command) in new {
            let origin = Origin { node: peer.id, request: *request };
            batch.push(Kind::Command, origin, command);
        }
        self.append(batch);
        peer.waits_for(self.core.log().last().index);
    }

    // ---- reads ----

    /// Starts a round of reads, if reads wait: all peers are asked whether this node still leads.
    fn start_reads(&self) {
        if !rules::may_start_read(self.core.decided.commit(), self.noop) {
            return;
        }
        if self.reads.borrow_mut().start(self.core) {
            self.notify_all();
            self.confirm_reads();
        }
    }

    /// Answers the reads of the round, if a majority has confirmed it.
    fn confirm_reads(&self) {
        let round = self.reads.borrow().round();
        let confirmed = self.peers.values().filter(|peer| peer.round() >= round).count() + 1;
        if confirmed < majority(self.peers.len() + 1) {
            return;
        }
        let Some(answers) = self.reads.borrow_mut().confirmed() else {
            return;
        };
        answers.give(self.core);
        self.start_reads();
    }

    // ---- time ----

    fn elapsed(&self) -> Result<(), &'static str> {
        let now = self.core.now();
        if now >= self.tell_due.get() {
            self.tell_due.set(Time::NEVER);
            self.peers.values().for_each(|peer| peer.tell(self.core.decided.commit()));
        }
        if now < self.beat_due.get() {
            return Ok(());
        }
        let late = now.since(self.beat_due.get());
        self.beat_due.set(now + self.core.config.timing.heartbeat);
        self.publish(now);
        if self.peers.is_empty() {
            return Ok(());
        }
        self.check(now, late)?;
        self.beat.set(self.beat.get() + 1);
        self.notify_all();
        if self.core.journal.is_full() {
            self.hand_over();
        }
        Ok(())
    }

    /// Whether this node may go on leading: its event loop and its disk are on time, and a quorum
    /// answers (thesis, section 6.2).
    fn check(&self, now: Time, late: Duration) -> Result<(), &'static str> {
        let patience = self.core.lateness_max();
        if late > patience {
            return Err("its own loop was late");
        }
        let waits = self.core.journal.waiting_since().map_or(Duration::ZERO, |at| now.since(at));
        if waits > patience && !self.core.journal.is_full() {
            return Err("its own disk is late");
        }
        let alive = self.peers.values().filter(|p| now.since(p.heard()) < patience).count() + 1;
        if alive < majority(self.peers.len() + 1) {
            return Err("no quorum answers");
        }
        Ok(())
    }

    /// Transfers the leadership to a peer that has the whole log, if there is one (thesis, section
    /// 3.10).
    fn hand_over(&self) {
        let last = self.core.log().last().index;
        if let Some(peer) = self.peers.values().find(|peer| peer.matched() == last) {
            self.core.send(peer.id, Message::TimeoutNow);
        }
    }

    fn publish(&self, now: Time) {
        let status = |peer: &Peer| PeerStatus {
            node: peer.id,
            match_index: peer.matched(),
            next_index: peer.next(),
            heard_ms: u64::try_from(now.since(peer.heard()).as_millis()).ok(),
        };
        self.core.published.set_peers(self.peers.values().map(status).collect());
    }
}
