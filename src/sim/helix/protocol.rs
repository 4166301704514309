//! Helix, as the shared part of the simulator wants to know it.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::env::Rng;
use crate::error::Fatal;
use crate::helix::Event;
use crate::helix::protocol::config::Config;
use crate::helix::protocol::node::Engine;
use crate::helix::protocol::trigger::Manual;
use crate::id::{Height, NodeId};
use crate::sim::checks::Checked;
use crate::sim::cluster;
use crate::sim::draws::Draws;
use crate::sim::helix::adversary::Lie;
use crate::sim::helix::cast::{Cast, Choices, any_schedule, bears, choose_liars};
use crate::sim::helix::checker::{Checker, Coverage};
use crate::sim::helix::cluster::{Cluster, Settings, Setup, Slot, TIMING};
use crate::sim::helix::events::{INSTANCE, kind_of};
use crate::sim::helix::faults::Trouble;
use crate::sim::helix::known::{self, Own};
use crate::sim::helix::schedule::CommitteeSchedule;
use crate::sim::helix::settings::any_limits;
use crate::sim::helix::test_app::{Behaviour, TestApp};
use crate::sim::machine::{Digest, Ledger};
use crate::sim::net::Flight;
use crate::sim::protocol::{Birth, Life, Protocol};
use crate::sim::storm::known::Known;
use crate::sim::storm::{self, Outcome, Storm};
use crate::sim::waits::Patience;
use crate::sim::workload::Workload;
use crate::sim::world::World;

/// The longest views within which the chain must have gone on after the healing.
pub const HEALING_VIEWS: u32 = 8;
/// So many blocks further.
pub const BLOCKS_AFTER: u64 = 5;

/// Helix that replicates `M`, if it takes commands; as a name for the simulator.
#[derive(Debug)]
pub struct Helix<M = Ledger>(PhantomData<M>);

/// What kind of storm.
pub type Options<M = Ledger> = storm::Options<Helix<M>>;
/// What a storm that went well was like.
pub type Report<M = Ledger> = storm::Report<Helix<M>>;
/// One kind of trouble.
pub type Fault = storm::Fault<Trouble>;

impl<M: Digest> Protocol for Helix<M> {
    type Machine = M;
    type Settings = Settings;
    type Event = Event;
    type Checker = Checker;
    type Handle = Engine;
    type Slot = Slot;

    const NODES: u64 = 4;

    fn checker(seed: u64, setup: &Setup<M>) -> Checker {
        let Settings { schedule, commands, .. } = &setup.protocol;
        // Whoever verifies needs no identity.
        let keys = setup.protocol.keys(seed, setup.nodes, NodeId::ZERO);
        let mut checker = Checker::new(setup.nodes, schedule.clone(), keys);
        if *commands {
            checker.trusts_judges();
        }
        checker
    }

    fn slot(node: NodeId, world: &World<Checker>, setup: &Setup<M>) -> Slot {
        let (clock, rng) = (world.clock_of(node), world.rng().fork());
        let behaviour = setup.protocol.behaviour;
        let test_app = TestApp::new(node, clock, rng, behaviour, world.checker().clone());
        Slot { test_app, trigger: Manual::new(), trick: None.into(), lies: false, lie: None }
    }

    fn start(cluster: &Cluster<M>, birth: Birth) -> Result<Life<Self>, Fatal> {
        let Birth { node: id, env, wire, cancel_injector, .. } = birth;
        let mut config = Config::new(id, INSTANCE, cluster.members()).map_err(Fatal::Mismatch)?;
        let Settings { timing, limits, .. } = cluster.setup().protocol;
        (config.timing, config.limits) = (timing, limits);
        let slot = cluster.own(id);
        let is_two = slot.lie == Some(Lie::Twins);
        let twin = is_two.then(|| cluster.twin(config.clone(), &env, &wire)).transpose()?;
        let (handle, node, future) = cluster.engine(config, env, &slot.test_app)?;
        handle.expose_to(cancel_injector);
        let (future, wire) = match twin {
            None => (future, wire),
            Some(twin) => cluster.twins((future, wire), twin),
        };
        let (future, wire) = match slot.trick.take() {
            None => (future, wire),
            Some(trick) => cluster.lie(id, trick, future, wire),
        };
        Ok(Life { handle, node, future, wire })
    }

    fn shutdown(handle: &Engine) {
        handle.shutdown();
    }

    fn wipe(slot: &Slot) {
        slot.test_app.wipe();
    }

    fn honest(cluster: &Cluster<M>) -> Vec<NodeId> {
        cluster.members().into_iter().filter(|&node| !cluster.own(node).lies).collect()
    }

    fn kind(flight: &Flight) -> &'static str {
        kind_of(flight)
    }

    type Fault = Trouble;
    type Options = Choices;
    type Coverage = Coverage;
    type Cast = Cast;

    const CLIENTS: u32 = 6;
    const CLIENT_PAUSE_MAX: Duration = Duration::from_millis(120);

    fn faults() -> Vec<Fault> {
        vec![
            Fault::Crash,
            Fault::Own(Trouble::Blackout),
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
            Fault::Own(Trouble::Application),
            Fault::Upgrade,
            Fault::Cancel,
        ]
    }

    type Weakness = Own;

    fn known() -> Vec<Known<Self>> {
        known::known()
    }

    fn include(options: &mut Options<M>, weakness: &Own) {
        match weakness {
            Own::Liar(lie) => options.protocol.lies = vec![*lie],
            Own::GrownViews => options.protocol.grown_views = true,
            Own::SlowReads => {
                // It shows where somebody asks for blocks again and again.
                options.protocol.lies = vec![Lie::Poisoner];
                options.protocol.slow_reads = true;
            }
        }
    }

    fn forfeit(cluster: &mut Cluster<M>, node: NodeId) {
        cluster.world().checker().borrow_mut().lies(node);
        cluster.own_mut(node).lies = true;
    }

    fn room_min(cluster: &Cluster<M>) -> u64 {
        4 * cluster.setup().protocol.limits.segment_bytes
    }

    fn takes_commands(options: &Options<M>) -> bool {
        !options.protocol.blocks
    }

    fn with_commands(mut options: Options<M>) -> Options<M> {
        options.protocol.blocks = false;
        options
    }

    fn brew(seed: u64, options: &Options<M>, load: &Workload<M>) -> Cluster<M> {
        let rng = Rng::seeded(!seed);
        let (choices, commands) = (&options.protocol, Self::takes_commands(options));
        let schedule = match &choices.schedule {
            _ if commands => CommitteeSchedule::Sticky,
            Some(schedule) => schedule.clone(),
            None => any_schedule(&rng, options.nodes),
        };
        let behaviour = Behaviour { keeps: rng.chance(500), ..Behaviour::STEADY };
        let draws = Draws::seeded(seed);
        let (limits, client_limits) = any_limits(&draws);
        let largest = limits.block_bytes_max.max(limits.fetch_bytes_max) + (64 << 10);
        let (queues, mut costs) = (draws.queues(largest), draws.costs());
        if !choices.slow_reads {
            (costs.read, costs.read_kib) = (Duration::ZERO, Duration::ZERO);
        }
        let setup = cluster::Setup {
            nodes: options.nodes,
            order: options.order,
            detail: options.detail,
            print: options.print,
            queues,
            costs,
            protocol: Settings {
                schedule,
                behaviour,
                commands,
                limits,
                options: client_limits,
                grown_views: choices.grown_views,
                ..Settings::default()
            },
            ..cluster::Setup::default()
        };
        let make = load.make.clone();
        let mut cluster = Cluster::new(seed, setup, move || make());
        let schedule = cluster.setup().protocol.schedule.clone();
        let liars = choose_liars(&rng, options.nodes, choices, commands, &schedule);
        for (node, lie) in liars {
            cluster.corrupt(node, lie);
        }
        cluster
    }

    fn replay(options: &Options<M>) -> String {
        let clients = if options.protocol.blocks { 0 } else { options.clients };
        format!("--engine helix --nodes {} --clients {clients}", options.nodes)
    }

    /// As the honest node that is furthest sees it.
    fn leader(cluster: &Cluster<M>) -> Option<NodeId> {
        let honest = cluster.honest();
        let status = honest.iter().filter_map(|&node| Some(cluster.node(node)?.status()));
        let furthest = status.max_by_key(|status| (status.height, status.view))?;
        furthest.leader.filter(|leader| honest.contains(leader))
    }

    fn strike(storm: &mut Storm<Self>, fault: Trouble, node: NodeId) -> Outcome<()> {
        match fault {
            Trouble::Blackout => storm.blackout(),
            Trouble::Application => {
                storm.application(node);
                Ok(())
            }
        }
    }

    /// Its application works well again.
    fn relieve(cluster: &Cluster<M>, node: NodeId) {
        cluster.test_app(node).change(|behaviour| {
            *behaviour = Behaviour { keeps: behaviour.keeps, ..Behaviour::STEADY };
        });
    }

    /// What nodes tell each other of commands is not signed: the transport's checksum is all that
    /// tells a damaged command from another one.
    fn hands_on_damage(cluster: &Cluster<M>, rng: &Rng) -> bool {
        rng.chance(300) && !cluster.setup().protocol.commands
    }

    /// With the liars, who may be silent.
    fn may_lose(cluster: &Cluster<M>, lost: &BTreeSet<NodeId>) -> bool {
        let setup = cluster.setup();
        let lies = |node: &NodeId| cluster.own(*node).lies;
        let liars = cluster.members().into_iter().filter(lies);
        let gone: BTreeSet<_> = lost.iter().copied().chain(liars).collect();
        bears(&setup.protocol.schedule, setup.nodes, gone)
    }

    fn healing_max() -> Duration {
        TIMING.cap.unwrap_or(TIMING.base) * HEALING_VIEWS
    }

    fn goal(cluster: &Cluster<M>) -> u64 {
        cluster.world().checker().borrow().decided().0 + BLOCKS_AFTER
    }

    /// Every honest node has delivered up to `goal`.
    fn has_recovered(cluster: &Cluster<M>, alive: &[NodeId], goal: u64) -> bool {
        let at = |node| cluster.node(node).map_or(Height::ZERO, |node| node.status().delivered);
        alive.iter().map(|&node| at(node)).min().is_none_or(|lowest| lowest.0 >= goal)
    }

    fn standing(handle: &Engine) -> String {
        let status = handle.status();
        let (height, view, delivered) = (status.height, status.view, status.delivered);
        format!("at {height:?} {view:?}, delivered {delivered:?}, {:?}", status.trouble)
    }

    fn position(checker: &Checker) -> u64 {
        checker.applied_last()
    }

    fn patience(cluster: &Cluster<M>) -> Patience {
        let Settings { timing, options, grown_views, .. } = &cluster.setup().protocol;
        // A clock that is a tenth slow takes a tenth longer.
        let timeout = if *grown_views { timing.base } else { timing.cap.unwrap_or(timing.base) };
        Patience { deadline: options.request_timeout, timeout: timeout * 10 / 9 }
    }

    fn is_quorum(cluster: &Cluster<M>, nodes: &BTreeSet<NodeId>) -> bool {
        let setup = cluster.setup();
        let others = cluster.members().into_iter().filter(|node| !nodes.contains(node));
        bears(&setup.protocol.schedule, setup.nodes, others)
    }

    fn is_steady(cluster: &Cluster<M>, node: NodeId) -> bool {
        let behaviour = cluster.test_app(node).behaviour();
        behaviour == Behaviour { keeps: behaviour.keeps, ..Behaviour::STEADY }
    }

    fn taken(handle: &Engine) -> u64 {
        handle.status().delivered.0
    }

    /// What nodes keep has limits, whatever the liars send (I10).
    fn look(cluster: &Cluster<M>) -> Checked {
        let limits = cluster.setup().protocol.limits;
        let kept_max = (cluster.setup().nodes - 1) * (2 * limits.window + 1);
        for node in cluster.honest() {
            let Some(engine) = cluster.node(node) else {
                continue;
            };
            let status = engine.status();
            let (kept, evidence) = (status.kept as u64, status.evidence.len());
            if kept > kept_max || evidence > limits.evidence_max {
                let what = format!("{node:?} keeps {kept} words and {evidence} pieces of evidence");
                return Err(("I10", what));
            }
        }
        Ok(())
    }

    /// The applications have the same blocks, as far as both have any.
    fn compare(cluster: &Cluster<M>) -> Checked {
        let checker = cluster.world().checker().borrow();
        for node in cluster.honest() {
            for (hash, height) in cluster.test_app(node).chain().into_iter().zip(1..) {
                if checker.block(Height(height)) != Some(hash) {
                    return Err(("I11", format!("{node:?} has {hash:?} at h{height}")));
                }
            }
        }
        Ok(())
    }

    fn decided(checker: &Checker) -> u64 {
        checker.decided().0
    }

    fn coverage(checker: &Checker) -> Coverage {
        checker.coverage()
    }

    fn cast(cluster: &Cluster<M>) -> Cast {
        Cast { schedule: cluster.setup().protocol.schedule.clone(), liars: cluster.liars() }
    }

    fn tell(report: &Report<M>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (troubles, seen) = (report.faults.values().sum::<u32>(), report.coverage);
        let Cast { schedule, liars } = &report.cast;
        write!(f, "{schedule:?}, liars {liars:?}, {troubles} troubles, ")?;
        write!(
            f,
            "{} starts, {} resumed, {} elected, {} new views; ",
            seen.starts, seen.resumed, seen.elected, seen.new_views
        )?;
        write!(f, "{}", report.tally)?;
        write!(f, "{} starts refused on rotten disks; ", report.rot_refused)?;
        let (decided, healed_in) = (report.decided, report.healed_in);
        write!(
            f,
            "{decided} blocks, {} times late, {} times learned, {} times undelivered, {} pieces of \
             evidence; the chain went on after {healed_in:?}",
            seen.late, seen.learned, seen.undelivered, seen.evidence
        )
    }
}
