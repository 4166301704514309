//! The hard state's room: the term and the vote, in memory now, on disk soon, never taken back.
//!
//! The state changes in memory in the same poll in which its record is handed to the journal. What
//! is said in a term rests on that record.

use std::cell::Cell;

use crate::journal::{Journal, Lsn};
use crate::raft::record::RECORD_HARD_STATE;
use crate::raft::rules::HardState;

/// The only writer of [`HardState`]'s records.
#[derive(Debug)]
pub(crate) struct HardStates {
    present: Cell<HardState>,
    /// The record that the present state stands in.
    lsn: Cell<Lsn>,
    durable: Cell<bool>,
}

impl HardStates {
    /// The state that the journal holds.
    pub(crate) fn recovered(state: HardState) -> Self {
        Self { present: Cell::new(state), lsn: Cell::new(Lsn(0)), durable: Cell::new(true) }
    }

    pub(crate) fn get(&self) -> HardState {
        self.present.get()
    }

    /// The record on which everything said in the present term rests; `None` if it is durable.
    pub(crate) fn rests_on(&self) -> Option<Lsn> {
        (!self.durable.get()).then(|| self.lsn.get())
    }

    /// Sets the term and perhaps the vote.
    ///
    /// # Panics
    /// If that would take back a term or a vote.
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

    /// Takes in what the journal has synced; whether the present state has become durable by it.
    pub(crate) fn take_synced(&self, synced: Lsn) -> bool {
        let now = !self.durable.get() && self.lsn.get() <= synced;
        self.durable.set(self.durable.get() || now);
        now
    }
}
