//! Catching up: a node that is behind fetches decided blocks, with their proofs, from peers.
//!
//! What a peer says of itself is a hint and no more: it makes us ask, once at a time. A block
//! counts when its proof has been checked with the committee of its height, so blocks are handed to
//! the term of their height, one by one. A peer whose blocks are wrong, or who does not answer, is
//! not asked again before the others have been.
//!
//! A node that is only a few votes behind needs no blocks: it waits a moment before it asks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use crate::env::Time;
use crate::error::Fatal;
use crate::helix::protocol::block::Block;
use crate::helix::protocol::core::Core;
use crate::helix::protocol::message::Message;
use crate::helix::protocol::proof::BlockProof;
use crate::id::{Height, NodeId};
use crate::scope::first::first;

/// What a peer is known by.
#[derive(Debug, Clone, Copy, Default)]
struct Peer {
    /// The height that it claims to have decided.
    claims: Height,
    /// When anything of it was heard.
    heard: Time,
    /// How often it has disappointed us.
    doubts: u32,
}

/// A decided block, from somewhere else.
#[derive(Debug, Clone)]
pub(crate) struct Learned {
    pub(crate) block: Rc<Block>,
    pub(crate) proof: Rc<BlockProof>,
    /// The peer that sent it; `None` if the application says that it is decided.
    pub(crate) from: Option<NodeId>,
}

/// What is known of the peers' chains, and what they have sent.
#[derive(Debug, Default)]
pub(crate) struct Sync {
    peers: RefCell<BTreeMap<NodeId, Peer>>,
    /// Whom we have asked, and not heard from yet.
    asked: Cell<Option<NodeId>>,
    /// What has arrived, by height: at most one answer's worth.
    arrived: RefCell<BTreeMap<Height, Learned>>,
    /// Who asks us for blocks, and from which height on: the last word of each counts.
    asking: RefCell<BTreeMap<NodeId, Height>>,
    /// What the application says is decided: the newest wins.
    told: RefCell<Option<Learned>>,
}

impl Sync {
    /// Notes that something was heard of a peer.
    pub(crate) fn heard(&self, from: NodeId, now: Time) {
        self.peers.borrow_mut().entry(from).or_default().heard = now;
    }

    /// Notes what a peer claims to have decided.
    pub(crate) fn claims(&self, core: &Core, from: NodeId, height: Height) {
        let mut peers = self.peers.borrow_mut();
        let peer = peers.entry(from).or_default();
        // The last word counts: a false claim does not stay for ever.
        peer.claims = height;
        if height > core.tip().height {
            core.wake.notify();
        }
    }

    /// For the status: who claims what, and when it was heard.
    pub(crate) fn peers(&self) -> Vec<(NodeId, Height, Time)> {
        let peers = self.peers.borrow();
        peers.iter().map(|(&node, peer)| (node, peer.claims, peer.heard)).collect()
    }

    /// Takes in what we have asked for.
    pub(crate) fn take_in(&self, core: &Core, from: NodeId, blocks: Vec<(Block, BlockProof)>) {
        if self.asked.get() != Some(from) {
            return;
        }
        self.asked.set(None);
        let tip = core.tip().height;
        let mut arrived = self.arrived.borrow_mut();
        arrived.clear();
        for ((block, proof), height) in blocks.into_iter().zip(tip.0 + 1..) {
            if proof.height.0 != height || block.height.0 != height {
                break;
            }
            let (block, proof) = (Rc::new(block), Rc::new(proof));
            arrived.insert(Height(height), Learned { block, proof, from: Some(from) });
        }
        if arrived.is_empty() {
            drop(arrived);
            self.doubt(from);
        }
        core.wake.notify();
    }

    /// Notes that a peer asks for blocks.
    pub(crate) fn is_asked(&self, core: &Core, from: NodeId, height: Height) {
        self.asking.borrow_mut().insert(from, height);
        core.wake.notify();
    }

    /// Takes in what the application says is decided.
    pub(crate) fn told(&self, core: &Core, learned: Learned) {
        let mut told = self.told.borrow_mut();
        if told.as_ref().is_none_or(|before| before.proof.height < learned.proof.height) {
            *told = Some(learned);
        }
        core.wake.notify();
    }

    /// A block at `height` or above that the application vouches for.
    pub(crate) fn take_told(&self, height: Height) -> Option<Learned> {
        let told = self.told.take()?;
        (told.proof.height >= height).then_some(told)
    }

    /// A block for `height` that has arrived; not checked yet.
    pub(crate) fn take_arrived(&self, height: Height) -> Option<Learned> {
        let mut arrived = self.arrived.borrow_mut();
        let found = arrived.remove(&height);
        arrived.retain(|&at, _| at > height);
        found
    }

    /// A peer has sent something wrong, or nothing.
    pub(crate) fn doubt(&self, peer: NodeId) {
        self.arrived.borrow_mut().clear();
        if let Some(peer) = self.peers.borrow_mut().get_mut(&peer) {
            peer.doubts = peer.doubts.saturating_add(1);
        }
    }

    /// Whether nothing that has arrived waits for its term.
    fn is_empty(&self) -> bool {
        self.arrived.borrow().is_empty()
    }

    /// How far the furthest claim is above `tip`.
    fn lag(&self, tip: Height) -> u64 {
        let peers = self.peers.borrow();
        peers.values().map(|peer| peer.claims.0.saturating_sub(tip.0)).max().unwrap_or(0)
    }

    /// Whom to ask: of those that claim to be ahead, the least doubted, then the furthest.
    fn best(&self, tip: Height) -> Option<NodeId> {
        let peers = self.peers.borrow();
        let ahead = peers.iter().filter(|(_, peer)| peer.claims > tip);
        ahead
            .min_by_key(|(node, peer)| (peer.doubts, u64::MAX - peer.claims.0, **node))
            .map(|p| *p.0)
    }
}

/// Asks for blocks whenever this node is behind; for ever.
pub(crate) async fn run(core: &Core) -> Infallible {
    let clock = &core.env.clock;
    let patience = core.config.timing.resend;
    loop {
        let tip = core.until(|| behind(core, 1)).await;
        // The votes may be on their way: wait a moment, unless they are not even kept.
        let far = core.until(|| behind(core, core.config.limits.window + 1));
        let moved = core.until(|| (core.tip().height > tip).then_some(tip));
        first(first(far, moved), clock.sleep(patience)).await;
        while let Some(tip) = behind(core, 1) {
            let Some(peer) = core.sync.best(tip) else { break };
            core.sync.asked.set(Some(peer));
            core.tell(peer, &Message::FetchBlocks(tip.next()));
            let answered = core.until(|| core.sync.asked.get().is_none().then_some(()));
            let moved = core.until(|| (core.tip().height > tip).then_some(()));
            first(first(answered, moved), clock.sleep(patience * 2)).await;
            if core.sync.asked.take().is_some() && core.tip().height == tip {
                core.sync.doubt(peer);
            }
            // What has arrived is taken height by height.
            let taken = core.until(|| core.sync.is_empty().then_some(()));
            first(taken, clock.sleep(patience * 8)).await;
            if core.tip().height == tip {
                clock.sleep(patience).await;
            }
        }
    }
}

/// Pause between two answers to peers that ask for blocks: nobody can keep this node busy with
/// asking.
const SERVE_PAUSE: Duration = Duration::from_millis(2);

/// Sends blocks to peers that ask for them; for ever, unless they cannot be read.
pub(crate) async fn serve(core: &Core) -> Fatal {
    let bytes_max = core.config.limits.fetch_bytes_max;
    loop {
        let next = || core.sync.asking.borrow_mut().pop_first();
        let (peer, height) = core.until(next).await;
        core.write_decision();
        let submitted = core.journal.submitted();
        let synced = core.until(|| (core.journal.synced() >= submitted).then_some(()));
        first(synced, core.env.clock.sleep(core.config.timing.resend)).await;
        let blocks = match core.block_store().read(&core.journal, height, bytes_max) {
            Ok(blocks) => blocks,
            Err(fatal) => return fatal,
        };
        let blocks = blocks.iter().map(|(block, proof)| ((**block).clone(), (**proof).clone()));
        let blocks: Vec<_> = blocks.collect();
        if !blocks.is_empty() {
            core.tell(peer, &Message::Blocks(blocks));
        }
        core.env.clock.sleep(SERVE_PAUSE).await;
    }
}

/// Our tip, if a peer claims to be at least `lag` above it.
fn behind(core: &Core, lag: u64) -> Option<Height> {
    let tip = core.tip().height;
    (core.sync.lag(tip) >= lag).then_some(tip)
}
