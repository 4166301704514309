//! Frames to and from the other nodes.
//!
//! The engine holds the [`Net`]: it puts frames for a peer into that peer's outgoing queue and
//! takes frames from one incoming queue, never waiting. The transport (`tcp`, or the simulator's
//! network) holds the other end, the [`Wire`]. Both queues are bounded in frames and bytes; a full
//! one drops the new frame and counts it, because every protocol above survives a lost frame.
//!
//! Frames of one sender to one receiver may be lost, but a transport does not reorder them except
//! in simulation, where the protocols are shown to survive that, too.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;

use crate::id::NodeId;
use crate::scope::notify::Notify;

/// How much one queue may hold before it drops.
#[derive(Debug, Clone, Copy)]
pub struct NetLimits {
    /// Frames in one queue.
    pub frames_max: usize,
    /// Bytes in one queue.
    pub bytes_max: usize,
}

impl Default for NetLimits {
    /// 4,096 frames and 16 MiB: several times what an engine keeps in flight to a peer, so a drop
    /// means a peer that does not read.
    fn default() -> Self {
        Self { frames_max: 4096, bytes_max: 16 << 20 }
    }
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<(NodeId, Bytes)>,
    bytes: usize,
    wake: Notify,
}

impl Queue {
    fn push(&mut self, limits: NetLimits, peer: NodeId, frame: Bytes) -> bool {
        if self.frames.len() >= limits.frames_max || self.bytes + frame.len() > limits.bytes_max {
            return false;
        }
        self.bytes += frame.len();
        self.frames.push_back((peer, frame));
        true
    }

    fn pop(&mut self) -> Option<(NodeId, Bytes)> {
        let (peer, frame) = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some((peer, frame))
    }
}

struct Inner {
    id: NodeId,
    limits: NetLimits,
    incoming: RefCell<Queue>,
    outgoing: RefCell<BTreeMap<NodeId, Queue>>,
    dropped: Cell<u64>,
}

/// The engine's end.
#[derive(Clone)]
pub struct Net(Rc<Inner>);

/// The transport's end.
#[derive(Clone)]
pub struct Wire(Rc<Inner>);

/// The two ends for the node `id` with the given peers (itself not among them).
#[must_use]
pub fn net(id: NodeId, peers: impl IntoIterator<Item = NodeId>, limits: NetLimits) -> (Net, Wire) {
    let outgoing = peers.into_iter().map(|peer| (peer, Queue::default())).collect();
    let inner = Rc::new(Inner {
        id,
        limits,
        incoming: RefCell::default(),
        outgoing: RefCell::new(outgoing),
        dropped: Cell::new(0),
    });
    (Net(inner.clone()), Wire(inner))
}

impl Inner {
    fn count_drop(&self) {
        self.dropped.set(self.dropped.get() + 1);
    }
}

impl Net {
    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// Queues a frame for `to`; drops and counts it when the queue is full or `to` is unknown.
    pub fn send(&self, to: NodeId, frame: Bytes) {
        let mut outgoing = self.0.outgoing.borrow_mut();
        let Some(queue) = outgoing.get_mut(&to) else {
            return self.0.count_drop();
        };
        if !queue.push(self.0.limits, to, frame) {
            return self.0.count_drop();
        }
        let wake = queue.wake.clone();
        drop(outgoing);
        wake.notify();
    }

    /// Takes the next incoming frame and its sender, if there is one.
    #[must_use]
    pub fn receive(&self) -> Option<(NodeId, Bytes)> {
        self.0.incoming.borrow_mut().pop()
    }

    /// Whether a frame waits to be received.
    #[must_use]
    pub fn has_incoming(&self) -> bool {
        !self.0.incoming.borrow().frames.is_empty()
    }

    /// Notified when a frame arrives, to be shared with the engine's other sources.
    pub fn notify_on_arrival(&self, wake: Notify) {
        self.0.incoming.borrow_mut().wake = wake;
    }

    /// Frames dropped so far because a queue was full or a peer unknown.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.get()
    }
}

impl Wire {
    /// The node at the other end.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// The peers to carry frames to.
    #[must_use]
    pub fn peers(&self) -> Vec<NodeId> {
        self.0.outgoing.borrow().keys().copied().collect()
    }

    /// Hands an arrived frame to the engine; drops and counts it when the engine is behind.
    pub fn deliver(&self, from: NodeId, frame: Bytes) {
        let mut incoming = self.0.incoming.borrow_mut();
        if !incoming.push(self.0.limits, from, frame) {
            return self.0.count_drop();
        }
        let wake = incoming.wake.clone();
        drop(incoming);
        wake.notify();
    }

    /// Takes the next frame for `peer`, if there is one.
    #[must_use]
    pub fn take(&self, peer: NodeId) -> Option<Bytes> {
        Some(self.0.outgoing.borrow_mut().get_mut(&peer)?.pop()?.1)
    }

    /// Waits until a frame for `peer` may be there to take. Cancel safe; one waiter per peer.
    pub async fn queued(&self, peer: NodeId) {
        let wake = self.0.outgoing.borrow().get(&peer).map(|queue| queue.wake.clone());
        match wake {
            Some(wake) => wake.notified().await,
            None => futures_lite::future::pending().await,
        }
    }

    /// Notified when a frame for `peer` is queued, for a transport that serves many.
    pub fn notify_on_send(&self, peer: NodeId, wake: Notify) {
        if let Some(queue) = self.0.outgoing.borrow_mut().get_mut(&peer) {
            queue.wake = wake;
        }
    }

    /// Forgets the frames queued for `peer`: the connection they were meant for is gone.
    pub fn clear(&self, peer: NodeId) {
        if let Some(queue) = self.0.outgoing.borrow_mut().get_mut(&peer) {
            queue.frames.clear();
            queue.bytes = 0;
        }
    }
}

/// Carries frames between nodes of one process, at once and in order, until it is dropped: the
/// network of examples, benchmarks and `quorate dev`.
pub async fn join(wires: &[Wire]) {
    let wake = Notify::new();
    for wire in wires {
        wire.peers().into_iter().for_each(|peer| wire.notify_on_send(peer, wake.clone()));
    }
    loop {
        wake.notified().await;
        for from in wires {
            for to in wires {
                while let Some(frame) = from.take(to.id()) {
                    to.deliver(from.id(), frame);
                }
            }
        }
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Net({:?})", self.0.id)
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({:?})", self.0.id)
    }
}
