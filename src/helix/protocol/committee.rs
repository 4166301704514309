//! Those who decide a height: members in order, with weights, and the thresholds that follow.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;

use crate::helix::protocol::app::{Boxed, Member, Membership};
use crate::helix::protocol::block::{Block, Hash, Seed};
use crate::id::{Height, NodeId, View};
use crate::quorum::{byzantine_quorum, honest_weight};

/// The fewest members of a committee: with three, one that lies could do anything.
pub const MEMBERS_MIN: usize = 4;

/// The committee of one height.
///
/// Invariants: at least [`MEMBERS_MIN`] members, no two the same, none without weight, and their
/// total fits a `u64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committee {
    members: Vec<Member>,
    places: BTreeMap<NodeId, usize>,
    total: u64,
}

/// Why a list of members is no committee.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoCommittee {
    /// Fewer than four.
    #[error("a committee needs at least {MEMBERS_MIN} members; there are {0}")]
    TooFew(usize),
    /// One is there twice.
    #[error("node {0} is in the committee twice")]
    Twice(NodeId),
    /// One could not make a difference.
    #[error("node {0} has no weight")]
    NoWeight(NodeId),
    /// The sum of the weights is above 2^64.
    #[error("the weights are too large to be added")]
    TooHeavy,
}

impl Committee {
    /// Checks the members.
    ///
    /// # Errors
    /// [`NoCommittee`] says what is wrong.
    pub fn new(members: Vec<Member>) -> Result<Self, NoCommittee> {
        if members.len() < MEMBERS_MIN {
            return Err(NoCommittee::TooFew(members.len()));
        }
        let mut places = BTreeMap::new();
        let mut total = 0u64;
        for (place, member) in members.iter().enumerate() {
            if places.insert(member.node, place).is_some() {
                return Err(NoCommittee::Twice(member.node));
            }
            if member.weight == 0 {
                return Err(NoCommittee::NoWeight(member.node));
            }
            total = total.checked_add(member.weight).ok_or(NoCommittee::TooHeavy)?;
        }
        Ok(Self { members, places, total })
    }

    /// The members, in order.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether the node is a member.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.places.contains_key(&node)
    }

    /// The node's place in the order, if it is a member.
    #[must_use]
    pub fn place(&self, node: NodeId) -> Option<usize> {
        self.places.get(&node).copied()
    }

    /// The node's weight; zero if it is no member.
    #[must_use]
    pub fn weight(&self, node: NodeId) -> u64 {
        self.place(node).map_or(0, |place| self.members[place].weight)
    }

    /// Who leads a view.
    #[must_use]
    pub fn leader(&self, view: View) -> NodeId {
        let count = self.members.len() as u64;
        let place = usize::try_from(view.0 % count).expect("below the number of members");
        self.members[place].node
    }

    /// The weight of a quorum.
    #[must_use]
    pub fn quorum(&self) -> u64 {
        byzantine_quorum(self.total)
    }

    /// The weight that must have an honest member in it.
    #[must_use]
    pub fn honest(&self) -> u64 {
        honest_weight(self.total)
    }

    /// The weight of `nodes` together; each counts once, and who is no member not at all.
    #[must_use]
    pub fn weight_of(&self, nodes: impl IntoIterator<Item = NodeId>) -> u64 {
        // A sum of distinct members is at most the total, which fits.
        let distinct: BTreeSet<_> = nodes.into_iter().collect();
        distinct.into_iter().map(|node| self.weight(node)).sum()
    }

    /// Whether `nodes` are a quorum.
    #[must_use]
    pub fn is_quorum(&self, nodes: impl IntoIterator<Item = NodeId>) -> bool {
        self.weight_of(nodes) >= self.quorum()
    }

    /// Just a quorum of `votes`, in the order of the committee and no longer than it must be: what
    /// every proof is made of. `given` is weight that counts already (a leader's, whose proposal is
    /// its vote). `None` if they are not a quorum. Strangers and second votes of a member are left
    /// out.
    #[must_use]
    pub fn just_quorum<T>(
        &self,
        given: u64,
        votes: impl IntoIterator<Item = (NodeId, T)>,
    ) -> Option<Vec<(NodeId, T)>> {
        let mut placed = BTreeMap::new();
        for (node, vote) in votes {
            if let Some(place) = self.place(node) {
                placed.entry(place).or_insert((node, vote));
            }
        }
        let mut weight = given;
        let mut chosen = Vec::new();
        for (place, vote) in placed {
            if weight >= self.quorum() {
                break;
            }
            // At most the total, unless `given` is of a member that is among the votes, too.
            weight = weight.saturating_add(self.members[place].weight);
            chosen.push(vote);
        }
        (weight >= self.quorum()).then_some(chosen)
    }
}

/// How a [`FixedCommittee`] is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The proposer of the block before comes first: who has led well goes on, and who was replaced
    /// stays replaced, so a member that is down costs one view, not one view in every `n` heights.
    Sticky,
    /// Drawn anew for each height from its seed: nobody leads for long.
    Seeded,
}

/// The same members at every height.
#[derive(Debug, Clone)]
pub struct FixedCommittee {
    members: Vec<Member>,
    order: Order,
}

impl FixedCommittee {
    /// A committee that never changes.
    ///
    /// # Errors
    /// [`NoCommittee`] says what is wrong with the members.
    pub fn new(members: Vec<Member>, order: Order) -> Result<Self, NoCommittee> {
        Committee::new(members.clone())?;
        Ok(Self { members, order })
    }

    /// Members of equal weight.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn equal(
        nodes: impl IntoIterator<Item = NodeId>,
        order: Order,
    ) -> Result<Self, NoCommittee> {
        Self::new(nodes.into_iter().map(|node| Member { node, weight: 1 }).collect(), order)
    }
}

impl Membership for FixedCommittee {
    fn committee<'a>(
        &'a self,
        _: Height,
        seed: Seed,
        previous: Option<&'a Block>,
    ) -> Boxed<'a, Result<Vec<Member>, String>> {
        let mut members = self.members.clone();
        match (self.order, previous) {
            (Order::Sticky, Some(block)) => {
                let place = members.iter().position(|member| member.node == block.proposer);
                members.rotate_left(place.unwrap_or(0));
            }
            (Order::Sticky, None) => {}
            (Order::Seeded, _) => shuffle(&mut members, seed),
        }
        Box::pin(ready(Ok(members)))
    }
}

/// A permutation drawn from the seed (Fisher and Yates), the same on every machine.
fn shuffle(members: &mut [Member], seed: Seed) {
    let mut words = seed.0;
    for last in (1..members.len()).rev() {
        let place = (last as u64).to_le_bytes();
        words = Hash::of(&[b"quorate helix shuffle 1\0", &words, &place]).0;
        let drawn = u64::from_le_bytes([
            words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7],
        ]);
        let place =
            usize::try_from(drawn % (last as u64 + 1)).expect("below the number of members");
        members.swap(last, place);
    }
}

#[cfg(test)]
mod tests;
