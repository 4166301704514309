//! Explorers: instead of hoping that a storm hits the one bad moment, every moment is tried. The
//! same short story of a cluster is told again and again, and each time one node dies a little
//! later: at every poll of its tasks, and at every operation of its disk, also of the start after.
//! Each time the cluster heals, the invariants hold and the clients have lost nothing.
//!
//! Roles are scopes that may be dropped wherever they wait. Every scenario of `tests/scenarios/raft`
//! is told again for every node and each poll of its role, with the role dropped right there; and in
//! the story a role is ended at each poll as the protocol ends one, by the news of a higher term
//! and by a shutdown.

use std::fs;
use std::path::Path;
use std::time::Duration;

use quorate::id::NodeId;
use quorate::sim::cluster::Death;
use quorate::sim::machine::Ledger;
use quorate::sim::raft::{Cluster, Options, Raft};
use quorate::sim::script::cancel;
use quorate::sim::storm;
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

/// Tells the story for each of the first polls of the leader, and of another node, and interferes
/// right after that poll: with the node, and the number of the poll.
fn at_every_poll(name: &str, interfere: impl Fn(&mut Cluster<Ledger>, NodeId, u64)) {
    for node in leader_and_follower() {
        let mut polls = 0;
        tell("nobody dies", 0, |cluster| {
            wait(cluster, 900);
            polls = cluster.polls(node);
        });
        assert!(polls > 200, "{polls} polls are no story");
        for moment in 1..=polls.min(600) {
            tell(name, moment, |cluster| {
                let until = cluster.world().now() + Duration::from_secs(1);
                cluster.world().run_until(until, || cluster.polls(node) >= moment);
                interfere(cluster, node, moment);
                wait(cluster, 20);
            });
        }
    }
}

#[test]
fn a_power_cut_at_any_poll_loses_nothing() {
    at_every_poll("power cut at poll", |cluster, node, moment| {
        let death = if moment % 4 == 0 { Death::Kill } else { Death::PowerCut };
        cluster.crash(node, death);
    });
}

#[test]
fn the_news_of_a_higher_term_at_any_poll_loses_nothing() {
    at_every_poll("overtaken at poll", |cluster, node, _| {
        let term = cluster.node(node).expect("it is up").term();
        cluster.overtake(node, NodeId(node.0 % 3 + 1));
        wait(cluster, 1);
        assert!(cluster.node(node).expect("it is up").term() > term, "its role has ended");
    });
}

#[test]
fn a_shutdown_at_any_poll_loses_nothing() {
    at_every_poll("shut down at poll", |cluster, node, _| {
        let ended = cluster.shutdown(node, Duration::from_secs(6)).expect("it ends in time");
        assert!(ended.is_ok());
    });
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

/// Every scenario, by name.
fn scenarios() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/raft");
    let mut scenarios: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of scenarios")
        .map(|entry| entry.expect("a readable folder").path())
        .map(|file| {
            let text = fs::read_to_string(&file).expect("a readable scenario");
            (file.file_name().expect("a file").to_string_lossy().into_owned(), text)
        })
        .collect();
    scenarios.sort();
    scenarios
}

/// Drops the role of each node of a scenario at every poll; returns how many cuts were made.
fn cancel_everywhere(name: &str, text: &str) -> u64 {
    let cut = |node, poll| match cancel::<Raft>(text, node, poll) {
        Ok(explored) => explored,
        Err(what) => panic!("{name}: the role of {node:?} dropped at poll {poll}: {what}"),
    };
    let mut cuts = 0;
    for node in cut(NodeId(1), 0).honest {
        let polls = cut(node, 0).polls;
        for poll in 1..=polls {
            let explored = cut(node, poll);
            assert!(explored.struck, "{name}: {node:?} has no poll {poll} of {polls}");
            cuts += 1;
        }
    }
    cuts
}

/// Every second scenario, beginning with that one: two tests, so that two cores have work.
fn cancel_in_every_second(from: usize) {
    let mut cuts = 0;
    for (name, text) in scenarios().iter().skip(from).step_by(2) {
        cuts += cancel_everywhere(name, text);
    }
    assert!(cuts > 3_000, "{cuts} cuts are few");
}

#[test]
fn a_role_dropped_at_any_poll_of_the_odd_scenarios_breaks_nothing() {
    cancel_in_every_second(0);
}

#[test]
fn a_role_dropped_at_any_poll_of_the_even_scenarios_breaks_nothing() {
    cancel_in_every_second(1);
}
