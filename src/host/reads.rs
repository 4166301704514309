//! The linearizable reads that wait at this node: all of them, in one table, with their deadlines.
//!
//! A read goes through three stages. It is *new* until a scope asks, in the protocol's own way, from
//! which position on this node may answer it; then it is *asked*; then it waits for that position to
//! be *applied* here. A scope holds numbers and no reads. When it ends, what it had asked is new
//! again, whether it says so or is dropped; so nothing is forgotten, and the next scope asks again.
//! A read that has waited too long is refused in whichever stage it is.
//!
//! When the table is full, new reads are refused at once. When the node ends, all are refused.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::table::Table;
use crate::env::Time;
use crate::error::Refused;
use crate::scope::oneshot::{Answer, Reply, oneshot};

#[derive(Debug)]
struct Read<P> {
    since: Time,
    /// It waits until so much is applied.
    position: Option<P>,
    reply: Reply<Result<(), Refused>>,
}

/// Each read that waits is in one of the three sets.
#[derive(Debug)]
struct Inner<P> {
    waiting: Table<Read<P>>,
    new: BTreeSet<u64>,
    asked: BTreeSet<u64>,
    placed: BTreeSet<(P, u64)>,
    closed: bool,
}

/// Reads by number; `P` is a position in the protocol's order.
#[derive(Debug)]
pub(crate) struct Reads<P> {
    reads_max: usize,
    patience: Duration,
    inner: RefCell<Inner<P>>,
}

impl<P: Copy + Ord> Reads<P> {
    /// A table of at most `reads_max` reads, of which each waits for `patience` at most.
    pub(crate) fn new(reads_max: usize, patience: Duration) -> Self {
        let inner = Inner {
            waiting: Table::new(0),
            new: BTreeSet::new(),
            asked: BTreeSet::new(),
            placed: BTreeSet::new(),
            closed: false,
        };
        Self { reads_max, patience, inner: RefCell::new(inner) }
    }

    /// Takes a read in. Its answer comes when the state may be looked at.
    ///
    /// # Errors
    /// If the table is full, or the node has ended.
    pub(crate) fn ask(&self, now: Time) -> Result<Answer<Result<(), Refused>>, Refused> {
        let mut inner = self.inner.borrow_mut();
        if inner.closed {
            return Err(Refused::ShuttingDown);
        }
        if inner.waiting.len() >= self.reads_max {
            return Err(Refused::Overloaded);
        }
        let (reply, answer) = oneshot();
        let number = inner.waiting.insert(Read { since: now, position: None, reply });
        inner.new.insert(number);
        Ok(answer)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.inner.borrow().waiting.len()
    }

    /// Whether this one still waits.
    pub(crate) fn waits(&self, number: u64) -> bool {
        self.inner.borrow().waiting.get(number).is_some()
    }

    /// Whether somebody must ask for a read.
    pub(crate) fn has_new(&self) -> bool {
        !self.inner.borrow().new.is_empty()
    }

    /// The reads that are new; they are asked now.
    pub(crate) fn take_new(&self) -> Vec<u64> {
        let mut inner = self.inner.borrow_mut();
        let new = std::mem::take(&mut inner.new);
        inner.asked.extend(&new);
        new.into_iter().collect()
    }

    /// What was asked is new again: the scope that asked has ended, or was not answered.
    pub(crate) fn ask_again(&self) {
        let mut inner = self.inner.borrow_mut();
        let asked = std::mem::take(&mut inner.asked);
        inner.new.extend(asked);
    }

    /// These may be answered as soon as everything up to `position` is applied; `applied` is.
    pub(crate) fn place(&self, numbers: &[u64], position: P, applied: P) {
        let mut inner = self.inner.borrow_mut();
        for &number in numbers {
            if inner.asked.remove(&number)
                && let Some(read) = inner.waiting.get_mut(number)
            {
                read.position = Some(position);
                inner.placed.insert((position, number));
            }
        }
        drop(inner);
        self.applied(applied);
    }

    /// Answers those whose position is applied now.
    pub(crate) fn applied(&self, applied: P) {
        let mut inner = self.inner.borrow_mut();
        while let Some(&(position, number)) = inner.placed.first()
            && position <= applied
        {
            inner.remove(number).into_iter().for_each(|read| read.reply.send(Ok(())));
        }
    }

    /// Refuses those that have waited too long.
    pub(crate) fn expire(&self, now: Time) {
        let mut inner = self.inner.borrow_mut();
        while let Some((number, read)) = inner.waiting.first()
            && now.since(read.since) >= self.patience
        {
            inner.refuse(number, Refused::TimedOut);
        }
    }

    /// When the oldest will have waited too long.
    pub(crate) fn due(&self) -> Time {
        let inner = self.inner.borrow();
        let oldest = inner.waiting.first().map(|(_, read)| read.since);
        oldest.map_or(Time::NEVER, |since| since + self.patience)
    }

    /// Refuses everybody, now and from now on.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.closed = true;
        while let Some((number, _)) = inner.waiting.first() {
            inner.refuse(number, Refused::ShuttingDown);
        }
    }
}

impl<P: Copy + Ord> Inner<P> {
    fn remove(&mut self, number: u64) -> Option<Read<P>> {
        let read = self.waiting.remove(number)?;
        match read.position {
            Some(position) => self.placed.remove(&(position, number)),
            None => self.asked.remove(&number) || self.new.remove(&number),
        };
        Some(read)
    }

    fn refuse(&mut self, number: u64, why: Refused) {
        self.remove(number).into_iter().for_each(|read| read.reply.send(Err(why.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    const SECOND: u64 = 1_000_000_000;

    fn reads() -> Reads<u64> {
        Reads::new(2, Duration::from_secs(5))
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * SECOND)
    }

    #[test]
    fn a_read_is_answered_when_its_position_is_applied() {
        let reads = reads();
        let mut answer = reads.ask(at(0)).expect("room");
        let asked = reads.take_new();
        assert!(!reads.has_new());
        reads.place(&asked, 7, 6);
        assert!(block_on(poll_once(&mut answer)).is_none());
        reads.applied(7);
        assert_eq!(block_on(answer), Some(Ok(())));
        assert_eq!(reads.len(), 0);
    }

    #[test]
    fn what_an_ended_scope_had_asked_is_asked_again() {
        let reads = reads();
        let mut answer = reads.ask(at(0)).expect("room");
        let forgotten = reads.take_new();
        reads.ask_again();
        assert!(reads.has_new());
        reads.place(&forgotten, 1, 9);
        assert!(block_on(poll_once(&mut answer)).is_none(), "an answer to nobody's question");
        assert_eq!(reads.take_new(), forgotten);
    }

    #[test]
    fn a_read_in_any_stage_is_refused_at_its_deadline() {
        let reads = Reads::<u64>::new(3, Duration::from_secs(5));
        let placed = reads.ask(at(0)).expect("room");
        reads.place(&reads.take_new(), 7, 0);
        let asked = reads.ask(at(0)).expect("room");
        reads.take_new();
        let new = reads.ask(at(0)).expect("room");
        assert_eq!(reads.due(), at(5));
        reads.expire(Time(5 * SECOND - 1));
        assert_eq!(reads.len(), 3);
        reads.expire(at(5));
        for answer in [placed, asked, new] {
            assert_eq!(block_on(answer), Some(Err(Refused::TimedOut)));
        }
        assert!(!reads.has_new());
        assert_eq!(reads.due(), Time::NEVER);
    }

    #[test]
    fn reads_in_every_stage_count_for_the_limit() {
        let reads = reads();
        let _placed = reads.ask(at(0)).expect("room");
        reads.place(&reads.take_new(), 7, 0);
        let _asked = reads.ask(at(0)).expect("room");
        reads.take_new();
        assert_eq!(reads.ask(at(0)).err(), Some(Refused::Overloaded));
    }

    #[test]
    fn closing_refuses_everybody_now_and_later() {
        let reads = reads();
        let answer = reads.ask(at(0)).expect("room");
        reads.close();
        assert_eq!(block_on(answer), Some(Err(Refused::ShuttingDown)));
        assert_eq!(reads.ask(at(0)).err(), Some(Refused::ShuttingDown));
    }
}
