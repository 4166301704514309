//! The gateway as a scope: it holds the listening socket and every connection, and when it ends,
//! they have ended.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io::Write as _;
use std::net::{Shutdown, TcpStream as StdStream};
use std::pin::pin;
use std::rc::Rc;

use event_listener::Event;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use crate::api::answer::answer;
use crate::api::body::Memory;
use crate::api::conn::{Landing, Phase, Socket, attend};
use crate::api::encode::Object;
use crate::api::fail::{Failure, code};
use crate::api::limits::{ACCEPT_PAUSE, ApiLimits, FILES_RESERVED, HEAD_BYTES_MAX, SILENCE_MAX};
use crate::api::metrics::{Metrics, add};
use crate::env::io::{TcpListener, TcpStream};
use crate::env::spawn::Task;
use crate::env::{Clock, Spawner, Time, process};
use crate::id::NodeId;
use crate::kv::{Keeper, Store};
use crate::node::Node;
use crate::scope::first::{First, first};
use crate::scope::notify::Notify;

/// A member of the cluster as clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its id.
    pub id: NodeId,
    /// Its name, for people.
    pub name: String,
    /// Where the other members reach it.
    pub peer_url: String,
    /// Where clients reach it; clients that look for other members read these.
    pub client_urls: Vec<String>,
}

/// Everything that the connections of one gateway share.
pub(crate) struct Shared {
    pub(crate) node: Node<Store>,
    pub(crate) members: Vec<MemberInfo>,
    pub(crate) limits: ApiLimits,
    pub(crate) clock: Clock,
    pub(crate) memory: Rc<Memory>,
    landing: Landing,
    pub(crate) metrics: Metrics,
    pub(crate) started: Time,
    pub(crate) leases: Keeper,
    pub(crate) closing: Closing,
    /// `"cluster_id":"..","member_id":".."`: the part of a header that never changes.
    identity: Vec<u8>,
}

impl Shared {
    /// The epoch that this node is in: what etcd calls the term.
    pub(crate) fn term(&self) -> u64 {
        self.node.epoch()
    }

    /// Opens an answer with its header.
    pub(crate) fn begin<'a>(&self, out: &'a mut Vec<u8>, revision: i64, term: u64) -> Object<'a> {
        let mut object = Object::new(out);
        let header = object.field("header");
        header.push(b'{');
        header.extend_from_slice(&self.identity);
        let mut rest = Object::resume(header, false);
        rest.int("revision", revision);
        rest.uint("raft_term", term);
        rest.end();
        object
    }
}

/// Said once, heard by all: no new work.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    said: Cell<bool>,
    event: Event,
}

impl Closing {
    fn say(&self) {
        self.said.set(true);
        self.event.notify(usize::MAX);
    }

    /// Waits until it is said. Cancel safe.
    pub(crate) async fn notified(&self) {
        while !self.said.get() {
            self.event.listen().await;
        }
    }
}

/// Clients' way to one node: etcd's JSON over HTTP/1.1, probes and metrics.
pub struct Gateway(Rc<Shared>);

impl Gateway {
    /// A gateway to `node`. `members` is what `member/list` tells.
    #[must_use]
    pub fn new(
        node: impl Into<Node<Store>>,
        members: Vec<MemberInfo>,
        clock: Clock,
        mut limits: ApiLimits,
    ) -> Self {
        let node = node.into();
        let files = process::open_files_max().saturating_sub(FILES_RESERVED);
        limits.connections_max = limits.connections_max.min(files.max(1));
        let status = node.status();
        let mut identity = Vec::new();
        let mut object = Object::resume(&mut identity, true);
        object.uint("cluster_id", status.cluster.0);
        object.uint("member_id", status.node.0);
        Self(Rc::new(Shared {
            leases: Keeper::new(node.clone(), node.read_stale(Store::clone), clock.clone()),
            node,
            members,
            limits,
            started: clock.now(),
            clock,
            memory: Memory::new(limits.memory_bytes_max),
            landing: Rc::new(RefCell::new(vec![0; HEAD_BYTES_MAX].into())),
            metrics: Metrics::default(),
            closing: Closing::default(),
            identity,
        }))
    }

    /// Serves `listener`, and counts down the leases while the node leads, until `stop` is ready;
    /// then closes it, lets answers in progress end
    /// within [`ApiLimits::drain_timeout`], and returns when no connection is left.
    ///
    /// Dropping it closes the listener and every connection at once; what clients had proposed is
    /// in the log or it is not.
    pub async fn serve(
        self,
        listener: TcpListener,
        spawner: Spawner,
        stop: impl Future<Output = ()>,
    ) {
        let crowd = Crowd::new(self.0.clone(), spawner);
        first(stop, first(crowd.accept(&listener), self.0.leases.run())).await;
        drop(listener);
        self.0.closing.say();
        let late = self.0.clock.sleep(self.0.limits.drain_timeout);
        first(crowd.drained(), late).await;
        crowd.end().await;
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gateway({} connections)", self.0.metrics.connections.get())
    }
}

/// The connections of a gateway: none outlives it.
struct Crowd {
    shared: Rc<Shared>,
    spawner: Spawner,
    http: http1::Builder,
    tasks: RefCell<BTreeMap<u64, Task>>,
    gone: Rc<Gone>,
}

/// The connections that have ended by themselves and are to be forgotten.
#[derive(Default)]
struct Gone {
    ids: RefCell<Vec<u64>>,
    wake: Notify,
}

impl Crowd {
    fn new(shared: Rc<Shared>, spawner: Spawner) -> Self {
        // Not `pipeline_flush`: with it hyper buffers an answer without bound when the client does
        // not read.
        let mut http = http1::Builder::new();
        http.max_buf_size(HEAD_BYTES_MAX).header_read_timeout(None).auto_date_header(false);
        // `attend` notices a client that is gone. For hyper to do so it would have to read ahead
        // while the present request still fills its buffer, and so into another one each time.
        http.half_close(true);
        Self { shared, spawner, http, tasks: RefCell::default(), gone: Rc::default() }
    }

    /// Accepts for ever. A failure is counted and waited out: it is a lack of file descriptors or
    /// memory, and other connections' ends cure it.
    async fn accept(&self, listener: &TcpListener) {
        let mut failing = false;
        for id in 0.. {
            let accepted = loop {
                match first(self.gone.wake.notified(), listener.accept()).await {
                    First::A(()) => self.forget_gone(),
                    First::B(accepted) => break accepted,
                }
            };
            match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    self.admit(id, stream);
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "accepting a connection failed");
                    }
                    failing = true;
                    add(&self.shared.metrics.accept_errors, 1);
                    self.shared.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, id: u64, stream: TcpStream) {
        self.forget_gone();
        let metrics = &self.shared.metrics;
        if self.tasks.borrow().len() >= self.shared.limits.connections_max {
            add(&metrics.refused, 1);
            refuse(stream.get_ref());
            return;
        }
        set_options(&stream);
        add(&metrics.connections, 1);
        let connection = connection(self.shared.clone(), self.http.clone(), stream);
        let leaving = Leaving { id, shared: self.shared.clone(), gone: self.gone.clone() };
        let task = self.spawner.spawn(async move {
            let _leaving = leaving;
            connection.await;
        });
        self.tasks.borrow_mut().insert(id, task);
    }

    fn forget_gone(&self) {
        let mut tasks = self.tasks.borrow_mut();
        for id in self.gone.ids.borrow_mut().drain(..) {
            tasks.remove(&id);
        }
    }

    /// Waits until every connection has ended. Cancel safe.
    async fn drained(&self) {
        loop {
            self.forget_gone();
            if self.tasks.borrow().is_empty() {
                return;
            }
            self.gone.wake.notified().await;
        }
    }

    /// Ends what is left.
    async fn end(self) {
        let tasks = self.tasks.take();
        for (_, task) in tasks {
            task.cancel().await;
        }
    }
}

/// Tells the crowd that a connection has ended, however it did.
struct Leaving {
    id: u64,
    shared: Rc<Shared>,
    gone: Rc<Gone>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        add(&self.shared.metrics.connections, -1);
        self.gone.ids.borrow_mut().push(self.id);
        self.gone.wake.notify();
    }
}

/// The life of one connection.
async fn connection(shared: Rc<Shared>, http: http1::Builder, stream: TcpStream) {
    let (stream, phase) = (Rc::new(stream), Rc::new(Cell::new(Phase::Idle)));
    let socket = Socket::new(
        stream.clone(),
        phase.clone(),
        shared.landing.clone(),
        shared.clock.clone(),
        shared.limits.send_timeout,
    );
    let service = service_fn(|request| answer(shared.clone(), phase.clone(), request));
    let mut served = pin!(http.serve_connection(socket, service));
    let (clock, timeout) = (&shared.clock, shared.limits.receive_timeout);
    let serving = attend(served.as_mut(), &stream, &phase, clock, timeout);
    let ended = match first(serving, shared.closing.notified()).await {
        First::A(ended) => ended,
        First::B(()) => {
            served.as_mut().graceful_shutdown();
            Some(served.await)
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// One connection too many: told so, as far as its socket takes it at once, and closed.
fn refuse(mut stream: &StdStream) {
    let body = Failure::new(code::UNAVAILABLE, "quorate: too many connections").body();
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n";
    let mut sorry = format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    sorry.push_str(&String::from_utf8_lossy(&body));
    // Whether it could be told or not, the connection is closed.
    let _told = stream.write(sorry.as_bytes());
    let _closed = stream.shutdown(Shutdown::Write);
}

/// Answers leave at once, and a client whose machine is gone is noticed within minutes.
fn set_options(stream: &TcpStream) {
    let options = stream.send_at_once().and_then(|()| stream.end_when_silent_for(SILENCE_MAX));
    if let Err(error) = options {
        tracing::debug!(%error, "a socket option could not be set");
    }
}
