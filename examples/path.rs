//! The library's own path without JSON: three processes, each one node on its own executor, real
//! TCP and real disks; whoever leads proposes commands of 256 bytes, in a closed loop.
//!
//! ```console
//! $ cargo run --release --example path
//! ```

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use quorate::env::disk::SyncMode;
use quorate::env::io::{TcpListener, block_on};
use quorate::env::net::{NetLimits, net};
use quorate::env::{Clock, Disk, Env, Rng, Spawner};
use quorate::id::ClusterId;
use quorate::raft::{Node, Observer, Role};
use quorate::tcp::{self, Counters, Identity, TcpLimits, Transport};
use quorate::{Committed, Config, NodeId, StateMachine};

/// The smallest state machine: it forgets everything.
struct Nothing;

impl StateMachine for Nothing {
    type Response = ();

    fn apply(&mut self, _: Committed<'_>) {}

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        Box::new(std::iter::empty())
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

const SPAN: Duration = Duration::from_secs(4);

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        None => conduct(),
        Some((node, ports)) => member(NodeId(node.parse()?), ports),
    }
}

/// Starts three members of this very program and prints what the leader says.
fn conduct() -> Result<(), Box<dyn Error>> {
    let held = [(); 3].map(|()| StdListener::bind("127.0.0.1:0"));
    let mut ports = Vec::new();
    for listener in held {
        ports.push(listener?.local_addr()?.port().to_string());
    }
    quorate::env::output::line(format_args!(
        "{:>10} {:>12} {:>12}",
        "in flight", "commits/s", "us a commit"
    ));
    let start = |node: usize| -> std::io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(node.to_string()).args(&ports).stdout(Stdio::piped()).spawn()
    };
    let mut members = vec![start(1)?, start(2)?, start(3)?];
    let (said, heard) = async_channel::bounded::<String>(16);
    for member in &mut members {
        let lines = BufReader::new(member.stdout.take().ok_or("no output")?).lines();
        let said = said.clone();
        #[allow(clippy::disallowed_methods)] // three blocking pipes
        std::thread::spawn(move || {
            lines.map_while(Result::ok).all(|l| said.send_blocking(l).is_ok())
        });
    }
    while let Ok(line) = heard.recv_blocking() {
        if line == "done" {
            break;
        }
        quorate::env::output::line(format_args!("{line}"));
    }
    for mut member in members {
        member.kill()?;
        member.wait()?;
    }
    Ok(())
}

/// One node; if it comes to lead, the load as well.
fn member(me: NodeId, ports: &[String]) -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("quorate-path-{}", std::process::id()));
    let executor = Rc::new(smol::LocalExecutor::new());
    let spawner = Spawner::new(executor.clone());
    let members: Vec<NodeId> = (1..=3).map(NodeId).collect();
    let address = |id: NodeId| format!("127.0.0.1:{}", ports[id.0 as usize - 1]);
    let config = Config::new(me, ClusterId(1), members.clone())?;
    let (net, wire) = net(me, config.peers(), NetLimits::default());
    let (clock, rng) = (Clock::real(), Rng::real());
    let disk = Disk::open(&folder, SyncMode::Auto)?;
    let env = Env { clock: clock.clone(), rng: rng.fork(), net, disk, spawner: spawner.clone() };
    let (node, life) = Node::start(config, env, Nothing, Observer::default())?;
    let peers: BTreeMap<_, _> =
        members.iter().filter(|&&id| id != me).map(|&id| (id, address(id))).collect();
    let transport = tcp::run(Transport {
        wire,
        listener: TcpListener::bind(address(me).parse::<SocketAddr>()?)?,
        peers,
        identity: Identity { cluster: ClusterId(1), node: me },
        clock: clock.clone(),
        rng,
        spawner: spawner.clone(),
        limits: TcpLimits::default(),
        counters: Counters::default(),
    });
    let _transport = spawner.spawn(async move { match transport.await {} });
    let _load = spawner.spawn(load(node, clock, spawner.clone()));
    block_on(executor.run(life))?;
    Ok(())
}

async fn load(node: Node<Nothing>, clock: Clock, spawner: Spawner) {
    while node.status().role != Role::Leader {
        clock.sleep(Duration::from_millis(50)).await;
    }
    for in_flight in [1, 64, 256, 4096] {
        let (done, stop) = (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(false)));
        let client = || {
            let (node, done, stop) = (node.clone(), done.clone(), stop.clone());
            let command = Bytes::from(vec![7; 256]);
            async move {
                while !stop.get() && node.propose(command.clone()).await.is_ok() {
                    done.set(done.get() + 1);
                }
            }
        };
        let clients: Vec<_> = (0..in_flight).map(|_| spawner.spawn(client())).collect();
        clock.sleep(SPAN / 4).await;
        let (before, start) = (done.get(), clock.now());
        clock.sleep(SPAN).await;
        let rate = (done.get() - before) as f64 / (clock.now() - start).as_secs_f64();
        quorate::env::output::line(format_args!(
            "{in_flight:>10} {rate:>12.0} {:>12.2}",
            1e6 / rate
        ));
        stop.set(true);
        for client in clients {
            client.await;
        }
    }
    quorate::env::output::line(format_args!("done"));
}
