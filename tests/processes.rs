//! Real processes, a load, and `kill -9` again and again: nothing that was acknowledged is lost, and
//! the cluster serves again each time. Three nodes of raft, and four of helix.
#![allow(clippy::disallowed_methods, reason = "real processes take real time")]

mod process_history;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

/// How long anything may take before the test gives up: far beyond what a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one request may take: longer than an election, shorter than the server's own limit.
const REQUEST: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, PartialEq)]
enum Engine {
    Raft,
    Helix,
}

impl Engine {
    /// How many nodes survive the loss of one.
    fn nodes(self) -> usize {
        match self {
            Self::Raft => 3,
            Self::Helix => 4,
        }
    }
}

struct Cluster<'a> {
    folder: &'a Path,
    /// For each node the path of its secret key, if the engine has keys; and all public ones.
    keys: Vec<(PathBuf, String)>,
    clients: Vec<u16>,
    peers: Vec<u16>,
    nodes: BTreeMap<usize, Child>,
}

fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
    listeners.iter().map(port).collect()
}

impl<'a> Cluster<'a> {
    fn start(folder: &'a Path, engine: Engine) -> Self {
        let count = engine.nodes();
        let ports = free_ports(2 * count);
        let (clients, peers) = (ports[..count].to_vec(), ports[count..].to_vec());
        let keys = match engine {
            Engine::Raft => Vec::new(),
            Engine::Helix => {
                (0..count).map(|node| keygen(&folder.join(format!("key-{node}")))).collect()
            }
        };
        let mut cluster = Self { folder, keys, clients, peers, nodes: BTreeMap::new() };
        cluster.launch_all();
        cluster
    }

    fn launch_all(&mut self) {
        (0..self.clients.len()).for_each(|node| self.launch(node));
    }

    fn command(&self, node: usize) -> Command {
        let listed = |values: &[String]| {
            let items = values.iter().zip(1..).map(|(value, id)| format!("{id}={value}"));
            items.collect::<Vec<_>>().join(",")
        };
        let addresses: Vec<_> = self.peers.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command
            .arg("serve")
            .args(["--node-id", &(node + 1).to_string()])
            .args(["--cluster", &listed(&addresses)])
            .args(["--listen-peer", &addresses[node]])
            .args(["--listen-client", &format!("127.0.0.1:{}", self.clients[node])])
            .arg("--data-dir")
            .arg(self.folder.join(format!("node-{node}")));
        if let Some((secret, _)) = self.keys.get(node) {
            let publics: Vec<_> = self.keys.iter().map(|(_, public)| public.clone()).collect();
            command.args(["--engine", "helix", "--member-keys", &listed(&publics)]);
            command.arg("--secret-key").arg(secret);
        }
        command
    }

    /// How a node of another engine ends that is started on the data of the first of these.
    fn start_with_data(of: &Cluster<'_>, engine: Engine) -> Output {
        let keys = match engine {
            Engine::Raft => Vec::new(),
            Engine::Helix => (0..of.clients.len().max(4))
                .map(|n| keygen(&of.folder.join(format!("k{n}"))))
                .collect(),
        };
        let ports = free_ports(2 * 4);
        let (clients, peers) = (ports[..4].to_vec(), ports[4..].to_vec());
        let other = Cluster { folder: of.folder, keys, clients, peers, nodes: BTreeMap::new() };
        other.command(0).output().expect("the binary starts")
    }

    fn launch(&mut self, node: usize) {
        let mut command = self.command(node);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.nodes.insert(node, child.expect("the binary starts"));
    }

    fn kill_all(&mut self) {
        (0..self.clients.len()).for_each(|node| self.kill(node));
    }

    fn kill(&mut self, node: usize) {
        let mut child = self.nodes.remove(&node).expect("it runs");
        child.kill().expect("kill -9");
        child.wait().expect("it is gone");
    }

    /// The node that says it leads, once one does.
    fn leader(&self) -> usize {
        until("a leader", || {
            self.nodes.keys().copied().find(|&node| {
                let status = request(self.clients[node], "GET", "/quorate/v1/status", "");
                status.is_ok_and(|status| status["role"] == "leader")
            })
        })
    }

    /// Writes at the first node that takes it; true if it was acknowledged.
    fn put(&self, key: &str, value: &str) -> bool {
        let body =
            format!(r#"{{"key":"{}","value":"{}"}}"#, BASE64.encode(key), BASE64.encode(value));
        let mut nodes = self.nodes.keys();
        nodes.any(|&node| request(self.clients[node], "POST", "/v3/kv/put", &body).is_ok())
    }

    /// Every pair that `node` reads, linearizably.
    fn all(&self, node: usize) -> Result<BTreeMap<String, String>, String> {
        let everything = r#"{"key":"AA==","range_end":"AA=="}"#;
        let answer = request(self.clients[node], "POST", "/v3/kv/range", everything)?;
        let text = |value: &Value| {
            let bytes = BASE64.decode(value.as_str().unwrap_or_default()).expect("base64");
            String::from_utf8(bytes).expect("what was written")
        };
        let pairs = answer["kvs"].as_array().into_iter().flatten();
        Ok(pairs.map(|pair| (text(&pair["key"]), text(&pair["value"]))).collect())
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        for child in self.nodes.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A new secret key at `path`, and the public one.
fn keygen(path: &Path) -> (PathBuf, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    let output = command.arg("keygen").arg(path).output().expect("the binary starts");
    assert!(output.status.success());
    (path.to_owned(), String::from_utf8(output.stdout).expect("a key is text").trim().to_owned())
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        sleep(Duration::from_millis(20));
    }
}

/// One request on a connection of its own; an error unless it was answered 200.
fn request(port: u16, method: &str, path: &str, body: &str) -> Result<Value, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(text)?;
    stream.set_read_timeout(Some(REQUEST)).map_err(text)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).map_err(text)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(text)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(answer);
    }
    serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))
}

/// Kills five times the node that `choose` says, under load.
fn kill_one_after_the_other(engine: Engine, choose: impl Fn(&Cluster<'_>, usize) -> usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut cluster = Cluster::start(folder.path(), engine);
    let mut acknowledged = BTreeMap::new();
    let mut number = 0;
    let mut write = |cluster: &Cluster<'_>, acknowledged: &mut BTreeMap<String, String>| {
        number += 1;
        let (key, value) = (format!("key-{number}"), format!("value-{number}"));
        let done = cluster.put(&key, &value);
        if done {
            acknowledged.insert(key, value);
        }
        done
    };
    until("a first write", || write(&cluster, &mut acknowledged).then_some(()));
    for round in 0..5 {
        for _ in 0..40 {
            write(&cluster, &mut acknowledged);
        }
        let node = choose(&cluster, round);
        cluster.kill(node);
        until("the first write after a kill", || write(&cluster, &mut acknowledged).then_some(()));
        cluster.launch(node);
    }
    assert!(acknowledged.len() >= 150, "only {} writes were taken", acknowledged.len());
    for node in 0..engine.nodes() {
        let found = until("a read", || cluster.all(node).ok());
        for (key, value) in &acknowledged {
            assert_eq!(found.get(key), Some(value), "node {node} lost {key}");
        }
    }
}

fn kill_all_at_once(engine: Engine) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut cluster = Cluster::start(folder.path(), engine);
    for round in 0..3 {
        let key = format!("round-{round}");
        until("a write", || cluster.put(&key, "kept").then_some(()));
        cluster.kill_all();
        cluster.launch_all();
        let found = until("a read", || cluster.all(round % 3).ok());
        for earlier in 0..=round {
            assert_eq!(found.get(&format!("round-{earlier}")).map(String::as_str), Some("kept"));
        }
    }
}

fn terminate(engine: Engine) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut cluster = Cluster::start(folder.path(), engine);
    until("a write", || cluster.put("key", "value").then_some(()));
    for (_, mut child) in std::mem::take(&mut cluster.nodes) {
        let killed = Command::new("kill").arg(child.id().to_string()).status();
        assert!(killed.expect("the command kill exists").success());
        let code = until("the end of a node", || child.try_wait().expect("a child of ours"));
        assert_eq!(code.code(), Some(0));
    }
}

#[test]
fn killing_the_leader_again_and_again_loses_nothing_that_was_acknowledged() {
    kill_one_after_the_other(Engine::Raft, |cluster, _| cluster.leader());
}

#[test]
fn helix_loses_nothing_that_was_acknowledged_when_its_nodes_are_killed_in_turn() {
    kill_one_after_the_other(Engine::Helix, |_, round| round % Engine::Helix.nodes());
}

/// Kills four times the node that `choose` says, while clients put, read, compare, hold leases and
/// watch, and judges everything that they saw.
fn show_one_history(engine: Engine, choose: impl Fn(&Cluster<'_>, usize) -> usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut cluster = Cluster::start(folder.path(), engine);
    until("a read", || cluster.all(0).ok());
    let verdict = process_history::judged(&mut cluster, |cluster| {
        for round in 0..4 {
            sleep(Duration::from_millis(1_500));
            let node = choose(cluster, round);
            cluster.kill(node);
            sleep(Duration::from_millis(1_500));
            cluster.launch(node);
        }
        sleep(Duration::from_secs(1));
    });
    println!("{verdict}");
    assert!(verdict.answered > 300 && verdict.reads > 100 && verdict.told > 300, "{verdict}");
    assert!(verdict.lease_ends > 0, "{verdict}");
    assert_eq!(verdict.gave_up, 0, "{verdict}");
}

#[test]
fn clients_of_killed_leaders_see_one_history() {
    show_one_history(Engine::Raft, |cluster, _| cluster.leader());
}

#[test]
fn clients_of_killed_nodes_of_helix_see_one_history() {
    show_one_history(Engine::Helix, |_, round| round % Engine::Helix.nodes());
}

#[test]
fn power_lost_everywhere_at_once_loses_nothing_that_was_acknowledged() {
    kill_all_at_once(Engine::Raft);
}

#[test]
fn helix_loses_nothing_that_was_acknowledged_when_power_is_lost_everywhere() {
    kill_all_at_once(Engine::Helix);
}

/// A lease ends although the leader is dead and nobody writes: in an idle cluster of helix nobody
/// else misses a leader.
#[test]
fn leases_end_without_the_leader_that_granted_them() {
    for engine in [Engine::Raft, Engine::Helix] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut cluster = Cluster::start(folder.path(), engine);
        until("a write", || cluster.put("other", "value").then_some(()));
        let leader = cluster.leader();
        let port = cluster.clients[(leader + 1) % engine.nodes()];
        let grant = r#"{"TTL":"2","ID":"7"}"#;
        until("a lease", || request(port, "POST", "/v3/lease/grant", grant).ok());
        let put = r#"{"key":"bGVhc2Vk","value":"eA==","lease":"7"}"#;
        until("a leased key", || request(port, "POST", "/v3/kv/put", put).ok());
        cluster.kill(leader);
        until("the end of the lease", || {
            let all = cluster.all((leader + 1) % engine.nodes()).ok()?;
            (!all.contains_key("leased") && all.contains_key("other")).then_some(())
        });
    }
}

#[test]
fn a_termination_signal_ends_every_node_in_good_order() {
    terminate(Engine::Raft);
    terminate(Engine::Helix);
}

/// The journal of one engine is nothing to the other, and says so.
#[test]
fn a_node_refuses_the_journal_of_the_other_engine() {
    for (engine, named) in [(Engine::Raft, "raft"), (Engine::Helix, "helix")] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut cluster = Cluster::start(folder.path(), engine);
        until("a write", || cluster.put("key", "value").then_some(()));
        cluster.kill_all();
        let other = match engine {
            Engine::Raft => Cluster::start_with_data(&cluster, Engine::Helix),
            Engine::Helix => Cluster::start_with_data(&cluster, Engine::Raft),
        };
        assert_eq!(other.status.code(), Some(4));
        let text = String::from_utf8_lossy(&other.stderr);
        assert!(text.contains(&format!("belongs to a node of the {named} engine")), "{text}");
    }
}
