//! The other application of simulated nodes: clients' commands for a [`Ledger`], in blocks that the
//! engine's own service makes of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use bytes::Bytes;

use crate::env::Rng;
use crate::helix::commands::node::Node;
use crate::id::NodeId;
use crate::machine::{Committed, StateMachine};
use crate::sim::client::{Answering, Served};
use crate::sim::helix::checker::Checker;
use crate::sim::machine::{Digest, Ledger};

/// A ledger on a simulated node that tells the checker what is applied to it.
pub struct Told {
    ledger: Ledger,
    node: NodeId,
    checker: Rc<RefCell<Checker>>,
}

impl Told {
    /// An empty ledger on `node`.
    #[must_use]
    pub fn new(node: NodeId, checker: Rc<RefCell<Checker>>) -> Self {
        Self { ledger: Ledger::default(), node, checker }
    }
}

impl StateMachine for Told {
    type Response = usize;

    fn apply(&mut self, entry: Committed<'_>) -> usize {
        let response = self.ledger.apply(entry);
        self.checker.borrow_mut().applied(self.node, entry, self.ledger.digest());
        response
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        self.ledger.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.ledger.restore(snapshot)
    }
}

impl Deref for Told {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.ledger
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Told({:?}, {:?})", self.node, self.ledger.last_index())
    }
}

impl Served for Node<Told> {
    fn write(&self, command: Bytes) -> Answering<'_> {
        Box::pin(async move { Ok(self.propose(command).await?.index) })
    }

    fn last(&self) -> Answering<'_> {
        Box::pin(self.read(|ledger| ledger.last_index()))
    }
}

/// The honest nodes that are up, for clients.
#[derive(Debug, Clone, Default)]
pub struct Directory(Rc<RefCell<BTreeMap<NodeId, Node<Told>>>>);

impl Directory {
    /// One of the nodes, if any is up.
    #[must_use]
    pub fn any(&self, rng: &Rng) -> Option<Node<Told>> {
        let nodes = self.0.borrow();
        let count = nodes.len();
        (count > 0).then(|| nodes.values().nth(rng.below(count)).cloned())?
    }

    /// The node, if it is up.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<Node<Told>> {
        self.0.borrow().get(&node).cloned()
    }

    pub(crate) fn enter(&self, id: NodeId, node: Node<Told>) {
        self.0.borrow_mut().insert(id, node);
    }

    pub(crate) fn leave(&self, id: NodeId) {
        self.0.borrow_mut().remove(&id);
    }
}
