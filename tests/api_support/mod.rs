//! What the tests of the gateway share: a node with its gateway on a free port, all on this
//! thread, and a client that writes bytes and reads answers.
#![allow(dead_code)] // each test file uses its part

use std::net::SocketAddr;
use std::rc::Rc;

use async_channel::Sender;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use quorate::api::{ApiLimits, Gateway, MemberInfo};
use quorate::config::Config;
use quorate::env::io::{TcpListener, TcpStream, block_on};
use quorate::env::net::{NetLimits, net};
use quorate::env::spawn::Task;
use quorate::env::{Clock, Disk, Env, Rng, Spawner};
use quorate::id::{ClusterId, NodeId};
use quorate::kv::Store;
use quorate::raft::{Node, Observer};
use serde_json::Value;
use smol::LocalExecutor;

/// A node and its gateway, serving.
pub struct Served {
    pub address: SocketAddr,
    pub node: Node<Store>,
    pub spawner: Spawner,
    stop: Sender<()>,
    serving: Task<()>,
    life: Task<()>,
}

/// An answer, as far as a test looks.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }
}

/// Runs `test` against a fresh node.
pub fn with_server<F: AsyncFnOnce(&Served)>(limits: ApiLimits, test: F) {
    let executor = Rc::new(LocalExecutor::new());
    let spawner = Spawner::new(executor.clone());
    block_on(&executor, async move {
        let served = start(spawner, limits).await;
        test(&served).await;
        served.end().await;
    });
}

async fn start(spawner: Spawner, limits: ApiLimits) -> Served {
    let me = NodeId(1);
    let config = Config::new(me, ClusterId(7), [me]).expect("a valid configuration");
    let (net, _wire) = net(me, [], NetLimits::default());
    let env = Env {
        clock: Clock::real(),
        rng: Rng::seeded(1),
        net,
        disk: Disk::memory(),
        spawner: spawner.clone(),
    };
    let clock = env.clock.clone();
    let started = Node::start(config, env, Store::new(), Observer::default());
    let (node, life) = started.expect("the node starts");
    let life = spawner.spawn(async move { life.await.expect("the node lives") });
    node.read(|_| ()).await.expect("it leads");
    let listener = TcpListener::bind(([127, 0, 0, 1], 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let members = vec![MemberInfo {
        id: me,
        name: "one".into(),
        peer_url: "http://127.0.0.1:1".into(),
        client_urls: vec![format!("http://{address}")],
    }];
    let (stop, stopped) = async_channel::bounded::<()>(1);
    let gateway = Gateway::new(node.clone(), members, clock, limits);
    let own = spawner.clone();
    let serving = spawner.spawn(async move {
        let stopped = async {
            // Sent or dropped: both mean stop.
            let _ = stopped.recv().await;
        };
        gateway.serve(listener, own, stopped).await;
    });
    Served {
        address,
        node,
        spawner,
        stop,
        serving,
        life,
    }
}

impl Served {
    /// A connection.
    pub async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("it accepts");
        Client {
            stream,
            buffer: Vec::new(),
        }
    }

    /// One call on a connection of its own.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.connect().await.post(path, body).await
    }

    /// One question on a connection of its own.
    pub async fn get(&self, path: &str) -> Answer {
        let mut client = self.connect().await;
        client
            .send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .await;
        client.answer().await
    }

    /// Ends the gateway in good order, while the test still looks.
    pub fn stop(&self) {
        self.stop.try_send(()).expect("it is stopped once");
    }

    async fn end(self) {
        drop(self.stop);
        self.serving.await;
        self.node.shutdown();
        self.life.await;
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Writes text.
    pub async fn send(&mut self, text: &str) {
        self.stream
            .write_all(text.as_bytes())
            .await
            .expect("it is sent");
    }

    /// Writes text, which the server may refuse to take.
    pub async fn try_send(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(text.as_bytes()).await
    }

    /// One call.
    pub async fn post(&mut self, path: &str, body: &str) -> Answer {
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
    pub async fn is_closed(&mut self) -> bool {
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
    pub async fn head(&mut self) -> (u16, String) {
        let head = self.take_until(b"\r\n\r\n").await.expect("an answer");
        let head = String::from_utf8(head)
            .expect("a head is text")
            .to_lowercase();
        let status = head[9..12].parse().expect("a status");
        (status, head)
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Answer {
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
    pub async fn piece(&mut self) -> Option<Vec<u8>> {
        let line = self.take_until(b"\r\n").await?;
        let text = String::from_utf8_lossy(&line);
        let len = usize::from_str_radix(text.trim(), 16).expect("a chunk length");
        let piece = self.take(len).await;
        self.take(2).await;
        (len > 0).then_some(piece)
    }

    /// The next line of a stream that writes a line per chunk; `None` at its end.
    pub async fn line(&mut self) -> Option<Value> {
        let piece = self.piece().await?;
        assert_eq!(piece.last(), Some(&b'\n'));
        Some(serde_json::from_slice(&piece).expect("a line is JSON"))
    }
}

/// The bytes of a call.
pub fn post(path: &str, body: &str) -> String {
    let len = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len}\r\n\r\n{body}")
}
