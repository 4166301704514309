//! Linearizable reads on the leader, in rounds (thesis, section 6.4): note the commit index, ask
//! all peers whether they still follow, and when a majority says so, that index is one from which
//! on any node may answer.
//!
//! One round is under way at a time; who comes meanwhile waits for the next one. A round's number
//! is never used again, so an old answer confirms nothing new.

use std::collections::VecDeque;

use crate::id::{Index, NodeId};
use crate::raft::core::{Core, Read};
use crate::raft::message::Message;

/// The reads of one leader's tenure.
#[derive(Default)]
pub(crate) struct Reads {
    round: u64,
    under_way: Option<Answers>,
    waiting: Answers,
}

/// Who is to be told an index.
#[derive(Default)]
pub(crate) struct Answers {
    index: Index,
    local: VecDeque<Read>,
    remote: Vec<(NodeId, u64)>,
}

impl Answers {
    fn is_empty(&self) -> bool {
        self.local.is_empty() && self.remote.is_empty()
    }

    /// Tells the index: peers by message, clients of this node as soon as it has applied as much.
    pub(crate) fn give(self, core: &Core) {
        let index = self.index;
        for (peer, id) in self.remote {
            core.send(peer, Message::ReadIndexReply { id, index: Some(index) });
        }
        for read in self.local {
            core.answer_read_at(index, read);
        }
    }
}

impl Reads {
    /// The latest round.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Clients of this node want to read.
    pub(crate) fn ask_local(&mut self, reads: VecDeque<Read>) {
        self.waiting.local.extend(reads);
    }

    /// A follower wants to read.
    pub(crate) fn ask_remote(&mut self, peer: NodeId, id: u64) {
        self.waiting.remote.push((peer, id));
    }

    /// Starts a round at the commit index for all who wait, unless one is under way.
    pub(crate) fn start(&mut self, commit: Index) -> bool {
        if self.under_way.is_some() || self.waiting.is_empty() {
            return false;
        }
        self.round += 1;
        self.under_way = Some(Answers { index: commit, ..std::mem::take(&mut self.waiting) });
        true
    }

    /// The round has been confirmed by a majority.
    pub(crate) fn confirmed(&mut self) -> Option<Answers> {
        self.under_way.take()
    }

    /// The tenure is over: clients of this node ask the next leader.
    pub(crate) fn give_back(self, core: &Core) {
        let mut reads = core.reads.borrow_mut();
        reads.extend(self.under_way.into_iter().flat_map(|answers| answers.local));
        reads.extend(self.waiting.local);
    }
}
