//! A leader: puts entries into the log, has them copied to every peer, and decides them when a
//! majority holds them durably (sections 5.3 and 5.4).
//!
//! Entered with [`Elected`]. Left only by stepping down: a higher term exists, no quorum answers, or
//! this node itself is late. One replication future per peer lives in this scope; leaving it drops
//! them all, and not a byte of the old term leaves afterwards.

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

/// How long a decision may stay untold to a peer that nobody waits at: it goes with the next
/// append, or by itself after this. Watches on followers are late by as much.
const TELL_AFTER: Duration = Duration::from_millis(10);

/// What a leader knows within its term, shared with its replication futures.
pub(crate) struct Lead<'a> {
    pub(crate) core: &'a Core,
    pub(crate) term: Term,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    reads: RefCell<Reads>,
    /// Counts heartbeats: a peer that was sent nothing since the last one is sent a sign of life.
    beat: Cell<u64>,
    /// The no-op with which this term began.
    noop: Index,
    beat_due: Cell<Time>,
    tell_due: Cell<Time>,
}

/// Leads until it must step down.
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
        // Section 8: a no-op of its own term, so that what its predecessors left gets decided.
        let mut noop = Builder::new(last.next(), lead.term, HEADER);
        noop.push(Kind::Noop, Origin { node: core.me(), request: 0 }, &[]);
        lead.append(noop);
        lead
    }

    /// The latest heartbeat.
    pub(crate) fn beat(&self) -> u64 {
        self.beat.get()
    }

    /// The latest round of reads.
    pub(crate) fn round(&self) -> u64 {
        self.reads.borrow().round()
    }

    /// Returns why it ended.
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
                // It has voted for itself, so this is a no.
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

    /// Decides what a majority holds durably.
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
            let requests = new.iter().map(|(request, _)| *request).collect();
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

    /// Starts a round of asking all peers whether this node still leads, if anybody reads.
    fn start_reads(&self) {
        if !rules::may_start_read(self.core.decided.commit(), self.noop) {
            return;
        }
        if self.reads.borrow_mut().start(self.core) {
            self.notify_all();
            self.confirm_reads();
        }
    }

    /// Answers the reads of a round that a majority has confirmed.
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

    /// Whether this node may go on leading: it is on time, its disk is, and a quorum answers
    /// (thesis, section 6.2).
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

    /// Tells the peer that has everything to take over, if there is one.
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
