//! Votes as they come in, one for each member, checked only when it matters.
//!
//! A signature costs more than everything else that a vote needs, and most votes come after the
//! quorum is complete. So a vote is held unchecked, and checked when it would complete a quorum:
//! as many as are needed, and no more. The memory is one vote for each member, whatever they send;
//! a member's later view takes the place of its earlier one, but only once it is known to be the
//! member's, and a second block in one view is evidence.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::helix::protocol::block::{Hash, Seed};
use crate::helix::protocol::committee::Committee;
use crate::helix::protocol::evidence::Evidence;
use crate::helix::protocol::message::{Kind, Share, Signature, Vote};
use crate::helix::protocol::signer::{Claimed, Signer};
use crate::id::{Height, NodeId, View};

/// What became of a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // returned and looked at, never stored
pub enum Inserted {
    /// It is held now: look again whether there is a quorum.
    New,
    /// It says nothing new: it is held already, or a later one of that member is.
    Known,
    /// The member has signed two blocks in one view. The first one stays.
    Contradicts(Evidence),
    /// It is not signed by that member.
    Refused,
}

/// The votes of one kind at one height.
#[derive(Debug)]
pub struct Votes {
    kind: Kind,
    slots: BTreeMap<NodeId, Claimed<Vote>>,
}

impl Votes {
    /// None yet.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, slots: BTreeMap::new() }
    }

    /// Takes in a vote of a member. A node that is no member must not get here: each has a slot.
    pub fn insert(&mut self, signer: &Signer, from: NodeId, new: Claimed<Vote>) -> Inserted {
        let Some(held) = self.slots.get(&from).copied() else {
            self.slots.insert(from, new);
            return Inserted::New;
        };
        if *new == *held {
            if let Claimed::Genuine(_) = new {
                self.slots.insert(from, new);
            }
            return Inserted::Known;
        }
        let genuine = |vote| signer.genuine_vote(self.kind, from, vote).map(Claimed::Genuine);
        if new.view > held.view {
            // Only a vote that is the member's own may push out the one that is held.
            return genuine(new).map_or(Inserted::Refused, |new| {
                self.slots.insert(from, new);
                Inserted::New
            });
        }
        let Some(held) = genuine(held) else {
            self.slots.insert(from, new);
            return Inserted::New;
        };
        self.slots.insert(from, held);
        if new.view < held.view || new.hash == held.hash {
            return Inserted::Known;
        }
        let Some(new) = genuine(new) else { return Inserted::Refused };
        Inserted::Contradicts(Evidence {
            node: from,
            kind: self.kind,
            height: new.height,
            view: new.view,
            first: (held.hash, held.signature),
            second: (new.hash, new.signature),
        })
    }

    /// The vote that is held of a member, checked or not.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Option<&Vote> {
        self.slots.get(&node).map(|vote| &**vote)
    }

    /// The one view and block that may have a quorum: there cannot be two, because a member has one
    /// vote here and two quorums share a member.
    #[must_use]
    pub fn candidate(&self, committee: &Committee) -> Option<(View, Hash)> {
        let mut weights = BTreeMap::new();
        for (&node, vote) in &self.slots {
            *weights.entry((vote.view, vote.hash)).or_insert(0) += committee.weight(node);
        }
        weights.into_iter().find(|&(_, weight)| weight >= committee.quorum()).map(|(of, _)| of)
    }

    /// Just a quorum of checked votes for a block in a view, in the order of the committee, if
    /// there is one; votes are checked as far as it takes, and wrong ones dropped.
    ///
    /// `proposer` is for PREPAREs: the leader of that view, whose PREPREPARE is its vote and is
    /// counted, while a PREPARE of its own is not.
    pub fn quorum(
        &mut self,
        committee: &Committee,
        signer: &Signer,
        view: View,
        hash: Hash,
        proposer: Option<NodeId>,
    ) -> Option<Vec<(NodeId, Signature)>> {
        let given = proposer.map_or(0, |node| committee.weight(node));
        let counts = |&(&node, vote): &(&NodeId, &Claimed<Vote>)| {
            (vote.view, vote.hash) == (view, hash) && Some(node) != proposer
        };
        let is_genuine = |vote: &Claimed<Vote>| matches!(vote, Claimed::Genuine(_));
        loop {
            let weight = |slots: &mut dyn Iterator<Item = (&NodeId, &Claimed<Vote>)>| {
                given + slots.map(|(&node, _)| committee.weight(node)).sum::<u64>()
            };
            let held = weight(&mut self.slots.iter().filter(counts));
            if held < committee.quorum() {
                return None;
            }
            let mut genuine = self.slots.iter().filter(counts).filter(|(_, vote)| is_genuine(vote));
            if weight(&mut genuine) >= committee.quorum() {
                break;
            }
            // The heaviest first: so it takes the fewest.
            let unchecked = self.slots.iter().filter(counts).filter(|(_, vote)| !is_genuine(vote));
            let node = *unchecked.min_by_key(|(node, _)| Reverse(committee.weight(**node)))?.0;
            self.check(signer, node);
        }
        let genuine = self.slots.iter().filter(counts).filter(|(_, vote)| is_genuine(vote));
        committee.just_quorum(given, genuine.map(|(&node, vote)| (node, vote.signature)))
    }

    /// Checks the vote that is held of a member, and drops it if it is wrong.
    fn check(&mut self, signer: &Signer, node: NodeId) {
        let held = self.slots.remove(&node);
        let genuine = held.and_then(|vote| signer.genuine_vote(self.kind, node, vote));
        genuine.into_iter().for_each(|vote| {
            self.slots.insert(node, Claimed::Genuine(vote));
        });
    }
}

/// Shares of the signature over a height's seed, as they come with COMMITs: one for each member,
/// checked when it comes. Stays empty without a scheme.
///
/// A share is about the height alone, so one that came with a vote in any view counts.
#[derive(Debug, Default)]
pub struct Shares {
    held: BTreeMap<NodeId, Share>,
}

impl Shares {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what came with a member's COMMIT. False if it must not count: it has no share where
    /// there is a scheme, a share where there is none, or a share that is not the member's. The
    /// COMMIT is then to be dropped, too, for no proof could be made with it.
    pub fn insert(
        &mut self,
        signer: &Signer,
        height: Height,
        seed: &Seed,
        from: NodeId,
        share: Option<&Share>,
    ) -> bool {
        match (signer.keys.seeds(), share) {
            (None, None) => true,
            (None, Some(_)) | (Some(_), None) => false,
            (Some(_), Some(share)) if self.held.get(&from) == Some(share) => true,
            (Some(scheme), Some(share)) => {
                let right = scheme.verify_share(height, seed, from, share);
                if right {
                    self.held.insert(from, share.clone());
                }
                right
            }
        }
    }

    /// The signature that the shares of a quorum make; `None` without a scheme, or with too few.
    #[must_use]
    pub fn aggregate(
        &self,
        signer: &Signer,
        committee: &Committee,
        height: Height,
    ) -> Option<Bytes> {
        let scheme = signer.keys.seeds()?;
        let shares = committee.just_quorum(0, self.held.clone())?;
        Some(scheme.aggregate(height, &shares))
    }
}

#[cfg(test)]
mod tests;
