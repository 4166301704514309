//! What a simulated helix cluster is made of.

use std::time::Duration;

use crate::config::Slices;
use crate::env::Rng;
use crate::helix::commands::node::Options;
use crate::helix::protocol::app::Keys;
use crate::helix::protocol::config::{Limits, Timing};
use crate::helix::protocol::keys::Ed25519;
use crate::id::NodeId;
use crate::sim::draws::Draws;
use crate::sim::helix::keys::Ring;
use crate::sim::helix::schedule::CommitteeSchedule;
use crate::sim::helix::test_app::Behaviour;

/// How patient simulated nodes are: half a second for the first view, four for the longest.
pub const TIMING: Timing = Timing {
    base: Duration::from_millis(500),
    cap: Some(Duration::from_secs(4)),
    resend: Duration::from_millis(250),
    announce: Duration::from_secs(1),
};

/// Limits so small that files of the journal are rolled and answers are cut all the time.
pub const TINY: Limits = Limits {
    block_bytes_max: 2 << 10,
    window: 4,
    fetch_bytes_max: 8 << 10,
    evidence_max: 8,
    segment_bytes: 64 << 10,
    slices: Slices::REAL,
};

/// Limits of a storm, and what nodes take on of clients: each by itself tiny, production's, or
/// between.
pub(crate) fn any_limits(draws: &Draws) -> (Limits, Options) {
    let (tiny, real) = (TINY, Limits::default());
    let mut limits = Limits {
        block_bytes_max: draws.count(tiny.block_bytes_max, real.block_bytes_max),
        window: draws.size(1, real.window),
        fetch_bytes_max: draws.count(1, real.fetch_bytes_max),
        evidence_max: draws.count(tiny.evidence_max, real.evidence_max),
        segment_bytes: draws.costly(tiny.segment_bytes, real.segment_bytes) & !511,
        slices: draws.slices(),
    };
    // A file of the journal must hold the largest record.
    let largest = 2 * limits.block_bytes_max as u64 + (16 << 10);
    limits.segment_bytes = limits.segment_bytes.max(largest & !511);
    let real = Options::new(&TIMING);
    let options = Options {
        command_bytes_max: 1 << 10,
        command_window: draws.size(128, real.command_window),
        batch_bytes_max: draws.count(1, real.batch_bytes_max),
        requests_max: draws.count(16, real.requests_max),
        peer_commands_max: draws.count(8, real.peer_commands_max),
        ..real
    };
    (limits, options)
}

/// Which signatures the nodes make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// Those of a [`Ring`]: quick.
    Simulated,
    /// Ed25519: real.
    Real,
}

/// What only a cluster of helix is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who decides.
    pub schedule: CommitteeSchedule,
    /// How patient the nodes are.
    pub timing: Timing,
    /// What they take on.
    pub limits: Limits,
    /// How their applications work at first.
    pub behaviour: Behaviour,
    /// Blocks carry clients' commands for a state machine, instead of those of a test app. All nodes
    /// are members then, alike, and views end by the clock.
    pub commands: bool,
    /// What nodes take on of their clients and of commands of peers.
    pub options: Options,
    /// Whether nobody must be more patient because views have grown long.
    pub grown_views: bool,
    /// Which signatures they make.
    pub signing: Signing,
    /// Whether views end by hand only, see [`Cluster::elapse`](crate::sim::cluster::Cluster::elapse).
    pub manual: bool,
}

impl Default for Settings {
    /// All alike, and quick.
    fn default() -> Self {
        Self {
            schedule: CommitteeSchedule::Sticky,
            timing: TIMING,
            limits: TINY,
            behaviour: Behaviour::STEADY,
            commands: false,
            options: Options { command_bytes_max: 1 << 10, ..Options::new(&TIMING) },
            grown_views: true,
            signing: Signing::Simulated,
            manual: false,
        }
    }
}

impl Settings {
    /// The keys of one of `nodes` nodes, in the cluster of a seed.
    pub(crate) fn keys(&self, seed: u64, nodes: u64, node: NodeId) -> Box<dyn Keys> {
        let secret = |node: NodeId| [u8::try_from(node.0).unwrap_or(u8::MAX); 32];
        match self.signing {
            Signing::Simulated => {
                let secrets = Rng::seeded(seed ^ 0x5ec2_e75e_c2e7);
                Box::new(Ring::new(&secrets, (1..=nodes).map(NodeId)).keys(node))
            }
            Signing::Real => {
                let public = |node| (node, Ed25519::public_of(secret(node)));
                let publics = (1..=nodes).map(NodeId).map(public).collect();
                Box::new(Ed25519::new(secret(node), publics).expect("distinct keys"))
            }
        }
    }
}
