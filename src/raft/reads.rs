//! The leader's part of linearizable reads: the read index of the thesis, section 6.4.
//!
//! The leader answers reads in *rounds*. At the start of a round it stores its commit index as the
//! read index. Its next append to each peer carries the number of the round, and the replies carry
//! it back. When a majority has replied, the leader was still the leader after the round began.
//! Each read of the round then runs on its own node as soon as that node has applied the log up to
//! the read index.
//!
//! One round is open at a time; a read that arrives meanwhile waits for the next round. Each round
//! has a new number, so an old reply confirms no later round. The node's table of reads outlives
//! the leader: when the leader steps down, its open reads stay there for the next leader.

use std::collections::BTreeMap;

use crate::id::{Index, NodeId};
use crate::raft::core::Core;
use crate::raft::message::Message;

/// The rounds of reads of one leader in one term.
#[derive(Default)]
pub(crate) struct Reads {
    round: u64,
    under_way: Option<Answers>,
    /// The peers that wait for the next round.
    remote: BTreeMap<NodeId, u64>,
}

/// The read index of a round, and the reads that are answered with it.
#[derive(Default)]
pub(crate) struct Answers {
    index: Index,
    /// The reads of this node.
    local: Vec<u64>,
    /// The latest request of each peer. A peer gives up its earlier ones.
    remote: BTreeMap<NodeId, u64>,
}

impl Answers {
    /// Answers the peers with the read index, and lets this node's reads run when it has applied
    /// the log up to that index.
    pub(crate) fn give(self, core: &Core) {
        let index = self.index;
        for (peer, id) in self.remote {
            core.send(peer, Message::ReadIndexReply { id, index: Some(index) });
        }
        core.place_reads(&self.local, index);
    }
}

impl Reads {
    /// The number of the latest round.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Takes in a follower's request for a read index.
    pub(crate) fn ask_remote(&mut self, peer: NodeId, id: u64) {
        self.remote.insert(peer, id);
    }

    /// Starts a round for all waiting reads, unless one is open. Returns whether it has started.
    pub(crate) fn start(&mut self, core: &Core) -> bool {
        if self.under_way.is_some() || (self.remote.is_empty() && !core.reads.has_new()) {
            return false;
        }
        self.round += 1;
        let (local, remote) = (core.reads.take_new(), std::mem::take(&mut self.remote));
        self.under_way = Some(Answers { index: core.decided.commit(), local, remote });
        true
    }

    /// Ends the open round, which a majority has confirmed, and returns its reads.
    pub(crate) fn confirmed(&mut self) -> Option<Answers> {
        self.under_way.take()
    }
}
