//! The invariants, checked after every event, from what nodes tell and say and from nothing else.
//!
//! | name | invariant |
//! |---|---|
//! | I1 | at most one leader in a term |
//! | I2 | two logs with an entry of the same index and term are the same up to it |
//! | I3 | a new leader has every entry that was decided in an earlier term |
//! | I4 | a decided entry never changes |
//! | I5 | a decided entry is durable on a majority; what was acknowledged survives a power cut |
//! | I6 | a node's term, vote, commit and applied index never go back, also across restarts; |
//! |    | it acts and speaks in a term only after it has promised it |
//! | I11 | states are equal where the applied index is equal |
//!
//! The checker keeps a model of every node: its log, which part of it is durable, and the changes
//! that are on their way to the disk. A node that starts again must come with a log that its
//! durable part and a beginning of those changes explain. The clients' view (I8) is checked in
//! [`history`](crate::sim::history), the return to order (I9) by the storms.

use std::collections::BTreeMap;

use crate::id::{Index, NodeId, Term};
use crate::machine::Committed;
use crate::quorum::majority;
use crate::raft::{Event, Role};
use crate::sim::checks::{Checked, Checks, Invariants, Violation};
use crate::sim::net::Flight;
use crate::sim::raft::events;
use crate::sim::raft::model::{Change, Model, Slot};

/// What a node says to another that it must never take back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
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
    /// What was believed of a node when its disk was copied.
    copies: BTreeMap<NodeId, Model>,
    leaders: BTreeMap<Term, NodeId>,
    /// For each (index, term) that ever was in a log: its digest and the term before it.
    chain: BTreeMap<(Index, Term), (u32, Term)>,
    decided: Vec<Decided>,
    /// For each applied index: the checksum of its payload and the digest of the state after it.
    states: BTreeMap<u64, (u32, u64)>,
    violation: Option<Violation>,
    coverage: Coverage,
}

/// What a run has been through: a test that sees none of it shows little.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
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
        Self { members, ..Self::default() }
    }

    /// What happened so far, counted.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    fn count(&mut self, event: Event) {
        let coverage = &mut self.coverage;
        match event {
            Event::Started { .. } => coverage.starts += 1,
            Event::Entered { role: Role::Leader, .. } => coverage.leaders += 1,
            Event::Truncated { .. } => coverage.truncations += 1,
            Event::Compacted { .. } => coverage.snapshots += 1,
            Event::Installed { .. } => coverage.installs += 1,
            _ => {}
        }
    }

    /// The highest decided index.
    #[must_use]
    pub fn decided(&self) -> Index {
        Index(self.decided.len() as u64)
    }

    fn model(&mut self, node: NodeId) -> &mut Model {
        self.nodes.entry(node).or_default()
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
        self.model(node).start(term, vote, (snapshot, base_term), durable)?;
        self.compare_restored(node)
    }

    fn entered(&mut self, node: NodeId, role: Role, term: Term) -> Checked {
        self.model(node).enter(term)?;
        if role != Role::Leader {
            return Ok(());
        }
        let first = *self.leaders.entry(term).or_insert(node);
        if first != node {
            return Err(("I1", format!("leads in {term:?}, and so did {first:?}")));
        }
        let earlier = self.decided.partition_point(|decided| decided.in_term < term);
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
            let seen = *self.chain.entry((index, slot.term)).or_insert((slot.digest, before));
            if seen != (slot.digest, before) {
                return Err((
                    "I2",
                    format!("{index:?}@{:?} is {slot:?} after {before:?}, was {seen:?}", slot.term),
                ));
            }
        }
        Ok(())
    }

    fn truncated(&mut self, node: NodeId, from: Index) -> Checked {
        let decided = decided_at(&self.decided, from);
        let model = self.model(node);
        if from <= model.commit {
            return Err(("I4", format!("removes {from:?}, which it knows to be decided")));
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
        let holders = self.nodes.values().filter(|model| model.is_durable(index, slot)).count();
        if holders < majority(self.members) {
            let of = self.members;
            return Err(("I5", format!("decides {index:?}, durable on {holders} of {of} nodes")));
        }
        Ok(())
    }

    fn covered(&mut self, node: NodeId, index: Index, term: Term, install: bool) -> Checked {
        match decided_at(&self.decided, index) {
            Some(decided) if decided.slot.term == term => {}
            found => {
                return Err(("I4", format!("snapshot to {index:?}@{term:?}, decided: {found:?}")));
            }
        }
        self.model(node).cover(index, term, install)?;
        if install { self.compare_restored(node) } else { Ok(()) }
    }

    /// Compares a restored state with what others had there, once both the state and the index
    /// that it belongs to are known.
    fn compare_restored(&mut self, node: NodeId) -> Checked {
        let model = self.nodes.entry(node).or_default();
        let (Some(digest), Some(covers)) = (model.restored, model.restored_at) else {
            return Ok(());
        };
        (model.restored, model.restored_at) = (None, None);
        let seen = self.states.range(..=covers.0).next_back().map(|(_, &(_, digest))| digest);
        match seen {
            Some(seen) if seen != digest => {
                Err(("I11", format!("restored another state at {covers:?}")))
            }
            _ => Ok(()),
        }
    }

    /// Takes in what a node says to another.
    pub fn said(&mut self, node: NodeId, claim: Claim) {
        if let Err((invariant, what)) = self.model(node).say(claim) {
            self.report(invariant, format!("{node:?}: {what}"));
        }
    }
}

impl Checks for Checker {
    fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    fn report(&mut self, invariant: &'static str, what: String) {
        self.violation.get_or_insert(Violation { invariant, what });
    }

    fn applied(&mut self, node: NodeId, entry: Committed<'_>, digest: u64) {
        let outcome = self.model(node).feed(Index(entry.index));
        let state = (crc32c::crc32c(entry.payload), digest);
        let seen = *self.states.entry(entry.index).or_insert(state);
        if let Err((invariant, what)) = outcome {
            self.report(invariant, format!("{node:?}: {what}"));
        } else if seen.0 != state.0 {
            self.report("I4", format!("{node:?} applies another command at {}", entry.index));
        } else if seen.1 != state.1 {
            self.report("I11", format!("{node:?} has another state at {}", entry.index));
        }
    }

    fn restored(&mut self, node: NodeId, digest: u64) {
        self.model(node).restored = Some(digest);
        if let Err((invariant, what)) = self.compare_restored(node) {
            self.report(invariant, format!("{node:?}: {what}"));
        }
    }
}

impl Invariants for Checker {
    type Event = Event;

    fn event(&mut self, node: NodeId, event: Event) {
        self.count(event);
        if self.model(node).recovers() && !matches!(event, Event::Appended { .. }) {
            let what = format!("{node:?} does not have the log that it says it started with");
            self.report("I5", what);
        }
        let outcome = match event {
            Event::Started { term, vote, snapshot, durable } => {
                self.started(node, term, vote, snapshot, durable)
            }
            Event::Entered { role, term, .. } => self.entered(node, role, term),
            Event::Left { .. } => Ok(()),
            Event::HardStateSet { term, vote } => self.model(node).promise(term, vote),
            Event::Appended { index, term, digest } => {
                self.appended(node, index, Slot { term, digest })
            }
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

    fn sent(&mut self, flight: &Flight) {
        events::listen(flight, self);
    }

    fn crashed(&mut self, node: NodeId) {
        self.model(node).crash();
    }

    fn copied(&mut self, node: NodeId) {
        let mut model = self.model(node).clone();
        model.crash();
        self.copies.insert(node, model);
    }

    fn rolled_back(&mut self, node: NodeId) {
        let model = self.copies.remove(&node).unwrap_or_default();
        self.nodes.insert(node, model);
    }

    fn wiped(&mut self, node: NodeId) {
        self.nodes.insert(node, Model::default());
    }
}

fn decided_at(decided: &[Decided], index: Index) -> Option<Decided> {
    let at = usize::try_from(index.0).ok()?.checked_sub(1)?;
    decided.get(at).copied()
}
