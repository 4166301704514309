//! `quorate` alone and `quorate serve`: one member in this process, until it is asked to end.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use quorate::Node;
use quorate::api::MemberInfo;
use quorate::env::disk::SyncMode;
use quorate::env::spawn::Task;
use quorate::env::{Clock, Disk, Spawner, io::block_on, output};
use quorate::error::Refused;
use quorate::helix::protocol::keys::Ed25519;
use quorate::id::NodeId;
use quorate::kv::{Command, Limits, Store};
use quorate::scope::first::{First, first};
use rustix::process::{Resource, getrlimit, setrlimit};
use smol::LocalExecutor;

use crate::address::{from_here, is_any};
use crate::client::print;
use crate::exit::Failure;
use crate::fields::Flags;
use crate::keys::read_secret;
use crate::logging;
use crate::settings::{Settings, StoreLimits, Sync};
use crate::stack::{Engine, Member, Parts, asked_to_end, bound, end, listen, unusable};

/// How long to wait before the limits of the cluster are proposed again.
const CONFIGURE_AGAIN: Duration = Duration::from_secs(1);

/// Run a node.
///
/// What is not given by a flag is taken from the environment (QUORATE_ and the flag's name, as
/// QUORATE_DATA_DIR), then from the file named by --config, then from the defaults.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    flags: Flags,
    /// Print the configuration as it would be used, with where each value comes from, and end
    #[arg(long)]
    print_config: bool,
}

impl Serve {
    /// What `quorate` without a word means.
    pub(crate) fn alone() -> Self {
        Self { flags: Flags::none(), print_config: false }
    }

    pub(crate) fn run(self) -> Result<(), Failure> {
        let values = self.flags.gather()?;
        let settings = Settings::new(&values)?;
        if self.print_config {
            return print(values.to_toml().as_bytes());
        }
        logging::start(settings.log);
        raise_descriptor_limit();
        let executor = Rc::new(LocalExecutor::new());
        let spawner = Spawner::new(executor.clone());
        block_on(executor.run(serve(settings, &spawner)))
    }
}

async fn serve(settings: Settings, spawner: &Spawner) -> Result<(), Failure> {
    let clock = Clock::real();
    let clients = listen(settings.listen_client, "listen-client")?;
    let client_address = bound(&clients)?;
    let peers = match settings.peers.is_empty() {
        true => None,
        false => Some(listen(settings.listen_peer, "listen-peer")?),
    };
    let mode = match settings.sync {
        Sync::Auto => SyncMode::Auto,
        Sync::Inline => SyncMode::Inline,
        Sync::Thread => SyncMode::Thread,
    };
    let peer_address = peers.as_ref().map(bound).transpose()?;
    let disk = Disk::open(&settings.data_dir, mode)
        .map_err(|fatal| unusable(&settings.data_dir.display().to_string(), &fatal))?;
    let node = settings.config.node;
    let mut addresses = settings.peers.clone();
    addresses.remove(&node);
    let parts = Parts {
        engine: engine(&settings)?,
        disk,
        clients,
        peers,
        addresses,
        members: members(&settings, client_address),
    };
    let mut member = Member::start(parts, &clock, spawner)?;
    let _configuring = configure(&settings, &member, &clock, spawner);
    warn_unadvertised(&settings, client_address);
    // A node needs no reader.
    let _unread = output::write(greeting(&settings, client_address, peer_address).as_bytes());
    match first(member.failed(), asked_to_end()).await {
        First::A(failure) => Err(failure),
        First::B(asked) => {
            asked?;
            farewell();
            end(vec![member]).await
        }
    }
}

/// The engine that the settings choose.
fn engine(settings: &Settings) -> Result<Engine, Failure> {
    let Some(helix) = &settings.helix else {
        return Ok(Engine::Raft(Box::new(settings.config.clone())));
    };
    let (node, path) = (helix.config.node, helix.secret_key.display());
    let secret = read_secret(&helix.secret_key)?;
    let keys = Ed25519::new(secret, helix.public_keys.clone())
        .map_err(|why| Failure::usage(format!("member_keys: {why}")))?;
    match keys.owner() {
        Some(owner) if owner == node => {
            Ok(Engine::Helix(Box::new(helix.config.clone()), Box::new(keys)))
        }
        Some(owner) => Err(Failure::usage(format!(
            "the secret key {path} is that of node {owner}, and this is node {node}"
        ))),
        None => Err(Failure::usage(format!(
            "the secret key {path} belongs to no key of member_keys; that of node {node} must be \
             what `quorate keygen --public {path}` prints"
        ))),
    }
}

/// Sets the limits of the whole cluster, as far as this node was told any and they differ. Where
/// nodes were told differently, the one that started last has its way.
fn configure(
    settings: &Settings,
    member: &Member,
    clock: &Clock,
    spawner: &Spawner,
) -> Option<Task> {
    let wish = settings.store;
    if wish == StoreLimits::default() {
        return None;
    }
    let (node, clock) = (member.node.clone(), clock.clone());
    Some(spawner.spawn(async move {
        while let Err(refused) = ask_for(wish, &node).await {
            tracing::info!(%refused, "the limits of the cluster could not be set yet");
            clock.sleep(CONFIGURE_AGAIN).await;
        }
    }))
}

async fn ask_for(wish: StoreLimits, node: &Node<Store>) -> Result<(), Refused> {
    let present = node.read(Store::limits).await?;
    let wanted = Limits {
        history_revisions: wish.history_revisions.unwrap_or(present.history_revisions),
        history_bytes: wish.history_bytes.unwrap_or(present.history_bytes),
        quota_bytes: wish.quota_bytes.unwrap_or(present.quota_bytes),
        ..present
    };
    if wanted != present {
        let command = Command::Configure(wanted).encode();
        node.propose(command.into()).await?;
    }
    Ok(())
}

/// As many open files as the system lets us have: each connection is one, and the usual limit of
/// 1,024 is below what the gateway takes on by itself.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::info!(%error, "the limit of open files could not be raised");
        }
    }
}

/// Says on standard error that the end has been heard.
pub(crate) fn farewell() {
    output::complain("quorate: ending in good order");
}

/// What clients are told of the members.
fn members(settings: &Settings, client_address: SocketAddr) -> Vec<MemberInfo> {
    let me = settings.config.node;
    let mut urls: BTreeMap<NodeId, Vec<String>> = settings.advertise_client.clone();
    // An address to listen on is none to dial, if it means all addresses of this machine.
    if !is_any(client_address.ip()) {
        urls.entry(me).or_insert_with(|| vec![format!("http://{client_address}")]);
    }
    let ids = settings.config.members.iter();
    ids.map(|&id| MemberInfo {
        id,
        name: match id == me {
            true => settings.name.clone(),
            false => format!("node-{id}"),
        },
        peer_url: settings
            .peers
            .get(&id)
            .map_or(String::new(), |address| format!("http://{address}")),
        client_urls: urls.remove(&id).unwrap_or_default(),
    })
    .collect()
}

/// Warns if clients that ask for members will not be told where this one is.
fn warn_unadvertised(settings: &Settings, client_address: SocketAddr) {
    let told = settings.advertise_client.contains_key(&settings.config.node);
    if is_any(client_address.ip()) && !told {
        tracing::warn!(
            listen_client = %client_address,
            "clients are not told where this node is: it listens on all addresses of its machine, \
             and that is none to connect to; set --advertise-client"
        );
    }
}

/// Says what runs and where, and how to try it.
fn greeting(
    settings: &Settings,
    client_address: SocketAddr,
    peer_address: Option<SocketAddr>,
) -> String {
    let node = settings.config.node;
    let data = std::path::absolute(&settings.data_dir);
    let data = data.unwrap_or_else(|_| settings.data_dir.clone());
    let alone = peer_address.is_none();
    let from_here = from_here(client_address);
    let mut text = format!("quorate {}: node {node}", env!("CARGO_PKG_VERSION"));
    text += &match alone {
        true => " alone".to_owned(),
        false => format!(" of {}", settings.config.members.len()),
    };
    if settings.helix.is_some() {
        text += ", engine helix";
    }
    text += &format!(", cluster {}\nclients  http://{from_here}", settings.config.cluster);
    text += if is_any(client_address.ip()) { " (and every other address here)\n" } else { "\n" };
    if let Some(address) = peer_address {
        text += &match is_any(address.ip()) {
            true => format!("peers    port {} of every address here\n", address.port()),
            false => format!("peers    {address}\n"),
        };
    }
    text += &format!("data     {}\n", data.display());
    if alone {
        text += &format!(
            "\nTry it:\n  quorate put greeting hello{at}\n  quorate get greeting{at}\n  \
             curl http://{from_here}/v3/kv/range -d '{{\"key\":\"Z3JlZXRpbmc=\"}}'\n",
            at = match from_here.port() {
                2379 if from_here.ip() == Ipv4Addr::LOCALHOST => String::new(),
                _ => format!(" --endpoints http://{from_here}"),
            }
        );
    }
    text
}
