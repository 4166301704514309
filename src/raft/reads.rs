//! Linearizable reads on the leader, in rounds (thesis, section 6.4): note the commit index, ask
//! all peers whether they still follow, and when a majority says so, that index is one from which
//! on any node may answer.
//!
//! One round is under way at a time; a read that comes meanwhile waits for the next one. A round's
//! number is never used again, so an old answer confirms nothing new. The reads themselves are in
//! the node's table: a leader that ends leaves them there for the next one.

use std::collections::BTreeMap;

use crate::id::{Index, NodeId};
use crate::raft::core::Core;
use crate::raft::message::Message;

/// The reads of one leader's tenure.
#[derive(Default)]
pub(crate) struct Reads {
    round: u64,
    under_way: Option<Answers>,
    /// The peers that wait for the next round.
    remote: BTreeMap<NodeId, u64>,
}

/// Who is to be told an index.
#[derive(Default)]
pub(crate) struct Answers {
    index: Index,
    /// Reads of this node.
    local: Vec<u64>,
    /// The latest question of each peer: it has given up the ones before.
    remote: BTreeMap<NodeId, u64>,
}

impl Answers {
    /// Tells the index: peers by message, clients of this node as soon as it has applied as much.
    pub(crate) fn give(self, core: &Core) {
        let index = self.index;
        for (peer, id) in self.remote {
            core.send(peer, Message::ReadIndexReply { id, index: Some(index) });
        }
        core.place_reads(&self.local, index);
    }
}

impl Reads {
    /// The latest round.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// A follower wants to read.
    pub(crate) fn ask_remote(&mut self, peer: NodeId, id: u64) {
        self.remote.insert(peer, id);
    }

    /// Starts a round at the commit index for all who wait, unless one is under way.
    pub(crate) fn start(&mut self, core: &Core) -> bool {
        if self.under_way.is_some() || (self.remote.is_empty() && !core.reads.has_new()) {
            return false;
        }
        self.round += 1;
        let (local, remote) = (core.reads.take_new(), std::mem::take(&mut self.remote));
        self.under_way = Some(Answers { index: core.decided.commit(), local, remote });
        true
    }

    /// The round has been confirmed by a majority.
    pub(crate) fn confirmed(&mut self) -> Option<Answers> {
        self.under_way.take()
    }
}
