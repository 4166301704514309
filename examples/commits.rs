//! How many commits a second the engine makes by itself: three nodes on one executor, network by
//! queues, journal in memory, commands of 256 bytes.
//!
//! ```console
//! $ cargo run --release --example commits
//! ```

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use quorate::env::{Clock, Disk, Env, Rng, Spawner, io, net};
use quorate::id::ClusterId;
use quorate::raft::{Node, Observer, Role};
use quorate::{Committed, Config, NodeId, StateMachine};

/// Counts what it applies.
struct Counter(u64);

impl StateMachine for Counter {
    type Response = u64;

    fn apply(&mut self, _: Committed<'_>) -> u64 {
        self.0 += 1;
        self.0
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        Box::new(std::iter::once(self.0.to_le_bytes().to_vec()))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let bytes = snapshot.try_into().map_err(|_| "a counter has 8 bytes".to_owned())?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}

fn main() {
    quorate::env::output::line(format_args!(
        "{:>10} {:>12} {:>12}",
        "in flight", "commits/s", "us a commit"
    ));
    for in_flight in [1, 256, 4096] {
        let rate = measure(in_flight, Duration::from_secs(3));
        quorate::env::output::line(format_args!(
            "{in_flight:>10} {rate:>12.0} {:>12.2}",
            1e6 / rate
        ));
    }
}

fn measure(in_flight: usize, span: Duration) -> f64 {
    let executor = Rc::new(smol::LocalExecutor::new());
    let spawner = Spawner::new(executor.clone());
    let members: Vec<NodeId> = (1..=3).map(NodeId).collect();
    let mut tasks = Vec::new();
    let (mut nodes, mut wires) = (Vec::new(), Vec::new());
    for &id in &members {
        let peers = members.iter().copied().filter(|&peer| peer != id);
        let (net, wire) = net::net(id, peers, net::NetLimits::default());
        let (clock, rng, disk) = (Clock::real(), Rng::real(), Disk::memory());
        let env = Env { clock, rng, net, disk, spawner: spawner.clone() };
        let config = Config::new(id, ClusterId(1), members.clone()).expect("a valid cluster");
        let (node, life) =
            Node::start(config, env, Counter(0), Observer::default()).expect("an empty disk");
        tasks.push(spawner.spawn(async move { life.await.expect("the node lives") }));
        nodes.push(node);
        wires.push(wire);
    }
    tasks.push(spawner.spawn(async move { net::join(&wires).await }));
    io::block_on(executor.run(load(nodes, in_flight, span, &spawner)))
}

/// Closed loop: each of `in_flight` clients proposes, waits, and proposes again.
async fn load(
    nodes: Vec<Node<Counter>>,
    in_flight: usize,
    span: Duration,
    spawner: &Spawner,
) -> f64 {
    let clock = Clock::real();
    let leader = loop {
        if let Some(node) = nodes.iter().find(|node| node.status().role == Role::Leader) {
            break node;
        }
        clock.sleep(Duration::from_millis(20)).await;
    };
    let (done, stop) = (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(false)));
    let command = Bytes::from(vec![7; 256]);
    let clients: Vec<_> = (0..in_flight)
        .map(|_| {
            let (leader, command) = (leader.clone(), command.clone());
            let (done, stop) = (done.clone(), stop.clone());
            spawner.spawn(async move {
                while !stop.get() {
                    leader.propose(command.clone()).await.expect("a healthy cluster commits");
                    done.set(done.get() + 1);
                }
            })
        })
        .collect();
    clock.sleep(span / 4).await;
    let (before, start) = (done.get(), clock.now());
    clock.sleep(span).await;
    let rate = (done.get() - before) as f64 / (clock.now() - start).as_secs_f64();
    stop.set(true);
    for client in clients {
        client.await;
    }
    rate
}
