//! A node runs on any executor of one thread: here on one of our own, which is as simple as one can
//! be, below the crate's loop of sockets and below `async-io`'s.

#![allow(clippy::disallowed_types)] // a waker is Send, whoever wakes it

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::Ipv4Addr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use bytes::Bytes;
use quorate::env::io::{Backend, TcpListener, block_on_with};
use quorate::env::net::{NetLimits, net};
use quorate::env::spawn::{LocalFuture, Task};
use quorate::env::{Clock, Disk, Env, Rng, Spawner};
use quorate::id::ClusterId;
use quorate::tcp::{self, Counters, Identity, TcpLimits, Transport};
use quorate::{Committed, Config, NodeId, StateMachine, raft};

/// Which tasks want to be polled, and who is to be woken when one does.
#[derive(Default)]
struct Ready {
    tasks: Vec<u64>,
    sleeper: Option<Waker>,
}

/// The waker of one task.
struct Turn(u64, Arc<Mutex<Ready>>);

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        let mut ready = self.1.lock().expect("nobody panics");
        ready.tasks.push(self.0);
        if let Some(sleeper) = ready.sleeper.take() {
            sleeper.wake();
        }
    }
}

/// Polls futures on this thread. The table holds each that is not being polled.
#[derive(Default, Clone)]
struct Executor {
    tasks: Rc<RefCell<BTreeMap<u64, Option<LocalFuture>>>>,
    ready: Arc<Mutex<Ready>>,
}

/// Ends its task when dropped.
struct Handle(u64, Executor);

impl Drop for Handle {
    fn drop(&mut self) {
        let ended = self.1.tasks.borrow_mut().remove(&self.0);
        drop(ended);
    }
}

impl Executor {
    fn spawn(&self, future: LocalFuture) -> Handle {
        let mut tasks = self.tasks.borrow_mut();
        let id = tasks.keys().next_back().map_or(0, |last| last + 1);
        tasks.insert(id, Some(future));
        Arc::new(Turn(id, self.ready.clone())).wake();
        Handle(id, self.clone())
    }

    fn turn(&self, id: u64) {
        let Some(mut future) = self.tasks.borrow_mut().get_mut(&id).and_then(Option::take) else {
            return;
        };
        let waker = Arc::new(Turn(id, self.ready.clone())).into();
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            && let Some(place) = self.tasks.borrow_mut().get_mut(&id)
        {
            *place = Some(future);
        }
    }

    /// Runs `program`, and all tasks meanwhile.
    async fn run<T>(&self, program: impl Future<Output = T>) -> T {
        let mut program = pin!(program);
        poll_fn(|cx| {
            let woken = {
                let mut ready = self.ready.lock().expect("nobody panics");
                ready.sleeper = Some(cx.waker().clone());
                std::mem::take(&mut ready.tasks)
            };
            for id in woken {
                self.turn(id);
            }
            program.as_mut().poll(cx)
        })
        .await
    }
}

struct Sum(u64);

impl StateMachine for Sum {
    type Response = u64;

    fn apply(&mut self, entry: Committed<'_>) -> u64 {
        self.0 += entry.payload.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        self.0
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        Box::new(std::iter::once(self.0.to_le_bytes().to_vec()))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.0 = u64::from_le_bytes(snapshot.try_into().map_err(|_| "eight bytes")?);
        Ok(())
    }
}

struct Member {
    node: raft::Node<Sum>,
    life: Task<()>,
    transport: Task<()>,
}

fn members(spawner: &Spawner) -> Vec<Member> {
    let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let listeners: Vec<_> = (1..=3).map(listen).collect();
    let address = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
    let ids = (1..=3).map(NodeId);
    let addresses: BTreeMap<_, _> = ids.clone().zip(listeners.iter().map(address)).collect();
    let member = |(me, listener)| {
        let mut peers = addresses.clone();
        peers.remove(&me);
        let (net, wire) = net(me, peers.keys().copied(), NetLimits::default());
        let (clock, rng, spawner) = (Clock::real(), Rng::real(), spawner.clone());
        let cluster = ClusterId(7);
        let config = Config::new(me, cluster, ids.clone()).expect("valid");
        let disk = Disk::memory();
        let env = Env { clock: clock.clone(), rng: rng.fork(), net, disk, spawner };
        let spawner = env.spawner.clone();
        let started = raft::Node::start(config, env, Sum(0), Default::default());
        let (node, life) = started.expect("an empty journal opens");
        let transport = Transport {
            wire,
            listener,
            peers,
            identity: Identity { cluster, node: me },
            clock,
            rng,
            spawner: spawner.clone(),
            limits: TcpLimits::default(),
            counters: Counters::default(),
        };
        let carrying = async { match tcp::run(transport).await {} };
        let life = async { life.await.expect("it ends in good order") };
        Member { node, life: spawner.spawn(life), transport: spawner.spawn(carrying) }
    };
    ids.clone().zip(listeners).map(member).collect()
}

/// Three members agree, all end, and no task is left.
fn agree(backend: Backend) {
    let executor = Executor::default();
    let spawner = Spawner::with({
        let executor = executor.clone();
        move |future| executor.spawn(future)
    });
    block_on_with(
        backend,
        executor.clone().run(async {
            let members = members(&spawner);
            for (turn, member) in members.iter().enumerate() {
                let applied = member.node.propose(Bytes::from_static(&[2])).await.expect("decided");
                assert_eq!(applied.response, 2 * (turn as u64 + 1));
            }
            for member in &members {
                assert_eq!(member.node.read(|sum| sum.0).await, Ok(6));
            }
            for Member { node, life, transport } in members {
                node.shutdown();
                life.await;
                assert_eq!(transport.cancel().await, None, "a transport does not end by itself");
            }
        }),
    );
    assert!(executor.tasks.borrow().is_empty());
}

#[test]
fn three_members_agree_on_an_executor_of_our_own() {
    agree(Backend::Epoll);
}

#[test]
fn three_members_agree_on_an_executor_of_our_own_below_async_io() {
    agree(Backend::AsyncIo);
}
