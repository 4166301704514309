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
use crate::host::shutdown::Stop;
use crate::id::{Index, NodeId};
use crate::raft::core::Core;
use crate::raft::entries::Entries;
use crate::raft::mailbox::Event;
use crate::raft::message::{AppendOutcome, Declined, INSTALLED, Message, Position, Received};
use crate::raft::rules;
use crate::raft::snapshot::Piece;
use crate::raft::status::Role;

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
    reads: Vec<u64>,
}

async fn tenure(core: &Core, leader: Option<NodeId>) -> Result<End, Stop> {
    let alone = core.config.members.len() == 1;
    let mut tenure = Tenure {
        core,
        leader,
        deadline: if alone { core.now() } else { core.election_deadline() },
        verified: Index::ZERO,
        acknowledged: Index::ZERO,
        round: 0,
        asked: None,
    };
    tenure.serve().await
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
                Event::Synced => self.acknowledge_growth(),
                Event::PieceWritten => self.acknowledge_piece(),
                Event::HardStateDurable => {}
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
        let late = self.core.now().since(self.deadline);
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
        let now = self.core.now();
        self.deadline = self.core.election_deadline();
        self.round = self.round.max(round);
        self.core.published.heard_leader(leader, now);
        self.leader.get_or_insert(leader);
        if self.core.machine.borrow().has_queued() || self.core.reads.has_new() {
            // They waited for a leader, or were declined by one that was none.
            self.forward();
        }
        let patience = 2 * self.core.config.timing.heartbeat;
        if self.asked.as_ref().is_some_and(|asked| now.since(asked.at) > patience) {
            self.ask_again();
        }
    }

    // ---- the log ----

    fn append(&mut self, leader: NodeId, prev: Position, commit: Index, entries: Entries) {
        let log = self.core.log();
        let decided = self.core.decided.commit();
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
        drop(log);
        if let Some(from) = new {
            self.core.write(entries.slice(from, usize::MAX));
        }
        self.verified = self.verified.max(verified);
        self.core.commit_to(rules::follower_commit(decided, commit, self.verified));
        let acknowledged = self.acknowledged();
        if empty || acknowledged > self.acknowledged {
            self.acknowledge(leader, acknowledged);
        }
    }

    fn acknowledged(&self) -> Index {
        rules::acknowledged(self.verified, self.core.log().durable())
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
        let (covers, have) = (self.core.log().snapshot(), INSTALLED);
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
            self.core.machine.borrow_mut().take_queued(self.core.term(), bytes_max, &mut |n, c| {
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
        if self.asked.is_some() || !self.core.reads.has_new() {
            return;
        }
        let id = self.core.mailbox.next_question();
        let reads = self.core.reads.take_new();
        self.asked = Some(Asked { id, at: self.core.now(), reads });
        self.core.send(leader, Message::ReadIndex { id });
    }

    /// The question or its answer was lost: asks under a new number (never the old one).
    fn ask_again(&mut self) {
        self.asked = None;
        self.core.reads.ask_again();
        self.leader.into_iter().for_each(|leader| self.ask(leader));
    }

    fn told_read_index(&mut self, id: u64, index: Option<Index>) {
        let Some(asked) = self.asked.take_if(|asked| asked.id == id) else {
            return;
        };
        let Some(index) = index else {
            // It does not lead any more: asked again when a leader is heard.
            return self.core.reads.ask_again();
        };
        self.core.place_reads(&asked.reads, index);
        self.leader.into_iter().for_each(|leader| self.ask(leader));
    }

    fn declined(&mut self, requests: &[u64], why: Declined) {
        let term = self.core.term();
        let mut machine = self.core.machine.borrow_mut();
        for &request in requests {
            match why {
                Declined::Overloaded => machine.refuse(request, term, Refused::Overloaded),
                Declined::DiskFull => machine.refuse(request, term, Refused::DiskFull),
            }
        }
    }
}
