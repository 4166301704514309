//! What the outside sees of a node.

use std::cell::{Cell, RefCell};

use crate::env::Time;
use crate::host::Vitals;
use crate::id::{ClusterId, Index, NodeId, Term};

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

/// A peer as its leader sees it, at the last heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which one.
    pub node: NodeId,
    /// What it has durably, as far as is known.
    pub match_index: Index,
    /// What it is sent next.
    pub next_index: Index,
    /// Milliseconds since it was last heard of; `None` if they do not fit a `u64`.
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
    /// The first entry that is still in its log.
    pub first_index: Index,
    /// The peers, if it leads.
    pub peers: Vec<PeerStatus>,
    /// How its host is.
    pub vitals: Vitals,
}

/// What is published of the present role. It changes when a role is entered, and when a follower
/// hears its leader.
#[derive(Debug)]
pub(crate) struct Published {
    role: Cell<Role>,
    leader: Cell<Option<NodeId>>,
    /// When the present leader was last heard; `None` if there is none.
    heard: Cell<Option<Time>>,
    peers: RefCell<Vec<PeerStatus>>,
}

impl Default for Published {
    fn default() -> Self {
        Self {
            role: Cell::new(Role::Follower),
            leader: Cell::new(None),
            heard: Cell::new(None),
            peers: RefCell::default(),
        }
    }
}

impl Published {
    pub(crate) fn role(&self) -> Role {
        self.role.get()
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leader.get()
    }

    /// When the present leader was last heard.
    pub(crate) fn heard(&self) -> Option<Time> {
        self.heard.get()
    }

    pub(crate) fn peers(&self) -> Vec<PeerStatus> {
        self.peers.borrow().clone()
    }

    /// A role begins.
    pub(crate) fn entered(&self, role: Role, leader: Option<NodeId>, now: Time) {
        self.role.set(role);
        self.leader.set(leader);
        self.heard.set(leader.map(|_| now));
        self.peers.take();
    }

    /// The leader of the present term was heard.
    pub(crate) fn heard_leader(&self, leader: NodeId, now: Time) {
        self.leader.set(Some(leader));
        self.heard.set(Some(now));
    }

    /// How the leader sees its peers.
    pub(crate) fn set_peers(&self, peers: Vec<PeerStatus>) {
        self.peers.replace(peers);
    }
}
