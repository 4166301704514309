//! What one can ask of a cluster of helix, and do to it, besides what one can with every
//! [`cluster`]: honest nodes and liars.
//!
//! ```
//! use quorate::sim::helix::adversary::Lie;
//! use quorate::sim::helix::cluster::{Cluster, Setup};
//! use quorate::sim::machine::Ledger;
//! use quorate::id::{Height, NodeId};
//! use std::time::Duration;
//!
//! let mut cluster = Cluster::new(7, Setup::default(), Ledger::default);
//! cluster.corrupt(NodeId(4), Lie::Equivocator);
//! cluster.start_all();
//! assert!(cluster.run_until_decided(Height(10), Duration::from_secs(20)));
//! assert_eq!(cluster.world().violation(), None);
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::helix::protocol::app::Keys;
use crate::helix::protocol::signer::Signer;
use crate::helix::protocol::trigger::Manual;
use crate::id::{ClusterId, Height, NodeId, View};
use crate::sim::cluster;
use crate::sim::helix::adversary::{Lie, Trick};
use crate::sim::helix::keys::Metered;
use crate::sim::helix::protocol::Helix;
use crate::sim::helix::test_app::TestApp;
use crate::sim::machine::Digest;
use crate::sim::net::Flight;
use crate::sim::world::Stopped;

pub use crate::sim::helix::settings::{Settings, Signing, TIMING, TINY};

/// Helix nodes and the world they live in.
pub type Cluster<M> = cluster::Cluster<Helix<M>>;

/// What such a cluster is made of.
pub type Setup<M> = cluster::Setup<Helix<M>>;

/// What a node of helix has that outlives its lives.
#[derive(Debug)]
pub struct Slot {
    pub(crate) test_app: TestApp,
    pub(crate) trigger: Manual,
    /// What the liar on this slot does; taken while it does it.
    pub(crate) trick: RefCell<Option<Box<dyn Trick>>>,
    /// Whether a liar sits here, and which, if it is one of the known ones.
    pub(crate) lies: bool,
    pub(crate) lie: Option<Lie>,
}

impl<M: Digest> Cluster<M> {
    /// The application of a node.
    #[must_use]
    pub fn test_app(&self, node: NodeId) -> &TestApp {
        &self.own(node).test_app
    }

    /// Signs and checks as this node: for frames that a test makes by hand.
    #[must_use]
    pub fn signer(&self, node: NodeId, instance: ClusterId) -> Signer {
        Signer::new(node, instance, self.keys(node))
    }

    pub(crate) fn keys(&self, node: NodeId) -> Box<dyn Keys> {
        let setup = self.setup();
        setup.protocol.keys(self.world().seed(), setup.nodes, node)
    }

    /// The same, for its engine: each use costs it time.
    pub(super) fn metered_keys(&self, node: NodeId) -> Box<dyn Keys> {
        let (meter, cost) = (self.world().meter(node), self.setup().costs.signature);
        Box::new(Metered { keys: self.keys(node), meter, cost })
    }

    /// The last decided block of a node that is up; zero if it is not.
    #[must_use]
    pub fn tip(&self, node: NodeId) -> Height {
        self.node(node).map_or(Height::ZERO, |engine| engine.status().tip)
    }

    /// From its next start on a liar sits there. What it says counts for nothing.
    pub fn corrupt(&mut self, node: NodeId, lie: Lie) {
        self.corrupt_with(node, lie.trick());
        self.own_mut(node).lie = Some(lie);
        self.world().note(format!("{node:?} is a liar: {lie:?}"));
    }

    /// The same, with a liar of your own.
    pub fn corrupt_with(&mut self, node: NodeId, trick: Box<dyn Trick>) {
        self.world().checker().borrow_mut().lies(node);
        let slot = self.own_mut(node);
        slot.trick.replace(Some(trick));
        slot.lies = true;
    }

    /// The liars of a known kind.
    #[must_use]
    pub fn liars(&self) -> BTreeMap<NodeId, Lie> {
        let lie = |node| Some((node, self.own(node).lie?));
        self.members().into_iter().filter_map(lie).collect()
    }

    /// Ends this view on this node by hand, now or when it begins.
    pub fn elapse(&self, node: NodeId, height: Height, view: View) {
        self.world().note(format!("{height:?} {view:?} has lasted too long for {node:?}"));
        self.own(node).trigger.fire(height, view);
    }

    /// Puts a frame on the network that seems to come from `from`.
    pub fn inject(&self, from: NodeId, to: NodeId, frame: Bytes) {
        let (now, trace) = (self.world().now(), self.world().trace().clone());
        let mut told = |passage, flight: &Flight| trace.frame(now, passage, flight);
        self.world().network(|network| network.send(Flight { from, to, frame }, now, &mut told));
    }

    /// The height up to which every honest node that is up has decided.
    #[must_use]
    pub fn decided_by_all(&self) -> Height {
        let up = self.honest().into_iter().filter(|&node| self.is_up(node));
        up.map(|node| self.tip(node)).min().unwrap_or(Height::ZERO)
    }

    /// Runs until every honest node that is up has decided `height`, at most for `span`.
    pub fn run_until_decided(&self, height: Height, span: Duration) -> bool {
        let until = self.world().now() + span;
        while self.decided_by_all() < height {
            if self.world().now() >= until
                || self.world().run_for(Duration::from_millis(5)) == Stopped::Violated
            {
                return false;
            }
        }
        true
    }
}
