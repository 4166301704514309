//! What a helix node is told at start, valid by construction.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::Slices;
use crate::id::{ClusterId, Height, NodeId};

/// How patient a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long view 0 may last; view `v` may last `base * 2^v` (Lean Helix, election trigger).
    pub base: Duration,
    /// The longest that any view may last; `None` for no limit, as the protocol has it. With a limit
    /// a cluster that was cut for an hour decides again soon after it is whole.
    pub cap: Option<Duration>,
    /// After what time a message that nobody has answered is sent again; the pause doubles, up to
    /// eight times this.
    pub resend: Duration,
    /// How often a node tells the others how far it is, when there is nothing else to say.
    pub announce: Duration,
}

impl Timing {
    /// One building: views of 1, 2, 4, 8 s and no longer. The default.
    pub const LAN: Self = Self {
        base: Duration::from_secs(1),
        cap: Some(Duration::from_secs(8)),
        resend: Duration::from_millis(250),
        announce: Duration::from_secs(1),
    };
    /// The protocol's own: 4 s, doubling without end.
    pub const EXACT: Self = Self {
        base: Duration::from_secs(4),
        cap: None,
        resend: Duration::from_secs(1),
        announce: Duration::from_secs(4),
    };
}

/// How much a node takes on. Each limit says why it is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a block's payload: larger ones would hold up every vote behind them.
    pub block_bytes_max: usize,
    /// How many heights ahead of the present one messages are kept for: a node that is further behind
    /// fetches blocks instead.
    pub window: u64,
    /// Bytes of decided blocks in one answer to a node that is behind.
    pub fetch_bytes_max: usize,
    /// Pieces of evidence kept in memory; more are counted.
    pub evidence_max: usize,
    /// Bytes of one file of the journal.
    pub segment_bytes: u64,
    /// How much is done at a time.
    pub slices: Slices,
}

impl Limits {
    /// Bytes of the largest record of the journal, among `nodes`: a block and its proof.
    #[must_use]
    pub(crate) fn record_bytes_max(&self, nodes: usize) -> usize {
        self.block_bytes_max + nodes * 128 + (4 << 10)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            block_bytes_max: 1536 << 10,
            window: 4,
            fetch_bytes_max: 1 << 20,
            evidence_max: 64,
            segment_bytes: 4 << 20,
            slices: Slices::default(),
        }
    }
}

/// The configuration of one node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this node is.
    pub node: NodeId,
    /// Which instance of the protocol it takes part in; signed in every word.
    pub instance: ClusterId,
    /// Every node that takes part, in a committee or not, this one among them.
    pub nodes: BTreeSet<NodeId>,
    /// How patient it is.
    pub timing: Timing,
    /// What it takes on.
    pub limits: Limits,
    /// Decide nothing above this height: for upgrades at a height that all agree on.
    pub stop_at: Option<Height>,
}

impl Config {
    /// A configuration with the default timing and limits.
    ///
    /// # Errors
    /// A text naming the field that makes no sense.
    pub fn new(
        node: NodeId,
        instance: ClusterId,
        nodes: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, String> {
        let nodes: BTreeSet<_> = nodes.into_iter().collect();
        if node == NodeId::ZERO || nodes.contains(&NodeId::ZERO) {
            return Err("a node id must be 1 or greater".into());
        }
        if !nodes.contains(&node) {
            return Err(format!("node {node} is not among the nodes of its instance"));
        }
        let (timing, limits) = (Timing::LAN, Limits::default());
        Ok(Self { node, instance, nodes, timing, limits, stop_at: None })
    }

    /// The other nodes.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().copied().filter(|&id| id != self.node)
    }
}
