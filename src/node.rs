//! One handle on a running node, whichever engine it runs.
//!
//! What a service needs of agreement is the same for both engines: propose a command, look at the
//! state, ask how things stand. [`Node`] is that, and nothing is behind it but a choice: each call
//! goes to the engine's own handle. Who embeds one engine takes that engine's handle
//! ([`raft::Node`], [`helix::Node`]) and sees its own words; what serves clients takes this one.
//!
//! Positions and attempts have different names in the engines; here they are [`Index`], a position
//! in the order of commands, and *epoch*, the number of an attempt to lead: raft's term, helix's epoch
//! (the height at which the present proposer's unbroken run of blocks began).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::error::Refused;
use crate::helix;
use crate::host::{Applied, Vitals};
use crate::id::{ClusterId, Height, Index, NodeId, View};
use crate::machine::StateMachine;
use crate::raft;

/// A handle on a running node of either engine; clones are handles on the same one.
///
/// Made [from](From) the handle of an engine.
pub struct Node<M: StateMachine>(Handle<M>);

enum Handle<M: StateMachine> {
    Raft(raft::Node<M>),
    Helix(helix::Node<M>),
}

/// What a node does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It follows a leader, or waits for one.
    Follower,
    /// It tries to lead.
    Candidate,
    /// It leads.
    Leader,
}

/// One moment of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Those who decide.
    pub members: Vec<NodeId>,
    /// What it does.
    pub role: Role,
    /// The attempt to lead that it knows of.
    pub epoch: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The last position that it holds, decided or not.
    pub last_index: Index,
    /// The last position that it knows to be decided.
    pub commit_index: Index,
    /// The last position that its state machine has applied.
    pub applied_index: Index,
    /// How its host is.
    pub vitals: Vitals,
    /// What only its engine knows.
    pub engine: Engine,
}

/// Which engine a node runs, and what only that one can say of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// Raft, for nodes that may crash.
    Raft {
        /// The last entry that the latest snapshot covers.
        snapshot_index: Index,
        /// The first entry that is still in the log.
        first_index: Index,
        /// The peers, if the node leads.
        peers: Vec<raft::PeerStatus>,
    },
    /// Helix, for nodes that may lie.
    Helix {
        /// The height that is being decided.
        height: Height,
        /// The view that it is in.
        view: View,
        /// Members that are proven to have lied, with how often, as far as that is kept.
        evidence: Vec<(NodeId, u64)>,
        /// What keeps it from going on, if anything does.
        trouble: Option<String>,
        /// Signatures made.
        signed: u64,
        /// Signatures checked.
        verified: u64,
        /// What each peer claims to have decided, and milliseconds since it was heard.
        peers: Vec<(NodeId, Height, u64)>,
    },
}

impl Engine {
    /// Its name, in lower case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Raft { .. } => "raft",
            Self::Helix { .. } => "helix",
        }
    }
}

impl<M: StateMachine> Node<M> {
    /// Proposes a command and waits until it is decided and applied here, whoever leads.
    ///
    /// A command survives a change of leader, and is applied at most once.
    ///
    /// # Errors
    /// [`Refused::outcome`] says whether the command may still take effect.
    ///
    /// Cancel safe: dropping it abandons the answer; the command is decided or it is not.
    pub async fn propose(&self, command: Bytes) -> Result<Applied<M::Response>, Refused> {
        match &self.0 {
            Handle::Raft(node) => node.propose(command).await,
            Handle::Helix(node) => node.propose(command).await,
        }
    }

    /// Looks at the state linearizably: it shows everything that was answered to anybody before
    /// this call. On any node.
    ///
    /// # Errors
    /// [`Refused`] if no quorum confirms in time. Nothing has happened then.
    ///
    /// Cancel safe.
    pub async fn read<T>(&self, look: impl FnOnce(&M) -> T) -> Result<T, Refused> {
        match &self.0 {
            Handle::Raft(node) => node.read(look).await,
            Handle::Helix(node) => node.read(look).await,
        }
    }

    /// Looks at this node's present state, which may be behind.
    pub fn read_stale<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        match &self.0 {
            Handle::Raft(node) => node.read_stale(look),
            Handle::Helix(node) => node.read_stale(look),
        }
    }

    /// The attempt to lead that it knows of; what a leader proposes is decided in the epoch that it
    /// leads, or in a later one.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        match &self.0 {
            Handle::Raft(node) => node.term().0,
            Handle::Helix(node) => node.epoch(),
        }
    }

    /// The epoch that this node leads, if it leads. What it proposes is applied in that epoch, or in
    /// a later one, never in an earlier. It may cease to lead an epoch and lead it again (in helix,
    /// not in raft), but nobody else ever leads it, and neither does this node after a start.
    #[must_use]
    pub fn leading(&self) -> Option<u64> {
        match &self.0 {
            Handle::Raft(node) => {
                let status = node.status();
                (status.role == raft::Role::Leader).then_some(status.term.0)
            }
            Handle::Helix(node) => node.leading(),
        }
    }

    /// Sees to it that somebody leads who lives, for duties that are the leader's. In raft somebody
    /// does whatever happens; in helix nobody needs a leader as long as nothing is proposed. Call it
    /// now and then while there are such duties.
    pub fn want_leader(&self) {
        match &self.0 {
            Handle::Raft(_) => {}
            Handle::Helix(node) => node.want_leader(),
        }
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        match &self.0 {
            Handle::Raft(node) => node.id(),
            Handle::Helix(node) => node.id(),
        }
    }

    /// This moment of the node.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.0 {
            Handle::Raft(node) => node.status().into(),
            Handle::Helix(node) => node.status().into(),
        }
    }

    /// Ends the node's life in good order; await the life for the end.
    pub fn shutdown(&self) {
        match &self.0 {
            Handle::Raft(node) => node.shutdown(),
            Handle::Helix(node) => node.shutdown(),
        }
    }
}

impl From<raft::Role> for Role {
    fn from(role: raft::Role) -> Self {
        match role {
            raft::Role::Follower => Self::Follower,
            raft::Role::Candidate => Self::Candidate,
            raft::Role::Leader => Self::Leader,
        }
    }
}

impl From<raft::Status> for Status {
    fn from(status: raft::Status) -> Self {
        Self {
            node: status.node,
            cluster: status.cluster,
            members: status.members,
            role: status.role.into(),
            epoch: status.term.0,
            leader: status.leader,
            last_index: status.last_index,
            commit_index: status.commit_index,
            applied_index: status.applied_index,
            vitals: status.vitals,
            engine: Engine::Raft {
                snapshot_index: status.snapshot_index,
                first_index: status.first_index,
                peers: status.peers,
            },
        }
    }
}

impl From<helix::commands::node::Status> for Status {
    fn from(status: helix::commands::node::Status) -> Self {
        let engine = status.engine;
        let mut evidence = BTreeMap::<NodeId, u64>::new();
        for piece in &engine.evidence {
            *evidence.entry(piece.node).or_default() += 1;
        }
        Self {
            node: engine.node,
            cluster: engine.instance,
            members: status.nodes,
            role: if status.leads { Role::Leader } else { Role::Follower },
            epoch: status.epoch,
            leader: engine.leader,
            last_index: status.applied,
            commit_index: status.applied,
            applied_index: status.applied,
            vitals: status.vitals,
            engine: Engine::Helix {
                height: engine.height,
                view: engine.view,
                evidence: evidence.into_iter().collect(),
                trouble: engine.trouble,
                signed: engine.signed,
                verified: engine.verified,
                peers: engine.peers,
            },
        }
    }
}

impl<M: StateMachine> From<helix::Node<M>> for Node<M> {
    fn from(node: helix::Node<M>) -> Self {
        Self(Handle::Helix(node))
    }
}

impl<M: StateMachine> From<raft::Node<M>> for Node<M> {
    fn from(node: raft::Node<M>) -> Self {
        Self(Handle::Raft(node))
    }
}

impl<M: StateMachine> Clone for Node<M> {
    fn clone(&self) -> Self {
        match &self.0 {
            Handle::Raft(node) => node.clone().into(),
            Handle::Helix(node) => node.clone().into(),
        }
    }
}

impl<M: StateMachine> fmt::Debug for Node<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Handle::Raft(node) => node.fmt(f),
            Handle::Helix(node) => node.fmt(f),
        }
    }
}
