//! What must hold in every test: nobody signs against itself, and there is one chain.
//!
//! It is fed with each frame that a node hands to its transport and each event that it tells, over
//! all lives of the node, and knows nothing of the engine's insides.

use std::collections::BTreeMap;

use quorate::helix::protocol::message::{Kind, Message};
use quorate::helix::{Event, Hash};
use quorate::id::{Height, NodeId, View};

/// What was said and decided so far.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What each node has signed.
    said: BTreeMap<(NodeId, Height, View, Kind), String>,
    /// The highest view that each node has asked for.
    left: BTreeMap<(NodeId, Height), View>,
    /// The latest COMMIT of each node.
    committed: BTreeMap<(NodeId, Height), (View, Hash)>,
    /// The chain.
    pub chain: BTreeMap<Height, Hash>,
    /// How far each node's deliveries have come in its present life.
    delivered: BTreeMap<NodeId, Height>,
    /// How many words were looked at.
    pub words: u64,
}

impl Ledger {
    /// A node hands a frame to its transport.
    ///
    /// # Panics
    /// If it contradicts what the node has said before.
    pub fn hear(&mut self, node: NodeId, message: &Message) {
        let (Some(height), Some(view)) = (message.height(), message.view()) else { return };
        self.words += 1;
        let (kind, subject) = match message {
            Message::PrePrepare { vote, .. } => (Kind::PrePrepare, format!("{:?}", vote.hash)),
            Message::Prepare(vote) => (Kind::Prepare, format!("{:?}", vote.hash)),
            Message::Commit { vote, .. } => (Kind::Commit, format!("{:?}", vote.hash)),
            Message::ViewChange { change, .. } => (Kind::ViewChange, format!("{change:?}")),
            Message::NewView(new_view) => (Kind::NewView, format!("{new_view:?}")),
            _ => return,
        };
        let key = (node, height, view, kind);
        if let Some(before) = self.said.get(&key) {
            assert_eq!(before, &subject, "node {node} contradicts its {kind:?} of {height}/{view}");
            return;
        }
        let left = self.left.get(&(node, height)).copied().unwrap_or(View::ZERO);
        assert!(
            view >= left,
            "node {node} says {kind:?} of {height}/{view}, having left for view {left}"
        );
        match message {
            Message::ViewChange { change, .. } => {
                self.left.insert((node, height), view);
                if let Some((at, hash)) = self.committed.get(&(node, height)) {
                    let shown = change.prepared.as_ref().map(|proof| (proof.view, proof.hash));
                    assert_eq!(shown, Some((*at, *hash)), "node {node} hides what it committed to");
                }
            }
            Message::Commit { vote, .. } => {
                self.committed.insert((node, height), (view, vote.hash));
            }
            _ => {}
        }
        self.said.insert(key, subject);
    }

    /// A node tells its observer.
    ///
    /// # Panics
    /// If the chain forks, or is delivered out of order.
    pub fn see(&mut self, node: NodeId, event: Event) {
        match event {
            Event::Started { .. } => {
                self.delivered.remove(&node);
            }
            Event::Decided { height, hash, .. } | Event::Learned { height, hash } => {
                let chosen = *self.chain.entry(height).or_insert(hash);
                assert_eq!(chosen, hash, "node {node} forks at {height}");
            }
            Event::Delivered { height, hash } => {
                assert_eq!(self.chain.get(&height), Some(&hash), "node {node} at {height}");
                let before = self.delivered.insert(node, height);
                assert!(before.is_none_or(|b| b < height), "node {node} delivers {height} again");
            }
            _ => {}
        }
    }
}
