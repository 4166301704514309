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
use crate::helix::protocol::signer::Signer;
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

#[derive(Debug, Clone, Copy)]
struct Slot {
    vote: Vote,
    checked: bool,
}

/// The votes of one kind at one height.
#[derive(Debug)]
pub struct Votes {
    kind: Kind,
    slots: BTreeMap<NodeId, Slot>,
}

impl Votes {
    /// None yet.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, slots: BTreeMap::new() }
    }

    /// Takes in a vote of a member; `checked` if it is known to be that member's. Who is no member
    /// must not get here: each node has a slot.
    pub fn insert(&mut self, signer: &Signer, from: NodeId, vote: Vote, checked: bool) -> Inserted {
        let new = Slot { vote, checked };
        let Some(held) = self.slots.get(&from).copied() else {
            self.slots.insert(from, new);
            return Inserted::New;
        };
        if vote == held.vote {
            self.slots.insert(from, Slot { vote, checked: checked || held.checked });
            return Inserted::Known;
        }
        let right = |slot: &Slot| slot.checked || signer.is_vote(self.kind, from, &slot.vote);
        if vote.view > held.vote.view {
            // Only a vote that is the member's own may push out what is held.
            if !right(&new) {
                return Inserted::Refused;
            }
            self.slots.insert(from, Slot { checked: true, ..new });
            return Inserted::New;
        }
        if !right(&held) {
            self.slots.insert(from, new);
            return Inserted::New;
        }
        self.slots.insert(from, Slot { checked: true, ..held });
        if vote.view < held.vote.view || vote.hash == held.vote.hash {
            return Inserted::Known;
        }
        if !right(&new) {
            return Inserted::Refused;
        }
        Inserted::Contradicts(Evidence {
            node: from,
            kind: self.kind,
            height: vote.height,
            view: vote.view,
            first: (held.vote.hash, held.vote.signature),
            second: (vote.hash, vote.signature),
        })
    }

    /// The vote that is held of a member, checked or not.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Option<&Vote> {
        self.slots.get(&node).map(|slot| &slot.vote)
    }

    /// The one view and block that may have a quorum: there cannot be two, because a member has one
    /// vote here and two quorums share a member.
    #[must_use]
    pub fn candidate(&self, committee: &Committee) -> Option<(View, Hash)> {
        let mut weights = BTreeMap::new();
        for (&node, Slot { vote, .. }) in &self.slots {
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
        let counts = |&(&node, slot): &(&NodeId, &Slot)| {
            (slot.vote.view, slot.vote.hash) == (view, hash) && Some(node) != proposer
        };
        loop {
            let weight = |slots: &mut dyn Iterator<Item = (&NodeId, &Slot)>| {
                given + slots.map(|(&node, _)| committee.weight(node)).sum::<u64>()
            };
            let held = weight(&mut self.slots.iter().filter(counts));
            if held < committee.quorum() {
                return None;
            }
            let mut checked = self.slots.iter().filter(counts).filter(|(_, slot)| slot.checked);
            if weight(&mut checked) >= committee.quorum() {
                break;
            }
            // The heaviest first: so it takes the fewest.
            let unchecked = self.slots.iter().filter(counts).filter(|(_, slot)| !slot.checked);
            let node = *unchecked.min_by_key(|(node, _)| Reverse(committee.weight(**node)))?.0;
            self.check(signer, node);
        }
        let checked = self.slots.iter().filter(counts).filter(|(_, slot)| slot.checked);
        committee.just_quorum(given, checked.map(|(&node, slot)| (node, slot.vote.signature)))
    }

    /// Checks the vote that is held of a member, and drops it if it is wrong.
    fn check(&mut self, signer: &Signer, node: NodeId) {
        if let Some(slot) = self.slots.get_mut(&node) {
            slot.checked = signer.is_vote(self.kind, node, &slot.vote);
            if !slot.checked {
                self.slots.remove(&node);
            }
        }
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
