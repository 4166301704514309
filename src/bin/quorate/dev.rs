//! `quorate dev`: a few nodes in this one process, on one executor. They speak over real sockets
//! with ports that the system chose; their journals are in memory and end with the process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use quorate::Config;
use quorate::api::MemberInfo;
use quorate::env::{Clock, Disk, Spawner, io::block_on, output};
use quorate::helix::{self, protocol::committee::MEMBERS_MIN, protocol::keys::Ed25519};
use quorate::id::{ClusterId, NodeId};
use quorate::scope::first::{First, first};
use quorate::scope::nursery::Nursery;
use smol::LocalExecutor;

use crate::exit::Failure;
use crate::keys::random;
use crate::logging;
use crate::serve::farewell;
use crate::stack::{Engine, Member, Parts, asked_to_end, bound, end, listen};

/// Run a cluster for trying things out: several nodes in this process, in memory.
#[derive(Debug, clap::Args)]
pub(crate) struct Dev {
    /// How many nodes [default: 3, or 4 of helix]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=7))]
    nodes: Option<u64>,
    /// How they agree
    #[arg(long, value_enum, default_value = "raft")]
    engine: Kind,
    /// The first node's port for clients, the next ones follow; 0 takes free ones
    #[arg(long, default_value_t = 2379)]
    port: u16,
    /// What is logged to standard error: off, error, warn, info, debug or trace
    #[arg(long, default_value = "warn")]
    log: tracing::level_filters::LevelFilter,
}

/// The engines by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// For nodes that may crash
    Raft,
    /// For nodes of which fewer than a third may do anything; their keys are made at random
    Helix,
}

impl Dev {
    /// How many nodes.
    fn count(&self) -> u64 {
        self.nodes.unwrap_or(match self.engine {
            Kind::Raft => 3,
            Kind::Helix => MEMBERS_MIN as u64,
        })
    }

    pub(crate) fn run(self) -> Result<(), Failure> {
        logging::start(self.log);
        let executor = Rc::new(LocalExecutor::new());
        let spawner = Spawner::new(executor.clone());
        block_on(executor.run(self.serve(&spawner)))
    }

    async fn serve(self, spawner: &Spawner) -> Result<(), Failure> {
        let (mut members, urls) = self.members(spawner)?;
        let text = format!(
            "quorate {}: {} nodes of {} in this process, in memory\n{}\nTry it:\n  \
             export QUORATE_ENDPOINTS={}\n  quorate status\n  quorate put greeting hello\n",
            env!("CARGO_PKG_VERSION"),
            self.count(),
            match self.engine {
                Kind::Raft => "raft",
                Kind::Helix => "helix",
            },
            urls.iter()
                .zip(1..)
                .map(|(url, id)| format!("node {id}   {url}\n"))
                .collect::<String>(),
            urls.join(","),
        );
        // A node needs no reader.
        let _unread = output::write(text.as_bytes());
        let ended = {
            let mut failures = Nursery::new();
            for member in &mut members {
                failures.add(member.failed());
            }
            match first(failures.next(), asked_to_end()).await {
                First::A(failure) => Err(failure),
                First::B(asked) => asked,
            }
        };
        ended?;
        farewell();
        end(members).await
    }

    /// The engine of each node, in order.
    fn engines(&self) -> Result<Vec<Engine>, Failure> {
        let ids: Vec<_> = (1..=self.count()).map(NodeId).collect();
        let cluster = ClusterId(1);
        if self.engine == Kind::Raft {
            let engine = |&id| {
                let config = Config::new(id, cluster, ids.clone())?;
                Ok::<_, String>(Engine::Raft(Box::new(config)))
            };
            return ids.iter().map(engine).collect::<Result<_, _>>().map_err(Failure::usage);
        }
        if ids.len() < MEMBERS_MIN {
            let why = format!("--nodes: helix needs at least {MEMBERS_MIN} nodes");
            return Err(Failure::usage(why));
        }
        let mut secrets = BTreeMap::new();
        for &id in &ids {
            secrets.insert(id, random()?);
        }
        let publics: BTreeMap<_, _> =
            secrets.iter().map(|(&id, &secret)| (id, Ed25519::public_of(secret))).collect();
        let engine = |(id, secret)| -> Result<_, String> {
            let config = helix::Config::new(id, cluster, ids.clone())?;
            let keys = Ed25519::new(secret, publics.clone())?;
            Ok(Engine::Helix(Box::new(config), Box::new(keys)))
        };
        secrets.into_iter().map(engine).collect::<Result<_, _>>().map_err(Failure::usage)
    }

    /// Starts all nodes; returns them and where clients reach them.
    fn members(&self, spawner: &Spawner) -> Result<(Vec<Member>, Vec<String>), Failure> {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut listeners = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        let mut infos = Vec::new();
        for id in (1..=self.count()).map(NodeId) {
            let port = match self.port {
                0 => 0,
                first => first.saturating_add(id.0 as u16 - 1),
            };
            let clients = listen(loopback(port), "port")?;
            let peers = listen(loopback(0), "port")?;
            let peer_address = bound(&peers)?.to_string();
            infos.push(MemberInfo {
                id,
                name: format!("node-{id}"),
                peer_url: format!("http://{peer_address}"),
                client_urls: vec![format!("http://{}", bound(&clients)?)],
            });
            addresses.insert(id, peer_address);
            listeners.insert(id, (clients, peers));
        }
        let clock = Clock::real();
        let engines = self.engines()?;
        let mut members = Vec::new();
        for ((id, (clients, peers)), engine) in listeners.into_iter().zip(engines) {
            let mut others = addresses.clone();
            others.remove(&id);
            let parts = Parts {
                engine,
                disk: Disk::memory(),
                clients,
                peers: Some(peers),
                addresses: others,
                members: infos.clone(),
            };
            members.push(Member::start(parts, &clock, spawner)?);
        }
        let urls = infos.into_iter().flat_map(|info| info.client_urls);
        Ok((members, urls.collect()))
    }
}
