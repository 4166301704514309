//! What a proposer is told.

use crate::id::Index;

/// An answered proposal: it is decided, and this node has applied it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied<R> {
    /// Where it stands in the order of all commands.
    pub index: Index,
    /// The attempt to lead that decided it, as the state machine was
    /// [told](crate::machine::Committed::epoch).
    pub epoch: u64,
    /// What the state machine answered.
    pub response: R,
}
