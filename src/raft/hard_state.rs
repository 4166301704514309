//! The hard state of a node: its current term and its vote in that term (figure 2, persistent
//! state; section 5.2).
//!
//! The state changes in memory in the same poll in which its record goes to the journal. A change
//! is never undone. A message of a term leaves only when the record of that term is durable.

use std::cell::Cell;

use crate::journal::{Journal, Lsn};
use crate::raft::record::RECORD_HARD_STATE;
use crate::raft::rules::HardState;

/// The only writer of [`HardState`]'s records.
#[derive(Debug)]
pub(crate) struct HardStates {
    present: Cell<HardState>,
    /// The position of the current state's record in the journal.
    lsn: Cell<Lsn>,
    durable: Cell<bool>,
}

impl HardStates {
    /// The hard state of a started node: the one that its journal holds.
    pub(crate) fn recovered(state: HardState) -> Self {
        Self { present: Cell::new(state), lsn: Cell::new(Lsn(0)), durable: Cell::new(true) }
    }

    pub(crate) fn get(&self) -> HardState {
        self.present.get()
    }

    /// The record that must be durable before a message of the term leaves; `None` if it is.
    pub(crate) fn rests_on(&self) -> Option<Lsn> {
        (!self.durable.get()).then(|| self.lsn.get())
    }

    /// Sets the term and perhaps the vote.
    ///
    /// # Panics
    /// If the term would decrease, or the vote would change within its term.
    pub(crate) fn set(&self, journal: &Journal, state: HardState) {
        let before = self.present.replace(state);
        assert!(state.term >= before.term, "a term never goes back");
        assert!(
            state.term > before.term || before.vote.is_none() || before.vote == state.vote,
            "one vote a term"
        );
        let record = borsh::to_vec(&state).expect("memory does not refuse a write");
        self.lsn.set(journal.submit(RECORD_HARD_STATE, &[&record]));
        self.durable.set(false);
    }

    /// Takes in the journal's synced position. Returns whether the current state has now become
    /// durable.
    pub(crate) fn take_synced(&self, synced: Lsn) -> bool {
        let now = !self.durable.get() && self.lsn.get() <= synced;
        self.durable.set(self.durable.get() || now);
        now
    }
}
