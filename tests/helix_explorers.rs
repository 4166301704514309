//! The explorer of helix: instead of hoping that an election, a synced block or a power cut hits the
//! one bad moment, every moment is tried.
//!
//! Every scenario of `tests/scenarios/helix` is told again for every honest node and each of its
//! polls, and right there something of the node is dropped: its view, the views of all, its term, or
//! the whole node, which then starts again on its disk. Then the story goes on, and when all is
//! healed the chain must go on. The invariants are checked after every event, over all lives: nobody
//! signs against what it has said, there is one chain, it is delivered in order.

use std::fs;
use std::path::Path;

use quorate::id::NodeId;
use quorate::sim::cluster::Death;
use quorate::sim::helix::{self, Helix};
use quorate::sim::machine::Ledger;
use quorate::sim::script::strike;

type Cluster = helix::Cluster<Ledger>;

/// Polls of a node that are tried in one scenario: beyond, nothing new happens.
const POLLS_MAX: u64 = 400;

/// Its view, by its trigger.
fn view(cluster: &mut Cluster, node: NodeId) {
    if let Some(engine) = cluster.node(node) {
        let status = engine.status();
        cluster.elapse(node, status.height, status.view);
    }
}

/// The views of all nodes, by theirs: there is an election.
fn all_views(cluster: &mut Cluster, _: NodeId) {
    cluster.members().into_iter().for_each(|node| view(cluster, node));
}

/// Its term, by the block that another node has decided at its height, as an application tells that
/// has got it by a sync of its own; its view, if there is none.
fn term(cluster: &mut Cluster, node: NodeId) {
    let Some(engine) = cluster.node(node) else { return };
    let (tip, app) = (engine.status().tip, cluster.test_app(node));
    let has_all = app.chain().len() as u64 == tip.0;
    let taken = |node| cluster.test_app(node).taken(tip.next());
    match cluster.honest().into_iter().find_map(taken).filter(|_| has_all) {
        Some((block, proof)) => {
            app.adopt(&block, &proof);
            engine.update_state(block, proof);
        }
        None => view(cluster, node),
    }
}

/// Starts it again. Its disk may still have an error in store: then the healing starts it.
fn start(cluster: &mut Cluster, node: NodeId) {
    let _ = cluster.start(node);
}

/// The node, by `kill -9`: what was written is there.
fn process(cluster: &mut Cluster, node: NodeId) {
    cluster.crash(node, Death::Kill);
    start(cluster, node);
}

/// The node, by a power cut: what was not synced is gone.
fn power(cluster: &mut Cluster, node: NodeId) {
    cluster.crash_losing(node);
    start(cluster, node);
}

const BLOWS: [fn(&mut Cluster, NodeId); 5] = [view, all_views, term, process, power];

/// Every scenario, by name.
fn scenarios() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/helix");
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

/// Each blow at each poll of each honest node; returns how many fell.
fn strike_everywhere(name: &str, text: &str) -> u64 {
    let told = |node, poll, blow| match strike::<Helix>(text, node, poll, blow) {
        Ok(explored) => explored,
        Err(what) => panic!("{name}: {node:?} struck at poll {poll}: {what}"),
    };
    let mut fell = 0;
    for node in told(NodeId(1), 0, view).honest {
        let polls = told(node, 0, view).polls.min(POLLS_MAX);
        for poll in 1..=polls {
            for blow in BLOWS {
                let explored = told(node, poll, blow);
                assert!(explored.struck, "{name}: {node:?} has no poll {poll} of {polls}");
                fell += 1;
            }
        }
    }
    fell
}

/// Every second scenario, beginning with that one: two tests, so that two cores have work.
fn strike_in_every_second(from: usize) {
    let mut blows = 0;
    for (name, text) in scenarios().iter().skip(from).step_by(2) {
        blows += strike_everywhere(name, text);
    }
    assert!(blows > 3_000, "{blows} blows are few");
}

#[test]
fn whatever_is_dropped_at_any_poll_of_the_odd_scenarios_breaks_nothing() {
    strike_in_every_second(0);
}

#[test]
fn whatever_is_dropped_at_any_poll_of_the_even_scenarios_breaks_nothing() {
    strike_in_every_second(1);
}
