//! What a node is told at start, valid by construction: named timing presets and named limits.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::{ClusterId, NodeId};

/// How patient a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A leader lets nobody wait longer than this for a sign of life.
    pub heartbeat: Duration,
    /// A follower that heard nothing for a random span between these two asks for an election.
    pub election_min: Duration,
    /// The longest such span.
    pub election_max: Duration,
}

impl Timing {
    /// One rack or one building: heartbeat 100 ms, election after 400 to 650 ms. The default.
    pub const LAN: Self = Self::from_millis(100, 400, 650);
    /// Between cities: heartbeat 500 ms, election after 2.5 to 5 s.
    pub const WAN: Self = Self::from_millis(500, 2_500, 5_000);
    /// Boards with SD cards, whose syncs can take seconds: heartbeat 1 s, election after 6 to 12 s.
    pub const FLASH: Self = Self::from_millis(1_000, 6_000, 12_000);

    /// How long a request may wait for a decision before its client is told that the outcome is
    /// unknown: five seconds and two elections.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election_max
    }

    const fn from_millis(heartbeat: u64, min: u64, max: u64) -> Self {
        Self {
            heartbeat: Duration::from_millis(heartbeat),
            election_min: Duration::from_millis(min),
            election_max: Duration::from_millis(max),
        }
    }
}

/// How much a node takes on before it refuses. Each limit says why it is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one command. Larger ones would hold up everything behind them on the one log.
    pub command_bytes_max: usize,
    /// Proposals that wait to be decided; more are refused with `Overloaded`.
    pub proposals_max: usize,
    /// Bytes of the proposals that wait.
    pub proposal_bytes_max: usize,
    /// Bytes of entries in one append to a peer; also what one group commit takes on.
    pub append_bytes_max: usize,
    /// Appends sent to a peer and not yet acknowledged.
    pub appends_in_flight_max: usize,
    /// Bytes of those appends: what a peer that stops reading may cost in memory.
    pub in_flight_bytes_max: usize,
    /// Bytes of recent entries kept in memory for peers that are nearly up to date; older ones are
    /// read from the journal.
    pub cache_bytes_max: usize,
    /// Bytes of one file of the journal: room is given back to the disk in such pieces.
    pub segment_bytes: u64,
    /// A snapshot is taken when the log since the last one is longer than this, and longer than
    /// [`snapshot_factor`](Self::snapshot_factor) times that snapshot.
    pub snapshot_log_bytes: u64,
    /// How many times its own size the log may grow before the state is written again: bounds what
    /// snapshots add to the bytes written.
    pub snapshot_factor: u64,
    /// Entries kept behind a snapshot, so that a peer that was away shortly needs no snapshot.
    pub snapshot_keep_entries: u64,
    /// Bytes of one piece of a snapshot on its way to a peer.
    pub snapshot_chunk_bytes: usize,
    /// How much is done at a time.
    pub slices: Slices,
}

/// How much a node does at a time: before its tasks let others run, and between two syncs of a long
/// write. Nobody needs to change these. They are here because a simulation draws them: a fault
/// that needs two slices must not hide where all fits one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slices {
    /// Events of a role of raft, and messages of a term of helix, before other tasks run.
    pub events: u32,
    /// Entries that are applied between two events.
    pub apply_entries: usize,
    /// Bytes of entries that are read for that; one entry at least is.
    pub apply_bytes: usize,
    /// Bytes of a snapshot under one checksum: what reading a piece costs besides the piece.
    pub snapshot_block_bytes: usize,
    /// Bytes of a snapshot between two syncs.
    pub snapshot_sync_bytes: u64,
    /// Bytes of zeros that are written at a time while a file of the journal is made ahead: bounds
    /// how long a batch waits for it.
    pub zero_bytes: u64,
    /// Bytes of the first file of a new journal, so that a new node starts at once.
    pub first_segment_bytes: u64,
}

impl Slices {
    /// Those of production.
    pub const REAL: Self = Self {
        events: 64,
        apply_entries: 128,
        apply_bytes: 256 << 10,
        snapshot_block_bytes: 64 << 10,
        snapshot_sync_bytes: 1 << 20,
        zero_bytes: 512 << 10,
        first_segment_bytes: 256 << 10,
    };
}

impl Default for Slices {
    fn default() -> Self {
        Self::REAL
    }
}

impl Limits {
    /// Bytes of the largest run of entries that a healthy leader or follower makes: a batch that was
    /// nearly full when the largest command came, and a head for each. The journal takes records of
    /// this size; a peer's message that would make a larger one is dropped.
    #[must_use]
    pub fn entries_bytes_max(&self) -> usize {
        self.append_bytes_max + self.command_bytes_max + self.proposals_max * ENTRY_HEAD
    }
}

/// Bytes before the payload of an entry, in the log and on the wire.
pub const ENTRY_HEAD: usize = 8 + 1 + 8 + 8 + 4;

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_bytes_max: 1536 << 10,
            proposals_max: 16_384,
            proposal_bytes_max: 32 << 20,
            append_bytes_max: 1 << 20,
            appends_in_flight_max: 64,
            in_flight_bytes_max: 4 << 20,
            cache_bytes_max: 2 << 20,
            segment_bytes: 4 << 20,
            snapshot_log_bytes: 16 << 20,
            snapshot_factor: 4,
            snapshot_keep_entries: 4_096,
            snapshot_chunk_bytes: 256 << 10,
            slices: Slices::default(),
        }
    }
}

/// The configuration of one node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this node is.
    pub node: NodeId,
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// The voters, this node among them. Fixed at bootstrap.
    pub members: BTreeSet<NodeId>,
    /// How patient it is.
    pub timing: Timing,
    /// What it takes on.
    pub limits: Limits,
}

impl Config {
    /// A configuration with the default timing and limits.
    ///
    /// # Errors
    /// A text naming the field that makes no sense.
    pub fn new(
        node: NodeId,
        cluster: ClusterId,
        members: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, String> {
        let members: BTreeSet<_> = members.into_iter().collect();
        let config =
            Self { node, cluster, members, timing: Timing::LAN, limits: Limits::default() };
        config.checked()
    }

    /// The same with another timing.
    ///
    /// # Errors
    /// If a heartbeat does not fit at least three times into the shortest election timeout, or the
    /// range of timeouts is empty: such a cluster would elect for ever.
    pub fn with_timing(mut self, timing: Timing) -> Result<Self, String> {
        self.timing = timing;
        self.checked()
    }

    fn checked(self) -> Result<Self, String> {
        if self.node == NodeId::ZERO || self.members.contains(&NodeId::ZERO) {
            return Err("a node id must be 1 or greater".into());
        }
        if !self.members.contains(&self.node) {
            return Err(format!("node {} is not among the members of its cluster", self.node));
        }
        let Timing { heartbeat, election_min, election_max } = self.timing;
        if heartbeat.is_zero() || election_min < heartbeat * 3 {
            return Err(format!(
                "the shortest election timeout ({election_min:?}) must be at least three \
                 heartbeats ({heartbeat:?} each)"
            ));
        }
        if election_max <= election_min {
            return Err(format!(
                "the longest election timeout ({election_max:?}) must be above the shortest \
                 ({election_min:?})"
            ));
        }
        Ok(self)
    }

    /// The other members.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().copied().filter(|&id| id != self.node)
    }
}
