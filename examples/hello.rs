//! Three simulated nodes agree on one value, and the story is printed as it happens: no ports, no
//! files, no waiting. The seed decides who is elected; give another one as an argument.
//!
//! `cargo run --example hello -- 7`

use std::time::Duration;

use quorate::sim::machine::{Ledger, Write};
use quorate::sim::raft::{Cluster, Setup};
use quorate::sim::trace::Detail;

fn main() {
    let seed = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(1);
    let setup = Setup { detail: Detail::Story, print: true, ..Setup::default() };
    let mut cluster = Cluster::new(seed, setup, Ledger::default);

    cluster.start_all();
    let leader = cluster.run_until_led(Duration::from_secs(10)).expect("three nodes elect");

    // Any node takes a command; a follower hands it to the leader.
    let follower = cluster.members().into_iter().find(|&node| node != leader).expect("two others");
    let node = cluster.node(follower).expect("nobody has crashed");
    let write = Write { client: 1, seq: 1 };
    cluster.world().note(format!("a client asks {follower:?} to write {write}"));
    let answer = cluster.run(async move { node.propose(write.command(0)).await });
    let applied = answer.expect("within a minute").expect("a majority is up");
    cluster.world().note(format!("{follower:?} answers: it stands at {:?}", applied.index));

    // The others hear of the decision with the leader's next sign of life.
    cluster.world().run_for(Duration::from_millis(150));
    quorate::env::output::line(format_args!(
        "the same seed tells the same story: hash {:016x}",
        cluster.world().trace().hash()
    ));
}
