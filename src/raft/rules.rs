//! Figure 2 of the Raft paper as pure functions over small values: no `async`, no clock, no
//! channel. Each cites its sentence and names the test that dies without it.
//!
//! The paper is D. Ongaro, J. Ousterhout, "In Search of an Understandable Consensus Algorithm
//! (Extended Version)", 2014; "thesis" is D. Ongaro, "Consensus: Bridging Theory and Practice",
//! 2014.

use crate::id::{Index, NodeId, Term};
use crate::quorum::reached_by_majority;
use crate::raft::message::Position;

/// The hard state: its term, and for whom it voted in it (figure 2, persistent
/// state).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, borsh::BorshSerialize, borsh::BorshDeserialize,
)]
pub struct HardState {
    /// The latest term seen.
    pub term: Term,
    /// The candidate that received the vote in that term.
    pub vote: Option<NodeId>,
}

/// "If the logs have last entries with different terms, then the log with the later term is more
/// up-to-date. If the logs end with the same term, then whichever log is longer" (section 5.4.1).
///
/// Guarded by `rules::tests::a_log_is_up_to_date_by_term_then_length`.
#[must_use]
pub fn is_up_to_date(candidate: Position, mine: Position) -> bool {
    candidate >= mine
}

/// "If votedFor is null or candidateId, and candidate's log is at least as up-to-date as
/// receiver's log, grant vote" (figure 2, RequestVote 2). The request is of the present term.
///
/// Guarded by `rules::tests::one_vote_a_term`.
#[must_use]
pub fn may_vote(
    hard_state: HardState,
    candidate: NodeId,
    candidate_last: Position,
    mine: Position,
) -> bool {
    hard_state.vote.is_none_or(|vote| vote == candidate) && is_up_to_date(candidate_last, mine)
}

/// Whether a vote would be granted in `asked`, without promising anything: the term is above mine,
/// the log is up to date, and no leader is alive as far as I know (thesis, sections 9.6 and 4.2.3).
///
/// Guarded by `rules::tests::a_pre_vote_needs_a_higher_term_and_no_leader`.
#[must_use]
pub fn may_pre_vote(
    asked: Term,
    present: Term,
    candidate_last: Position,
    mine: Position,
    leader_alive: bool,
) -> bool {
    asked > present && !leader_alive && is_up_to_date(candidate_last, mine)
}

/// "Reply false if log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm"
/// (figure 2, AppendEntries 2). `mine` is the term of my entry there, if I have one.
///
/// Guarded by `rules::tests::an_append_fits_only_after_the_same_entry`.
#[must_use]
pub fn fits(prev: Position, mine: Option<Term>) -> bool {
    prev.index == Index::ZERO || mine == Some(prev.term)
}

/// "If an existing entry conflicts with a new one (same index but different terms), delete the
/// existing entry and all that follow it" (figure 2, AppendEntries 3): the first new entry that is
/// not in my log yet, given the new entries' terms and a look into my log. What is the same stays:
/// a late append must not shorten the log.
///
/// Guarded by `rules::tests::only_a_conflict_truncates`.
pub fn first_new(
    entries: impl Iterator<Item = (Index, Term)>,
    mine: impl Fn(Index) -> Option<Term>,
) -> Option<Index> {
    entries.into_iter().find(|&(index, term)| mine(index) != Some(term)).map(|(index, _)| index)
}

/// "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)"
/// (figure 2, AppendEntries 5): only as far as my log is known to be the leader's.
///
/// Guarded by `rules::tests::a_follower_commits_only_what_it_verified`.
#[must_use]
pub fn follower_commit(present: Index, leader_commit: Index, verified: Index) -> Index {
    present.max(leader_commit.min(verified))
}

/// "If there exists an N such that N > commitIndex, a majority of matchIndex\[i\] ≥ N, and
/// log\[N\].term == currentTerm: set commitIndex = N" (figure 2, leaders; section 5.4.2). `matches`
/// holds what each voter has *durably*, this node included.
///
/// Guarded by `rules::tests::a_majority_of_durable_matches_commits` and
/// `rules::tests::an_older_term_is_not_committed_by_counting`.
#[must_use]
pub fn leader_commit(
    present: Index,
    matches: &mut [u64],
    term_at: impl Fn(Index) -> Option<Term>,
    term: Term,
) -> Index {
    let reached = Index(reached_by_majority(matches));
    if reached > present && term_at(reached) == Some(term) { reached } else { present }
}

/// "(Updated on stable storage before responding to RPCs)" (figure 2, persistent state): a
/// follower acknowledges its log as far as it is its leader's and durable.
///
/// Guarded by `rules::tests::only_the_durable_and_verified_is_acknowledged`.
#[must_use]
pub fn acknowledged(verified: Index, durable: Index) -> Index {
    verified.min(durable)
}

/// "Leader must have the latest information on which entries are committed": a read waits until
/// the leader has committed an entry of its own term, its no-op (section 8; thesis, section 6.4).
///
/// Guarded by `rules::tests::no_read_before_the_no_op_is_committed`.
#[must_use]
pub fn may_start_read(commit: Index, noop: Index) -> bool {
    commit >= noop
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64, term: u64) -> Position {
        Position { term: Term(term), index: Index(index) }
    }

    #[test]
    fn a_log_is_up_to_date_by_term_then_length() {
        assert!(is_up_to_date(at(1, 3), at(9, 2)), "a later term wins over length");
        assert!(!is_up_to_date(at(9, 2), at(1, 3)));
        assert!(is_up_to_date(at(5, 2), at(5, 2)));
        assert!(!is_up_to_date(at(4, 2), at(5, 2)));
    }

    #[test]
    fn one_vote_a_term() {
        let free = HardState { term: Term(2), vote: None };
        let given = HardState { term: Term(2), vote: Some(NodeId(1)) };
        assert!(may_vote(free, NodeId(2), at(1, 1), at(1, 1)));
        assert!(may_vote(given, NodeId(1), at(1, 1), at(1, 1)), "asked twice, answered twice");
        assert!(!may_vote(given, NodeId(2), at(9, 9), at(1, 1)));
        assert!(!may_vote(free, NodeId(2), at(1, 1), at(2, 1)), "its log is behind");
    }

    #[test]
    fn a_pre_vote_needs_a_higher_term_and_no_leader() {
        assert!(may_pre_vote(Term(3), Term(2), at(1, 1), at(1, 1), false));
        assert!(!may_pre_vote(Term(2), Term(2), at(1, 1), at(1, 1), false));
        assert!(!may_pre_vote(Term(3), Term(2), at(1, 1), at(1, 1), true));
        assert!(!may_pre_vote(Term(3), Term(2), at(0, 0), at(1, 1), false));
    }

    #[test]
    fn an_append_fits_only_after_the_same_entry() {
        assert!(fits(at(0, 0), None), "the beginning fits every log");
        assert!(fits(at(3, 2), Some(Term(2))));
        assert!(!fits(at(3, 2), Some(Term(1))));
        assert!(!fits(at(3, 2), None));
    }

    #[test]
    fn only_a_conflict_truncates() {
        let mine = |index: Index| (index <= Index(3)).then_some(Term(1));
        let of = |terms: &[u64]| {
            let entries: Vec<_> =
                terms.iter().zip(1..).map(|(&term, index)| (Index(index), Term(term))).collect();
            first_new(entries.into_iter(), mine)
        };
        assert_eq!(of(&[1, 1]), None, "a late append changes nothing");
        assert_eq!(of(&[1, 1, 1, 1]), Some(Index(4)));
        assert_eq!(of(&[1, 2]), Some(Index(2)));
    }

    #[test]
    fn a_follower_commits_only_what_it_verified() {
        assert_eq!(follower_commit(Index(2), Index(9), Index(5)), Index(5));
        assert_eq!(follower_commit(Index(2), Index(4), Index(5)), Index(4));
        assert_eq!(follower_commit(Index(6), Index(4), Index(5)), Index(6), "never back");
    }

    #[test]
    fn a_majority_of_durable_matches_commits() {
        let all = |_| Some(Term(2));
        assert_eq!(leader_commit(Index(1), &mut [7, 5, 3], all, Term(2)), Index(5));
        assert_eq!(leader_commit(Index(1), &mut [7, 0, 0], all, Term(2)), Index(1));
        assert_eq!(leader_commit(Index(1), &mut [7, 6, 5, 4], all, Term(2)), Index(5));
    }

    #[test]
    fn an_older_term_is_not_committed_by_counting() {
        let terms = |index: Index| Some(if index <= Index(4) { Term(2) } else { Term(4) });
        assert_eq!(leader_commit(Index(1), &mut [4, 4, 1], terms, Term(4)), Index(1));
        assert_eq!(leader_commit(Index(1), &mut [5, 5, 1], terms, Term(4)), Index(5));
    }

    #[test]
    fn only_the_durable_and_verified_is_acknowledged() {
        assert_eq!(acknowledged(Index(5), Index(3)), Index(3));
        assert_eq!(acknowledged(Index(3), Index(5)), Index(3));
    }

    #[test]
    fn no_read_before_the_no_op_is_committed() {
        assert!(!may_start_read(Index(4), Index(5)));
        assert!(may_start_read(Index(5), Index(5)));
    }
}
