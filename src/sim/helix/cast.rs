//! Who takes part in a storm of helix: the seed decides who decides, who lies, and how.

use std::collections::{BTreeMap, BTreeSet};

use crate::env::Rng;
use crate::id::{Height, NodeId};
use crate::quorum::faulty_max;
use crate::sim::helix::adversary::Lie;
use crate::sim::helix::known::Own;
use crate::sim::helix::protocol::Helix;
use crate::sim::helix::schedule::CommitteeSchedule;
use crate::sim::protocol::Protocol;
use crate::sim::storm::known::Weakness;

/// What a storm of helix can be told besides what every storm can.
#[derive(Debug, Clone)]
pub struct Choices {
    /// The kinds of liars; none if it is empty.
    pub lies: Vec<Lie>,
    /// Who decides; by the seed if it is not said.
    pub schedule: Option<CommitteeSchedule>,
    /// Whether blocks are those of a test app, and there are no clients. If not, they carry clients'
    /// commands, all nodes decide alike, and liars speak for themselves only, see
    /// [`Lie::own_voice`].
    pub blocks: bool,
    /// Whether nobody must be more patient because views have grown long.
    pub grown_views: bool,
    /// Whether reading the disk costs time, if work costs any.
    pub slow_reads: bool,
}

impl Default for Choices {
    /// Every liar, and blocks of their own.
    fn default() -> Self {
        let known = <Helix>::known();
        let is_known = |weakness: Own| {
            let listed = |own: &Own| *own == weakness;
            known.iter().any(|known| matches!(&known.weakness, Weakness::Own(own) if listed(own)))
        };
        let lies = Lie::ALL.into_iter().filter(|&lie| !is_known(Own::Liar(lie)));
        let grown_views = !is_known(Own::GrownViews);
        let slow_reads = !is_known(Own::SlowReads);
        Self { lies: lies.collect(), schedule: None, blocks: true, grown_views, slow_reads }
    }
}

/// Who took part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// Who decided.
    pub schedule: CommitteeSchedule,
    /// Who lied, and how.
    pub liars: BTreeMap<NodeId, Lie>,
}

/// Whether every committee has a quorum without these nodes. Whoever a changing committee leaves out
/// may be an honest one: it must bear all of them.
pub(super) fn bears(
    schedule: &CommitteeSchedule,
    nodes: u64,
    without: impl IntoIterator<Item = NodeId>,
) -> bool {
    let members = schedule.members(nodes, Height::ZERO);
    let total: u64 = members.iter().map(|member| member.weight).sum();
    let weigh = |node: NodeId| {
        let all = schedule.members(nodes, Height(1_000_000));
        let of = members.iter().chain(&all).find(|member| member.node == node);
        of.map_or(1, |member| member.weight)
    };
    without.into_iter().map(weigh).sum::<u64>() <= faulty_max(total)
}

pub(super) fn any_schedule(rng: &Rng, nodes: u64) -> CommitteeSchedule {
    match rng.below(4) {
        0 => CommitteeSchedule::Seeded,
        1 => CommitteeSchedule::Weighted((0..nodes).map(|_| rng.within(1..=4)).collect()),
        2 if nodes > 4 => CommitteeSchedule::Rotating,
        _ => CommitteeSchedule::Sticky,
    }
}

/// As many liars as the committee bears, and sometimes fewer.
pub(super) fn choose_liars(
    rng: &Rng,
    nodes: u64,
    options: &Choices,
    commands: bool,
    schedule: &CommitteeSchedule,
) -> BTreeMap<NodeId, Lie> {
    let mut liars = BTreeMap::new();
    let mut lies = options.lies.clone();
    if commands {
        lies.retain(|lie| Lie::own_voice().contains(lie));
    }
    if lies.is_empty() || rng.chance(100) {
        return liars;
    }
    let mut slots: BTreeSet<_> = (1..=nodes).map(NodeId).collect();
    while !slots.is_empty() {
        let node = slots.iter().copied().nth(rng.below(slots.len())).unwrap_or(NodeId(1));
        slots.remove(&node);
        if bears(schedule, nodes, liars.keys().copied().chain([node])) {
            liars.insert(node, lies[rng.below(lies.len())]);
        }
    }
    liars
}
