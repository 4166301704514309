//! What the checker believes of one node: its log in memory, the part of it that is durable, and
//! the changes between the two, in the order in which the journal writes them.

use std::collections::VecDeque;
use std::fmt;

use crate::id::{Index, NodeId, Term};
use crate::sim::checks::Checked;
use crate::sim::raft::checker::Claim;

/// An entry as far as invariants look at it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) term: Term,
    pub(crate) digest: u32,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:08x}", self.term, self.digest)
    }
}

/// A change of the log that the journal writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Append(Index, Slot),
    Truncate(Index),
}

/// Entries after a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Log {
    /// What the beginning stands for.
    base: Index,
    base_term: Term,
    slots: VecDeque<Slot>,
}

impl Log {
    fn last(&self) -> Index {
        Index(self.base.0 + self.slots.len() as u64)
    }

    /// The entry; `Err` if it is covered by the snapshot.
    fn at(&self, index: Index) -> Result<Option<Slot>, ()> {
        let Some(after) = index.0.checked_sub(self.base.0 + 1) else {
            return Err(());
        };
        Ok(usize::try_from(after).ok().and_then(|at| self.slots.get(at)).copied())
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Append(index, slot) if index == self.last().next() => {
                self.slots.push_back(slot);
            }
            // An entry that the snapshot covers, or one that a reset has overtaken.
            Change::Append(..) => {}
            Change::Truncate(from) => {
                let keep = from.0.saturating_sub(self.base.0 + 1);
                self.slots.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            }
        }
    }

    fn reset(&mut self, base: Index, base_term: Term) {
        *self = Self { base, base_term, slots: VecDeque::new() };
    }

    /// Forgets what a snapshot covers.
    fn forget(&mut self, base: Index, base_term: Term) {
        let count = base.0.saturating_sub(self.base.0).min(self.slots.len() as u64);
        self.slots.drain(..usize::try_from(count).unwrap_or(0));
        (self.base, self.base_term) = (base, base_term);
    }
}

/// A start of a node, until it has told the whole log that it found.
#[derive(Debug, Clone)]
struct Recovery {
    found: Log,
    durable: Index,
}

/// One node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) term: Term,
    vote: Option<NodeId>,
    pub(crate) commit: Index,
    applied: Index,
    fed: Index,
    /// The log in memory.
    log: Log,
    /// The durable part, and what is on its way there.
    durable: Log,
    pending: VecDeque<Change>,
    recovery: Option<Recovery>,
    /// The promises that others have heard.
    said_term: Term,
    said_vote: Option<(Term, NodeId)>,
    pub(crate) restored: Option<u64>,
    pub(crate) restored_at: Option<Index>,
}

impl Model {
    pub(crate) fn crash(&mut self) {
        self.recovery = None;
        (self.restored, self.restored_at) = (None, None);
    }

    pub(crate) fn start(
        &mut self,
        term: Term,
        vote: Option<NodeId>,
        (snapshot, base_term): (Index, Term),
        durable: Index,
    ) -> Checked {
        if term < self.said_term {
            return Err(("I6", format!("starts in {term:?}, has spoken in {:?}", self.said_term)));
        }
        if let Some((said, whom)) = self.said_vote
            && said == term
            && vote != Some(whom)
        {
            return Err(("I6", format!("votes {vote:?} in {term:?}, has voted for {whom:?}")));
        }
        if snapshot < self.durable.base {
            let was = self.durable.base;
            return Err(("I6", format!("starts with a snapshot to {snapshot:?}, had {was:?}")));
        }
        (self.term, self.vote) = (term, vote);
        (self.commit, self.applied, self.fed) = (snapshot, snapshot, snapshot);
        if snapshot > Index::ZERO {
            self.restored_at = Some(snapshot);
        }
        let mut found = Log::default();
        found.reset(snapshot, base_term);
        self.recovery = Some(Recovery { found, durable });
        self.recovered()
    }

    /// If the whole log has been told: it must be explained by what was durable and a beginning of
    /// what was on its way.
    fn recovered(&mut self) -> Checked {
        let Some(recovery) = self.recovery.take_if(|r| r.found.last() >= r.durable) else {
            return Ok(());
        };
        let found = recovery.found;
        let explains = |candidate: &Log| {
            let mut candidate = candidate.clone();
            candidate.forget(found.base, found.base_term);
            candidate.slots == found.slots
        };
        let mut candidate = self.durable.clone();
        let mut explained = explains(&candidate);
        for change in std::mem::take(&mut self.pending) {
            if explained {
                break;
            }
            candidate.change(change);
            explained = candidate.last() == found.last() && explains(&candidate);
        }
        let (was, is) = (self.durable.last(), found.last());
        self.log = found.clone();
        self.durable = found;
        if explained {
            return Ok(());
        }
        Err(("I5", format!("starts with a log to {is:?} that its durable log to {was:?} excludes")))
    }

    /// Whether it has not told yet the whole log that it found.
    pub(crate) fn recovers(&self) -> bool {
        self.recovery.is_some()
    }

    /// It takes up a role: in the term that it has promised, and in no other.
    pub(crate) fn enter(&mut self, term: Term) -> Checked {
        if term == self.term {
            return Ok(());
        }
        Err(("I6", format!("takes up a role in {term:?}, has promised {:?}", self.term)))
    }

    fn reach(&mut self, term: Term) -> Checked {
        if term < self.term {
            return Err(("I6", format!("goes back from {:?} to {term:?}", self.term)));
        }
        if term > self.term {
            (self.term, self.vote) = (term, None);
        }
        Ok(())
    }

    pub(crate) fn promise(&mut self, term: Term, vote: Option<NodeId>) -> Checked {
        self.reach(term)?;
        if self.vote.is_some() && vote != self.vote {
            let was = self.vote;
            return Err(("I6", format!("votes {vote:?} in {term:?}, had voted {was:?}")));
        }
        self.vote = vote;
        Ok(())
    }

    /// Returns the term of the entry before, where it is known.
    pub(crate) fn append(
        &mut self,
        index: Index,
        slot: Slot,
    ) -> Result<Option<Term>, (&'static str, String)> {
        let log = self.recovery.as_mut().map_or(&mut self.log, |recovery| &mut recovery.found);
        if index != log.last().next() {
            return Err(("I2", format!("appends {index:?} after {:?}", log.last())));
        }
        let before = match log.at(index.prev()) {
            Ok(Some(before)) => before.term,
            _ => log.base_term,
        };
        log.change(Change::Append(index, slot));
        if self.recovery.is_some() {
            self.recovered()?;
        } else {
            self.pending.push_back(Change::Append(index, slot));
        }
        Ok(Some(before))
    }

    pub(crate) fn change(&mut self, change: Change) {
        self.log.change(change);
        self.pending.push_back(change);
    }

    /// The log as it is now is durable up to `index`: so is every change up to the one that put
    /// that entry there.
    pub(crate) fn synced(&mut self, index: Index) -> Checked {
        if index > self.log.last() {
            return Err(("I5", format!("synced to {index:?}, beyond {:?}", self.log.last())));
        }
        let appends = |change: &Change| matches!(change, Change::Append(at, _) if *at == index);
        let done = self.pending.iter().rposition(appends).map_or(0, |at| at + 1);
        for change in self.pending.drain(..done) {
            self.durable.change(change);
        }
        Ok(())
    }

    pub(crate) fn is_durable(&self, index: Index, slot: Slot) -> bool {
        match self.durable.at(index) {
            Ok(found) => found == Some(slot),
            Err(()) => true,
        }
    }

    pub(crate) fn at(&self, index: Index) -> Result<Option<Slot>, ()> {
        self.log.at(index)
    }

    pub(crate) fn commit(&mut self, to: Index) -> Checked {
        if to < self.commit {
            return Err(("I6", format!("commit goes back from {:?} to {to:?}", self.commit)));
        }
        self.commit = to;
        Ok(())
    }

    pub(crate) fn apply(&mut self, to: Index) -> Checked {
        if to < self.applied {
            return Err(("I6", format!("applied goes back from {:?} to {to:?}", self.applied)));
        }
        if to > self.commit {
            return Err(("I4", format!("applies {to:?}, decided is {:?}", self.commit)));
        }
        self.applied = to;
        Ok(())
    }

    /// The machine is given the entry at `index`.
    pub(crate) fn feed(&mut self, index: Index) -> Checked {
        if index <= self.fed {
            return Err(("I8", format!("applies {index:?} again, or after {:?}", self.fed)));
        }
        self.fed = index;
        Ok(())
    }

    /// A snapshot of its own (`install` false) or of its leader replaces the log up to `index`.
    pub(crate) fn cover(&mut self, index: Index, term: Term, install: bool) -> Checked {
        if install {
            self.log.reset(index, term);
            self.durable.reset(index, term);
            self.pending.clear();
            self.restored_at = Some(index);
            self.fed = index;
            self.applied = self.applied.max(index);
            self.commit = self.commit.max(index);
            return Ok(());
        }
        if index > self.applied {
            return Err(("I6", format!("snapshot to {index:?}, applied {:?}", self.applied)));
        }
        self.log.forget(index, term);
        self.durable.forget(index, term);
        Ok(())
    }

    pub(crate) fn say(&mut self, claim: Claim) -> Checked {
        match claim {
            Claim::Term(term) if term > self.term => {
                return Err(("I6", format!("speaks in {term:?}, has promised {:?}", self.term)));
            }
            Claim::Term(term) => self.said_term = self.said_term.max(term),
            Claim::Vote(term, whom) => {
                if let Some((said, other)) = self.said_vote
                    && said == term
                    && other != whom
                {
                    let what = format!("says it votes for {whom:?} in {term:?}, said {other:?}");
                    return Err(("I6", what));
                }
                if self.said_vote.is_none_or(|(said, _)| said < term) {
                    self.said_vote = Some((term, whom));
                }
            }
            Claim::Durable(index) => {
                let durable = self.durable.last();
                if index > durable {
                    let what = format!("acknowledges {index:?}, durable is {durable:?}");
                    return Err(("I5", what));
                }
            }
        }
        Ok(())
    }
}
