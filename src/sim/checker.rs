//! The invariants, checked after every event, from what nodes tell and say and from nothing else.
//!
//! | name | invariant |
//! |---|---|
//! | I1 | at most one leader in a term |
//! | I2 | two logs with an entry of the same index and term are the same up to it |
//! | I3 | a new leader has every entry that was decided in an earlier term |
//! | I4 | a decided entry never changes |
//! | I5 | a decided entry is durable on a majority; what was acknowledged survives a power cut |
//! | I6 | a node's term, vote, commit and applied index never go back, also across restarts |
//! | I11 | states are equal where the applied index is equal |
//!
//! The checker keeps a model of every node: its log, which part of it is durable, and the changes
//! that are on their way to the disk. A node that starts again must come with a log that its
//! durable part and a beginning of those changes explain. The clients' view (I8) is checked in
//! [`history`](crate::sim::history), the return to order (I9) by the storms.

use std::collections::BTreeMap;
use std::fmt;

use crate::id::{Index, NodeId, Term};
use crate::machine::Committed;
use crate::quorum::majority;
use crate::raft::{Event, Role};
use crate::sim::model::{Change, Model, Slot};

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its name: `I1` to `I11`, or what else went wrong.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What a node says to another that it must never take back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// It has seen this term.
    Term(Term),
    /// Its vote of this term.
    Vote(Term, NodeId),
    /// Its log is durable up to here.
    Durable(Index),
}

/// A decided entry.
#[derive(Debug, Clone, Copy)]
struct Decided {
    slot: Slot,
    /// The term of the node that decided it, or of the first that told.
    in_term: Term,
}

/// Everything known about one cluster.
#[derive(Debug, Default)]
pub struct Checker {
    members: usize,
    nodes: BTreeMap<NodeId, Model>,
    leaders: BTreeMap<Term, NodeId>,
    /// For each (index, term) that ever was in a log: its digest and the term before it.
    chain: BTreeMap<(Index, Term), (u32, Term)>,
    decided: Vec<Decided>,
    /// For each applied index: the checksum of its payload and the digest of the state after it.
    states: BTreeMap<u64, (u32, u64)>,
    violation: Option<Violation>,
    sights: Sights,
}

/// What a run has been through: a test that sees none of it shows little.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sights {
    /// Starts of nodes.
    pub starts: u64,
    /// Leaders that entered.
    pub leaders: u64,
    /// Logs that were cut because their leader's differs.
    pub truncations: u64,
    /// Snapshots of a node's own state.
    pub snapshots: u64,
    /// Snapshots taken over from a leader.
    pub installs: u64,
}

impl Checker {
    /// A checker of a cluster of `members` voters.
    #[must_use]
    pub fn new(members: usize) -> Self {
        Self {
            members,
            ..Self::default()
        }
    }

    /// The first broken invariant, if any.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Records a broken invariant that was found elsewhere; the first one stays.
    pub fn report(&mut self, invariant: &'static str, what: String) {
        self.violation.get_or_insert(Violation { invariant, what });
    }

    /// What happened so far, counted.
    #[must_use]
    pub fn sights(&self) -> Sights {
        self.sights
    }

    fn count(&mut self, event: Event) {
        let sights = &mut self.sights;
        match event {
            Event::Started { .. } => sights.starts += 1,
            Event::Entered {
                role: Role::Leader, ..
            } => sights.leaders += 1,
            Event::Truncated { .. } => sights.truncations += 1,
            Event::Compacted { .. } => sights.snapshots += 1,
            Event::Installed { .. } => sights.installs += 1,
            _ => {}
        }
    }

    /// The highest decided index.
    #[must_use]
    pub fn decided(&self) -> Index {
        Index(self.decided.len() as u64)
    }

    /// A power cut or a kill: the node's memory is gone.
    pub fn crashed(&mut self, node: NodeId) {
        self.model(node).crash();
    }

    /// The node's disk was emptied or damaged on purpose: nothing that it said binds it.
    pub fn wiped(&mut self, node: NodeId) {
        self.nodes.insert(node, Model::default());
    }

    fn model(&mut self, node: NodeId) -> &mut Model {
        self.nodes.entry(node).or_default()
    }

    /// Takes in an event of a node.
    pub fn event(&mut self, node: NodeId, event: Event) {
        self.count(event);
        if self.model(node).recovers() && !matches!(event, Event::Appended { .. }) {
            let what = format!("{node:?} does not have the log that it says it started with");
            self.report("I5", what);
        }
        let outcome = match event {
            Event::Started {
                term,
                vote,
                snapshot,
                durable,
            } => self.started(node, term, vote, snapshot, durable),
            Event::Entered { role, term, .. } => self.entered(node, role, term),
            Event::Left { .. } => Ok(()),
            Event::Promised { term, vote } => self.model(node).promise(term, vote),
            Event::Appended {
                index,
                term,
                digest,
            } => self.appended(node, index, Slot { term, digest }),
            Event::Truncated { from } => self.truncated(node, from),
            Event::Synced { index } => self.model(node).synced(index),
            Event::Committed { index } => self.committed(node, index),
            Event::Applied { index } => self.model(node).apply(index),
            Event::Compacted { index, term } | Event::Installed { index, term } => {
                let install = matches!(event, Event::Installed { .. });
                self.covered(node, index, term, install)
            }
        };
        if let Err((invariant, what)) = outcome {
            self.report(invariant, format!("{node:?}: {what}"));
        }
    }

    fn started(
        &mut self,
        node: NodeId,
        term: Term,
        vote: Option<NodeId>,
        snapshot: Index,
        durable: Index,
    ) -> Checked {
        let base_term = match decided_at(&self.decided, snapshot) {
            Some(decided) => decided.slot.term,
            None if snapshot == Index::ZERO => Term::ZERO,
            None => return Err(("I4", format!("has a snapshot of undecided {snapshot:?}"))),
        };
        self.model(node)
            .start(term, vote, (snapshot, base_term), durable)?;
        self.compare_restored(node)
    }

    fn entered(&mut self, node: NodeId, role: Role, term: Term) -> Checked {
        self.model(node).reach(term)?;
        if role != Role::Leader {
            return Ok(());
        }
        let first = *self.leaders.entry(term).or_insert(node);
        if first != node {
            return Err(("I1", format!("leads in {term:?}, and so did {first:?}")));
        }
        let earlier = self
            .decided
            .partition_point(|decided| decided.in_term < term);
        let Some(&last) = self.decided[..earlier].last() else {
            return Ok(());
        };
        let index = Index(earlier as u64);
        match self.model(node).at(index) {
            Ok(Some(slot)) if slot == last.slot => Ok(()),
            Err(()) => Ok(()),
            Ok(found) => Err((
                "I3",
                format!("leads in {term:?} with {found:?} at {index:?}, decided is {last:?}"),
            )),
        }
    }

    fn appended(&mut self, node: NodeId, index: Index, slot: Slot) -> Checked {
        let model = self.model(node);
        let before = model.append(index, slot)?;
        if let Some(before) = before {
            let seen = *self
                .chain
                .entry((index, slot.term))
                .or_insert((slot.digest, before));
            if seen != (slot.digest, before) {
                return Err((
                    "I2",
                    format!(
                        "{index:?}@{:?} is {slot:?} after {before:?}, was {seen:?}",
                        slot.term
                    ),
                ));
            }
        }
        Ok(())
    }

    fn truncated(&mut self, node: NodeId, from: Index) -> Checked {
        let decided = decided_at(&self.decided, from);
        let model = self.model(node);
        if from <= model.commit {
            return Err((
                "I4",
                format!("removes {from:?}, which it knows to be decided"),
            ));
        }
        if let (Some(decided), Ok(Some(slot))) = (decided, model.at(from))
            && decided.slot == slot
        {
            return Err(("I4", format!("removes {from:?} {slot:?}, which is decided")));
        }
        model.change(Change::Truncate(from));
        Ok(())
    }

    fn committed(&mut self, node: NodeId, to: Index) -> Checked {
        let model = self.model(node);
        let (from, term) = (model.commit, model.term);
        model.commit(to)?;
        for index in (from.0 + 1..=to.0).map(Index) {
            let slot = match self.model(node).at(index) {
                Ok(Some(slot)) => slot,
                Ok(None) => return Err(("I4", format!("decides {index:?} beyond its log"))),
                Err(()) if decided_at(&self.decided, index).is_some() => continue,
                Err(()) => return Err(("I4", format!("has a snapshot of undecided {index:?}"))),
            };
            match decided_at(&self.decided, index) {
                Some(decided) if decided.slot == slot => {}
                Some(decided) => {
                    return Err(("I4", format!("decides {index:?} {slot:?}, was {decided:?}")));
                }
                None => self.decide(index, slot, term)?,
            }
        }
        Ok(())
    }

    fn decide(&mut self, index: Index, slot: Slot, in_term: Term) -> Checked {
        self.decided.push(Decided { slot, in_term });
        let holders = self
            .nodes
            .values()
            .filter(|model| model.is_durable(index, slot))
            .count();
        if holders < majority(self.members) {
            let of = self.members;
            return Err((
                "I5",
                format!("decides {index:?}, durable on {holders} of {of} nodes"),
            ));
        }
        Ok(())
    }

    fn covered(&mut self, node: NodeId, index: Index, term: Term, install: bool) -> Checked {
        match decided_at(&self.decided, index) {
            Some(decided) if decided.slot.term == term => {}
            found => {
                return Err((
                    "I4",
                    format!("snapshot to {index:?}@{term:?}, decided: {found:?}"),
                ));
            }
        }
        self.model(node).cover(index, term, install)?;
        if install {
            self.compare_restored(node)
        } else {
            Ok(())
        }
    }

    /// Takes in what a node's machine applied and the digest of its state afterwards.
    pub fn applied(&mut self, node: NodeId, entry: Committed<'_>, digest: u64) {
        let outcome = self.model(node).feed(Index(entry.index));
        let state = (crc32c::crc32c(entry.payload), digest);
        let seen = *self.states.entry(entry.index).or_insert(state);
        if let Err((invariant, what)) = outcome {
            self.report(invariant, format!("{node:?}: {what}"));
        } else if seen.0 != state.0 {
            self.report(
                "I4",
                format!("{node:?} applies another command at {}", entry.index),
            );
        } else if seen.1 != state.1 {
            self.report(
                "I11",
                format!("{node:?} has another state at {}", entry.index),
            );
        }
    }

    /// Takes in that a node's machine was replaced by a snapshot, and its digest.
    pub fn restored(&mut self, node: NodeId, digest: u64) {
        self.model(node).restored = Some(digest);
        if let Err((invariant, what)) = self.compare_restored(node) {
            self.report(invariant, format!("{node:?}: {what}"));
        }
    }

    /// Compares a restored state with what others had there, once both the state and the index
    /// that it belongs to are known.
    fn compare_restored(&mut self, node: NodeId) -> Checked {
        let model = self.nodes.entry(node).or_default();
        let (Some(digest), Some(covers)) = (model.restored, model.restored_at) else {
            return Ok(());
        };
        (model.restored, model.restored_at) = (None, None);
        let seen = self
            .states
            .range(..=covers.0)
            .next_back()
            .map(|(_, &(_, digest))| digest);
        match seen {
            Some(seen) if seen != digest => {
                Err(("I11", format!("restored another state at {covers:?}")))
            }
            _ => Ok(()),
        }
    }

    /// Takes in what a node says to another.
    pub fn said(&mut self, node: NodeId, promise: Promise) {
        if let Err((invariant, what)) = self.model(node).say(promise) {
            self.report(invariant, format!("{node:?}: {what}"));
        }
    }
}

/// Nothing, or the invariant that is broken and how.
pub(crate) type Checked = Result<(), (&'static str, String)>;

fn decided_at(decided: &[Decided], index: Index) -> Option<Decided> {
    let at = usize::try_from(index.0).ok()?.checked_sub(1)?;
    decided.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::{Checker, Promise};
    use crate::id::{Index, NodeId, Term};
    use crate::machine::Committed;
    use crate::raft::{Event, Role};

    const N1: NodeId = NodeId(1);
    const N2: NodeId = NodeId(2);
    const N3: NodeId = NodeId(3);

    fn start(checker: &mut Checker, node: NodeId, term: u64, durable: u64) {
        let (snapshot, durable) = (Index::ZERO, Index(durable));
        checker.event(
            node,
            Event::Started {
                term: Term(term),
                vote: None,
                snapshot,
                durable,
            },
        );
    }

    fn append(checker: &mut Checker, node: NodeId, index: u64, term: u64, digest: u32) {
        checker.event(
            node,
            Event::Appended {
                index: Index(index),
                term: Term(term),
                digest,
            },
        );
    }

    fn synced(checker: &mut Checker, node: NodeId, index: u64) {
        checker.event(
            node,
            Event::Synced {
                index: Index(index),
            },
        );
    }

    fn lead(checker: &mut Checker, node: NodeId, term: u64) {
        let (role, term) = (Role::Leader, Term(term));
        checker.event(
            node,
            Event::Entered {
                role,
                term,
                leader: Some(node),
            },
        );
    }

    fn commit(checker: &mut Checker, node: NodeId, index: u64) {
        checker.event(
            node,
            Event::Committed {
                index: Index(index),
            },
        );
    }

    fn broken(checker: &Checker) -> Option<&'static str> {
        checker.violation().map(|violation| violation.invariant)
    }

    /// n1 led term 1; its two entries are durable on n1 and n2, and decided by n1.
    fn cluster() -> Checker {
        let mut checker = Checker::new(3);
        [N1, N2, N3]
            .into_iter()
            .for_each(|node| start(&mut checker, node, 0, 0));
        lead(&mut checker, N1, 1);
        for node in [N1, N2] {
            append(&mut checker, node, 1, 1, 11);
            append(&mut checker, node, 2, 1, 12);
            synced(&mut checker, node, 2);
        }
        commit(&mut checker, N1, 2);
        assert_eq!(checker.violation(), None);
        checker
    }

    #[test]
    fn two_leaders_of_a_term_are_found() {
        let mut checker = cluster();
        lead(&mut checker, N1, 1);
        assert_eq!(broken(&checker), None);
        lead(&mut checker, N2, 1);
        assert_eq!(broken(&checker), Some("I1"));
    }

    #[test]
    fn logs_that_differ_below_an_equal_entry_are_found() {
        let mut checker = cluster();
        append(&mut checker, N3, 1, 1, 99);
        assert_eq!(broken(&checker), Some("I2"), "another payload");
        let mut checker = cluster();
        append(&mut checker, N1, 3, 2, 13);
        append(&mut checker, N1, 4, 2, 14);
        append(&mut checker, N2, 3, 1, 13);
        append(&mut checker, N2, 4, 2, 14);
        assert_eq!(broken(&checker), Some("I2"), "another entry before it");
    }

    #[test]
    fn a_leader_without_a_decided_entry_is_found() {
        let mut checker = cluster();
        append(&mut checker, N3, 1, 1, 11);
        lead(&mut checker, N3, 2);
        assert_eq!(broken(&checker), Some("I3"));
        let mut checker = cluster();
        lead(&mut checker, N2, 2);
        assert_eq!(broken(&checker), None);
    }

    #[test]
    fn a_decided_entry_that_changes_is_found() {
        let mut checker = cluster();
        append(&mut checker, N3, 1, 2, 99);
        append(&mut checker, N3, 2, 2, 98);
        commit(&mut checker, N3, 1);
        assert_eq!(broken(&checker), Some("I4"), "decided otherwise");
        let mut checker = cluster();
        checker.event(N2, Event::Truncated { from: Index(2) });
        assert_eq!(
            broken(&checker),
            Some("I4"),
            "removed by one who does not know"
        );
        let mut checker = cluster();
        commit(&mut checker, N2, 3);
        assert_eq!(broken(&checker), Some("I4"), "beyond its log");
    }

    #[test]
    fn an_entry_decided_before_it_is_durable_is_found() {
        let mut checker = cluster();
        append(&mut checker, N1, 3, 1, 13);
        append(&mut checker, N2, 3, 1, 13);
        synced(&mut checker, N1, 3);
        commit(&mut checker, N1, 3);
        assert_eq!(broken(&checker), Some("I5"));
    }

    #[test]
    fn a_log_that_lost_what_was_durable_is_found() {
        let mut checker = cluster();
        checker.crashed(N2);
        start(&mut checker, N2, 1, 1);
        append(&mut checker, N2, 1, 1, 11);
        assert_eq!(broken(&checker), Some("I5"));
    }

    #[test]
    fn what_was_on_its_way_may_be_there_after_a_crash_or_not() {
        for durable in 2..=4 {
            let mut checker = cluster();
            append(&mut checker, N2, 3, 1, 13);
            append(&mut checker, N2, 4, 1, 14);
            checker.crashed(N2);
            start(&mut checker, N2, 1, durable);
            (1..=durable).for_each(|n| append(&mut checker, N2, n, 1, 10 + n as u32));
            assert_eq!(checker.violation(), None);
            synced(&mut checker, N2, durable);
        }
    }

    #[test]
    fn a_truncated_suffix_that_comes_back_is_found() {
        for (durable, expected) in [(2, None), (3, Some("I5"))] {
            let mut checker = cluster();
            append(&mut checker, N3, 1, 1, 11);
            append(&mut checker, N3, 2, 2, 99);
            append(&mut checker, N3, 3, 2, 98);
            synced(&mut checker, N3, 3);
            checker.event(N3, Event::Truncated { from: Index(2) });
            append(&mut checker, N3, 2, 1, 12);
            synced(&mut checker, N3, 2);
            checker.crashed(N3);
            start(&mut checker, N3, 1, durable);
            append(&mut checker, N3, 1, 1, 11);
            match durable {
                2 => append(&mut checker, N3, 2, 1, 12),
                _ => {
                    append(&mut checker, N3, 2, 2, 99);
                    append(&mut checker, N3, 3, 2, 98);
                }
            }
            assert_eq!(broken(&checker), expected);
        }
    }

    #[test]
    fn a_vote_that_changes_is_found_also_across_a_restart() {
        let mut checker = cluster();
        checker.event(
            N2,
            Event::Promised {
                term: Term(2),
                vote: Some(N1),
            },
        );
        checker.event(
            N2,
            Event::Promised {
                term: Term(2),
                vote: Some(N3),
            },
        );
        assert_eq!(broken(&checker), Some("I6"));
        let mut checker = cluster();
        checker.said(N3, Promise::Vote(Term(2), N1));
        checker.crashed(N3);
        start(&mut checker, N3, 2, 0);
        assert_eq!(
            broken(&checker),
            Some("I6"),
            "the vote was spoken, but not durable"
        );
        let mut checker = cluster();
        checker.said(N3, Promise::Term(Term(2)));
        checker.crashed(N3);
        start(&mut checker, N3, 1, 0);
        assert_eq!(broken(&checker), Some("I6"), "so was the term");
    }

    #[test]
    fn an_acknowledgement_of_what_is_not_durable_is_found() {
        let mut checker = cluster();
        append(&mut checker, N2, 3, 1, 13);
        checker.said(N2, Promise::Durable(Index(2)));
        assert_eq!(broken(&checker), None);
        checker.said(N2, Promise::Durable(Index(3)));
        assert_eq!(broken(&checker), Some("I5"));
    }

    #[test]
    fn states_that_differ_are_found() {
        let entry = |payload| Committed {
            index: 1,
            epoch: 1,
            payload,
        };
        let mut checker = cluster();
        checker.applied(N1, entry(b"a"), 7);
        checker.applied(N2, entry(b"a"), 7);
        assert_eq!(broken(&checker), None);
        checker.applied(N3, entry(b"a"), 8);
        assert_eq!(broken(&checker), Some("I11"));
        let mut checker = cluster();
        checker.applied(N1, entry(b"a"), 7);
        checker.applied(N2, entry(b"b"), 7);
        assert_eq!(broken(&checker), Some("I4"));
        let mut checker = cluster();
        checker.applied(N1, entry(b"a"), 7);
        checker.applied(N1, entry(b"a"), 7);
        assert_eq!(broken(&checker), Some("I8"), "applied twice");
    }

    #[test]
    fn a_restored_state_is_compared_with_what_others_had() {
        let entry = Committed {
            index: 1,
            epoch: 1,
            payload: b"a",
        };
        for (digest, expected) in [(7, None), (8, Some("I11"))] {
            let mut checker = cluster();
            checker.applied(N1, entry, 7);
            checker.event(
                N3,
                Event::Installed {
                    index: Index(2),
                    term: Term(1),
                },
            );
            checker.restored(N3, digest);
            assert_eq!(broken(&checker), expected);
        }
    }
}
