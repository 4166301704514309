//! The handle on a running node: what an embedder and the network API hold.
//!
//! (Stand-in until the engine lands: applies at once, one node, nothing durable.)

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;

use crate::error::Refused;
use crate::id::{ClusterId, Index, NodeId, Term};
use crate::machine::{Committed, StateMachine};

/// A handle on a running node; clones are handles on the same one.
pub struct Node<M: StateMachine>(Rc<Inner<M>>);

struct Inner<M> {
    machine: RefCell<M>,
    index: Cell<u64>,
}

/// An answered proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied<R> {
    /// Where in the log it stands.
    pub index: Index,
    /// The term that decided it.
    pub term: Term,
    /// What the state machine answered.
    pub response: R,
}

/// What a node does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

/// A peer as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which one.
    pub node: NodeId,
    /// What it has durably, as far as is known.
    pub match_index: Index,
    /// What it is sent next.
    pub next_index: Index,
    /// Milliseconds since it was last heard of; `None` if never in this term.
    pub heard_ms: Option<u64>,
}

/// One moment of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The voters.
    pub members: Vec<NodeId>,
    /// What it does.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The last entry of its log.
    pub last_index: Index,
    /// The last entry that it knows to be decided.
    pub commit_index: Index,
    /// The last entry that its state machine has applied.
    pub applied_index: Index,
    /// The last entry that its latest snapshot covers.
    pub snapshot_index: Index,
    /// The peers, if it leads.
    pub peers: Vec<PeerStatus>,
    /// Bytes that the journal takes on disk.
    pub journal_bytes: u64,
    /// The median of the last syncs, in microseconds.
    pub sync_us: u64,
    /// The longest recent delay of the loop, in microseconds.
    pub loop_lag_us: u64,
    /// Whether the disk has no room for new entries.
    pub disk_full: bool,
}

impl<M: StateMachine> Node<M> {
    /// Stand-in for tests of the layers above.
    #[must_use]
    pub fn stand_in(machine: M) -> Self {
        Self(Rc::new(Inner {
            machine: RefCell::new(machine),
            index: Cell::new(0),
        }))
    }

    /// Proposes a command and waits until it is decided and applied here.
    ///
    /// # Errors
    /// [`Refused::outcome`] says whether the command may still take effect.
    ///
    /// Cancel safe: dropping it abandons the answer; the command is in the log or it is not.
    pub async fn propose(&self, command: Bytes) -> Result<Applied<M::Response>, Refused> {
        let index = self.0.index.get() + 1;
        self.0.index.set(index);
        let entry = Committed {
            index,
            epoch: 1,
            payload: &command,
        };
        let response = self.0.machine.borrow_mut().apply(entry);
        Ok(Applied {
            index: Index(index),
            term: Term(1),
            response,
        })
    }

    /// Looks at the state linearizably: the state shows everything that was answered to anybody
    /// before this call.
    ///
    /// # Errors
    /// [`Refused`] if no quorum confirms in time. Nothing has happened then.
    ///
    /// Cancel safe.
    pub async fn read<T>(&self, look: impl FnOnce(&M) -> T) -> Result<T, Refused> {
        Ok(look(&self.0.machine.borrow()))
    }

    /// Looks at this node's present state, which may be behind.
    pub fn read_stale<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.0.machine.borrow())
    }

    /// This moment of the node.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            node: NodeId(1),
            cluster: ClusterId(1),
            members: vec![NodeId(1)],
            role: Role::Leader,
            term: Term(1),
            leader: Some(NodeId(1)),
            last_index: Index(self.0.index.get()),
            commit_index: Index(self.0.index.get()),
            applied_index: Index(self.0.index.get()),
            snapshot_index: Index(0),
            peers: vec![],
            journal_bytes: 0,
            sync_us: 0,
            loop_lag_us: 0,
            disk_full: false,
        }
    }
}

impl<M: StateMachine> Clone for Node<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: StateMachine> fmt::Debug for Node<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Node")
    }
}
