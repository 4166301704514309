//! A message leaves when the record that it rests on is durable.
//!
//! *Decide, persist, speak, in that order.* A scope decides, hands the record to the journal, and
//! puts what it has to say here in the same poll, under the number of that record. The message
//! leaves when the journal has synced so far, and not before; dropping the scope takes nothing back.
//! Messages leave in the order in which they were put here.
//!
//! It is as long as what a node says during one sync. When the journal is closed it is dropped with
//! the node: nothing of it has been said.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::record::Lsn;

/// Messages that wait for the journal.
#[derive(Debug)]
pub struct Outbox<M> {
    waiting: RefCell<VecDeque<(Lsn, M)>>,
}

impl<M> Default for Outbox<M> {
    fn default() -> Self {
        Self { waiting: RefCell::default() }
    }
}

impl<M> Outbox<M> {
    /// Keeps a message until the record `rests_on`, and all before it, are durable.
    ///
    /// # Panics
    /// If an earlier message rests on a later record: it would hold this one up.
    pub fn push(&self, rests_on: Lsn, message: M) {
        let mut waiting = self.waiting.borrow_mut();
        let last = waiting.back().map(|(lsn, _)| *lsn);
        assert!(last.is_none_or(|last| last <= rests_on), "records are numbered upwards");
        waiting.push_back((rests_on, message));
    }

    /// The next message that may leave when everything up to `synced` is durable.
    pub fn pop(&self, synced: Lsn) -> Option<M> {
        let mut waiting = self.waiting.borrow_mut();
        waiting.pop_front_if(|(lsn, _)| *lsn <= synced).map(|(_, message)| message)
    }

    /// Changes every message that still waits.
    pub fn each(&self, change: impl FnMut(&mut M)) {
        self.waiting.borrow_mut().iter_mut().map(|(_, message)| message).for_each(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_leaves_when_its_record_is_durable_and_not_before() {
        let outbox = Outbox::default();
        outbox.push(Lsn(2), "a");
        outbox.push(Lsn(2), "b");
        outbox.push(Lsn(3), "c");
        assert_eq!(outbox.pop(Lsn(1)), None);
        assert_eq!(outbox.pop(Lsn(2)), Some("a"));
        assert_eq!(outbox.pop(Lsn(2)), Some("b"));
        assert_eq!(outbox.pop(Lsn(2)), None);
        assert_eq!(outbox.pop(Lsn(3)), Some("c"));
    }

    #[test]
    #[should_panic(expected = "records are numbered upwards")]
    fn a_message_that_rests_on_an_earlier_record_cannot_wait_behind_a_later_one() {
        let outbox = Outbox::default();
        outbox.push(Lsn(3), ());
        outbox.push(Lsn(2), ());
    }
}
