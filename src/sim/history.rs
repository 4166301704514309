//! The clients' view, invariant I8: what was acknowledged is never lost, nothing appears that
//! nobody wrote, each write is applied at most once, and the log's order is the clients' order.
//!
//! Each client writes unique values ([`Write`]) to a [`Ledger`](crate::sim::machine::Ledger) and
//! reads how far it is. Since the ledger shows every write with its position in the log, checking
//! is comparing numbers: a write that began after another was answered stands behind it, and a
//! read shows every write that was answered, and everything that was read, before it began.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::error::{Outcome, Refused};
use crate::id::Index;
use crate::sim::machine::Write;

/// What became of a write, as its client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Not answered (yet), or refused with an unknown outcome.
    Unknown,
    /// Answered: it stands there.
    Acknowledged(Index),
    /// Refused for good.
    NotApplied,
}

/// How far the log was known to be when an operation began: it must come out at or behind this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor(Index);

/// Counts of a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Writes that were answered.
    pub acknowledged: u64,
    /// Writes that were refused and had no effect.
    pub not_applied: u64,
    /// Writes whose outcome the client never learned.
    pub unknown: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Reads that were refused.
    pub reads_refused: u64,
}

impl fmt::Display for Tally {
    /// Nothing, if there is nothing to count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return Ok(());
        }
        let Self { acknowledged, not_applied, unknown, reads, reads_refused } = self;
        write!(f, "writes: {acknowledged} done, {not_applied} not, {unknown} unknown; ")?;
        write!(f, "reads: {reads} done, {reads_refused} refused; ")
    }
}

/// Everything that the clients of one cluster did.
#[derive(Debug, Default)]
pub struct History {
    writes: BTreeMap<Write, Fate>,
    /// The highest position that any answer has shown.
    shown: Index,
    tally: Tally,
}

impl History {
    /// A client begins a write.
    ///
    /// # Panics
    /// If it wrote the same before: then the history could not tell the two apart.
    pub fn begin_write(&mut self, write: Write) -> Floor {
        let before = self.writes.insert(write, Fate::Unknown);
        assert!(before.is_none(), "a client never writes the same twice");
        self.tally.unknown += 1;
        Floor(self.shown)
    }

    /// A write whose outcome nobody will enter.
    pub fn expect(&mut self, write: Write) {
        self.writes.insert(write, Fate::Unknown);
    }

    /// The write was answered with its position in the log.
    ///
    /// # Errors
    /// If a write that was answered before this one began stands behind it.
    pub fn acknowledged(&mut self, write: Write, floor: Floor, at: Index) -> Result<(), String> {
        self.writes.insert(write, Fate::Acknowledged(at));
        self.tally.acknowledged += 1;
        self.tally.unknown -= 1;
        self.shown = self.shown.max(at);
        if at > floor.0 {
            return Ok(());
        }
        Err(format!("{write} stands at {at:?}, but {:?} was answered before it began", floor.0))
    }

    /// The write was refused.
    pub fn refused(&mut self, write: Write, refused: &Refused) {
        if refused.outcome() == Outcome::NotApplied {
            self.writes.insert(write, Fate::NotApplied);
            self.tally.not_applied += 1;
            self.tally.unknown -= 1;
        }
    }

    /// A client begins a read.
    #[must_use]
    pub fn begin_read(&self) -> Floor {
        Floor(self.shown)
    }

    /// The read showed a ledger whose last write stands at `last`.
    ///
    /// # Errors
    /// If it misses a write that was answered, or shown by a read, before it began.
    pub fn read(&mut self, floor: Floor, last: Index) -> Result<(), String> {
        self.tally.reads += 1;
        self.shown = self.shown.max(last);
        if last >= floor.0 {
            return Ok(());
        }
        Err(format!("a read shows the ledger to {last:?}, but {:?} was shown before", floor.0))
    }

    /// A read was refused; that is no harm.
    pub fn read_refused(&mut self) {
        self.tally.reads_refused += 1;
    }

    /// How much of what has happened.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Compares with a ledger that has caught up with everything.
    ///
    /// # Errors
    /// A text naming the first write that is lost, doubled, invented, or there although it was
    /// refused for good.
    pub fn compare(&self, ledger: &[(u64, Write)]) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for &(index, write) in ledger {
            if !seen.insert(write) {
                return Err(format!("{write} is applied a second time at i{index}"));
            }
            match self.writes.get(&write) {
                None => return Err(format!("{write} at i{index} was never written")),
                Some(Fate::NotApplied) => {
                    return Err(format!("{write} at i{index} was refused as not applied"));
                }
                Some(Fate::Acknowledged(at)) if at.0 != index => {
                    return Err(format!("{write} stands at i{index}, answered was {at:?}"));
                }
                Some(Fate::Acknowledged(_) | Fate::Unknown) => {}
            }
        }
        let lost = self
            .writes
            .iter()
            .find(|(write, fate)| matches!(fate, Fate::Acknowledged(_)) && !seen.contains(write));
        match lost {
            Some((write, fate)) => Err(format!("{write} is lost; it was {fate:?}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::History;
    use crate::error::Refused;
    use crate::id::Index;
    use crate::sim::machine::Write;

    fn w(seq: u32) -> Write {
        Write { client: 1, seq }
    }

    /// Writes 0 (answered at i2), 1 (refused for good), 2 (unknown).
    fn three() -> History {
        let mut history = History::default();
        let floor = history.begin_write(w(0));
        history.acknowledged(w(0), floor, Index(2)).expect("the first");
        history.begin_write(w(1));
        history.refused(w(1), &Refused::Overloaded);
        history.begin_write(w(2));
        history.refused(w(2), &Refused::TimedOut);
        history
    }

    #[test]
    fn an_unknown_write_may_be_there_or_not() {
        assert_eq!(three().compare(&[(2, w(0))]), Ok(()));
        assert_eq!(three().compare(&[(2, w(0)), (3, w(2))]), Ok(()));
    }

    #[test]
    fn a_lost_write_is_found() {
        assert!(three().compare(&[(3, w(2))]).is_err_and(|e| e.contains("lost")));
    }

    #[test]
    fn a_double_an_invented_a_moved_and_a_refused_write_are_found() {
        let wrong = |ledger: &[_], word| three().compare(ledger).is_err_and(|e| e.contains(word));
        assert!(wrong(&[(2, w(0)), (3, w(0))], "second time"));
        assert!(wrong(&[(2, w(0)), (3, w(9))], "never written"));
        assert!(wrong(&[(3, w(0))], "answered was"));
        assert!(wrong(&[(2, w(0)), (3, w(1))], "refused"));
    }

    #[test]
    fn the_order_of_the_log_is_the_order_of_the_clients() {
        let mut history = three();
        let early = history.begin_read();
        let floor = history.begin_write(w(3));
        assert!(history.read(early, Index(1)).is_err(), "i2 was answered before");
        assert!(history.acknowledged(w(3), floor, Index(2)).is_err());
        let mut history = three();
        let (one, two) = (history.begin_read(), history.begin_read());
        assert_eq!(history.read(one, Index(7)), Ok(()));
        assert_eq!(history.read(two, Index(2)), Ok(()), "they were concurrent");
        let late = history.begin_read();
        assert!(history.read(late, Index(6)).is_err(), "reads do not go back");
    }
}
