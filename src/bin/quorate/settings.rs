//! The configuration with types: every value that makes no sense and every two that contradict
//! each other are refused, with where they were given and what to do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use quorate::Config;
use quorate::config::Timing;
use quorate::helix::{self, protocol::committee::MEMBERS_MIN};
use quorate::id::{ClusterId, NodeId};
use tracing::level_filters::LevelFilter;

use crate::address::is_wildcard;
use crate::exit::Failure;
use crate::fields::{Given, Source, Values};
use crate::keys::public_keys;

/// What the engine raft does not use.
const HELIX_ONLY: &[&str] =
    &["secret_key", "member_keys", "view_timeout_ms", "view_timeout_max_ms"];
/// What the engine helix does not use.
const RAFT_ONLY: &[&str] = &["heartbeat_ms", "election_min_ms", "election_max_ms"];

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

/// What only the engine helix must know.
#[derive(Debug, Clone)]
pub(crate) struct Helix {
    pub(crate) config: helix::Config,
    /// Where this member's secret key is.
    pub(crate) secret_key: PathBuf,
    /// The public key of each member.
    pub(crate) public_keys: BTreeMap<NodeId, [u8; 32]>,
}

/// Everything that `serve` must know.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Node, cluster, members and timing, checked.
    pub(crate) config: Config,
    /// If that is the engine.
    pub(crate) helix: Option<Helix>,
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
        let is_helix = reader.required("engine", "raft or helix", |text| match text {
            "raft" => Some(false),
            "helix" => Some(true),
            _ => None,
        })?;
        let helix = match is_helix {
            true => Some(reader.helix(&config)?),
            false => {
                reader.means_nothing("raft", HELIX_ONLY)?;
                None
            }
        };
        let name = reader.optional("name", "a name", |text| Some(text.to_owned()))?;
        let address = "an IP address and a port, as 127.0.0.1:2379";
        let settings = Self {
            config,
            helix,
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
            if is_wildcard(&address) {
                let why = format!(
                    "{address} means every address of a machine and cannot be dialled; give the \
                     one where the others reach node {id} (listen_peer may be a wildcard)"
                );
                return Err(self.wrong("cluster", &why));
            }
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
        match id {
            Some(_) if self.0.get("cluster_name").is_some() => Err(Failure::usage(format!(
                "cluster_id ({}) and cluster_name ({}) are both given; leave one out",
                self.source("cluster_id"),
                self.source("cluster_name")
            ))),
            Some(id) => Ok(ClusterId(id)),
            None => Ok(named_cluster(&self.parsed::<String>("cluster_name", "a name")?)),
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

    /// Refuses what the engine does not use: who sets it expects something.
    fn means_nothing(&self, engine: &str, keys: &[&str]) -> Result<(), Failure> {
        match keys.iter().find(|key| self.0.get(key).is_some()) {
            Some(key) => Err(self.wrong(key, &format!("means nothing to the engine {engine}"))),
            None => Ok(()),
        }
    }

    /// What the engine helix needs.
    fn helix(&self, config: &Config) -> Result<Helix, Failure> {
        self.means_nothing("helix", RAFT_ONLY)?;
        let members = config.members.len();
        if members < MEMBERS_MIN {
            return Err(self.wrong(
                "engine",
                &format!(
                    "helix needs at least {MEMBERS_MIN} members, and the cluster has {members}: \
                     with fewer, one that lies could do anything"
                ),
            ));
        }
        let mut helix = helix::Config::new(config.node, config.cluster, config.members.clone())
            .map_err(Failure::usage)?;
        helix.timing = self.view_timing()?;
        Ok(Helix {
            config: helix,
            secret_key: self
                .required("secret_key", "a file of `quorate keygen`", |text| Some(text.into()))?,
            public_keys: self.public_keys(config)?,
        })
    }

    /// One public key for each member.
    fn public_keys(&self, config: &Config) -> Result<BTreeMap<NodeId, [u8; 32]>, Failure> {
        const WANTED: &str = "ID=KEY for each member, as 1=64 digits of `quorate keygen`";
        let text = self.required("member_keys", WANTED, |text| Some(text.to_owned()))?;
        let keys = public_keys(&text).map_err(|why| self.wrong("member_keys", &why))?;
        if let Some(missing) = config.members.iter().find(|id| !keys.contains_key(id)) {
            return Err(self.wrong("member_keys", &format!("there is no key of node {missing}")));
        }
        if let Some(stranger) = keys.keys().find(|id| !config.members.contains(id)) {
            let why = format!("node {stranger} is not in the cluster");
            return Err(self.wrong("member_keys", &why));
        }
        Ok(keys)
    }

    /// How long views last.
    fn view_timing(&self) -> Result<helix::protocol::config::Timing, Failure> {
        use helix::protocol::config::Timing;
        let longer = |times: u32| Timing {
            base: Timing::LAN.base * times,
            cap: Timing::LAN.cap.map(|cap| cap * times),
            resend: Timing::LAN.resend * times,
            announce: Timing::LAN.announce * times,
        };
        let mut timing = self.required("timing", "lan, wan or flash", |text| match text {
            "lan" => Some(Timing::LAN),
            "wan" => Some(longer(4)),
            "flash" => Some(longer(8)),
            _ => None,
        })?;
        let positive = |text: &str| text.parse().ok().filter(|&millis: &u64| millis > 0);
        if let Some(millis) =
            self.optional("view_timeout_ms", "a number of milliseconds above 0", positive)?
        {
            timing.base = Duration::from_millis(millis);
            timing.cap = timing.cap.map(|cap| cap.max(timing.base));
            timing.resend = timing.resend.min(timing.base / 4);
        }
        if let Some(millis) = self.number("view_timeout_max_ms")? {
            timing.cap = (millis > 0).then_some(Duration::from_millis(millis));
        }
        if timing.cap.is_some_and(|cap| cap < timing.base) {
            let why = format!("must not be below the time of a first view, {:?}", timing.base);
            return Err(self.wrong("view_timeout_max_ms", &why));
        }
        Ok(timing)
    }

    /// Where clients reach the members: `URL` for this node, `ID=URL` for another.
    fn urls(&self, key: &str, node: NodeId) -> Result<BTreeMap<NodeId, Vec<String>>, Failure> {
        let wanted = "http://HOST:PORT, or ID=http://HOST:PORT for another node, where HOST:PORT can be \
                      dialled (0.0.0.0, [::] and port 0 cannot)";
        let all = self.optional(key, wanted, |text| {
            let mut all: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
            for item in text.split(',') {
                let (id, url) = match item.split_once('=') {
                    Some((id, url)) => (NodeId(id.trim().parse().ok()?), url),
                    None => (node, item),
                };
                let url = url.trim().trim_end_matches('/');
                let host = url.strip_prefix("http://").or(url.strip_prefix("https://"))?;
                if host.is_empty() || host.contains('/') || is_wildcard(host) {
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

    /// The default of `cluster_name` is printed only while it means something.
    #[test]
    fn what_is_printed_of_a_cluster_with_an_id_is_read_again() {
        let command = Flags::augment_args(clap::Command::new("test").no_binary_name(true));
        let matches = command.get_matches_from(["--cluster-id", "7"]);
        let flags = Flags::from_arg_matches(&matches).expect("flags");
        let printed = flags.gather().expect("values").to_toml();
        let file = Some((std::path::Path::new("q.toml"), printed.as_str()));
        let again = Flags::none().gather_with(file).expect("what was printed");
        assert_eq!(Settings::new(&again).expect("settings").config.cluster, ClusterId(7));
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
            (
                &["--advertise-client", "http://0.0.0.0:1"],
                "flag --advertise-client: advertise_client: `http://0.0.0.0:1` is not",
            ),
            (&["--advertise-client", "1=http://[::]:1"], "flag --advertise-client: advertise_cl"),
            (&["--advertise-client", "http://a:0"], "flag --advertise-client: advertise_client"),
            (
                &["--cluster", "1=0.0.0.0:1,2=b:1"],
                "flag --cluster: cluster: 0.0.0.0:1 means every address of a machine",
            ),
            (&["--cluster", "1=a:1,2=[::]:1"], "flag --cluster: cluster: [::]:1 means every"),
            (&["--log", "loud"], "flag --log: log: `loud` is not off, error"),
            (&["--data-dir", ""], "flag --data-dir: data_dir: `` is not a path"),
        ] {
            let found = settings(flags).expect_err(message);
            assert!(found.starts_with(message), "{found}");
        }
    }

    const FOUR: &str = "1=a:1,2=b:1,3=c:1,4=d:1";

    fn helix(flags: &[&str]) -> Result<Settings, String> {
        let mut all = vec!["--engine", "helix", "--cluster", FOUR];
        all.extend(flags);
        settings(&all)
    }

    fn member_keys(ids: impl IntoIterator<Item = u8>) -> String {
        let item = |id: u8| format!("{id}={}", format!("{id:02x}").repeat(32));
        ids.into_iter().map(item).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn helix_is_told_its_members_keys_and_times() {
        let keys = member_keys(1..=4);
        let flags = ["--member-keys", &keys, "--secret-key", "key", "--view-timeout-ms", "300"];
        let helix = helix(&flags).expect("valid").helix.expect("helix");
        assert_eq!((helix.config.nodes.len(), helix.public_keys.len()), (4, 4));
        assert_eq!(helix.config.timing.base.as_millis(), 300);
        assert_eq!(helix.config.timing.cap.map(|cap| cap.as_secs()), Some(8));
        assert!(settings(&[]).expect("defaults").helix.is_none());
    }

    #[test]
    fn each_mistake_about_helix_is_named_with_its_source() {
        let (four, three, five) = (member_keys(1..=4), member_keys(1..=3), member_keys(1..=5));
        let key = ["--secret-key", "key"];
        let keyed = ["--secret-key", "key", "--member-keys", &four];
        let more = |flags: &[&'static str]| [&keyed[..], flags].concat();
        for (flags, message) in [
            (vec![], "default: secret_key: is not set; it must be a file of `quorate keygen`"),
            (key.to_vec(), "default: member_keys: is not set"),
            (
                [&key[..], &["--member-keys", &three]].concat(),
                "flag --member-keys: member_keys: there is no key of node 4",
            ),
            (
                [&key[..], &["--member-keys", &five]].concat(),
                "flag --member-keys: member_keys: node 5 is not in the cluster",
            ),
            (
                [&key[..], &["--member-keys", "1=2"]].concat(),
                "flag --member-keys: member_keys: `1=2` is not ID=KEY",
            ),
            (more(&["--heartbeat-ms", "100"]), "flag --heartbeat-ms: heartbeat_ms: means nothing"),
            (more(&["--view-timeout-ms", "0"]), "flag --view-timeout-ms: view_timeout_ms: `0` is"),
            (
                more(&["--view-timeout-max-ms", "1"]),
                "flag --view-timeout-max-ms: view_timeout_max_ms: must not be below",
            ),
        ] {
            let found = helix(&flags).expect_err(message);
            assert!(found.starts_with(message), "{found}");
        }
        for (flags, message) in [
            (&["--engine", "paxos"][..], "flag --engine: engine: `paxos` is not raft or helix"),
            (&["--engine", "helix"], "flag --engine: engine: helix needs at least 4 members"),
            (&["--secret-key", "x"], "flag --secret-key: secret_key: means nothing to the engine"),
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
