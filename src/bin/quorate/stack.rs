//! One running member: journal, engine, transport and gateway, put together on the one executor.
//!
//! Three tasks at node scope, and who ends whom: the *gateway* ends when the member is told to
//! stop, after the answers in progress; then the *life* of the node is shut down and syncs what it
//! has; the *transport* carries the last words and is dropped at the very end.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use quorate::api::{ApiLimits, Gateway, MemberInfo};
use quorate::config::Config;
use quorate::env::io::TcpListener;
use quorate::env::net::{NetLimits, net};
use quorate::env::spawn::Task;
use quorate::env::{Clock, Disk, Env, Rng, Spawner};
use quorate::helix::{self, protocol::keys::Ed25519};
use quorate::id::{ClusterId, NodeId};
use quorate::kv::Store;
use quorate::raft;
use quorate::scope::first::{First, first};
use quorate::scope::notify::Notify;
use quorate::scope::nursery::Nursery;
use quorate::scope::oneshot::{Answer, oneshot};
use quorate::tcp::{self, Counters, Identity, TcpLimits, Transport};
use quorate::{Fatal, Node};

use crate::exit::{Exit, Failure};

/// The exit code of shells for a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// The engine of a member, and what it is told.
#[derive(Debug)]
pub(crate) enum Engine {
    Raft(Box<Config>),
    Helix(Box<helix::Config>, Box<Ed25519>),
}

impl Engine {
    fn node(&self) -> NodeId {
        match self {
            Self::Raft(config) => config.node,
            Self::Helix(config, _) => config.node,
        }
    }

    fn cluster(&self) -> ClusterId {
        match self {
            Self::Raft(config) => config.cluster,
            Self::Helix(config, _) => config.instance,
        }
    }

    fn peers(&self) -> Vec<NodeId> {
        match self {
            Self::Raft(config) => config.peers().collect(),
            Self::Helix(config, _) => config.peers().collect(),
        }
    }

    /// Reads the journal; the handle, and the life that is to be run.
    fn start(self, env: Env) -> Result<(Node<Store>, Life), Fatal> {
        let store = Store::new();
        Ok(match self {
            Self::Raft(config) => {
                let (node, life) = raft::Node::start(*config, env, store, Default::default())?;
                (node.into(), Box::pin(life))
            }
            Self::Helix(config, keys) => {
                let options = helix::commands::node::Options::new(&config.timing);
                let observer = Default::default();
                let (node, life) =
                    helix::Node::start(*config, options, env, keys, store, observer)?;
                (node.into(), Box::pin(life))
            }
        })
    }
}

/// The life of a node, whichever engine it runs.
type Life = Pin<Box<dyn Future<Output = Result<(), Fatal>>>>;

/// What a member is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) disk: Disk,
    pub(crate) clients: TcpListener,
    /// Where the other members reach this one; none for a node alone.
    pub(crate) peers: Option<TcpListener>,
    /// Where the other members are.
    pub(crate) addresses: BTreeMap<NodeId, String>,
    /// What clients are told of the members.
    pub(crate) members: Vec<MemberInfo>,
}

/// A member at work.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) node: Node<Store>,
    stop: Notify,
    gateway: Task,
    life: Task,
    ended: Answer<Result<(), Fatal>>,
    transport: Option<Task>,
}

impl Member {
    /// Reads the journal and begins to work.
    ///
    /// # Errors
    /// If the data directory cannot be used.
    pub(crate) fn start(parts: Parts, clock: &Clock, spawner: &Spawner) -> Result<Self, Failure> {
        let Parts { engine, .. } = &parts;
        let (id, cluster) = (engine.node(), engine.cluster());
        let (net, wire) = net(id, engine.peers(), NetLimits::default());
        let rng = Rng::real();
        let place = parts.disk.place();
        let env = Env {
            clock: clock.clone(),
            rng: rng.fork(),
            net,
            disk: parts.disk,
            spawner: spawner.clone(),
        };
        let (node, life) = parts.engine.start(env).map_err(|fatal| unusable(&place, &fatal))?;
        let transport = parts.peers.map(|listener| {
            let transport = tcp::run(Transport {
                wire,
                listener,
                peers: parts.addresses,
                identity: Identity { cluster, node: id },
                clock: clock.clone(),
                rng,
                spawner: spawner.clone(),
                limits: TcpLimits::default(),
                counters: Counters::default(),
            });
            spawner.spawn(async move { match transport.await {} })
        });
        let stop = Notify::new();
        let heard = stop.clone();
        let stopped = async move { heard.notified().await };
        let limits = ApiLimits::default();
        let gateway = Gateway::new(node.clone(), parts.members, clock.clone(), limits);
        let gateway = gateway.serve(parts.clients, spawner.clone(), stopped);
        let (reply, ended) = oneshot();
        Ok(Self {
            node,
            stop,
            gateway: spawner.spawn(gateway),
            life: spawner.spawn(async move { reply.send(life.await) }),
            ended,
            transport,
        })
    }

    /// Waits until the node had to stop by itself. Cancel safe.
    pub(crate) async fn failed(&mut self) -> Failure {
        match (&mut self.ended).await {
            Some(Err(fatal)) => Failure::new(Exit::Fatal, fatal.to_string()),
            Some(Ok(())) | None => Failure::new(Exit::Fatal, "the node ended unasked"),
        }
    }

    /// Ends in good order: answers in progress are given, what was submitted is synced, a leader
    /// hands over.
    pub(crate) async fn shutdown(self) -> Result<(), Failure> {
        self.stop.notify();
        self.gateway.await;
        self.node.shutdown();
        let ended = self.ended.await;
        self.life.cancel().await;
        if let Some(transport) = self.transport {
            transport.cancel().await;
        }
        match ended {
            Some(Err(fatal)) => Err(Failure::new(Exit::Fatal, fatal.to_string())),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

/// Why the data directory at `place` cannot be used.
pub(crate) fn unusable(place: &str, fatal: &Fatal) -> Failure {
    let why = match fatal {
        Fatal::Disk { what, error } => {
            format!("{what}: {error}; check its path, its owner and its permissions")
        }
        fatal => fatal.to_string(),
    };
    Failure::new(Exit::Data, format!("the data directory {place} cannot be used: {why}"))
}

/// Listens on `address`.
///
/// # Errors
/// What is wrong with the address, and the `setting` to change it with.
pub(crate) fn listen(address: SocketAddr, setting: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; another program listens there already, end it or choose",
            io::ErrorKind::AddrNotAvailable => "; this machine has no such address, choose",
            io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege, choose",
            _ => "; choose",
        };
        Failure::new(
            Exit::Fatal,
            format!("cannot listen on {address}: {error}{hint} another address with --{setting}"),
        )
    })
}

/// Where `listener` listens, port 0 replaced by the one taken.
///
/// # Errors
/// If the operating system does not say.
pub(crate) fn bound(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    let address = listener.local_addr();
    address.map_err(|error| Failure::new(Exit::Fatal, format!("a listening socket: {error}")))
}

/// Waits until somebody asks this process to end. Cancel safe.
pub(crate) async fn asked_to_end() -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Exit::Fatal, format!("signals: {error}"));
    quorate::env::signal::terminated().await.map_err(failed)
}

/// Ends all `members` in good order. Who asks once more meanwhile ends the process at once, as a
/// crash would: nothing that was acknowledged is lost by that.
///
/// # Errors
/// The first failure of a member.
pub(crate) async fn end(members: Vec<Member>) -> Result<(), Failure> {
    // All at the same time: one alone could not hand over to the others.
    let mut endings = Nursery::new();
    for member in members {
        endings.add(member.shutdown());
    }
    let all = async {
        let mut result = Ok(());
        while !endings.is_empty() {
            result = result.and(endings.next().await);
        }
        result
    };
    match first(all, asked_to_end()).await {
        First::A(result) => result,
        First::B(_) => std::process::exit(INTERRUPTED),
    }
}
