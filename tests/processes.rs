//! Three real processes, a load, and `kill -9` of the leader again and again: nothing that was
//! acknowledged is lost, and the cluster serves again each time.
#![allow(clippy::disallowed_methods, reason = "real processes take real time")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

/// How long anything may take before the test gives up: far beyond what a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one request may take: longer than an election, shorter than the server's own limit.
const REQUEST: Duration = Duration::from_secs(8);

struct Cluster<'a> {
    folder: &'a Path,
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
    fn start(folder: &'a Path) -> Self {
        let ports = free_ports(6);
        let (clients, peers) = (ports[..3].to_vec(), ports[3..].to_vec());
        let mut cluster = Self { folder, clients, peers, nodes: BTreeMap::new() };
        (0..3).for_each(|node| cluster.launch(node));
        cluster
    }

    fn launch(&mut self, node: usize) {
        let members: Vec<_> =
            self.peers.iter().zip(1..).map(|(port, id)| format!("{id}=127.0.0.1:{port}")).collect();
        let child = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .arg("serve")
            .args(["--node-id", &(node + 1).to_string()])
            .args(["--cluster", &members.join(",")])
            .args(["--listen-peer", &format!("127.0.0.1:{}", self.peers[node])])
            .args(["--listen-client", &format!("127.0.0.1:{}", self.clients[node])])
            .arg("--data-dir")
            .arg(self.folder.join(format!("node-{node}")))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        self.nodes.insert(node, child);
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

#[test]
fn killing_the_leader_again_and_again_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut cluster = Cluster::start(folder.path());
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
    cluster.leader();
    for _ in 0..5 {
        for _ in 0..40 {
            write(&cluster, &mut acknowledged);
        }
        let leader = cluster.leader();
        cluster.kill(leader);
        until("the first write after the leader was killed", || {
            write(&cluster, &mut acknowledged).then_some(())
        });
        cluster.launch(leader);
    }
    assert!(acknowledged.len() >= 150, "only {} writes were taken", acknowledged.len());
    for node in 0..3 {
        let found = until("a read", || cluster.all(node).ok());
        for (key, value) in &acknowledged {
            assert_eq!(found.get(key), Some(value), "node {node} lost {key}");
        }
    }
}

#[test]
fn power_lost_everywhere_at_once_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut cluster = Cluster::start(folder.path());
    cluster.leader();
    for round in 0..3 {
        let key = format!("round-{round}");
        until("a write", || cluster.put(&key, "kept").then_some(()));
        (0..3).for_each(|node| cluster.kill(node));
        (0..3).for_each(|node| cluster.launch(node));
        let found = until("a read", || cluster.all(round % 3).ok());
        for earlier in 0..=round {
            assert_eq!(found.get(&format!("round-{earlier}")).map(String::as_str), Some("kept"));
        }
    }
}

#[test]
fn a_termination_signal_ends_every_node_in_good_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut cluster = Cluster::start(folder.path());
    cluster.leader();
    for (_, mut child) in std::mem::take(&mut cluster.nodes) {
        let killed = Command::new("kill").arg(child.id().to_string()).status();
        assert!(killed.expect("the command kill exists").success());
        let code = until("the end of a node", || child.try_wait().expect("a child of ours"));
        assert_eq!(code.code(), Some(0));
    }
}
