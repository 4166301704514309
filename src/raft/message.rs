//! The messages between nodes. Each says who sends it and when; all carry the sender's term.
//!
//! A frame is a tag, the fields in `borsh`, and for the three that carry bulk (appends, snapshot
//! pieces, forwarded commands) the bulk as it is, so that it is never copied on arrival.

use std::fmt;
use std::io::Cursor;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use crate::id::{Index, NodeId, Term};
use crate::journal::Digest;
use crate::raft::entries::{Entries, HEADER, REACHED_MAX};

/// The position and term of an entry: what one log says of its end, or of the entry before others.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize,
)]
pub struct Position {
    /// Its term; compared first (section 5.4.1).
    pub term: Term,
    /// Its index.
    pub index: Index,
}

impl Position {
    /// Whether a node can have come so far; counting on from here is safe then.
    #[must_use]
    pub fn is_in_range(&self) -> bool {
        self.term.0.max(self.index.0) < REACHED_MAX
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}", self.index, self.term)
    }
}

/// A candidate asks for a vote, or first whether it would get one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ballot {
    /// The end of the candidate's log.
    pub last: Position,
    /// The old leader told it to stand: nobody needs protection from it.
    pub transfer: bool,
}

/// A follower's answer to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum AppendOutcome {
    /// Up to here its log is its leader's, and durable.
    Matched(Index),
    /// It has no such entry before the new ones.
    Conflict {
        /// The position that the leader named.
        refused: Index,
        /// Where the leader should look next: it has nothing in common after this.
        hint: Index,
    },
}

/// The follower has the whole snapshot, or has passed it by.
pub const INSTALLED: u64 = u64::MAX;

/// Why a leader did not take a forwarded command. It was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Declined {
    /// Too much waits already.
    Overloaded,
    /// Its disk is full.
    DiskFull,
}

/// One message.
#[derive(Clone, PartialEq, Eq)]
pub enum Message {
    /// Candidate to all, before it raises its term: would you vote for me in `term`?
    PreVote(Ballot),
    /// The answer; `term` is the one asked about if granted, the voter's own if not.
    PreVoteReply {
        /// Whether it would.
        granted: bool,
    },
    /// Candidate to all, in its new term: vote for me (section 5.2).
    RequestVote(Ballot),
    /// The answer, sent when it is durable.
    RequestVoteReply {
        /// Whether it is a vote.
        granted: bool,
    },
    /// Leader to a follower: entries, or a sign of life (section 5.3).
    AppendEntries {
        /// The entry before the new ones.
        prev: Position,
        /// What the leader knows to be decided.
        commit: Index,
        /// The leader's latest round of asking whether it still leads; echoed.
        round: u64,
        /// The new entries, perhaps none.
        entries: Entries,
    },
    /// Follower to leader: what it has durably, whatever made it so.
    AppendReply {
        /// The latest round seen.
        round: u64,
        /// What became of the append.
        outcome: AppendOutcome,
    },
    /// Leader to a follower whose next entry is no longer in the log: one piece (section 7).
    InstallSnapshot {
        /// What the snapshot covers.
        covers: Position,
        /// Bytes of the whole.
        len: u64,
        /// Tells the whole from others.
        digest: Digest,
        /// Where this piece goes.
        offset: u64,
        /// The leader's latest round; echoed.
        round: u64,
        /// The piece.
        piece: Bytes,
    },
    /// Follower to leader: how much of that snapshot it has.
    InstallReply {
        /// Which snapshot.
        covers: Position,
        /// Bytes it has; [`INSTALLED`] once the whole is durable and installed.
        have: u64,
        /// The latest round seen.
        round: u64,
    },
    /// Leader to the follower that shall take over now (thesis, section 3.10).
    TimeoutNow,
    /// Follower to its leader: commands of its clients.
    Forward {
        /// The commands, each with its request number at the sender.
        commands: Vec<(u64, Bytes)>,
    },
    /// Leader to that follower: some were not taken. Those taken are answered by being applied.
    ForwardDeclined {
        /// The request numbers.
        requests: Vec<u64>,
        /// Why.
        why: Declined,
    },
    /// Follower to its leader: from which index on may I answer a read? (thesis, section 6.4)
    ReadIndex {
        /// The question's number, never used again.
        id: u64,
    },
    /// The answer, when a quorum has confirmed the leader.
    ReadIndexReply {
        /// The question's number.
        id: u64,
        /// The index; `None` if this node does not lead.
        index: Option<Index>,
    },
}

/// A message with the term of its sender (or, for a pre-vote, the term asked about).
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The term.
    pub term: Term,
    /// The message.
    pub message: Message,
}

/// Why a frame is not a message. It is dropped and counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub String);

/// The fields of each message that precede its bulk, as they lie on the wire.
#[derive(BorshSerialize, BorshDeserialize)]
enum Head {
    PreVote(Ballot),
    PreVoteReply(bool),
    RequestVote(Ballot),
    RequestVoteReply(bool),
    AppendEntries { prev: Position, commit: Index, round: u64 },
    AppendReply { round: u64, outcome: AppendOutcome },
    InstallSnapshot { covers: Position, len: u64, digest: Digest, offset: u64, round: u64 },
    InstallReply { covers: Position, have: u64, round: u64 },
    TimeoutNow,
    Forward { lens: Vec<(u64, u32)> },
    ForwardDeclined { requests: Vec<u64>, why: Declined },
    ReadIndex { id: u64 },
    ReadIndexReply { id: u64, index: Option<Index> },
}

impl Envelope {
    /// The frame of this message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let bulk_len: usize = self.message.bulk().map(Bytes::len).sum();
        let mut frame = Vec::with_capacity(64 + bulk_len);
        let head = (self.term, Head::of(&self.message));
        head.serialize(&mut frame).expect("memory does not refuse a write");
        self.message.bulk().for_each(|bytes| frame.extend_from_slice(bytes));
        frame.into()
    }

    /// Reads a frame; bulk stays where it lies.
    ///
    /// # Errors
    /// [`Malformed`] for anything that [`encode`](Self::encode) would not have written.
    pub fn decode(frame: &Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(frame.as_ref());
        let (term, head) = <(Term, Head)>::deserialize_reader(&mut cursor)
            .map_err(|error| Malformed(error.to_string()))?;
        let at = usize::try_from(cursor.position()).unwrap_or(frame.len());
        let bulk = frame.slice(at..);
        let message = head.with(bulk)?;
        if term.0 >= REACHED_MAX || !message.is_in_range() {
            return Err(Malformed("a term or an index that nobody can have reached".into()));
        }
        Ok(Self { term, message })
    }
}

impl Message {
    /// Bytes of entries that taking this message in would write.
    #[must_use]
    pub fn entries_bytes(&self) -> usize {
        match self {
            Self::AppendEntries { entries, .. } => entries.bytes().len(),
            Self::Forward { commands } => commands.iter().map(|(_, c)| HEADER + c.len()).sum(),
            _ => 0,
        }
    }

    /// Whether every term and index that it names is one that a node can have reached. (Those of
    /// entries were checked with them.)
    fn is_in_range(&self) -> bool {
        match self {
            Self::PreVote(ballot) | Self::RequestVote(ballot) => ballot.last.is_in_range(),
            Self::AppendEntries { prev, commit, .. } => {
                prev.is_in_range() && commit.0 < REACHED_MAX
            }
            Self::AppendReply { outcome: AppendOutcome::Matched(index), .. } => {
                index.0 < REACHED_MAX
            }
            Self::AppendReply { outcome: AppendOutcome::Conflict { refused, hint }, .. } => {
                refused.max(hint).0 < REACHED_MAX
            }
            Self::InstallSnapshot { covers, .. } | Self::InstallReply { covers, .. } => {
                covers.is_in_range()
            }
            Self::ReadIndexReply { index, .. } => index.is_none_or(|index| index.0 < REACHED_MAX),
            _ => true,
        }
    }

    /// What follows the fields, as it is.
    fn bulk(&self) -> impl Iterator<Item = &Bytes> {
        let (one, many): (Option<&Bytes>, &[(u64, Bytes)]) = match self {
            Self::AppendEntries { entries, .. } => (Some(entries.bytes()), &[]),
            Self::InstallSnapshot { piece, .. } => (Some(piece), &[]),
            Self::Forward { commands } => (None, commands),
            _ => (None, &[]),
        };
        one.into_iter().chain(many.iter().map(|(_, bytes)| bytes))
    }
}

impl Head {
    fn of(message: &Message) -> Self {
        match message.clone() {
            Message::PreVote(ballot) => Self::PreVote(ballot),
            Message::PreVoteReply { granted } => Self::PreVoteReply(granted),
            Message::RequestVote(ballot) => Self::RequestVote(ballot),
            Message::RequestVoteReply { granted } => Self::RequestVoteReply(granted),
            Message::AppendEntries { prev, commit, round, .. } => {
                Self::AppendEntries { prev, commit, round }
            }
            Message::AppendReply { round, outcome } => Self::AppendReply { round, outcome },
            Message::InstallSnapshot { covers, len, digest, offset, round, .. } => {
                Self::InstallSnapshot { covers, len, digest, offset, round }
            }
            Message::InstallReply { covers, have, round } => {
                Self::InstallReply { covers, have, round }
            }
            Message::TimeoutNow => Self::TimeoutNow,
            Message::Forward { commands } => {
                let len = |bytes: &Bytes| u32::try_from(bytes.len()).expect("limited on arrival");
                let lens = commands.iter().map(|(request, bytes)| (*request, len(bytes)));
                Self::Forward { lens: lens.collect() }
            }
            Message::ForwardDeclined { requests, why } => Self::ForwardDeclined { requests, why },
            Message::ReadIndex { id } => Self::ReadIndex { id },
            Message::ReadIndexReply { id, index } => Self::ReadIndexReply { id, index },
        }
    }

    fn with(self, bulk: Bytes) -> Result<Message, Malformed> {
        let bulk_len = bulk.len();
        let message = match self {
            Self::AppendEntries { prev, commit, round } => {
                let first = Index(prev.index.0.saturating_add(1));
                let entries =
                    Entries::check(first, bulk).map_err(|error| Malformed(error.to_string()))?;
                return Ok(Message::AppendEntries { prev, commit, round, entries });
            }
            Self::InstallSnapshot { covers, len, digest, offset, round } => {
                let piece = bulk;
                return Ok(Message::InstallSnapshot { covers, len, digest, offset, round, piece });
            }
            Self::Forward { lens } => return split(&lens, &bulk),
            Self::PreVote(ballot) => Message::PreVote(ballot),
            Self::PreVoteReply(granted) => Message::PreVoteReply { granted },
            Self::RequestVote(ballot) => Message::RequestVote(ballot),
            Self::RequestVoteReply(granted) => Message::RequestVoteReply { granted },
            Self::AppendReply { round, outcome } => Message::AppendReply { round, outcome },
            Self::InstallReply { covers, have, round } => {
                Message::InstallReply { covers, have, round }
            }
            Self::TimeoutNow => Message::TimeoutNow,
            Self::ForwardDeclined { requests, why } => Message::ForwardDeclined { requests, why },
            Self::ReadIndex { id } => Message::ReadIndex { id },
            Self::ReadIndexReply { id, index } => Message::ReadIndexReply { id, index },
        };
        match bulk_len {
            0 => Ok(message),
            extra => Err(Malformed(format!("{extra} bytes too many"))),
        }
    }
}

fn split(lens: &[(u64, u32)], bulk: &Bytes) -> Result<Message, Malformed> {
    let mut at = 0usize;
    let mut commands = Vec::with_capacity(lens.len());
    for &(id, len) in lens {
        let end = at.checked_add(len as usize).filter(|&end| end <= bulk.len());
        let end = end.ok_or_else(|| Malformed(format!("command {id} is cut off")))?;
        commands.push((id, bulk.slice(at..end)));
        at = end;
    }
    if at < bulk.len() {
        return Err(Malformed(format!("{} bytes too many", bulk.len() - at)));
    }
    Ok(Message::Forward { commands })
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.term, self.message)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PreVote(b) => write!(f, "PreVote last={:?}", b.last),
            Self::PreVoteReply { granted } => write!(f, "PreVoteReply granted={granted}"),
            Self::RequestVote(b) => write!(f, "RequestVote last={:?}", b.last),
            Self::RequestVoteReply { granted } => write!(f, "RequestVoteReply granted={granted}"),
            Self::AppendEntries { prev, commit, round, entries } => {
                write!(f, "AppendEntries prev={prev:?} commit={commit:?} round={round}")?;
                if entries.is_empty() { Ok(()) } else { write!(f, " {entries:?}") }
            }
            Self::AppendReply { round, outcome } => match outcome {
                AppendOutcome::Matched(index) => {
                    write!(f, "AppendReply matched={index:?} round={round}")
                }
                AppendOutcome::Conflict { refused, hint } => {
                    write!(f, "AppendReply refused={refused:?} hint={hint:?} round={round}")
                }
            },
            Self::InstallSnapshot { covers, len, offset, piece, .. } => {
                let to = offset.saturating_add(piece.len() as u64);
                write!(f, "InstallSnapshot {covers:?} bytes {offset}..{to} of {len}")
            }
            Self::InstallReply { covers, have, .. } => {
                write!(f, "InstallReply {covers:?} have={have}")
            }
            Self::TimeoutNow => write!(f, "TimeoutNow"),
            Self::Forward { commands } => write!(f, "Forward {} commands", commands.len()),
            Self::ForwardDeclined { requests, why } => {
                write!(f, "ForwardDeclined {} commands: {why:?}", requests.len())
            }
            Self::ReadIndex { id } => write!(f, "ReadIndex {id}"),
            Self::ReadIndexReply { id, index } => write!(f, "ReadIndexReply {id} {index:?}"),
        }
    }
}

/// The sender and its message, as the engine hands it from the mailbox to a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Who sent it.
    pub from: NodeId,
    /// In which term.
    pub term: Term,
    /// What it says.
    pub message: Message,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::entries::{Builder, Kind, Origin};

    fn samples() -> Vec<Envelope> {
        let last = Position { term: Term(2), index: Index(7) };
        let mut builder = Builder::new(Index(8), Term(3), 0);
        let origin = Origin { node: NodeId(2), request: 4 };
        builder.push(Kind::Command, origin, b"payload");
        let entries = builder.finish();
        let messages = vec![
            Message::PreVote(Ballot { last, transfer: false }),
            Message::PreVoteReply { granted: true },
            Message::RequestVote(Ballot { last, transfer: true }),
            Message::RequestVoteReply { granted: false },
            Message::AppendEntries { prev: last, commit: Index(5), round: 9, entries },
            Message::AppendReply { round: 9, outcome: AppendOutcome::Matched(Index(8)) },
            Message::AppendReply {
                round: 9,
                outcome: AppendOutcome::Conflict { refused: Index(7), hint: Index(3) },
            },
            Message::InstallSnapshot {
                covers: last,
                len: 100,
                digest: Digest([7; 32]),
                offset: 10,
                round: 1,
                piece: Bytes::from_static(b"piece"),
            },
            Message::InstallReply { covers: last, have: 15, round: 1 },
            Message::TimeoutNow,
            Message::Forward {
                commands: vec![(1, Bytes::from_static(b"a")), (2, Bytes::from_static(b""))],
            },
            Message::ForwardDeclined { requests: vec![1, 2], why: Declined::Overloaded },
            Message::ReadIndex { id: 4 },
            Message::ReadIndexReply { id: 4, index: Some(Index(8)) },
        ];
        messages.into_iter().map(|message| Envelope { term: Term(3), message }).collect()
    }

    #[test]
    fn every_message_survives_the_wire() {
        for envelope in samples() {
            assert_eq!(Envelope::decode(&envelope.encode()).as_ref(), Ok(&envelope));
        }
    }

    /// Each word of a frame that holds a term or an index is made the greatest of all, one at a time.
    #[test]
    fn a_term_or_an_index_that_nobody_can_have_reached_is_refused() {
        let far = u64::MAX;
        let beyond = [
            Position { term: Term(far), index: Index(7) },
            Position { term: Term(2), index: Index(far) },
        ];
        let mut messages = vec![
            Message::AppendReply { round: 1, outcome: AppendOutcome::Matched(Index(far)) },
            Message::ReadIndexReply { id: 1, index: Some(Index(far)) },
        ];
        for (refused, hint) in [(Index(far), Index(1)), (Index(1), Index(far))] {
            let outcome = AppendOutcome::Conflict { refused, hint };
            messages.push(Message::AppendReply { round: 1, outcome });
        }
        for last in beyond {
            let entries = Entries::none(Index(last.index.0.saturating_add(1)));
            let commit = Index(1);
            messages.extend([
                Message::PreVote(Ballot { last, transfer: false }),
                Message::RequestVote(Ballot { last, transfer: false }),
                Message::AppendEntries { prev: last, commit, round: 1, entries },
                Message::InstallReply { covers: last, have: INSTALLED, round: 1 },
            ]);
        }
        let commit = Index(far);
        let (prev, entries) = (Position::default(), Entries::none(Index(1)));
        messages.push(Message::AppendEntries { prev, commit, round: 1, entries });
        for message in messages {
            let envelope = Envelope { term: Term(3), message };
            assert!(Envelope::decode(&envelope.encode()).is_err(), "{envelope:?}");
        }
        let envelope = Envelope { term: Term(far), message: Message::TimeoutNow };
        assert!(Envelope::decode(&envelope.encode()).is_err());
    }

    #[test]
    fn a_cut_or_extended_frame_is_refused_or_is_another_message_never_a_panic() {
        for envelope in samples() {
            let frame = envelope.encode();
            for cut in 0..frame.len() {
                let _ = Envelope::decode(&frame.slice(..cut));
            }
            for at in 0..frame.len() {
                let mut changed = frame.to_vec();
                changed[at] ^= 0xff;
                let _ = Envelope::decode(&changed.into());
            }
            let mut longer = frame.to_vec();
            longer.push(0);
            if !matches!(envelope.message, Message::InstallSnapshot { .. }) {
                assert!(Envelope::decode(&longer.into()).is_err(), "{envelope:?}");
            }
        }
    }
}
