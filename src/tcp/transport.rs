//! The scope of the transport: what it is made of, its limits, and [`run`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use crate::env::io::TcpListener;
use crate::env::net::Wire;
use crate::env::{Clock, Rng, Spawner};
use crate::id::NodeId;
use crate::scope::notify::Notify;
use crate::tcp::link::Identity;
use crate::tcp::stats::Counters;
use crate::tcp::{accept, dial};

/// How much the transport takes on and how long it waits. Each limit says why it is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpLimits {
    /// Bytes of one frame's payload, both ways. Four times what an engine puts into one append, so
    /// that the largest command fits with room to spare. The same on all nodes.
    pub frame_bytes_max: usize,
    /// How long a connection, and then the hello on it, may take.
    pub handshake: Duration,
    /// Accepted connections that have not yet said hello; a newer one closes the oldest, so that a
    /// crowd of silent strangers cannot keep a peer out.
    pub handshakes_max: usize,
    /// The first pause before dialling again.
    pub retry_min: Duration,
    /// The longest one. Pauses double up to it, and the half of each is left to chance. A
    /// connection that lived longer than this starts again at the shortest.
    pub retry_max: Duration,
    /// How long a frame may take to arrive from its first byte on, see
    /// [`patience_with`](Self::patience_with). A peer that stops in the middle of one is closed and
    /// dials again.
    pub frame_patience: Duration,
    /// How long a peer may acknowledge nothing before the operating system ends the connection.
    pub dead_after: Duration,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 4 << 20,
            handshake: Duration::from_secs(3),
            handshakes_max: 32,
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(2),
            frame_patience: Duration::from_secs(3),
            dead_after: Duration::from_secs(6),
        }
    }
}

/// Bytes of a frame that may take a second more to arrive: slower links are none to agree over.
const FRAME_BYTES_A_SECOND: u32 = 64 << 10;

impl TcpLimits {
    /// How long a frame of `bytes` may take to arrive from its first byte on: the patience, and a
    /// second for each 64 KiB.
    #[must_use]
    pub fn patience_with(&self, bytes: usize) -> Duration {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.frame_patience + Duration::from_secs(1) * bytes / FRAME_BYTES_A_SECOND
    }
}

/// Everything that the transport of one node is made of.
#[derive(Debug)]
pub struct Transport {
    /// Our end of the node's queues.
    pub wire: Wire,
    /// Where peers reach this node. Whether that is loopback is its maker's decision.
    pub listener: TcpListener,
    /// Where the peers are: `address:port` or `name:port`, without this node.
    pub peers: BTreeMap<NodeId, String>,
    /// Who this node says it is.
    pub identity: Identity,
    /// For pauses and deadlines.
    pub clock: Clock,
    /// For the part of a pause that is left to chance.
    pub rng: Rng,
    /// One task per peer and accepted connection.
    pub spawner: Spawner,
    /// How much it takes on.
    pub limits: TcpLimits,
    /// What it counts; keep a clone to read it.
    pub counters: Counters,
}

/// What the tasks of one transport share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) wire: Wire,
    pub(super) identity: Identity,
    pub(super) clock: Clock,
    pub(super) rng: Rng,
    pub(super) spawner: Spawner,
    pub(super) limits: TcpLimits,
    pub(super) counters: Counters,
    /// For each peer, the notify that makes its dialler try at once.
    pub(super) nudges: BTreeMap<NodeId, Notify>,
    /// For each peer, the number of its present incoming connection and the notify that ends it.
    pub(super) incoming: RefCell<BTreeMap<NodeId, (u64, Notify)>>,
}

/// Carries frames between the node and its peers for as long as it is polled: the scope of all
/// connections. It cannot fail: what goes wrong with a connection is counted, logged and retried.
///
/// Dropping it closes the listener at once and each connection when its task is next scheduled.
pub async fn run(transport: Transport) -> Infallible {
    for &peer in transport.peers.keys() {
        transport.counters.link(peer, |_| {});
    }
    let nudges = transport.peers.keys().map(|&peer| (peer, Notify::new()));
    let shared = Rc::new(Shared {
        wire: transport.wire,
        identity: transport.identity,
        clock: transport.clock,
        rng: transport.rng,
        spawner: transport.spawner,
        limits: transport.limits,
        counters: transport.counters,
        nudges: nudges.collect(),
        incoming: RefCell::default(),
    });
    let _dialling: Vec<_> = transport
        .peers
        .into_iter()
        .map(|(peer, endpoint)| {
            let dialling = dial::run(shared.clone(), peer, endpoint);
            shared.spawner.spawn(dialling)
        })
        .collect();
    accept::run(&shared, transport.listener).await
}
