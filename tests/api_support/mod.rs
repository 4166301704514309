//! What the tests of the gateway share: a node (raft alone, or one of four of helix) with its
//! gateway on a free port, all on this
//! thread, and a client that writes bytes and reads answers.
//!
//! Sockets are real; time is not: it stands still until a test moves it, so no test sleeps.
#![allow(dead_code)] // each test file uses its part

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use async_channel::Sender;
use futures_lite::future::yield_now;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use quorate::api::{ApiLimits, Gateway, MemberInfo};
use quorate::config::Config;
use quorate::env::clock::VirtualClock;
use quorate::env::io::{TcpListener, TcpStream, block_on};
use quorate::env::net::{Net, NetLimits, join, net};
use quorate::env::spawn::Task;
use quorate::env::{Clock, Disk, Env, Rng, Spawner};
use quorate::helix::{self, protocol::keys::Null};
use quorate::id::{ClusterId, NodeId};
use quorate::kv::Store;
use quorate::{Node, raft};
use serde_json::Value;
use smol::LocalExecutor;

const CLUSTER: ClusterId = ClusterId(7);

/// A node and its gateway, serving.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) node: Node<Store>,
    pub(crate) spawner: Spawner,
    pub(crate) time: Rc<VirtualClock>,
    stop: Sender<()>,
    serving: Task,
    lives: Vec<Task>,
}

/// An answer, as far as a test looks.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }
}

/// Runs `test` against a fresh node of each engine: raft alone, and helix as the leader of four.
pub(crate) fn with_server<F: AsyncFn(&Served)>(limits: ApiLimits, test: F) {
    with_raft(limits, &test);
    with_helix(limits, 1, &test);
}

/// Runs `test` against a fresh node of raft.
pub(crate) fn with_raft<F: AsyncFn(&Served)>(limits: ApiLimits, test: F) {
    serve(limits, test, raft_alone);
}

/// Runs `test` against one of four fresh nodes of helix; the first leads.
pub(crate) fn with_helix<F: AsyncFn(&Served)>(limits: ApiLimits, served: u64, test: F) {
    serve(limits, test, |spawner, time| helix_of_four(spawner, time, NodeId(served)));
}

/// A node to be served, the tasks that it needs, and how to end it.
type Started = (Node<Store>, Vec<Task>);

fn serve<F: AsyncFn(&Served)>(
    limits: ApiLimits,
    test: F,
    start: impl FnOnce(&Spawner, &Rc<VirtualClock>) -> Started,
) {
    let executor = Rc::new(LocalExecutor::new());
    let spawner = Spawner::new(executor.clone());
    block_on(executor.run(async move {
        let time = VirtualClock::new();
        let (node, lives) = start(&spawner, &time);
        while node.leading().is_none() && node.status().leader.is_none() {
            if let Some(next) = time.next_deadline().filter(|_| lives.len() == 1) {
                time.advance_to(next);
            }
            yield_now().await;
        }
        node.read(|_| ()).await.expect("a quorum answers");
        let served = open(spawner, time, node, lives, limits);
        test(&served).await;
        served.end().await;
    }));
}

fn env(id: NodeId, net: Net, spawner: &Spawner, time: &Rc<VirtualClock>) -> Env {
    Env {
        clock: Clock::simulated(time.clone()),
        rng: Rng::seeded(id.0),
        net,
        disk: Disk::memory(),
        spawner: spawner.clone(),
    }
}

fn raft_alone(spawner: &Spawner, time: &Rc<VirtualClock>) -> Started {
    let me = NodeId(1);
    let config = Config::new(me, CLUSTER, [me]).expect("a valid configuration");
    let (net, _wire) = net(me, [], NetLimits::default());
    let env = env(me, net, spawner, time);
    let started = raft::Node::start(config, env, Store::new(), raft::Observer::default());
    let (node, life) = started.expect("the node starts");
    let life = spawner.spawn(async move { life.await.expect("the node lives") });
    (node.into(), vec![life])
}

fn helix_of_four(spawner: &Spawner, time: &Rc<VirtualClock>, served: NodeId) -> Started {
    let ids: Vec<_> = (1..=4).map(NodeId).collect();
    let (mut nodes, mut lives, mut wires) = (BTreeMap::new(), Vec::new(), Vec::new());
    for &me in &ids {
        let config = helix::Config::new(me, CLUSTER, ids.clone()).expect("valid");
        let (net, wire) = net(me, config.peers(), NetLimits::default());
        let options = helix::commands::node::Options::new(&config.timing);
        let env = env(me, net, spawner, time);
        let (keys, observer) = (Box::new(Null), helix::Observer::default());
        let started = helix::Node::start(config, options, env, keys, Store::new(), observer);
        let (node, life) = started.expect("the node starts");
        lives.push(spawner.spawn(async move { life.await.expect("the node lives") }));
        nodes.insert(me, node);
        wires.push(wire);
    }
    lives.push(spawner.spawn(async move { join(&wires).await }));
    (nodes.remove(&served).expect("one of them").into(), lives)
}

fn open(
    spawner: Spawner,
    time: Rc<VirtualClock>,
    node: Node<Store>,
    lives: Vec<Task>,
    limits: ApiLimits,
) -> Served {
    let listener = TcpListener::bind(([127, 0, 0, 1], 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let members = vec![MemberInfo {
        id: node.status().node,
        name: "one".into(),
        peer_url: "http://127.0.0.1:1".into(),
        client_urls: vec![format!("http://{address}")],
    }];
    let (stop, stopped) = async_channel::bounded::<()>(1);
    let clock = Clock::simulated(time.clone());
    let gateway = Gateway::new(node.clone(), members, clock, limits);
    let own = spawner.clone();
    let serving = spawner.spawn(async move {
        let stopped = async {
            // Sent or dropped: both mean stop.
            let _ = stopped.recv().await;
        };
        gateway.serve(listener, own, stopped).await;
    });
    Served { address, node, spawner, time, stop, serving, lives }
}

impl Served {
    /// Moves time by seconds, once everybody has set their timers.
    pub(crate) async fn pass(&self, seconds: u64) {
        let target = self.time.now() + Duration::from_secs(seconds);
        while let Some(next) = self.time.next_deadline().filter(|&next| next <= target) {
            self.time.advance_to(next);
            settle().await;
        }
        self.time.advance_to(target);
        settle().await;
    }

    /// What the node says of itself.
    pub(crate) async fn status(&self) -> Value {
        self.get("/quorate/v1/status").await.json()
    }

    /// A connection.
    pub(crate) async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("it accepts");
        Client { stream, buffer: Vec::new() }
    }

    /// One call on a connection of its own.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.connect().await.post(path, body).await
    }

    /// One question on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        client.answer().await
    }

    /// Ends the gateway in good order, while the test still looks.
    pub(crate) fn stop(&self) {
        self.stop.try_send(()).expect("it is stopped once");
    }

    async fn end(self) {
        drop(self.stop);
        self.serving.await;
        self.node.shutdown();
        for life in self.lives {
            life.cancel().await;
        }
    }
}

/// Lets everybody else do what they can do now.
pub(crate) async fn settle() {
    for _ in 0..64 {
        yield_now().await;
    }
}

/// Waits until `happened`, which needs nothing but the others' doing.
pub(crate) async fn until(mut happened: impl AsyncFnMut() -> bool) {
    for _ in 0..100_000 {
        if happened().await {
            return;
        }
        yield_now().await;
    }
    panic!("it never happened");
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Writes text.
    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("it is sent");
    }

    /// Writes text, which the server may refuse to take.
    pub(crate) async fn try_send(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(text.as_bytes()).await
    }

    /// One call.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Answer {
        self.send(&post(path, body)).await;
        self.answer().await
    }

    /// Reads more; false at the end of the connection.
    async fn more(&mut self) -> bool {
        let mut piece = vec![0; 65536];
        match self.stream.read(&mut piece).await {
            Ok(0) | Err(_) => false,
            Ok(len) => {
                self.buffer.extend_from_slice(&piece[..len]);
                true
            }
        }
    }

    /// Whether the server ends the connection without another byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more().await
    }

    /// Takes everything up to and with `mark`.
    async fn take_until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self.buffer.windows(mark.len()).position(|w| w == mark);
            if let Some(at) = found {
                return Some(self.buffer.drain(..at + mark.len()).collect());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn take(&mut self, len: usize) -> Vec<u8> {
        while self.buffer.len() < len {
            assert!(self.more().await, "the answer is cut off");
        }
        self.buffer.drain(..len).collect()
    }

    /// The head of the next answer and its status, without its body.
    pub(crate) async fn head(&mut self) -> (u16, String) {
        let head = self.take_until(b"\r\n\r\n").await.expect("an answer");
        let head = String::from_utf8(head).expect("a head is text").to_lowercase();
        let status = head[9..12].parse().expect("a status");
        (status, head)
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        let (status, head) = self.head().await;
        let mut body = Vec::new();
        if let Some(rest) = head.split("content-length: ").nth(1) {
            let len = rest.split("\r\n").next().and_then(|n| n.parse().ok());
            body = self.take(len.expect("a length")).await;
        } else {
            while let Some(piece) = self.piece().await {
                body.extend(piece);
            }
        }
        let body = String::from_utf8(body).expect("a body is text");
        Answer { status, head, body }
    }

    /// The next piece of a chunked body; `None` at its end.
    pub(crate) async fn piece(&mut self) -> Option<Vec<u8>> {
        let line = self.take_until(b"\r\n").await?;
        let text = String::from_utf8_lossy(&line);
        let len = usize::from_str_radix(text.trim(), 16).expect("a chunk length");
        let piece = self.take(len).await;
        self.take(2).await;
        (len > 0).then_some(piece)
    }

    /// The next line of a stream that writes a line per chunk; `None` at its end.
    pub(crate) async fn line(&mut self) -> Option<Value> {
        let piece = self.piece().await?;
        assert_eq!(piece.last(), Some(&b'\n'));
        Some(serde_json::from_slice(&piece).expect("a line is JSON"))
    }
}

/// The bytes of a call.
pub(crate) fn post(path: &str, body: &str) -> String {
    let len = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len}\r\n\r\n{body}")
}
