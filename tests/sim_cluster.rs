//! The simulated cluster from the outside: what its users rely on when they test their own machine.

use std::time::Duration;

use quorate::id::NodeId;
use quorate::raft::Role;
use quorate::sim::cluster::Death;
use quorate::sim::machine::{Ledger, Write};
use quorate::sim::net::Weather;
use quorate::sim::raft::{Cluster, Raft, Setup};
use quorate::sim::script::play;
use quorate::sim::world::Stopped;

const SPAN: Duration = Duration::from_secs(5);

fn led(seed: u64) -> (Cluster<Ledger>, NodeId) {
    let mut cluster = Cluster::new(seed, Setup::default(), Ledger::default);
    cluster.start_all();
    let leader = cluster.run_until_led(SPAN).expect("three nodes elect");
    (cluster, leader)
}

fn write(cluster: &Cluster<Ledger>, node: NodeId, seq: u32) -> bool {
    let node = cluster.node(node).expect("it is up");
    let command = Write { client: 1, seq }.command(0);
    cluster.run(async move { node.propose(command).await.is_ok() }).unwrap_or(false)
}

#[test]
fn a_killed_node_leaves_no_task_behind() {
    for seed in 0..20 {
        let (mut cluster, leader) = led(seed);
        assert!(write(&cluster, leader, 1));
        cluster.crash(leader, Death::Kill);
        assert_eq!(cluster.world().violation(), None);
        assert!(!cluster.is_up(leader));
        assert!(cluster.node(leader).is_none());
    }
}

#[test]
fn a_node_ends_in_order_when_asked() {
    for seed in 0..20 {
        let (mut cluster, leader) = led(seed);
        assert!(write(&cluster, leader, 1));
        let ended = cluster.shutdown(leader, SPAN).expect("it ends in time");
        assert!(ended.is_ok());
        cluster.disk(leader).power_cut();
        cluster.start(leader).expect("a healthy disk");
        let node = cluster.node(leader).expect("it is up");
        assert!(node.status().last_index.0 >= 2, "what was submitted is synced");
        assert_eq!(cluster.world().violation(), None);
    }
}

#[test]
fn a_paused_node_sleeps_and_follows_afterwards() {
    let (mut cluster, leader) = led(3);
    cluster.pause(leader);
    let before = cluster.polls(leader);
    // A connection that has stopped is given up after some seconds.
    let next = cluster.run_until_led(SPAN * 3).expect("the two others elect");
    assert_ne!(next, leader);
    assert_eq!(cluster.polls(leader), before);
    cluster.resume(leader);
    assert_eq!(cluster.run_until_led(SPAN), Some(next));
}

/// A wiped member comes back empty; the next leader gives it everything again. (The present one
/// does not: what a member has acknowledged once, it is taken to have.) It is not the fault of the
/// cluster if that happens to a majority, so the storms do not do it.
#[test]
fn a_wiped_follower_gets_everything_again() {
    let (mut cluster, leader) = led(4);
    for seq in 1..=20 {
        assert!(write(&cluster, leader, seq));
    }
    let follower = NodeId(leader.0 % 3 + 1);
    cluster.wipe(follower);
    cluster.start(follower).expect("an empty disk");
    cluster.crash(leader, Death::PowerCut);
    let next = cluster.run_until_led(SPAN).expect("the third one");
    assert_ne!(next, follower, "its log is empty");
    assert!(write(&cluster, follower, 21));
    let node = cluster.node(follower).expect("it is up");
    assert_eq!(node.read_stale(|ledger| ledger.writes().len()), 21);
}

/// Every cut of one direction between two nodes of five: the thesis of pre-vote and check-quorum.
#[test]
fn one_way_cuts_end_in_one_leader_that_serves() {
    for from in 1..=5 {
        for to in (1..=5).filter(|&to| to != from) {
            let setup = Setup { nodes: 5, ..Setup::default() };
            let mut cluster = Cluster::new(from * 10 + to, setup, Ledger::default);
            cluster.cut(&[NodeId(from)], &[NodeId(to)]);
            cluster.start_all();
            cluster.world().run_for(SPAN);
            let leader = cluster.leader().expect("four others hear each other");
            let term = cluster.node(leader).expect("it is up").status().term;
            assert!(write(&cluster, leader, 1), "{from} > {to}");
            cluster.world().run_for(SPAN * 4);
            let after = cluster.leader().expect("still");
            let later = cluster.node(after).expect("it is up").status().term;
            assert_eq!((after, later), (leader, term), "{from} > {to} disturbs nobody");
            assert_eq!(cluster.world().violation(), None);
        }
    }
}

/// The transport drops damaged frames; should one get through, it makes no sense and is counted.
#[test]
fn damaged_frames_stop_nobody() {
    let (cluster, leader) = led(5);
    let foul = Weather { corrupt: 1000, deliver_corrupt: false, ..Weather::CALM };
    cluster.world().network(|network| network.set_weather(foul));
    assert_eq!(cluster.world().run_for(SPAN), Stopped::Elapsed);
    assert_eq!(cluster.leader(), None);
    cluster.world().network(|network| network.set_weather(Weather::CALM));
    // A connection that has stopped in the middle of a frame is given up after some seconds.
    let next = cluster.run_until_led(SPAN * 3).expect("three nodes elect again");
    assert!(write(&cluster, next, 1), "after {leader:?}");
}

#[test]
fn a_script_about_a_node_that_is_not_there_is_refused_in_words() {
    for command in ["propose n6", "elect n6", "read n6"] {
        let refused = play::<Raft>(&format!("cluster 3\n{command}\n")).expect_err(command);
        assert!(refused.contains(&format!("line 2, `{command}`: n6 is")), "{refused}");
    }
}

/// An operator starts a node a second time, elsewhere and on an empty disk. Its two lives vote for two
/// leaders of one term, and the second leader has nothing of what the first one has acknowledged.
/// Nothing tells raft that a name is there twice, so today the checker must find a broken rule.
#[test]
fn two_nodes_of_one_name_lose_what_was_acknowledged() {
    let [one, two, three] = [1, 2, 3].map(NodeId);
    let mut cluster = Cluster::new(1, Setup::default(), Ledger::default);
    cluster.run_twice(three, &[two]);
    cluster.partition(&[one], &[two]);
    cluster.start(one).expect("an empty disk");
    cluster.start(three).expect("two empty disks");
    assert_eq!(cluster.run_until_led(SPAN), Some(one), "by its own vote and one of node 3");
    assert!(write(&cluster, one, 1), "acknowledged");
    cluster.start(two).expect("an empty disk");
    assert_eq!(cluster.world().run_for(SPAN), Stopped::Violated);
    let broken = cluster.world().violation().expect("it says so");
    assert_eq!(broken.invariant, "I6", "node 3 votes twice in a term");
    // What comes of it: time goes on.
    let until = cluster.world().now() + SPAN;
    while cluster.world().turn(until) {}
    let status = |node| cluster.node(node).expect("it is up").status();
    assert_eq!([one, two].map(|node| status(node).role), [Role::Leader; 2]);
    assert_eq!(status(one).term, status(two).term);
    let other = cluster.node(two).expect("it is up");
    assert_eq!(other.read_stale(|ledger| ledger.writes().len()), 0, "the write is lost there");
}
