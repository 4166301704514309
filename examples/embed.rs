//! A cluster inside a program of your own: three members of raft, or four of helix, with one state
//! machine, real files and real TCP, on one executor and one thread.
//!
//! ```console
//! $ cargo run --example embed
//! $ cargo run --example embed -- helix
//! ```
//!
//! Here all members live in one process, so that one command shows everything. In yours each
//! process has one: keep [`Seat`] and [`Member`], and take the addresses and keys from where your
//! configuration is. The page `manual::embedding` says what to think of.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use quorate::env::disk::SyncMode;
use quorate::env::io::{TcpListener, block_on};
use quorate::env::net::{NetLimits, net};
use quorate::env::spawn::Task;
use quorate::env::{Clock, Disk, Env, Rng, Spawner, output};
use quorate::helix::commands::node::Options;
use quorate::helix::protocol::keys::Ed25519;
use quorate::id::ClusterId;
use quorate::tcp::{self, Counters, Identity, TcpLimits, Transport};
use quorate::{Committed, Config, Fatal, Life, Node, NodeId, StateMachine, helix, raft};

/// The number that all members of one cluster share, and no other cluster has.
const CLUSTER: ClusterId = ClusterId(0x5ca1_ab1e);

/// The state machine: how often each word was said.
#[derive(Default)]
struct Words(BTreeMap<String, u64>);

impl StateMachine for Words {
    /// How often this word has been said now, or what was wrong with it.
    type Response = Result<u64, String>;

    fn apply(&mut self, entry: Committed<'_>) -> Self::Response {
        let word = std::str::from_utf8(entry.payload).map_err(|_| "a word is UTF-8".to_owned())?;
        let count = self.0.entry(word.to_owned()).or_default();
        *count += 1;
        Ok(*count)
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        let lines = self.0.iter().map(|(word, count)| format!("{count} {word}\n"));
        Box::new(std::iter::once(lines.collect::<String>().into_bytes()))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(snapshot).map_err(|_| "a snapshot is UTF-8")?;
        let line = |line: &str| {
            let (count, word) = line.split_once(' ')?;
            Some((word.to_owned(), count.parse().ok()?))
        };
        let words: Option<_> = text.lines().map(line).collect();
        self.0 = words.ok_or("a line is a count and a word")?;
        Ok(())
    }
}

/// Which engine agrees on the commands.
#[derive(Clone, Copy)]
enum Engine {
    /// Members may crash.
    Raft,
    /// Less than a third of the members may lie.
    Helix,
}

/// Where one member sits: who it is, where it listens and keeps its files, and who the others are.
struct Seat {
    me: NodeId,
    listener: TcpListener,
    folder: PathBuf,
    /// Where each member listens, this one among them.
    addresses: BTreeMap<NodeId, String>,
}

/// A member at work. Dropping it ends it as a power cut would: nothing acknowledged is lost.
struct Member {
    node: Node<Words>,
    life: Task<Result<(), Fatal>>,
    _transport: Task,
}

impl Member {
    /// Opens the journal, and starts the node and its connections.
    fn start(engine: Engine, seat: Seat, spawner: &Spawner) -> Result<Self, Box<dyn Error>> {
        let Seat { me, listener, folder, addresses } = seat;
        let members: Vec<NodeId> = addresses.keys().copied().collect();
        let peers: BTreeMap<_, _> = addresses.into_iter().filter(|(id, _)| *id != me).collect();
        let (net, wire) = net(me, peers.keys().copied(), NetLimits::default());
        let (clock, rng) = (Clock::real(), Rng::real());
        let disk = Disk::open(folder, SyncMode::Auto)?;
        let (own_clock, own_rng) = (clock.clone(), rng.fork());
        let env = Env { clock: own_clock, rng: own_rng, net, disk, spawner: spawner.clone() };
        let (node, life) = match engine {
            Engine::Raft => raft_node(me, members, env)?,
            Engine::Helix => helix_node(me, members, env)?,
        };
        let transport = tcp::run(Transport {
            wire,
            listener,
            peers,
            identity: Identity { cluster: CLUSTER, node: me },
            clock,
            rng,
            spawner: spawner.clone(),
            limits: TcpLimits::default(),
            counters: Counters::default(),
        });
        let transport = spawner.spawn(async move { match transport.await {} });
        Ok(Self { node, life: spawner.spawn(life), _transport: transport })
    }
}

fn raft_node(
    me: NodeId,
    members: Vec<NodeId>,
    env: Env,
) -> Result<(Node<Words>, Life), Box<dyn Error>> {
    let config = Config::new(me, CLUSTER, members)?;
    let (node, life) = raft::Node::start(config, env, Words::default(), Default::default())?;
    Ok((node.into(), life))
}

fn helix_node(
    me: NodeId,
    members: Vec<NodeId>,
    env: Env,
) -> Result<(Node<Words>, Life), Box<dyn Error>> {
    // For this example only: a real member makes its secret once, keeps it, and shows it to nobody.
    let secret = |node: NodeId| [node.0 as u8; 32];
    let publics = members.iter().map(|&node| (node, Ed25519::public_of(secret(node))));
    let keys = Ed25519::new(secret(me), publics.collect())?;
    let config = helix::Config::new(me, CLUSTER, members)?;
    let options = Options::new(&config.timing);
    let (node, life) = helix::Node::start(
        config,
        options,
        env,
        Box::new(keys),
        Words::default(),
        Default::default(),
    )?;
    Ok((node.into(), life))
}

/// Seats for `count` members on free ports of this machine, with files below `folder`.
fn seats(count: u64, folder: &Path) -> Result<Vec<Seat>, Box<dyn Error>> {
    let mut listeners = BTreeMap::new();
    for id in 1..=count {
        listeners.insert(NodeId(id), TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    }
    let mut addresses = BTreeMap::new();
    for (&id, listener) in &listeners {
        addresses.insert(id, listener.local_addr()?.to_string());
    }
    let seat = |(me, listener)| Seat {
        me,
        listener,
        folder: folder.join(format!("member-{me}")),
        addresses: addresses.clone(),
    };
    Ok(listeners.into_iter().map(seat).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (engine, name, count) = match std::env::args().nth(1).as_deref() {
        None | Some("raft") => (Engine::Raft, "raft", 3),
        Some("helix") => (Engine::Helix, "helix", 4),
        Some(other) => return Err(format!("there is no engine {other:?}: raft or helix").into()),
    };
    let executor = Rc::new(smol::LocalExecutor::new());
    let spawner = Spawner::new(executor.clone());
    let folder = std::env::temp_dir().join(format!("quorate-embed-{name}"));
    let mut members = Vec::new();
    for seat in seats(count, &folder)? {
        members.push(Member::start(engine, seat, &spawner)?);
    }
    block_on(executor.run(async {
        // Any member takes a command; whoever leads decides it.
        for member in &members {
            let applied = member.node.propose(Bytes::from_static(b"hello")).await?;
            output::line(format_args!(
                "member {} proposed at {}: hello was said {} times",
                member.node.status().node,
                applied.index,
                applied.response?
            ));
        }
        for member in &members {
            let count = member.node.read(|words| words.0["hello"]).await?;
            output::line(format_args!("member {} reads {count}", member.node.status().node));
        }
        output::line(format_args!("the journals are in {}", folder.display()));
        for member in &members {
            member.node.shutdown();
        }
        for member in members {
            member.life.await?;
        }
        Ok(())
    }))
}
