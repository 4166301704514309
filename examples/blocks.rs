//! What a block costs: committees of 4, 7 and 13 on one executor and one thread, network by
//! queues, journals in memory, empty blocks, with real signatures and with none.
//!
//! ```console
//! $ cargo run --release --example blocks
//! ```
//!
//! Each row is a process of its own, so that its peak memory is its own. Counts are over all nodes
//! and exact; times are of one thread that does everything. The journals keep every block, and are
//! in that process's memory, too.

use std::collections::BTreeMap;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use quorate::env::{Clock, Disk, Env, Rng, Spawner, io, net};
use quorate::helix::protocol::app::{Blocks, Chain, Content, Keys, Round};
use quorate::helix::protocol::committee::{FixedCommittee, Order};
use quorate::helix::protocol::keys::{Ed25519, Null};
use quorate::helix::protocol::trigger::Timer;
use quorate::helix::{App, Block, BlockProof, Boxed, Config, Engine, Observer};
use quorate::id::{ClusterId, Height, NodeId};

/// Makes empty blocks, finds all well, and keeps nothing.
struct Empty;

impl Blocks for Empty {
    fn create<'a>(&'a self, _: &'a Round) -> Boxed<'a, Result<Content, String>> {
        Box::pin(async { Ok(Content { time: 0, payload: Bytes::new() }) })
    }

    fn validate<'a>(&'a self, _: &'a Round, _: &'a Block) -> Boxed<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

impl Chain for Empty {
    fn committed<'a>(&'a self, _: &'a Block, _: &'a BlockProof) -> Boxed<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [nodes, keys, blocks] = &arguments[..] {
        let number = |text: &String| text.parse().expect("a number");
        return quorate::env::output::line(format_args!(
            "{}",
            measure(number(nodes), keys, number(blocks))
        ));
    }
    quorate::env::output::line(format_args!(
        "{:>5} {:>8} {:>8} {:>10} {:>12} {:>14} {:>12} {:>8} {:>11}",
        "nodes",
        "keys",
        "blocks",
        "blocks/s",
        "CPU ms/block",
        "verified/block",
        "signed/block",
        "peak MB",
        "journals MB"
    ));
    let itself = std::env::current_exe().expect("a program has a path");
    for keys in ["null", "ed25519"] {
        for (nodes, blocks) in [(4, 8_000), (7, 4_000), (13, 1_500)] {
            let blocks = if keys == "null" { blocks } else { blocks / 10 };
            let arguments = [nodes.to_string(), keys.to_string(), blocks.to_string()];
            let output = Command::new(&itself).args(arguments).output().expect("it starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let _lost = quorate::env::output::write(
                format!("{}", String::from_utf8_lossy(&output.stdout)).as_bytes(),
            );
        }
    }
}

/// The keys of `node`, whose secret is its number: for measuring only.
fn keys(kind: &str, node: NodeId, nodes: &[NodeId]) -> Box<dyn Keys> {
    if kind == "null" {
        return Box::new(Null);
    }
    let secret = |node: NodeId| [node.0 as u8; 32];
    let publics: BTreeMap<_, _> =
        nodes.iter().map(|&node| (node, Ed25519::public_of(secret(node)))).collect();
    Box::new(Ed25519::new(secret(node), publics).expect("good keys"))
}

fn measure(count: u64, kind: &str, blocks: u64) -> String {
    let executor = Rc::new(smol::LocalExecutor::new());
    let spawner = Spawner::new(executor.clone());
    let nodes: Vec<NodeId> = (1..=count).map(NodeId).collect();
    let (mut engines, mut wires, mut lives) = (Vec::new(), Vec::new(), Vec::new());
    for &id in &nodes {
        let peers = nodes.iter().copied().filter(|&peer| peer != id);
        let (net, wire) = net::net(id, peers, net::NetLimits::default());
        let (clock, rng, disk) = (Clock::real(), Rng::real(), Disk::memory());
        let mut config = Config::new(id, ClusterId(1), nodes.clone()).expect("valid");
        config.stop_at = Some(Height(blocks));
        // Small files: the journals are in this process's memory.
        config.limits.block_bytes_max = 4 << 10;
        config.limits.segment_bytes = 64 << 10;
        let app = App {
            membership: Box::new(
                FixedCommittee::equal(nodes.clone(), Order::Sticky).expect("four or more"),
            ),
            blocks: Box::new(Empty),
            chain: Box::new(Empty),
            keys: keys(kind, id, &nodes),
            trigger: Box::new(Timer::new(clock.clone(), Duration::from_secs(60), None)),
        };
        let env = Env { clock, rng, net, disk, spawner: spawner.clone() };
        let (engine, life) = Engine::start(config, env, app, Observer::default()).expect("starts");
        lives.push(spawner.spawn(async move { life.await.expect("the node lives") }));
        engines.push(engine);
        wires.push(wire);
    }
    let _wires = spawner.spawn(async move { net::join(&wires).await });
    let (clock, cpu) = (Clock::real(), cpu_ms());
    io::block_on(executor.run(async {
        while engines.iter().any(|engine| engine.status().delivered < Height(blocks)) {
            clock.sleep(Duration::from_millis(5)).await;
        }
    }));
    let seconds = clock.now().since(quorate::env::Time::ZERO).as_secs_f64();
    let status: Vec<_> = engines.iter().map(Engine::status).collect();
    let per_block = |sum: u64| sum as f64 / blocks as f64;
    format!(
        "{count:>5} {kind:>8} {blocks:>8} {:>10.0} {:>12.3} {:>14.2} {:>12.2} {:>8.1} {:>11.1}",
        blocks as f64 / seconds,
        (cpu_ms() - cpu) / blocks as f64,
        per_block(status.iter().map(|status| status.verified).sum()),
        per_block(status.iter().map(|status| status.signed).sum()),
        peak_mb(),
        status.iter().map(|status| status.vitals.journal_bytes).sum::<u64>() as f64 / 1e6,
    )
}

/// Milliseconds that this process has computed.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
    nanos.unwrap_or(f64::NAN) / 1e6
}

/// The most memory that this process has had, in MB.
fn peak_mb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kb.unwrap_or(f64::NAN) / 1024.0
}
