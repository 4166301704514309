//! What the outside sees of a node.

use std::cell::{Cell, RefCell};

use crate::helix::protocol::evidence::Evidence;
use crate::host::Vitals;
use crate::id::{ClusterId, Height, NodeId, View};

/// One moment of a node.
#[derive(Debug, Clone)]
pub struct Status {
    /// Who it is.
    pub node: NodeId,
    /// Its instance.
    pub instance: ClusterId,
    /// The height that it decides.
    pub height: Height,
    /// The view that it is in.
    pub view: View,
    /// Who leads that view.
    pub leader: Option<NodeId>,
    /// Whether it is in the committee of that height.
    pub member: bool,
    /// The last decided height.
    pub tip: Height,
    /// Who made that block.
    pub proposer: Option<NodeId>,
    /// The last height that the application has taken delivery of.
    pub delivered: Height,
    /// The highest height for which it has signed a COMMIT, or whose decision it knows.
    pub promised: Height,
    /// What keeps it from going on, if anything does.
    pub trouble: Option<String>,
    /// Evidence against members, as far as it is kept.
    pub evidence: Vec<Evidence>,
    /// Signatures made.
    pub signed: u64,
    /// Signatures checked.
    pub verified: u64,
    /// Messages about later heights that are kept.
    pub kept: usize,
    /// The peers: the height that each claims to have decided, and milliseconds since it was heard.
    pub peers: Vec<(NodeId, Height, u64)>,
    /// How its host is.
    pub vitals: Vitals,
}

/// What is published of the present scopes.
#[derive(Debug, Default)]
pub(crate) struct Published {
    height: Cell<Height>,
    view: Cell<View>,
    leader: Cell<Option<NodeId>>,
    member: Cell<bool>,
    delivered: Cell<Height>,
    trouble: RefCell<Option<String>>,
}

impl Published {
    pub(crate) fn height(&self) -> Height {
        self.height.get()
    }

    pub(crate) fn view(&self) -> View {
        self.view.get()
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leader.get()
    }

    pub(crate) fn member(&self) -> bool {
        self.member.get()
    }

    /// The last height that the application has.
    pub(crate) fn delivered(&self) -> Height {
        self.delivered.get()
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// A term begins.
    pub(crate) fn entered_term(&self, height: Height, member: bool) {
        self.height.set(height);
        self.member.set(member);
    }

    /// A view begins.
    pub(crate) fn entered_view(&self, view: View, leader: NodeId) {
        self.view.set(view);
        self.leader.set(Some(leader));
    }

    /// The application has the block of this height, and all before it.
    pub(crate) fn set_delivered(&self, height: Height) {
        self.delivered.set(height);
    }

    /// Something keeps the node from going on, or nothing does any more.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        self.trouble.replace(trouble);
    }
}
