//! Who decides which height in a simulated cluster: everybody, some with more weight, or a group
//! that changes as the chain grows.

use crate::helix::protocol::app::{Boxed, Member, Membership};
use crate::helix::protocol::block::{Block, Seed};
use crate::helix::protocol::committee::{Committee, FixedCommittee, Order};
use crate::id::{Height, NodeId};

/// Heights after which a [`CommitteeSchedule::Rotating`] committee leaves somebody else out.
pub const ROTATION: u64 = 3;

/// Who decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitteeSchedule {
    /// All nodes alike; the proposer of the block before leads.
    Sticky,
    /// All nodes alike, in an order drawn for each height.
    Seeded,
    /// The first node has the first weight, and so on; sticky.
    Weighted(Vec<u64>),
    /// All nodes but one, and every few heights another one is left out. For five nodes and more.
    Rotating,
    /// Whatever this list says; for committees that make no sense.
    Raw(Vec<Member>),
}

impl CommitteeSchedule {
    /// The members at a height, of a cluster of `nodes`, in the order of their ids.
    #[must_use]
    pub fn members(&self, nodes: u64, height: Height) -> Vec<Member> {
        let all = (1..=nodes).map(|id| Member { node: NodeId(id), weight: 1 });
        match self {
            Self::Sticky | Self::Seeded => all.collect(),
            Self::Weighted(weights) => {
                let weigh = |(member, &weight)| Member { weight, ..member };
                all.zip(weights).map(weigh).collect()
            }
            Self::Rotating => {
                let out = NodeId(height.0 / ROTATION % nodes + 1);
                all.filter(|member| member.node != out).collect()
            }
            Self::Raw(members) => members.clone(),
        }
    }

    /// The committee of a height, for thresholds; its order is not the one that leads.
    #[must_use]
    pub fn committee(&self, nodes: u64, height: Height) -> Option<Committee> {
        Committee::new(self.members(nodes, height)).ok()
    }

    fn order(&self) -> Order {
        match self {
            Self::Seeded => Order::Seeded,
            _ => Order::Sticky,
        }
    }
}

/// A schedule as nodes ask it.
#[derive(Debug, Clone)]
pub struct Scheduled {
    /// Who decides.
    pub schedule: CommitteeSchedule,
    /// Of how many.
    pub nodes: u64,
}

impl Membership for Scheduled {
    fn committee<'a>(
        &'a self,
        height: Height,
        seed: Seed,
        previous: Option<&'a Block>,
    ) -> Boxed<'a, Result<Vec<Member>, String>> {
        let members = self.schedule.members(self.nodes, height);
        Box::pin(async move {
            if let CommitteeSchedule::Raw(members) = &self.schedule {
                return Ok(members.clone());
            }
            let fixed = FixedCommittee::new(members, self.schedule.order());
            let fixed = fixed.map_err(|why| why.to_string())?;
            fixed.committee(height, seed, previous).await
        })
    }
}
