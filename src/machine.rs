//! The state machine that you bring: what every node applies, in the same order, to the same
//! effect.

/// One decided entry, handed to [`StateMachine::apply`] exactly once per life of the state.
#[derive(Debug, Clone, Copy)]
pub struct Committed<'a> {
    /// Its position in the log; consecutive calls have growing positions (entries of the engine
    /// itself are not shown, so there are gaps).
    pub index: u64,
    /// The attempt to lead that decided it. Epochs only grow along the log, and each belongs to one
    /// life of one node, which knows while it leads it: what a leader proposes only for the time in
    /// which it leads names its epoch, and has no effect in an entry of another.
    ///
    /// In raft it is the term. In helix it is the height at which the present proposer's unbroken
    /// run of blocks began.
    pub epoch: u64,
    /// The bytes that were proposed. They were checked for size only: decode with care.
    pub payload: &'a [u8],
}

/// A deterministic state machine.
///
/// Every node applies the same entries in the same order and must come to the same state: no
/// clock, no randomness, no iteration in hash order, no I/O in any of these methods. Time comes in
/// with an entry, if the state needs it.
///
/// All methods run on the node's own thread: keep each call below a millisecond.
pub trait StateMachine: 'static {
    /// What a proposer is told when its entry has been applied. It never travels: each node makes
    /// its own, and the one that the client asked hands it over.
    type Response: 'static;

    /// Applies one entry. A payload that makes no sense must be answered, not panicked on: every
    /// node sees the same bytes, so a panic here stops the whole cluster.
    fn apply(&mut self, entry: Committed<'_>) -> Self::Response;

    /// Freezes the present state and returns it as chunks, to be asked for one by one while later
    /// entries are applied; none of those may show. Aim for chunks of at most 64 KiB and a
    /// millisecond of work each; the call itself must be quick, too (share, do not copy).
    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>>;

    /// Replaces the state with the one whose [`snapshot`](Self::snapshot) yielded these bytes;
    /// the boundaries of the chunks are not kept.
    ///
    /// # Errors
    /// A text saying what is wrong with the bytes. The node stops: the bytes were checksummed, so
    /// they are of another version or another kind of state machine.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String>;
}
