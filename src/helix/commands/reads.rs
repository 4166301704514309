//! Linearizable reads, without writing anything.
//!
//! Whoever was answered was answered by a node that had applied a decided height. A height is
//! decided when a quorum has signed COMMIT for it. So a read asks all members: *which is the highest
//! height for which you have signed a COMMIT, or that you know to be decided?* Any quorum of answers
//! has an honest member of the quorum that decided, so the **highest** answer covers every height
//! that anybody can have been told of. The read waits until this node has applied as much.
//!
//! The highest, and not the one that `f + 1` answers reach: of `n = 4`, let 1, 2 and 3 decide a
//! height and 1 answer its client. If then 3 lies, and 4, who has heard nothing, asks 2 and 3, only
//! one answer tells of that height, and it is the one that counts.
//!
//! A liar can name a height that will never be. So if this node does not come that far soon, the
//! reads become a *mark*: a command without effect that is decided and applied like any other;
//! what was answered before it was asked for stands before it. A peer that was not borne out is
//! not waited for again until it is.
//!
//! One round is under way at a time; who comes meanwhile waits for the next one. A round's number
//! is never used again, so an old answer says nothing new. The answers are not signed: like all
//! that nodes tell each other besides the protocol's own statements, they are as good as the
//! transport's word for who speaks.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::env::Time;
use crate::error::Refused;
use crate::host::reads::Reads as Table;
use crate::id::{Height, NodeId};
use crate::quorum::byzantine_quorum;
use crate::scope::oneshot::Answer;

/// A question to all members, and what they have answered.
struct Round {
    reads: Vec<u64>,
    heights: BTreeMap<NodeId, Height>,
    /// When to ask those again who have not answered.
    again: Time,
}

/// Reads that know what they wait for.
struct Held {
    height: Height,
    reads: Vec<u64>,
    /// How long they wait for it.
    until: Time,
    /// Who named a height above what was applied here.
    claims: BTreeMap<NodeId, Height>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// After this a question is asked again.
    pub(crate) resend: Duration,
    /// After this a height that was named is not waited for any more.
    pub(crate) bear_out: Duration,
    /// After this a read is refused.
    pub(crate) patience: Duration,
}

/// The reads of one node.
pub(crate) struct Reads {
    peers: Vec<NodeId>,
    pace: Pace,
    number: u64,
    /// The reads themselves: the rounds hold their numbers.
    table: Table<Height>,
    round: Option<Round>,
    held: VecDeque<Held>,
    /// Peers that named a height which was not reached in time.
    doubted: BTreeMap<NodeId, Height>,
}

impl Reads {
    /// `number` is random, so that answers to an earlier life are nobody's.
    pub(crate) fn new(peers: Vec<NodeId>, reads_max: usize, pace: Pace, number: u64) -> Self {
        Self {
            table: Table::new(reads_max, pace.patience),
            peers,
            pace,
            number,
            round: None,
            held: VecDeque::new(),
            doubted: BTreeMap::new(),
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_idle(&self) -> bool {
        !self.table.has_new() && self.round.is_none() && self.held.is_empty()
    }

    /// Takes a read in.
    ///
    /// # Errors
    /// If too many wait, or the node has ended.
    pub(crate) fn ask(&self, now: Time) -> Result<Answer<Result<(), Refused>>, Refused> {
        self.table.ask(now)
    }

    /// Whom to ask now, and the number of the round.
    pub(crate) fn questions(&mut self, now: Time) -> Option<(u64, Vec<NodeId>)> {
        match &mut self.round {
            Some(round) if now >= round.again => {
                round.again = now + self.pace.resend;
                let silent = |peer: &&NodeId| !round.heights.contains_key(peer);
                Some((self.number, self.peers.iter().filter(silent).copied().collect()))
            }
            None if self.table.has_new() => {
                self.number += 1;
                let reads = self.table.take_new();
                let again = now + self.pace.resend;
                self.round = Some(Round { reads, heights: BTreeMap::new(), again });
                Some((self.number, self.peers.clone()))
            }
            _ => None,
        }
    }

    /// A peer has answered.
    pub(crate) fn answered(&mut self, peer: NodeId, number: u64, height: Height) {
        let of_this = self.round.as_mut().filter(|_| number == self.number);
        if let Some(round) = of_this.filter(|_| self.peers.contains(&peer)) {
            let known = round.heights.entry(peer).or_insert(height);
            *known = height.max(*known);
        }
    }

    /// Ends the round if a quorum has answered. `own` is this node's answer, and `applied` how far
    /// it is.
    pub(crate) fn conclude(&mut self, own: Height, applied: Height, now: Time) {
        let quorum = byzantine_quorum(self.peers.len() as u64 + 1);
        let enough = |round: &mut Round| round.heights.len() as u64 + 1 >= quorum;
        let Some(Round { reads, mut heights, .. }) = self.round.take_if(enough) else {
            return;
        };
        heights.retain(|_, height| *height > applied);
        let doubtful =
            |(peer, height): (&NodeId, &Height)| *height > own && self.doubted.contains_key(peer);
        let patience = match heights.iter().any(doubtful) {
            true => Duration::ZERO,
            false => self.pace.bear_out,
        };
        let height = heights.values().copied().fold(own, Height::max);
        self.held.push_back(Held { height, reads, until: now + patience, claims: heights });
    }

    /// Answers the reads whose height is applied.
    pub(crate) fn applied(&mut self, applied: Height) {
        self.doubted.retain(|_, height| *height > applied);
        let table = &self.table;
        self.held.retain(|held| {
            let reached = held.height <= applied;
            if reached {
                table.place(&held.reads, held.height, applied);
            }
            !reached
        });
    }

    /// Answers these: their mark is applied.
    pub(crate) fn marked(&self, reads: &[u64]) {
        self.table.place(reads, Height::ZERO, Height::ZERO);
    }

    /// Takes out the reads that have waited long enough for a height that somebody named, and
    /// doubts those who named it.
    pub(crate) fn need_mark(&mut self, now: Time) -> Vec<u64> {
        let (mut reads, doubted) = (Vec::new(), &mut self.doubted);
        self.held.retain_mut(|held| {
            let waits = now < held.until;
            if !waits {
                reads.append(&mut held.reads);
                doubted.extend(&held.claims);
            }
            waits
        });
        reads
    }

    /// Refuses the reads that have waited too long, and gives up a round that was for them alone.
    pub(crate) fn expire(&mut self, now: Time) {
        self.table.expire(now);
        let table = &self.table;
        self.round.take_if(|round| !round.reads.iter().any(|read| table.waits(*read)));
    }

    /// When something is due next.
    pub(crate) fn due(&self) -> Time {
        let again = self.round.as_ref().map(|round| round.again);
        let held = self.held.iter().map(|held| held.until);
        held.chain(again).chain([self.table.due()]).min().unwrap_or(Time::NEVER)
    }

    /// Refuses everybody, now and from now on.
    pub(crate) fn close(&mut self) {
        self.table.close();
        self.round = None;
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    const PACE: Pace = Pace {
        resend: Duration::from_nanos(10),
        bear_out: Duration::from_nanos(100),
        patience: Duration::from_nanos(1_000),
    };

    /// Node 4 of four.
    fn reads() -> Reads {
        Reads::new(vec![NodeId(1), NodeId(2), NodeId(3)], 8, PACE, 0)
    }

    fn ask(reads: &mut Reads, now: u64) -> Answer<Result<(), Refused>> {
        reads.ask(Time(now)).expect("room")
    }

    fn is_allowed(
        reads: &mut Reads,
        applied: u64,
        answer: &mut Answer<Result<(), Refused>>,
    ) -> bool {
        reads.applied(Height(applied));
        block_on(poll_once(answer)) == Some(Some(Ok(())))
    }

    /// The schedule that breaks the rule of `f + 1` answers: 1, 2 and 3 have decided height 5, a
    /// client knows; 3 lies, 4 has not heard of it.
    #[test]
    fn one_honest_answer_of_a_quorum_is_enough_to_wait_for() {
        let mut reads = reads();
        let mut answer = ask(&mut reads, 0);
        let (number, peers) = reads.questions(Time(0)).expect("a round");
        assert_eq!(peers.len(), 3);
        reads.answered(NodeId(3), number, Height(4));
        reads.conclude(Height(4), Height(4), Time(1));
        assert!(!is_allowed(&mut reads, 4, &mut answer), "no quorum yet");
        reads.answered(NodeId(2), number, Height(5));
        reads.conclude(Height(4), Height(4), Time(1));
        assert!(!is_allowed(&mut reads, 4, &mut answer), "one names height 5");
        assert!(is_allowed(&mut reads, 5, &mut answer));
        assert!(reads.is_idle());
    }

    #[test]
    fn a_height_that_nobody_reaches_makes_a_mark_and_its_author_doubtful() {
        let mut reads = reads();
        let lie = |reads: &mut Reads, now| {
            let _answer = ask(reads, now);
            let (number, _) = reads.questions(Time(now)).expect("a round");
            reads.answered(NodeId(3), number, Height(1 << 40));
            reads.answered(NodeId(2), number, Height(4));
            reads.conclude(Height(4), Height(4), Time(now));
        };
        lie(&mut reads, 0);
        assert_eq!(reads.need_mark(Time(99)).len(), 0);
        assert_eq!(reads.need_mark(Time(100)).len(), 1);
        lie(&mut reads, 200);
        assert_eq!(reads.need_mark(Time(200)).len(), 1, "not waited for again");
        let _answer = ask(&mut reads, 300);
        let (number, _) = reads.questions(Time(300)).expect("a round");
        reads.answered(NodeId(1), number, Height(5));
        reads.answered(NodeId(2), number, Height(5));
        reads.conclude(Height(4), Height(4), Time(300));
        assert_eq!(reads.need_mark(Time(300)).len(), 0, "the others are waited for");
        reads.applied(Height(5));
        assert!(reads.is_idle());
    }

    #[test]
    fn old_answers_and_strangers_confirm_nothing() {
        let mut reads = reads();
        let mut answer = ask(&mut reads, 0);
        let (number, _) = reads.questions(Time(0)).expect("a round");
        reads.answered(NodeId(1), number - 1, Height(0));
        reads.answered(NodeId(9), number, Height(0));
        reads.answered(NodeId(8), number, Height(0));
        reads.answered(NodeId(1), number, Height(0));
        reads.answered(NodeId(1), number, Height(0));
        reads.conclude(Height(0), Height(0), Time(0));
        assert!(!is_allowed(&mut reads, 0, &mut answer), "two of four");
    }

    #[test]
    fn who_is_silent_is_asked_again_and_a_read_ends_in_time() {
        let mut reads = reads();
        let answer = ask(&mut reads, 0);
        let (number, _) = reads.questions(Time(0)).expect("a round");
        let mut later = ask(&mut reads, 500);
        assert!(reads.questions(Time(9)).is_none(), "one round at a time");
        reads.answered(NodeId(1), number, Height(0));
        let again = reads.questions(Time(10)).expect("again");
        assert_eq!(again, (number, vec![NodeId(2), NodeId(3)]));
        reads.expire(Time(1_000));
        assert_eq!(block_on(answer), Some(Err(Refused::TimedOut)));
        assert!(block_on(poll_once(&mut later)).is_none());
        assert_eq!(reads.questions(Time(1_000)).map(|(next, _)| next), Some(number + 1));
        reads.close();
        assert_eq!(block_on(later), Some(Err(Refused::ShuttingDown)));
    }
}
