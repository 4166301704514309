//! `quorate` alone and `quorate serve`: one member in this process, until it is asked to end.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;

use quorate::api::MemberInfo;
use quorate::env::disk::SyncMode;
use quorate::env::{Clock, Disk, Spawner, io::block_on};
use quorate::id::NodeId;
use quorate::scope::first::{First, first};
use smol::LocalExecutor;

use crate::client::print;
use crate::exit::Failure;
use crate::fields::Flags;
use crate::logging;
use crate::settings::{Settings, Sync};
use crate::stack::{Member, Parts, asked_to_end, bound, end, listen, unusable};

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
        Self {
            flags: Flags::none(),
            print_config: false,
        }
    }

    pub(crate) fn run(self) -> Result<(), Failure> {
        let values = self.flags.gather()?;
        let settings = Settings::new(&values)?;
        if self.print_config {
            return print(values.to_toml().as_bytes());
        }
        logging::start(settings.log);
        let executor = Rc::new(LocalExecutor::new());
        let spawner = Spawner::new(executor.clone());
        block_on(&executor, serve(settings, &spawner))
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
    let disk = Disk::open(&settings.data_dir, mode).map_err(|fatal| unusable(&fatal))?;
    let node = settings.config.node;
    let mut addresses = settings.peers.clone();
    addresses.remove(&node);
    let parts = Parts {
        config: settings.config.clone(),
        disk,
        clients,
        peers,
        addresses,
        members: members(&settings, client_address),
    };
    let mut member = Member::start(parts, &clock, spawner)?;
    greet(&settings, client_address)?;
    match first(member.failed(), asked_to_end()).await {
        First::A(failure) => Err(failure),
        First::B(asked) => {
            asked?;
            farewell();
            end(vec![member], spawner).await
        }
    }
}

/// Says on standard error that the end has been heard.
pub(crate) fn farewell() {
    // Nobody may be there to read it; that must not keep the node from ending well.
    let _unread = writeln!(std::io::stderr(), "quorate: ending in good order");
}

/// What clients are told of the members.
fn members(settings: &Settings, client_address: SocketAddr) -> Vec<MemberInfo> {
    let me = settings.config.node;
    let mut urls: BTreeMap<NodeId, Vec<String>> = settings.advertise_client.clone();
    urls.entry(me)
        .or_insert_with(|| vec![format!("http://{client_address}")]);
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

/// Says what runs and where, and how to try it.
fn greet(settings: &Settings, client_address: SocketAddr) -> Result<(), Failure> {
    let node = settings.config.node;
    let data = std::path::absolute(&settings.data_dir);
    let data = data.unwrap_or_else(|_| settings.data_dir.clone());
    let alone = settings.peers.is_empty();
    let mut text = format!("quorate {}: node {node}", env!("CARGO_PKG_VERSION"));
    text += &match alone {
        true => " alone".to_owned(),
        false => format!(" of {}", settings.config.members.len()),
    };
    text += &format!(
        ", cluster {}\nclients  http://{client_address}\n",
        settings.config.cluster
    );
    if !alone {
        text += &format!("peers    {}\n", settings.listen_peer);
    }
    text += &format!("data     {}\n", data.display());
    if client_address.ip().is_unspecified() && settings.advertise_client.is_empty() {
        text += "note: clients that ask for members are told this address, which is none; \
                 set --advertise-client\n";
    }
    if alone {
        text += &format!(
            "\nTry it:\n  quorate put greeting hello{at}\n  quorate get greeting{at}\n  \
             curl http://{client_address}/v3/kv/range -d '{{\"key\":\"Z3JlZXRpbmc=\"}}'\n",
            at = match client_address.port() {
                2379 => String::new(),
                _ => format!(" --endpoints http://{client_address}"),
            }
        );
    }
    print(text.as_bytes())
}
