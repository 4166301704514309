//! Explorers: instead of hoping that a storm hits the one bad moment, every moment is tried. The
//! same short story of a cluster is told again and again, and each time one node dies a little
//! later: at every poll of its tasks, and at every operation of its disk, also of the start after.
//! Each time the cluster heals, the invariants hold and the clients have lost nothing.

use std::time::Duration;

use quorate::id::NodeId;
use quorate::sim::cluster::{Cluster, Death};
use quorate::sim::machine::Ledger;
use quorate::sim::storm::{self, Options};
use quorate::sim::trace::Detail;

const SEED: u64 = 11;

/// A short and busy life: an election, writes and reads on all nodes, snapshots.
fn story() -> Options {
    Options {
        clients: 3,
        client_pause_max: Duration::from_millis(4),
        detail: Detail::Events,
        ..Options::default()
    }
}

fn tell(name: &str, moment: u64, trouble: impl FnOnce(&mut Cluster<Ledger>)) {
    if let Err(failure) = storm::cause(SEED, &story(), trouble) {
        panic!("{name} {moment}: {failure}");
    }
}

fn wait(cluster: &Cluster<Ledger>, millis: u64) {
    cluster.world().run_for(Duration::from_millis(millis));
}

/// Ends a node whose disk has no power any more, whether it has noticed or not.
fn cut(cluster: &mut Cluster<Ledger>, node: NodeId) {
    cluster.reap();
    if cluster.is_up(node) {
        cluster.crash(node, Death::PowerCut);
    } else {
        cluster.disk(node).power_cut();
    }
}

/// The node that leads in the story when nobody interferes, and one that does not.
fn leader_and_follower() -> [NodeId; 2] {
    let mut found = None;
    tell("nobody dies", 0, |cluster| found = cluster.run_until_led(Duration::from_secs(5)));
    let leader = found.expect("three nodes elect");
    [leader, NodeId(leader.0 % 3 + 1)]
}

#[test]
fn a_power_cut_at_any_poll_loses_nothing() {
    for node in leader_and_follower() {
        let mut polls = 0;
        tell("nobody dies", 0, |cluster| {
            wait(cluster, 900);
            polls = cluster.polls(node);
        });
        assert!(polls > 200, "{polls} polls are no story");
        for moment in 1..=polls.min(600) {
            tell("power cut at poll", moment, |cluster| {
                let until = cluster.world().now() + Duration::from_secs(1);
                cluster.world().run_until(until, || cluster.polls(node) >= moment);
                let death = if moment % 4 == 0 { Death::Kill } else { Death::PowerCut };
                cluster.crash(node, death);
                wait(cluster, 20);
            });
        }
    }
}

#[test]
fn a_power_cut_at_any_operation_of_the_disk_loses_nothing() {
    for node in leader_and_follower() {
        let mut operations = 0;
        tell("nobody dies", 0, |cluster| {
            wait(cluster, 900);
            operations = cluster.disk(node).operations();
        });
        assert!(operations > 100, "{operations} operations are no story");
        for moment in 0..operations.min(400) {
            tell("power cut at operation", moment, |cluster| {
                cluster.disk(node).power_off_after(moment);
                wait(cluster, 950);
                cut(cluster, node);
            });
        }
    }
}

#[test]
fn a_power_cut_at_any_operation_of_a_start_loses_nothing() {
    let [leader, _] = leader_and_follower();
    for moment in 0..60 {
        tell("power cut at operation of the start", moment, |cluster| {
            wait(cluster, 900 + moment);
            cluster.crash(leader, Death::PowerCut);
            cluster.disk(leader).power_off_after(moment);
            // It may not come up at all: then its disk is as it was found or better.
            if cluster.start(leader).is_ok() {
                wait(cluster, 50);
            }
            cut(cluster, leader);
            wait(cluster, 20);
        });
    }
}
