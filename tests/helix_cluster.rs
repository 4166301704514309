//! The simulated helix cluster from the outside: honest nodes decide, whatever the committee, and
//! nobody who lies keeps them from it.

use std::time::Duration;

use quorate::id::{Height, NodeId};
use quorate::sim::cluster::Death;
use quorate::sim::helix::adversary::Lie;
use quorate::sim::helix::cluster::{Cluster, Settings, Setup, Signing};
use quorate::sim::helix::schedule::CommitteeSchedule;
use quorate::sim::machine::Ledger;

const SPAN: Duration = Duration::from_secs(30);

fn scheduled(nodes: u64, schedule: CommitteeSchedule) -> Setup<Ledger> {
    let protocol = Settings { schedule, ..Settings::default() };
    Setup { nodes, protocol, ..Setup::default() }
}

fn must_decide(cluster: &Cluster<Ledger>, height: u64) {
    let decided = cluster.run_until_decided(Height(height), SPAN);
    if let Some(violation) = cluster.world().violation() {
        panic!("{}\n{violation}", cluster.world().trace().take_text().join("\n"));
    }
    let tail = || cluster.world().trace().take_text().join("\n");
    assert!(decided, "{:?} is not decided\n{}", Height(height), tail());
}

#[test]
fn every_committee_decides() {
    let schedule = [
        (4, CommitteeSchedule::Sticky),
        (4, CommitteeSchedule::Seeded),
        (4, CommitteeSchedule::Weighted(vec![5, 3, 3, 2])),
        (7, CommitteeSchedule::Sticky),
        (7, CommitteeSchedule::Seeded),
        (6, CommitteeSchedule::Rotating),
    ];
    for (nodes, schedule) in schedule {
        let mut cluster = Cluster::new(nodes, scheduled(nodes, schedule), Ledger::default);
        cluster.start_all();
        must_decide(&cluster, 30);
        // A node that was left out has learned the last block, and does not lead at once.
        let elected = cluster.world().checker().borrow().coverage().elected;
        assert_eq!(elected > 0, cluster.setup().protocol.schedule == CommitteeSchedule::Rotating);
    }
}

#[test]
fn real_signatures_do_as_well() {
    let protocol = Settings { signing: Signing::Real, ..Settings::default() };
    let setup = Setup { protocol, ..Setup::default() };
    let mut cluster = Cluster::new(1, setup, Ledger::default);
    cluster.corrupt(NodeId(2), Lie::Forger);
    cluster.start_all();
    must_decide(&cluster, 10);
}

#[test]
fn no_liar_keeps_four_nodes_from_deciding() {
    for lie in Lie::ALL {
        for slot in [1, 3] {
            let mut cluster = Cluster::new(slot, Setup::default(), Ledger::default);
            cluster.corrupt(NodeId(slot), lie);
            cluster.start_all();
            must_decide(&cluster, 20);
        }
    }
}

#[test]
fn two_liars_do_not_keep_seven_nodes_from_deciding() {
    for (one, other) in Lie::ALL.into_iter().zip(Lie::ALL.into_iter().skip(1)) {
        let mut cluster = Cluster::new(1, Setup { nodes: 7, ..Setup::default() }, Ledger::default);
        cluster.corrupt(NodeId(1), one);
        cluster.corrupt(NodeId(2), other);
        cluster.start_all();
        must_decide(&cluster, 12);
    }
}

#[test]
fn a_node_that_was_away_catches_up() {
    let mut cluster = Cluster::new(5, Setup::default(), Ledger::default);
    cluster.start_all();
    must_decide(&cluster, 5);
    cluster.crash(NodeId(3), Death::PowerCut);
    must_decide(&cluster, 60);
    cluster.start(NodeId(3)).expect("a healthy disk");
    must_decide(&cluster, 70);
    assert!(cluster.world().checker().borrow().coverage().learned > 40);
}

#[test]
fn all_nodes_restart_and_go_on() {
    let mut cluster = Cluster::new(6, Setup::default(), Ledger::default);
    cluster.start_all();
    for round in 1..=5 {
        must_decide(&cluster, round * 7);
        for node in cluster.members() {
            cluster.crash(node, if round % 2 == 0 { Death::Kill } else { Death::PowerCut });
        }
        cluster.start_all();
    }
    must_decide(&cluster, 40);
}

#[test]
fn a_node_ends_in_order_when_asked() {
    let mut cluster = Cluster::new(8, Setup::default(), Ledger::default);
    cluster.start_all();
    must_decide(&cluster, 5);
    let ended = cluster.shutdown(NodeId(2), SPAN).expect("it ends in time");
    assert!(ended.is_ok());
    must_decide(&cluster, 10);
}
