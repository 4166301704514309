//! Raft, as the shared part of the simulator wants to know it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::config::{Config, Timing};
use crate::env::Rng;
use crate::error::Fatal;
use crate::id::{ClusterId, NodeId};
use crate::raft::{Event, Node};
use crate::sim::checks::Checked;
use crate::sim::cluster;
use crate::sim::draws::Draws;
use crate::sim::machine::{Digest, Ledger, Probe};
use crate::sim::net::Flight;
use crate::sim::protocol::{Birth, Life, Protocol};
use crate::sim::raft::checker::{Checker, Coverage};
use crate::sim::raft::cluster::{Cluster, Settings, Setup, Slot, any_limits};
use crate::sim::raft::events::kind_of;
use crate::sim::raft::faults::Trouble;
use crate::sim::raft::known;
use crate::sim::storm::known::Known;
use crate::sim::storm::{self, Outcome, Storm};
use crate::sim::twins::{Boxed, pair};
use crate::sim::waits::Patience;
use crate::sim::workload::Workload;
use crate::sim::world::World;

/// Election timeouts (the longest ones) within which order must return after the healing.
pub const HEALING_ELECTIONS: u32 = 12;

/// Raft that replicates `M`, as a name for the simulator.
#[derive(Debug)]
pub struct Raft<M = Ledger>(PhantomData<M>);

/// What kind of storm.
pub type Options<M = Ledger> = storm::Options<Raft<M>>;
/// What a storm that went well was like.
pub type Report<M = Ledger> = storm::Report<Raft<M>>;
/// One kind of trouble.
pub type Fault = storm::Fault<Trouble>;

impl<M: Digest> Protocol for Raft<M> {
    type Machine = M;
    type Settings = Settings;
    type Event = Event;
    type Checker = Checker;
    type Handle = Node<Probe<M>>;
    type Slot = Slot;

    const NODES: u64 = 3;

    fn checker(_: u64, setup: &Setup<M>) -> Checker {
        Checker::new(usize::try_from(setup.nodes).unwrap_or(usize::MAX))
    }

    fn slot(_: NodeId, _: &World<Checker>, _: &Setup<M>) -> Slot {
        Slot::default()
    }

    fn start(cluster: &Cluster<M>, birth: Birth) -> Result<Life<Self>, Fatal> {
        let Birth { node: id, env, wire, cancel_injector, .. } = birth;
        let Settings { timing, limits } = cluster.setup().protocol;
        let mut config = Config::new(id, ClusterId(0x51), cluster.members())
            .and_then(|config| config.with_timing(timing))
            .map_err(Fatal::Mismatch)?;
        config.limits = limits;
        let twin = cluster.twin(&config, &env, &wire)?;
        let (node, life) = Node::start(config, env, cluster.machine(id), cluster.observer(id))?;
        node.expose_to(cancel_injector);
        let served = Some(node.clone().into());
        let (future, wire) = match (twin, cluster.own(id).speaks_with.clone()) {
            (Some(twin), with) => pair((Box::pin(life), wire), twin, move |p| with.contains(&p)),
            (None, _) => (Box::pin(life) as Boxed, wire),
        };
        Ok(Life { handle: node, node: served, future, wire })
    }

    fn shutdown(handle: &Self::Handle) {
        handle.shutdown();
    }

    fn wipe(_: &Slot) {}

    fn honest(cluster: &Cluster<M>) -> Vec<NodeId> {
        cluster.members()
    }

    fn kind(flight: &Flight) -> &'static str {
        kind_of(flight)
    }

    type Fault = Trouble;
    type Options = ();
    type Coverage = Coverage;
    type Cast = ();

    const CLIENTS: u32 = 8;
    const CLIENT_PAUSE_MAX: Duration = Duration::from_millis(40);

    fn faults() -> Vec<Fault> {
        vec![
            Fault::Crash,
            Fault::Partition,
            Fault::Weather,
            Fault::Pause,
            Fault::Stall,
            Fault::Full,
            Fault::DiskError,
            Fault::BitRot,
            Fault::Shortened,
            Fault::Missing,
            Fault::Wiped,
            Fault::RolledBack,
            Fault::Small,
            Fault::FullForGood,
            Fault::Drift,
            Fault::Own(Trouble::Churn),
            Fault::Own(Trouble::ForcedTransfer),
            Fault::Upgrade,
            Fault::Cancel,
        ]
    }

    type Weakness = Infallible;

    fn known() -> Vec<Known<Self>> {
        known::known()
    }

    fn include(_: &mut Options<M>, weakness: &Infallible) {
        match *weakness {}
    }

    fn forfeit(_: &mut Cluster<M>, _: NodeId) {}

    fn room_min(cluster: &Cluster<M>) -> u64 {
        let limits = cluster.setup().protocol.limits;
        6 * limits.segment_bytes + 4 * limits.snapshot_log_bytes
    }

    fn takes_commands(_: &Options<M>) -> bool {
        true
    }

    fn with_commands(options: Options<M>) -> Options<M> {
        options
    }

    fn brew(seed: u64, options: &Options<M>, load: &Workload<M>) -> Cluster<M> {
        let draws = Draws::seeded(seed);
        let limits = any_limits(&draws);
        let setup = cluster::Setup {
            nodes: options.nodes,
            order: options.order,
            detail: options.detail,
            print: options.print,
            queues: draws
                .queues(limits.entries_bytes_max().max(limits.snapshot_chunk_bytes + (1 << 10))),
            costs: draws.costs(),
            protocol: Settings { limits, ..Settings::default() },
            ..cluster::Setup::default()
        };
        let make = load.make.clone();
        Cluster::new(seed, setup, move || make())
    }

    fn replay(options: &Options<M>) -> String {
        format!("--nodes {}", options.nodes)
    }

    fn leader(cluster: &Cluster<M>) -> Option<NodeId> {
        cluster.leader()
    }

    fn strike(storm: &mut Storm<Self>, fault: Trouble, _: NodeId) -> Outcome<()> {
        match fault {
            Trouble::Churn => storm.churn(),
            Trouble::ForcedTransfer => {
                storm.cluster.force_transfer(storm.any_node());
                Ok(())
            }
        }
    }

    fn relieve(_: &Cluster<M>, _: NodeId) {}

    /// What raft's nodes say to each other is not signed: the transport's checksum is all that tells
    /// a damaged frame from another one.
    fn hands_on_damage(_: &Cluster<M>, _: &Rng) -> bool {
        false
    }

    /// A majority must stay.
    fn may_lose(cluster: &Cluster<M>, lost: &BTreeSet<NodeId>) -> bool {
        lost.len() <= (cluster.members().len() - 1) / 2
    }

    fn healing_max() -> Duration {
        Timing::LAN.election_max * HEALING_ELECTIONS
    }

    fn goal(_: &Cluster<M>) -> u64 {
        0
    }

    /// All nodes follow one leader.
    fn has_recovered(cluster: &Cluster<M>, alive: &[NodeId], _: u64) -> bool {
        cluster.settled_leader_of(alive).is_some()
    }

    fn standing(handle: &Self::Handle) -> String {
        let status = handle.status();
        let (role, term, leader) = (status.role, status.term, status.leader);
        format!("is {role:?} in {term:?} of {leader:?}")
    }

    fn position(checker: &Checker) -> u64 {
        checker.decided().0
    }

    fn patience(cluster: &Cluster<M>) -> Patience {
        let timing = cluster.setup().protocol.timing;
        // A clock that is a tenth slow takes a tenth longer.
        let timeout = timing.election_max * 10 / 9;
        Patience { deadline: timing.request_timeout(), timeout }
    }

    fn is_quorum(cluster: &Cluster<M>, nodes: &BTreeSet<NodeId>) -> bool {
        nodes.len() > cluster.members().len() / 2
    }

    fn is_steady(_: &Cluster<M>, _: NodeId) -> bool {
        true
    }

    fn taken(handle: &Self::Handle) -> u64 {
        handle.status().applied_index.0
    }

    fn look(_: &Cluster<M>) -> Checked {
        Ok(())
    }

    fn compare(_: &Cluster<M>) -> Checked {
        Ok(())
    }

    fn decided(checker: &Checker) -> u64 {
        checker.decided().0
    }

    fn coverage(checker: &Checker) -> Coverage {
        checker.coverage()
    }

    fn cast(_: &Cluster<M>) {}

    fn tell(report: &Report<M>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tally, seen) = (report.tally, report.coverage);
        write!(f, "{} troubles, ", report.faults.values().sum::<u32>())?;
        write!(
            f,
            "{} starts, {} leaders, {} truncations, {} snapshots, {} installed; ",
            seen.starts, seen.leaders, seen.truncations, seen.snapshots, seen.installs
        )?;
        write!(f, "{} entries; {tally}", report.decided)?;
        write!(f, "{} starts refused on rotten disks; ", report.rot_refused)?;
        write!(f, "order after {:?}", report.healed_in)
    }
}
