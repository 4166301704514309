//! What one can ask of a cluster of raft, and do to it, besides what one can with every
//! [`cluster`].

use std::time::Duration;

use crate::config::{Config, Limits, Slices, Timing};
use crate::env::Env;
use crate::env::net::Wire;
use crate::error::Fatal;
use crate::id::{NodeId, Term};
use crate::raft::message::{Envelope, Message};
use crate::raft::{Node, Observer, Role};
use crate::sim::cluster;
use crate::sim::draws::Draws;
use crate::sim::machine::Digest;
use crate::sim::net::Flight;
use crate::sim::raft::protocol::Raft;
use crate::sim::twins::{Boxed, beside};
use crate::sim::world::Stopped;

/// Raft nodes and the world they live in.
pub type Cluster<M> = cluster::Cluster<Raft<M>>;

/// What such a cluster is made of.
pub type Setup<M> = cluster::Setup<Raft<M>>;

/// What only a cluster of raft is made of.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How patient the nodes are.
    pub timing: Timing,
    /// What they take on.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timing: Timing::LAN, limits: Limits::default() }
    }
}

/// What a node of raft has that outlives its lives.
#[derive(Debug, Default)]
pub struct Slot {
    /// With whom its twin speaks; it has none if that is nobody.
    pub(crate) speaks_with: Vec<NodeId>,
}

/// Limits of scenarios, so small that everything that takes long in production happens all the time: snapshots,
/// compaction, rolled files, refused proposals.
#[must_use]
pub fn tiny_limits() -> Limits {
    Limits {
        command_bytes_max: 4 << 10,
        proposals_max: 64,
        proposal_bytes_max: 64 << 10,
        append_bytes_max: 8 << 10,
        appends_in_flight_max: 4,
        in_flight_bytes_max: 16 << 10,
        cache_bytes_max: 8 << 10,
        segment_bytes: 64 << 10,
        snapshot_log_bytes: 8 << 10,
        snapshot_factor: 2,
        snapshot_keep_entries: 10,
        snapshot_chunk_bytes: 4 << 10,
        slices: Slices::default(),
    }
}

/// Limits of a storm: each by itself tiny, production's, or between.
#[must_use]
pub fn any_limits(draws: &Draws) -> Limits {
    let (tiny, real) = (tiny_limits(), Limits::default());
    let mut limits = Limits {
        command_bytes_max: draws.count(tiny.command_bytes_max, real.command_bytes_max),
        proposals_max: draws.count(tiny.proposals_max, real.proposals_max),
        proposal_bytes_max: draws.count(tiny.proposal_bytes_max, real.proposal_bytes_max),
        append_bytes_max: draws.count(tiny.append_bytes_max, real.append_bytes_max),
        appends_in_flight_max: draws.count(1, real.appends_in_flight_max),
        in_flight_bytes_max: draws.count(tiny.in_flight_bytes_max, real.in_flight_bytes_max),
        cache_bytes_max: draws.count(tiny.cache_bytes_max, real.cache_bytes_max),
        segment_bytes: draws.costly(tiny.segment_bytes, real.segment_bytes) & !511,
        snapshot_log_bytes: draws.costly(tiny.snapshot_log_bytes, real.snapshot_log_bytes),
        snapshot_factor: draws.size(1, real.snapshot_factor),
        snapshot_keep_entries: draws.size(tiny.snapshot_keep_entries, real.snapshot_keep_entries),
        snapshot_chunk_bytes: draws.count(1 << 10, real.snapshot_chunk_bytes),
        slices: draws.slices(),
    };
    // A file of the journal must hold the largest record.
    let largest = limits.entries_bytes_max() as u64;
    limits.segment_bytes = limits.segment_bytes.max((largest + largest / 32 + (8 << 10)) & !511);
    limits
}

impl<M: Digest> Cluster<M> {
    /// From its next start on the node runs twice under its one name, as by an operator's mistake:
    /// once more on an empty disk. With these peers speaks that second one, and with all others the
    /// first. What the second one tells is not checked.
    pub fn run_twice(&mut self, node: NodeId, second_speaks_with: &[NodeId]) {
        self.world()
            .note(format!("{node:?} is two, and {second_speaks_with:?} hear the other one"));
        self.own_mut(node).speaks_with = second_speaks_with.to_vec();
    }

    /// The second life of a node that runs twice.
    pub(super) fn twin(
        &self,
        config: &Config,
        env: &Env,
        wire: &Wire,
    ) -> Result<Option<(Boxed, Wire)>, Fatal> {
        if self.own(config.node).speaks_with.is_empty() {
            return Ok(None);
        }
        let (env, wire) = beside(env, wire);
        let observer = Observer::default();
        let (_, life) = Node::start(config.clone(), env, self.unwatched(), observer)?;
        Ok(Some((Box::pin(life), wire)))
    }

    /// Hands the node a word of `from` in a later term than its own: whatever its role, it ends.
    pub fn overtake(&self, node: NodeId, from: NodeId) {
        if let Some(handle) = self.node(node) {
            let (term, message) = (handle.term().next(), Message::PreVoteReply { granted: false });
            self.world().note(format!("{node:?} is told of {term:?}"));
            self.forge(from, node, Envelope { term, message });
        }
    }

    /// Hands a follower a word of its leader that it shall take over now. A leader says so only to
    /// somebody who has everything; nothing but time may be lost if this one has not.
    pub fn force_transfer(&self, node: NodeId) {
        if let Some(status) = self.node(node).map(|node| node.status())
            && let Some(leader) = status.leader.filter(|&leader| leader != node)
        {
            self.world().note(format!("{node:?} is told to take over from {leader:?}"));
            let (term, message) = (status.term, Message::TimeoutNow);
            self.forge(leader, node, Envelope { term, message });
        }
    }

    fn forge(&self, from: NodeId, to: NodeId, envelope: Envelope) {
        let frame = envelope.encode();
        self.world().network(|network| network.hand_over(Flight { from, to, frame }));
    }

    /// Who leads: the leader of the highest term among the nodes that run.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.running()
            .map(|node| node.status())
            .filter(|status| status.role == Role::Leader)
            .max_by_key(|status| status.term)
            .map(|status| status.node)
    }

    /// Who leads, if every running node agrees: one leader, and all follow it in its term.
    #[must_use]
    pub fn settled_leader(&self) -> Option<NodeId> {
        self.settled_leader_of(&self.members())
    }

    /// Who leads, if every running one of these nodes agrees.
    #[must_use]
    pub fn settled_leader_of(&self, nodes: &[NodeId]) -> Option<NodeId> {
        let all = self.running().map(|node| node.status());
        let all: Vec<_> = all.filter(|status| nodes.contains(&status.node)).collect();
        let leader = all.iter().find(|status| status.role == Role::Leader)?;
        let agrees = |(leads, term): (Option<NodeId>, Term)| {
            leads == Some(leader.node) && term == leader.term
        };
        let settled = all.iter().all(|status| agrees((status.leader, status.term)));
        settled.then_some(leader.node)
    }

    /// Runs until all running nodes follow one leader, at most for `span`.
    pub fn run_until_led(&self, span: Duration) -> Option<NodeId> {
        // Looking at every node after every poll would take longer than the polls.
        let until = self.world().now() + span;
        while self.world().now() < until {
            if let Some(leader) = self.settled_leader() {
                return Some(leader);
            }
            if self.world().run_for(Duration::from_millis(5)) == Stopped::Violated {
                return None;
            }
        }
        None
    }
}
