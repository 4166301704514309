//! The configuration with types: every value that makes no sense and every two that contradict
//! each other are refused, with where they were given and what to do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use quorate::Config;
use quorate::config::Timing;
use quorate::id::{ClusterId, NodeId};
use tracing::level_filters::LevelFilter;

use crate::exit::Failure;
use crate::fields::{Given, Source, Values};

/// Where syncs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    Auto,
    Inline,
    Thread,
}

/// Limits of the whole cluster, as far as this node was told any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StoreLimits {
    pub(crate) history_revisions: Option<u64>,
    pub(crate) history_bytes: Option<u64>,
    pub(crate) quota_bytes: Option<u64>,
}

/// Everything that `serve` must know.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Node, cluster, members and timing, checked.
    pub(crate) config: Config,
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    /// Where each member listens for the others; empty for a node alone.
    pub(crate) peers: BTreeMap<NodeId, String>,
    pub(crate) listen_client: SocketAddr,
    pub(crate) listen_peer: SocketAddr,
    /// Where clients reach members, as far as it was said.
    pub(crate) advertise_client: BTreeMap<NodeId, Vec<String>>,
    pub(crate) sync: Sync,
    pub(crate) store: StoreLimits,
    pub(crate) log: LevelFilter,
}

impl Settings {
    /// Gives types to `values`.
    ///
    /// # Errors
    /// What makes no sense, where it was given, and what to do.
    pub(crate) fn new(values: &Values) -> Result<Self, Failure> {
        let reader = Reader(values);
        let node = NodeId(reader.required("node_id", "a number, 1 or greater", |text| {
            text.parse().ok().filter(|&id| id > 0)
        })?);
        let peers = reader.members(node)?;
        let members = peers.keys().copied().chain([node]);
        let config = Config::new(node, reader.cluster_id()?, members)
            .map_err(Failure::usage)?
            .with_timing(reader.timing()?)
            .map_err(|why| {
                Failure::usage(format!(
                    "{why}; see heartbeat_ms, election_min_ms, election_max_ms and timing"
                ))
            })?;
        let name = reader.optional("name", "a name", |text| Some(text.to_owned()))?;
        let address = "an IP address and a port, as 127.0.0.1:2379";
        let settings = Self {
            config,
            name: name.unwrap_or_else(|| format!("node-{node}")),
            data_dir: reader.required("data_dir", "a path", |text| Some(text.into()))?,
            peers,
            listen_client: reader.parsed("listen_client", address)?,
            listen_peer: reader.parsed("listen_peer", address)?,
            advertise_client: reader.urls("advertise_client", node)?,
            sync: reader.required("sync", "auto, inline or thread", |text| match text {
                "auto" => Some(Sync::Auto),
                "inline" => Some(Sync::Inline),
                "thread" => Some(Sync::Thread),
                _ => None,
            })?,
            store: StoreLimits {
                history_revisions: reader.number("history_revisions")?,
                history_bytes: reader.number("history_bytes")?,
                quota_bytes: reader.number("quota_bytes")?,
            },
            log: reader.parsed("log", "off, error, warn, info, debug or trace")?,
        };
        settings.listeners_differ(&reader)?;
        Ok(settings)
    }

    fn listeners_differ(&self, reader: &Reader<'_>) -> Result<(), Failure> {
        let both_fixed = self.listen_client.port() != 0 && !self.peers.is_empty();
        if both_fixed && self.listen_client == self.listen_peer {
            return Err(Failure::usage(format!(
                "listen_client ({}) and listen_peer ({}) are both {}; give one another port",
                reader.source("listen_client"),
                reader.source("listen_peer"),
                self.listen_client
            )));
        }
        Ok(())
    }
}

struct Reader<'a>(&'a Values);

impl Reader<'_> {
    fn source(&self, key: &str) -> &Source {
        self.0.get(key).map_or(&Source::Default, |given| &given.source)
    }

    fn wrong(&self, key: &str, why: &str) -> Failure {
        Failure::usage(format!("{}: {key}: {why}", self.source(key)))
    }

    fn optional<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(Given { text, .. }) = self.0.get(key) else {
            return Ok(None);
        };
        match read(text.trim()) {
            Some(value) if !text.trim().is_empty() => Ok(Some(value)),
            _ => Err(self.wrong(key, &format!("`{text}` is not {wanted}"))),
        }
    }

    fn required<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Failure> {
        let value = self.optional(key, wanted, read)?;
        value.ok_or_else(|| self.wrong(key, &format!("is not set; it must be {wanted}")))
    }

    fn parsed<T: FromStr>(&self, key: &str, wanted: &str) -> Result<T, Failure> {
        self.required(key, wanted, |text| text.parse().ok())
    }

    fn number(&self, key: &str) -> Result<Option<u64>, Failure> {
        self.optional(key, "a number", |text| text.parse().ok())
    }

    /// The members of the cluster and where they listen; none for a node alone.
    fn members(&self, node: NodeId) -> Result<BTreeMap<NodeId, String>, Failure> {
        let mut members = BTreeMap::new();
        let Some(Given { text, .. }) = self.0.get("cluster") else {
            return Ok(members);
        };
        for item in text.split(',').map(str::trim) {
            let (id, address) = member(item).ok_or_else(|| {
                self.wrong("cluster", &format!("`{item}` is not ID=HOST:PORT, as 1=10.0.0.1:2380"))
            })?;
            if let Some((other, _)) = members.iter().find(|(_, known)| **known == address) {
                let why = format!("nodes {other} and {id} have the same address {address}");
                return Err(self.wrong("cluster", &why));
            }
            if members.insert(id, address).is_some() {
                return Err(self.wrong("cluster", &format!("node {id} occurs twice")));
            }
        }
        if !members.contains_key(&node) {
            let ids: Vec<_> = members.keys().map(ToString::to_string).collect();
            return Err(Failure::usage(format!(
                "{}: node_id is {node}, but the cluster ({}) has only the nodes {}; add this node \
                 there or correct its id",
                self.source("node_id"),
                self.source("cluster"),
                ids.join(", ")
            )));
        }
        Ok(members)
    }

    fn cluster_id(&self) -> Result<ClusterId, Failure> {
        let wanted = "1 to 16 hexadecimal digits, not all zero";
        let id = self.optional("cluster_id", wanted, |text| {
            u64::from_str_radix(text, 16).ok().filter(|&id| id > 0)
        })?;
        let name = self.parsed::<String>("cluster_name", "a name")?;
        match id {
            Some(_) if *self.source("cluster_name") != Source::Default => {
                Err(Failure::usage(format!(
                    "cluster_id ({}) and cluster_name ({}) are both given; leave one out",
                    self.source("cluster_id"),
                    self.source("cluster_name")
                )))
            }
            Some(id) => Ok(ClusterId(id)),
            None => Ok(named_cluster(&name)),
        }
    }

    fn timing(&self) -> Result<Timing, Failure> {
        let mut timing = self.required("timing", "lan, wan or flash", |text| match text {
            "lan" => Some(Timing::LAN),
            "wan" => Some(Timing::WAN),
            "flash" => Some(Timing::FLASH),
            _ => None,
        })?;
        for (key, place) in [
            ("heartbeat_ms", &mut timing.heartbeat),
            ("election_min_ms", &mut timing.election_min),
            ("election_max_ms", &mut timing.election_max),
        ] {
            if let Some(millis) = self.number(key)? {
                *place = Duration::from_millis(millis);
            }
        }
        Ok(timing)
    }

    /// Where clients reach the members: `URL` for this node, `ID=URL` for another.
    fn urls(&self, key: &str, node: NodeId) -> Result<BTreeMap<NodeId, Vec<String>>, Failure> {
        let wanted = "http://HOST:PORT, or ID=http://HOST:PORT for another node";
        let all = self.optional(key, wanted, |text| {
            let mut all: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
            for item in text.split(',') {
                let (id, url) = match item.split_once('=') {
                    Some((id, url)) => (NodeId(id.trim().parse().ok()?), url),
                    None => (node, item),
                };
                let url = url.trim().trim_end_matches('/');
                let host = url.strip_prefix("http://").or(url.strip_prefix("https://"))?;
                if host.is_empty() || host.contains('/') {
                    return None;
                }
                all.entry(id).or_default().push(url.to_owned());
            }
            Some(all)
        })?;
        Ok(all.unwrap_or_default())
    }
}

/// `ID=HOST:PORT`.
fn member(item: &str) -> Option<(NodeId, String)> {
    let (id, address) = item.split_once('=')?;
    let id: u64 = id.trim().parse().ok().filter(|&id| id > 0)?;
    let (host, port) = address.trim().rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|&port| port > 0)?;
    (!host.is_empty()).then(|| (NodeId(id), format!("{host}:{port}")))
}

/// The id of the cluster of this name: two checksums, because one is too short to tell names apart
/// for sure. It is stored with the data, so it must never be computed differently.
fn named_cluster(name: &str) -> ClusterId {
    let backwards: Vec<u8> = name.bytes().rev().collect();
    let high = u64::from(crc32c::crc32c(name.as_bytes()));
    let low = u64::from(crc32c::crc32c(&backwards));
    // The last bit keeps it from being zero, which is no id.
    ClusterId(high << 32 | low | 1)
}

#[cfg(test)]
mod tests {
    use super::{Settings, Sync, named_cluster};
    use crate::fields::Flags;
    use clap::{Args, FromArgMatches};
    use quorate::config::Timing;
    use quorate::id::{ClusterId, NodeId};

    fn settings(flags: &[&str]) -> Result<Settings, String> {
        let command = Flags::augment_args(clap::Command::new("test").no_binary_name(true));
        let matches = command.get_matches_from(flags);
        let flags = Flags::from_arg_matches(&matches).expect("flags");
        let settings = flags.gather().and_then(|values| Settings::new(&values));
        settings.map_err(|failure| failure.message)
    }

    #[test]
    fn a_node_alone_needs_no_word() {
        let settings = settings(&[]).expect("defaults");
        assert_eq!(settings.config.node, NodeId(1));
        assert_eq!(settings.config.members.len(), 1);
        assert!(settings.peers.is_empty());
        assert_eq!(settings.config.timing, Timing::LAN);
        assert_eq!(settings.sync, Sync::Auto);
        assert_eq!(settings.name, "node-1");
        assert!(settings.listen_client.ip().is_loopback());
        assert!(settings.listen_peer.ip().is_loopback());
    }

    #[test]
    fn the_id_of_a_named_cluster_never_changes() {
        assert_eq!(named_cluster("quorate"), ClusterId(0x535f_c198_fd52_ff5b));
        assert_ne!(named_cluster("ab"), named_cluster("ba"));
    }

    #[test]
    fn each_contradiction_is_named_with_its_source() {
        for (flags, message) in [
            (&["--node-id", "0"][..], "flag --node-id: node_id: `0` is not a number"),
            (&["--cluster", "1=a:1,1=b:1"], "flag --cluster: cluster: node 1 occurs twice"),
            (&["--cluster", "1=a:1,2=a:1"], "flag --cluster: cluster: nodes 1 and 2 have the same"),
            (&["--cluster", "1=a"], "flag --cluster: cluster: `1=a` is not ID=HOST:PORT"),
            (&["--cluster", ""], "flag --cluster: cluster: `` is not ID=HOST:PORT"),
            (
                &["--cluster", "1=a:1", "--node-id", "4"],
                "flag --node-id: node_id is 4, but the cluster (flag --cluster) has only the nodes 1;",
            ),
            (
                &["--cluster-id", "7", "--cluster-name", "x"],
                "cluster_id (flag --cluster-id) and cluster_name (flag --cluster-name) are both",
            ),
            (&["--cluster-id", "0"], "flag --cluster-id: cluster_id: `0` is not 1 to 16"),
            (&["--listen-client", "2379"], "flag --listen-client: listen_client: `2379` is not"),
            (
                &["--cluster", "1=a:1,2=b:1", "--listen-peer", "127.0.0.1:2379"],
                "listen_client (default) and listen_peer (flag --listen-peer) are both",
            ),
            (&["--heartbeat-ms", "1000"], "the shortest election timeout (400ms)"),
            (&["--sync", "never"], "flag --sync: sync: `never` is not auto, inline or thread"),
            (&["--advertise-client", "a:1"], "flag --advertise-client: advertise_client: `a:1`"),
            (&["--log", "loud"], "flag --log: log: `loud` is not off, error"),
            (&["--data-dir", ""], "flag --data-dir: data_dir: `` is not a path"),
        ] {
            let found = settings(flags).expect_err(message);
            assert!(found.starts_with(message), "{found}");
        }
    }

    #[test]
    fn milliseconds_go_before_the_preset() {
        let settings = settings(&["--timing", "wan", "--heartbeat-ms", "250"]).expect("valid");
        assert_eq!(settings.config.timing.heartbeat.as_millis(), 250);
        assert_eq!(settings.config.timing.election_min, Timing::WAN.election_min);
    }
}
