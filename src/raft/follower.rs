//! The follower role: it copies the leader's log and starts an election when it hears no leader.
//!
//! The scope is entered with a [`Follower`], which names the leader if the node knows one. It
//! returns a [`Campaign`] in two cases: the random election timeout has passed without a message
//! from a leader (section 5.2), or the leader has sent `TimeoutNow` to transfer its leadership
//! (thesis, section 3.10). When the node adopts a higher term, it stays a follower and begins a new
//! *tenure*: one tenure is one term of a follower.
//!
//! A follower checks each `AppendEntries` against its log (section 5.3). It acknowledges the last
//! index up to which its log is verified to equal the leader's *and* is durable. It sends a new
//! acknowledgement whenever that index grows.

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
use crate::raft::snapshot::{Piece, Transfer};
use crate::raft::status::Role;

/// The right to be a follower. Every node has it at any time.
#[derive(Debug)]
pub(crate) struct Follower {
    leader: Option<NodeId>,
    why: &'static str,
}

impl Follower {
    /// A follower that knows no leader: at the start of a node, and at the start of a term.
    pub(crate) fn leaderless(why: &'static str) -> Self {
        Self { leader: None, why }
    }

    /// A follower of a leader that was heard in the current term.
    pub(crate) fn of(leader: NodeId) -> Self {
        Self { leader: Some(leader), why: "a leader was heard" }
    }

    /// The reason why the previous role ended.
    pub(crate) fn why(&self) -> &'static str {
        self.why
    }
}

/// The right to start an election. Only a follower makes one.
#[derive(Debug)]
pub(crate) struct Campaign {
    /// The leader asked for the election, to transfer its leadership.
    pub(crate) transfer: bool,
    _only_here: (),
}

/// The end of a tenure.
enum End {
    /// The node has adopted a higher term.
    Overtaken,
    /// The node starts an election.
    Campaign(Campaign),
}

/// Runs one tenure after another until the node starts an election.
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

/// The state of a follower within one term.
struct Tenure<'a> {
    core: &'a Core,
    leader: Option<NodeId>,
    deadline: Time,
    /// The log is verified to equal the leader's up to this index.
    verified: Index,
    acknowledged: Index,
    round: u64,
    /// The `ReadIndex` request without a reply, with the reads that wait for the reply.
    asked: Option<Asked>,
    /// When commands that were forwarded and not answered are forwarded again.
    again_at: Time,
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
        again_at: core.now() + core.config.timing.election_min,
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

    /// Whether this node's own event loop was late. Messages of a live leader may then still wait
    /// to be received, so the passed timeout does not show that the leader has failed.
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
            Message::InstallSnapshot { covers, len, digest, offset, round, piece } => {
                self.obey(from, round);
                let transfer = Transfer { covers, len, digest };
                self.receive_piece(from, Piece { transfer, offset, bytes: piece });
            }
            Message::TimeoutNow if self.leader == Some(from) => {
                return Some(Campaign { transfer: true, _only_here: () });
            }
            Message::ForwardDeclined { requests, why } => self.declined(&requests, why),
            Message::ReadIndexReply { id, index } => self.told_read_index(id, index),
            // A peer sends this only to the leader of this term. This node led earlier in the term
            // and may already have proposed the same command, so it must not decline: the sender
            // would propose the command twice. The sender forwards it again when it applies the
            // next leader's first entry.
            Message::Forward { .. } => {}
            Message::ReadIndex { id } => {
                self.core.send(from, Message::ReadIndexReply { id, index: None });
            }
            // Replies to messages that an earlier role of this node sent.
            _ => {}
        }
        None
    }

    /// Notes a message from the leader: starts the election timeout anew and forwards waiting
    /// requests.
    fn obey(&mut self, leader: NodeId, round: u64) {
        let now = self.core.now();
        self.deadline = self.core.election_deadline();
        self.round = self.round.max(round);
        self.core.published.heard_leader(leader, now);
        self.leader.get_or_insert(leader);
        if self.core.machine.borrow().has_queued() || self.core.reads.has_new() {
            // These requests waited for a leader, or the previous one no longer led.
            self.forward();
        }
        let patience = 2 * self.core.config.timing.heartbeat;
        if self.asked.as_ref().is_some_and(|asked| now.since(asked.at) > patience) {
            self.ask_again();
        }
        if now >= self.again_at {
            self.forward_again(leader);
        }
    }

    // ---- the log ----

    fn append(&mut self, leader: NodeId, prev: Position, commit: Index, entries: Entries) {
        let log = self.core.log();
        let decided = self.core.decided.commit();
        let (prev, entries) = if prev.index < decided {
            // Committed entries are the same on every node: only later entries can be new.
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
        let (covers, round) = (piece.transfer.covers, self.round);
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

    /// Sends the waiting commands and reads to the leader, if the node knows one.
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

    /// Forwards commands again that the leader has not answered for long: they, or its refusal, may
    /// have been lost. The leader knows which ones it has taken or declined in this term.
    fn forward_again(&mut self, leader: NodeId) {
        let (now, patience) = (self.core.now(), self.core.config.timing.election_min);
        self.again_at = now + patience;
        let before = Time(now.0.saturating_sub(patience.as_nanos() as u64));
        let (term, bytes_max) = (self.core.term(), self.core.config.limits.append_bytes_max);
        let mut commands: Vec<(u64, Bytes)> = Vec::new();
        let mut machine = self.core.machine.borrow_mut();
        machine.find_unanswered(term, before, bytes_max, &mut |number, command| {
            commands.push((number, command.clone()));
        });
        drop(machine);
        if !commands.is_empty() {
            self.core.send(leader, Message::Forward { commands });
        }
    }

    /// Asks the leader for the read index of the reads that wait (thesis, section 6.4).
    fn ask(&mut self, leader: NodeId) {
        if self.asked.is_some() || !self.core.reads.has_new() {
            return;
        }
        let id = self.core.mailbox.next_question();
        let reads = self.core.reads.take_new();
        self.asked = Some(Asked { id, at: self.core.now(), reads });
        self.core.send(leader, Message::ReadIndex { id });
    }

    /// Asks again because the request or its reply was lost. Each request has a new number.
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
            // The peer no longer leads. The node asks again when it hears a leader.
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
