//! A follower: obeys the leader of its term, and gives up waiting when it hears none.
//!
//! Entered with the leader it follows, if it knows one. Left only to stand for election: because
//! it heard no leader for its random election timeout, or because its leader told it to take over
//! (section 5.2; thesis, section 3.10). A higher term is a new tenure of the same role.
//!
//! What it acknowledges is what it has verified to be its leader's *and* holds durably; it says so
//! whenever that grows, whatever made it grow.

use bytes::Bytes;

use crate::env::Time;
use crate::error::Refused;
use crate::id::{Index, NodeId};
use crate::raft::core::{Core, Event, Read, Stop};
use crate::raft::entries::Entries;
use crate::raft::message::{AppendOutcome, Declined, INSTALLED, Message, Position, Received};
use crate::raft::node::Role;
use crate::raft::rules;
use crate::raft::snapshot::Piece;

/// The right to be a follower; everybody has it.
#[derive(Debug)]
pub(crate) struct Follower {
    leader: Option<NodeId>,
    why: &'static str,
}

impl Follower {
    /// Without a leader: at start, and whenever a new term begins.
    pub(crate) fn leaderless(why: &'static str) -> Self {
        Self { leader: None, why }
    }

    /// Of a leader that was heard in the present term.
    pub(crate) fn of(leader: NodeId) -> Self {
        Self { leader: Some(leader), why: "a leader was heard" }
    }

    /// Why the role before this one was left.
    pub(crate) fn why(&self) -> &'static str {
        self.why
    }
}

/// The right to stand for election; only a follower makes one.
#[derive(Debug)]
pub(crate) struct Campaign {
    /// The old leader asked for it.
    pub(crate) transfer: bool,
    _only_here: (),
}

/// How a tenure ends.
enum End {
    /// A higher term was adopted.
    Overtaken,
    /// Nobody leads: stand for election.
    Campaign(Campaign),
}

/// Follows, tenure after tenure, until it is time to stand for election.
pub(crate) async fn run(core: &Core, mut me: Follower) -> Result<Campaign, Stop> {
    loop {
        core.enter(Role::Follower, me.leader);
        match tenure(core, me.leader).await? {
            End::Overtaken => {
                core.leave(Role::Follower, "a higher term");
                me = Follower::leaderless("a higher term");
            }
            End::Campaign(campaign) => {
                core.leave(Role::Follower, "heard no leader");
                return Ok(campaign);
            }
        }
    }
}

/// What a follower knows within one term.
struct Tenure<'a> {
    core: &'a Core,
    leader: Option<NodeId>,
    deadline: Time,
    /// Up to here my log is my leader's.
    verified: Index,
    acknowledged: Index,
    round: u64,
    /// The question to the leader that is under way, and who waits for its answer.
    asked: Option<Asked>,
}

struct Asked {
    id: u64,
    at: Time,
    reads: Vec<Read>,
}

async fn tenure(core: &Core, leader: Option<NodeId>) -> Result<End, Stop> {
    let alone = core.config.members.len() == 1;
    let mut tenure = Tenure {
        core,
        leader,
        deadline: if alone { core.now.get() } else { core.election_deadline() },
        verified: Index::ZERO,
        acknowledged: Index::ZERO,
        round: 0,
        asked: None,
    };
    let end = tenure.serve().await;
    // Reads wait for the next leader; they have not been answered, so they may be asked again.
    if let Some(asked) = tenure.asked.take() {
        core.reads.borrow_mut().extend(asked.reads);
    }
    end
}

impl Tenure<'_> {
    async fn serve(&mut self) -> Result<End, Stop> {
        loop {
            match self.core.next(self.deadline).await? {
                Event::Received(received) => {
                    if let Some(campaign) = self.hear(received) {
                        return Ok(End::Campaign(campaign));
                    }
                }
                Event::Overtaken => return Ok(End::Overtaken),
                Event::Advanced => {
                    self.acknowledge_growth();
                    self.acknowledge_piece();
                }
                Event::Installed => self.acknowledge_snapshot(),
                Event::Requests => self.forward(),
                Event::Elapsed if self.overslept() => self.deadline = self.core.election_deadline(),
                Event::Elapsed => {
                    return Ok(End::Campaign(Campaign { transfer: false, _only_here: () }));
                }
            }
        }
    }

    /// Whether this node itself was late, so that its silence proves nothing about the leader.
    fn overslept(&self) -> bool {
        let late = self.core.now.get().since(self.deadline);
        self.core.config.members.len() > 1 && late > self.core.config.timing.heartbeat
    }

    fn hear(&mut self, received: Received) -> Option<Campaign> {
        let from = received.from;
        match received.message {
            Message::RequestVote(ballot) if self.core.answer_vote(from, ballot.last) => {
                self.deadline = self.core.election_deadline();
            }
            Message::AppendEntries { prev, commit, round, entries } => {
                self.obey(from, round);
                self.append(from, prev, commit, entries);
            }
            Message::InstallSnapshot { covers, len, offset, round, piece } => {
                self.obey(from, round);
                self.receive_piece(from, Piece { covers, len, offset, bytes: piece });
            }
            Message::TimeoutNow if self.leader == Some(from) => {
                return Some(Campaign { transfer: true, _only_here: () });
            }
            Message::ForwardDeclined { requests, why } => self.declined(&requests, why),
            Message::ReadIndexReply { id, index } => self.told_read_index(id, index),
            // Only one who has led in this term is asked, and it may have taken the very same
            // command then: to decline would let it be proposed twice. The next leader's first
            // decision lets the sender ask again.
            Message::Forward { .. } => {}
            Message::ReadIndex { id } => {
                self.core.send(from, Message::ReadIndexReply { id, index: None });
            }
            // Answers to what an earlier role of mine asked.
            _ => {}
        }
        None
    }

    /// The leader is alive: it has my obedience for another timeout.
    fn obey(&mut self, leader: NodeId, round: u64) {
        let now = self.core.now.get();
        self.deadline = self.core.election_deadline();
        self.round = self.round.max(round);
        self.core.view.heard.set(Some(now));
        if self.leader.is_none() {
            self.leader = Some(leader);
            self.core.view.leader.set(self.leader);
        }
        if self.core.host.borrow().has_queued() {
            // New here, or declined by a leader that was not one.
            self.forward();
        }
        let patience = 2 * self.core.config.timing.heartbeat;
        if self.asked.as_ref().is_some_and(|asked| now.since(asked.at) > patience) {
            self.ask_again();
        }
    }

    // ---- the log ----

    fn append(&mut self, leader: NodeId, prev: Position, commit: Index, entries: Entries) {
        let mut log = self.core.log.borrow_mut();
        let decided = self.core.commit.get();
        let (prev, entries) = if prev.index < decided {
            // What is decided is the same everywhere: only what follows it can be new.
            let term = log.term_at(decided).unwrap_or(prev.term);
            let rest = entries.slice(decided.next(), usize::MAX);
            (Position { term, index: decided.min(entries.last().max(prev.index)) }, rest)
        } else {
            (prev, entries)
        };
        if prev.index >= decided && !rules::fits(prev, log.term_at(prev.index)) {
            let before = prev.index.prev().min(log.last().index);
            let hint = log.last_not_above(before, prev.term).max(decided);
            drop(log);
            let outcome = AppendOutcome::Conflict { refused: prev.index, hint };
            let round = self.round;
            return self.core.send(leader, Message::AppendReply { round, outcome });
        }
        let empty = entries.is_empty();
        let verified = if empty { prev.index } else { entries.last() };
        let new = rules::first_new(entries.iter().map(|e| (e.index, e.term)), |i| log.term_at(i));
        if new.is_some_and(|from| from <= decided) {
            tracing::error!(%leader, ?new, "an append contradicts what is decided: dropped");
            return;
        }
        if let Some(from) = new {
            self.core.write(&mut log, entries.slice(from, usize::MAX));
        }
        drop(log);
        self.verified = self.verified.max(verified);
        self.core.commit_to(rules::follower_commit(decided, commit, self.verified));
        let acknowledged = self.acknowledged();
        if empty || acknowledged > self.acknowledged {
            self.acknowledge(leader, acknowledged);
        }
    }

    fn acknowledged(&self) -> Index {
        rules::acknowledged(self.verified, self.core.log.borrow().durable())
    }

    fn acknowledge(&mut self, leader: NodeId, index: Index) {
        self.acknowledged = index;
        let outcome = AppendOutcome::Matched(index);
        self.core.send(leader, Message::AppendReply { round: self.round, outcome });
    }

    fn acknowledge_growth(&mut self) {
        let acknowledged = self.acknowledged();
        if let Some(leader) = self.leader
            && acknowledged > self.acknowledged
        {
            self.acknowledge(leader, acknowledged);
        }
    }

    // ---- snapshots ----

    fn receive_piece(&mut self, leader: NodeId, piece: Piece) {
        let (covers, round) = (piece.covers, self.round);
        if let Some(have) = self.core.receive_piece(piece) {
            self.core.send(leader, Message::InstallReply { covers, have, round });
        }
    }

    fn acknowledge_piece(&mut self) {
        if let Some(leader) = self.leader
            && let Some((covers, have)) = self.core.snapshot_progress()
        {
            self.core.send(leader, Message::InstallReply { covers, have, round: self.round });
        }
    }

    fn acknowledge_snapshot(&mut self) {
        let (covers, have) = (self.core.log.borrow().snapshot(), INSTALLED);
        self.verified = self.verified.max(covers.index);
        if let Some(leader) = self.leader {
            self.core.send(leader, Message::InstallReply { covers, have, round: self.round });
        }
    }

    // ---- clients ----

    /// Hands the clients' commands and reads to the leader, if there is one.
    fn forward(&mut self) {
        let Some(leader) = self.leader else { return };
        let bytes_max = self.core.config.limits.append_bytes_max;
        loop {
            let mut commands: Vec<(u64, Bytes)> = Vec::new();
            self.core.host.borrow_mut().take_queued(self.core.term(), bytes_max, &mut |n, c| {
                commands.push((n, c.clone()));
            });
            if commands.is_empty() {
                break;
            }
            self.core.send(leader, Message::Forward { commands });
        }
        self.ask(leader);
    }

    /// Asks the leader from which index on this node may answer the reads that wait.
    fn ask(&mut self, leader: NodeId) {
        if self.asked.is_some() || self.core.reads.borrow().is_empty() {
            return;
        }
        let id = self.core.fresh_read_id();
        let reads = self.core.reads.take().into();
        self.asked = Some(Asked { id, at: self.core.now.get(), reads });
        self.core.send(leader, Message::ReadIndex { id });
    }

    /// The question or its answer was lost: asks under a new number (never the old one).
    fn ask_again(&mut self) {
        if let (Some(asked), Some(leader)) = (self.asked.take(), self.leader) {
            self.core.reads.borrow_mut().extend(asked.reads);
            self.ask(leader);
        }
    }

    fn told_read_index(&mut self, id: u64, index: Option<Index>) {
        let Some(asked) = self.asked.take_if(|asked| asked.id == id) else {
            return;
        };
        match index {
            Some(index) => {
                asked.reads.into_iter().for_each(|read| self.core.answer_read_at(index, read));
            }
            None => self.core.reads.borrow_mut().extend(asked.reads),
        }
        if let Some(leader) = self.leader
            && index.is_some()
        {
            self.ask(leader);
        }
    }

    fn declined(&mut self, requests: &[u64], why: Declined) {
        let term = self.core.term();
        let mut host = self.core.host.borrow_mut();
        for &request in requests {
            match why {
                Declined::Overloaded => host.refuse(request, term, Refused::Overloaded),
                Declined::DiskFull => host.refuse(request, term, Refused::DiskFull),
            }
        }
    }
}
