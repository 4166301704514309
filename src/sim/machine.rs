//! State machines of the simulator: what a machine must offer to be compared, the [`Ledger`] that
//! the storms write to, and the [`Probe`] that tells the checker what each node applies.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

use crate::id::{Index, NodeId};
use crate::machine::{Committed, StateMachine};
use crate::sim::checks::Checks;

/// A state machine whose states can be compared.
pub trait Digest: StateMachine {
    /// A number that differs when the states differ. It is asked for after every entry on every
    /// node: of a state that grows, keep it up to date rather than compute it. Unless something
    /// else is said it is a hash of the bytes of a snapshot.
    fn digest(&self) -> u64 {
        let mix = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = |hash, chunk: Vec<u8>| chunk.iter().fold(hash, mix);
        self.snapshot().fold(0xcbf2_9ce4_8422_2325, hash)
    }
}

/// Says what is wrong with a state, if anything is.
pub type Judge<M> = Rc<dyn Fn(&M) -> Result<(), String>>;

/// What one client writes once: nobody ever writes the same twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Write {
    /// Which client.
    pub client: u32,
    /// Which of its writes.
    pub seq: u32,
}

impl Write {
    /// The command for a [`Ledger`], with `padding` bytes that mean nothing.
    #[must_use]
    pub fn command(self, padding: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(8 + padding);
        self.serialize(&mut bytes).expect("memory does not refuse a write");
        bytes.resize(8 + padding, 0);
        bytes.into()
    }

    /// What a command says; `None` if it is none of ours.
    #[must_use]
    pub fn parse(mut command: &[u8]) -> Option<Self> {
        Self::deserialize(&mut command).ok()
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}#{}", self.client, self.seq)
    }
}

/// A list that only grows: every write in the order of the log.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    writes: Rc<Vec<(u64, Write)>>,
    digest: u64,
}

impl Ledger {
    /// The position in the log of the last write that it shows; zero if none.
    #[must_use]
    pub fn last_index(&self) -> Index {
        Index(self.writes.last().map_or(0, |&(index, _)| index))
    }

    /// Every write with its position, oldest first.
    #[must_use]
    pub fn writes(&self) -> &[(u64, Write)] {
        &self.writes
    }

    fn push(&mut self, index: u64, write: Write) {
        Rc::make_mut(&mut self.writes).push((index, write));
        let word = index << 40 ^ u64::from(write.client) << 32 ^ u64::from(write.seq);
        let mixed = (self.digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.digest = mixed ^ mixed >> 31;
    }
}

impl StateMachine for Ledger {
    /// How many writes there are, this one among them; zero for a command that makes no sense.
    type Response = usize;

    fn apply(&mut self, entry: Committed<'_>) -> usize {
        match Write::parse(entry.payload) {
            Some(write) => self.push(entry.index, write),
            None => return 0,
        }
        self.writes.len()
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        let writes = self.writes.clone();
        let mut next = 0;
        Box::new(std::iter::from_fn(move || {
            let rest = writes.get(next..).filter(|rest| !rest.is_empty())?;
            let slice = &rest[..rest.len().min(CHUNK_WRITES)];
            next += slice.len();
            let mut chunk = Vec::with_capacity(slice.len() * 16);
            for write in slice {
                write.serialize(&mut chunk).expect("memory does not refuse a write");
            }
            Some(chunk)
        }))
    }

    fn restore(&mut self, mut snapshot: &[u8]) -> Result<(), String> {
        *self = Self::default();
        while !snapshot.is_empty() {
            let (index, write) =
                <(u64, Write)>::deserialize(&mut snapshot).map_err(|error| error.to_string())?;
            self.push(index, write);
        }
        Ok(())
    }
}

/// Writes in one chunk of a snapshot: 16 bytes each, so 4 KiB.
const CHUNK_WRITES: usize = 256;

impl Digest for Ledger {
    fn digest(&self) -> u64 {
        self.digest
    }
}

/// Wraps a machine on a simulated node and tells the checker what is applied to it.
pub struct Probe<M> {
    machine: M,
    node: NodeId,
    checker: Rc<RefCell<dyn Checks>>,
    always: Option<Judge<M>>,
}

impl<M: Digest> Probe<M> {
    /// Watches `machine` on `node`; what `always` says must hold after every entry.
    #[must_use]
    pub fn new(
        machine: M,
        node: NodeId,
        checker: Rc<RefCell<dyn Checks>>,
        always: Option<Judge<M>>,
    ) -> Self {
        Self { machine, node, checker, always }
    }

    fn judge(&self) {
        if let Some(always) = &self.always
            && let Err(what) = always(&self.machine)
        {
            let what = format!("{:?}: {what}", self.node);
            self.checker.borrow_mut().report("always", what);
        }
    }
}

impl<M: Digest> StateMachine for Probe<M> {
    type Response = M::Response;

    fn apply(&mut self, entry: Committed<'_>) -> M::Response {
        let response = self.machine.apply(entry);
        self.checker.borrow_mut().applied(self.node, entry, self.machine.digest());
        self.judge();
        response
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        self.machine.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.machine.restore(snapshot)?;
        self.checker.borrow_mut().restored(self.node, self.machine.digest());
        self.judge();
        Ok(())
    }
}

impl<M> Deref for Probe<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.machine
    }
}

impl<M: fmt::Debug> fmt::Debug for Probe<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Probe({:?}, {:?})", self.node, self.machine)
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, Ledger, Write};
    use crate::machine::{Committed, StateMachine};

    fn filled(count: u32) -> Ledger {
        let mut ledger = Ledger::default();
        for seq in 0..count {
            let payload = Write { client: 1, seq }.command(3);
            ledger.apply(Committed { index: u64::from(seq) + 2, epoch: 1, payload: &payload });
        }
        ledger
    }

    #[test]
    fn a_snapshot_is_the_state_when_it_was_asked_for() {
        let mut ledger = filled(1000);
        let (digest, chunks) = (ledger.digest(), ledger.snapshot());
        ledger.apply(Committed { index: 5000, epoch: 1, payload: &[0; 8] });
        let bytes: Vec<u8> = chunks.flatten().collect();
        let mut other = Ledger::default();
        other.restore(&bytes).expect("our own bytes");
        assert_eq!((other.digest(), other.writes().len()), (digest, 1000));
        assert!(other.restore(&bytes[1..]).is_err());
    }

    #[test]
    fn a_command_that_makes_no_sense_changes_nothing() {
        let mut ledger = filled(3);
        let digest = ledger.digest();
        assert_eq!(ledger.apply(Committed { index: 9, epoch: 1, payload: &[1] }), 0);
        assert_eq!(ledger.digest(), digest);
    }
}
