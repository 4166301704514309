//! The transport over real sockets on loopback: what it carries, what it refuses, how it recovers.

// A test may fail by panicking, and needs other threads to be the rest of the world.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as Socket};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use quorate::env::clock::VirtualClock;
use quorate::env::io::{Backend, TcpListener, block_on_with};
use quorate::env::net::{Net, NetLimits, net};
use quorate::env::spawn::Task;
use quorate::env::{Clock, Rng, Spawner};
use quorate::id::{ClusterId, NodeId};
use quorate::scope::first::{First, first};
use quorate::scope::notify::Notify;
use quorate::tcp::frame::{HEADER, Outlet};
use quorate::tcp::link::{HELLO, Hello, VERSION};
use quorate::tcp::{self, Cause, Counters, Identity, Stats, TcpLimits, Transport};
use smol::LocalExecutor;

const CLUSTER: ClusterId = ClusterId(0xfeed);

/// One node's transport, running as a task.
struct Node {
    net: Net,
    counters: Counters,
    address: SocketAddr,
    wake: Notify,
    running: Task,
}

impl Node {
    async fn receive(&self) -> Bytes {
        loop {
            if let Some((_, frame)) = self.net.receive() {
                return frame;
            }
            self.wake.notified().await;
        }
    }

    fn rejects(&self, cause: Cause) -> u64 {
        *self.counters.stats().rejects.get(&cause).unwrap_or(&0)
    }
}

/// What all nodes of a test share.
struct World {
    clock: Clock,
    spawner: Spawner,
    limits: TcpLimits,
}

/// Runs a test on both loops, one after the other, for 30 s each at most.
fn with_world<F: Future<Output = ()> + 'static>(test: impl Fn(World) -> F) {
    for backend in [Backend::Epoll, Backend::AsyncIo] {
        on_one_loop(backend, &test);
    }
}

fn on_one_loop<F: Future<Output = ()> + 'static>(backend: Backend, test: impl Fn(World) -> F) {
    let executor = Rc::new(LocalExecutor::new());
    let world = World {
        clock: Clock::real(),
        spawner: Spawner::new(executor.clone()),
        limits: TcpLimits {
            retry_min: Duration::from_millis(2),
            retry_max: Duration::from_millis(20),
            ..TcpLimits::default()
        },
    };
    let deadline = world.clock.sleep(Duration::from_secs(30));
    match block_on_with(backend, executor.run(first(test(world), deadline))) {
        First::A(()) => {}
        First::B(()) => panic!("the test hangs on {backend:?}"),
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl World {
    fn start(&self, id: u64, at: TcpListener, peers: &[(u64, SocketAddr)]) -> Node {
        self.start_in(CLUSTER, id, at, peers)
    }

    fn start_in(
        &self,
        cluster: ClusterId,
        id: u64,
        listener: TcpListener,
        peers: &[(u64, SocketAddr)],
    ) -> Node {
        let node = NodeId(id);
        let ids = peers.iter().map(|&(id, _)| NodeId(id));
        let (net, wire) = net(node, ids, NetLimits::default());
        let wake = Notify::new();
        net.notify_on_arrival(wake.clone());
        let counters = Counters::new();
        let address = listener.local_addr().unwrap();
        let endpoint = |&(id, at): &(u64, SocketAddr)| (NodeId(id), at.to_string());
        let transport = Transport {
            wire,
            listener,
            peers: peers.iter().map(endpoint).collect::<BTreeMap<_, _>>(),
            identity: Identity { cluster, node },
            clock: self.clock.clone(),
            rng: Rng::seeded(id),
            spawner: self.spawner.clone(),
            limits: self.limits,
            counters: counters.clone(),
        };
        let running = self.spawner.spawn(async move {
            tcp::run(transport).await;
        });
        Node { net, counters, address, wake, running }
    }

    /// Two nodes that know each other.
    fn pair(&self) -> (Node, Node) {
        let ((one, at_one), (two, at_two)) = (listener(), listener());
        (self.start(1, one, &[(2, at_two)]), self.start(2, two, &[(1, at_one)]))
    }

    /// Waits until the counters of `stats` say so.
    async fn until(&self, counters: &Counters, holds: impl Fn(&Stats) -> bool) -> Stats {
        loop {
            let stats = counters.stats();
            if holds(&stats) {
                return stats;
            }
            Clock::real().sleep(Duration::from_millis(1)).await;
        }
    }

    async fn connected(&self, node: &Node) {
        self.until(&node.counters, |stats| {
            stats.links.values().any(|link| link.outgoing && link.incoming)
        })
        .await;
    }
}

fn incoming(stats: &Stats, peer: u64) -> bool {
    let link = stats.links.get(&NodeId(peer));
    link.is_some_and(|link| link.incoming)
}

fn frame(number: usize, len: usize) -> Bytes {
    let mut bytes = vec![number as u8; len.max(8)];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes.into()
}

#[test]
fn frames_of_all_sizes_arrive_in_order_both_ways() {
    with_world(async |world| {
        let (one, two) = world.pair();
        world.connected(&one).await;
        world.connected(&two).await;
        let sizes = [8, 100, 5_000, 65_528, 70_000, 2 << 20, 9];
        for (number, &len) in sizes.iter().enumerate() {
            one.net.send(NodeId(2), frame(number, len));
            two.net.send(NodeId(1), frame(number, len + 1));
        }
        for (number, &len) in sizes.iter().enumerate() {
            assert!(two.receive().await == frame(number, len), "frame {number}");
            assert!(one.receive().await == frame(number, len + 1), "frame {number}");
        }
    });
}

#[test]
fn frames_queued_together_leave_in_one_write() {
    with_world(async |world| {
        let (one, two) = world.pair();
        world.connected(&one).await;
        for number in 0..1_000 {
            one.net.send(NodeId(2), frame(number, 64));
        }
        for number in 0..1_000 {
            assert_eq!(two.receive().await, frame(number, 64));
        }
        let stats = one.counters.stats();
        assert_eq!((stats.frames_out, stats.writes), (1_000, 1));
        assert_eq!(stats.bytes_out, 76_000);
        let stats = two.counters.stats();
        assert_eq!((stats.frames_in, stats.bytes_in), (1_000, 76_000));
        assert!(stats.reads <= 4, "{} reads", stats.reads);
    });
}

#[test]
fn a_peer_that_comes_back_is_dialled_again_and_stale_frames_are_gone() {
    with_world(async |world| {
        let ((first, at_first), (second, at_second)) = (listener(), listener());
        let one = world.start(1, first, &[(2, at_second)]);
        let two = world.start(2, second, &[(1, at_first)]);
        world.connected(&one).await;
        two.running.cancel().await;
        let gone = |stats: &Stats| stats.links[&NodeId(2)].trouble.is_some();
        world.until(&one.counters, gone).await;
        one.net.send(NodeId(2), frame(1, 8));
        // At least one attempt begins after the frame was queued, and clears it.
        let trouble = one.counters.stats().links[&NodeId(2)].trouble.clone();
        assert!(trouble.is_some());
        Clock::real().sleep(Duration::from_millis(50)).await;
        let again = TcpListener::bind(at_second).unwrap();
        let two = world.start(2, again, &[(1, at_first)]);
        world.connected(&one).await;
        one.net.send(NodeId(2), frame(2, 8));
        assert_eq!(two.receive().await, frame(2, 8), "the stale frame came first");
        assert_eq!(one.counters.stats().dialled, 2);
    });
}

/// What the log of node 1 would say about its only peer.
async fn trouble_of(world: &World, node: &Node) -> String {
    let stats = world
        .until(&node.counters, |stats| stats.links.values().any(|link| link.trouble.is_some()))
        .await;
    let link = stats.links.into_values().find(|link| link.trouble.is_some());
    link.and_then(|link| link.trouble).unwrap()
}

#[test]
fn a_peer_of_another_cluster_is_refused_in_words() {
    with_world(async |world| {
        let ((first, at_first), (second, at_second)) = (listener(), listener());
        let one = world.start(1, first, &[(2, at_second)]);
        let two = world.start_in(ClusterId(7), 2, second, &[(1, at_first)]);
        let said = trouble_of(&world, &one).await;
        assert!(said.contains("another cluster") && said.contains("check"), "{said}");
        world.until(&two.counters, |stats| stats.rejects.contains_key(&Cause::Cluster)).await;
        assert!(!one.counters.can_send_to(NodeId(2)));
    });
}

#[test]
fn a_wrong_address_an_unknown_node_and_a_twin_are_refused_in_words() {
    with_world(async |world| {
        let ((first, _), (second, at_second)) = (listener(), listener());
        let two = world.start(2, second, &[(1, at_second)]);
        let said = trouble_of(&world, &two).await; // it dials itself
        assert!(said.contains("own id"), "{said}");
        let lost = world.start(1, first, &[(3, at_second)]);
        let said = trouble_of(&world, &lost).await;
        assert!(said.contains("another node lives at that address"), "{said}");
        let unknown = world.start(9, listener().0, &[(2, at_second)]);
        let said = trouble_of(&world, &unknown).await;
        assert!(said.contains("add this node to its list of peers"), "{said}");
        for cause in [Cause::SameNode, Cause::NotMe, Cause::NotMember] {
            world.until(&two.counters, |stats| stats.rejects.contains_key(&cause)).await;
        }
    });
}

/// Says `bytes` to the port for peers and returns all that comes back before the end.
async fn say(at: SocketAddr, bytes: Vec<u8>) -> Vec<u8> {
    smol::unblock(move || {
        let mut socket = Socket::connect(at).unwrap();
        // The other side may close while we speak.
        let _ = socket.write_all(&bytes);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        answer
    })
    .await
}

fn hello(version: u16) -> Hello {
    let identity = Identity { cluster: CLUSTER, node: NodeId(2) };
    Hello { version, ..Hello::new(identity, NodeId(1), 0) }
}

#[test]
fn another_version_is_refused_with_ours() {
    with_world(async |world| {
        let one = world.start(1, listener().0, &[(2, ([127, 0, 0, 1], 1).into())]);
        let answer = say(one.address, hello(VERSION + 1).encode().to_vec()).await;
        let answer = Hello::decode(&answer.try_into().unwrap()).unwrap();
        assert_eq!((answer.version, answer.verdict, answer.to), (VERSION, 1, NodeId(2)));
        assert_eq!(one.rejects(Cause::Version), 1);
    });
}

#[test]
fn garbage_on_the_peer_port_costs_its_connection_only() {
    with_world(async |world| {
        let (one, two) = world.pair();
        world.connected(&one).await;
        let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
        assert!(say(one.address, http).await.is_empty());
        assert_eq!(one.rejects(Cause::NotANode), 1);

        let mut damaged = hello(VERSION).encode();
        damaged[20] ^= 1;
        assert!(say(one.address, damaged.to_vec()).await.is_empty());
        assert_eq!(one.rejects(Cause::BadHello), 1);

        for seed in 0..100 {
            let rng = Rng::seeded(seed);
            let noise = (0..40 + rng.below(3_000)).map(|_| rng.u64() as u8);
            assert!(say(one.address, noise.collect()).await.is_empty());
        }
        assert_eq!(one.rejects(Cause::NotANode), 101);

        two.net.send(NodeId(1), frame(1, 8));
        assert_eq!(one.receive().await, frame(1, 8));
    });
}

#[test]
fn a_peer_that_sends_nonsense_after_its_hello_is_cut_off() {
    with_world(async |world| {
        let one = world.start(1, listener().0, &[(2, ([127, 0, 0, 1], 1).into())]);
        let (len, check) = ([0xff; 4], crc32c::crc32c(&[0xff; 4]).to_le_bytes());
        let claim = [hello(VERSION).encode().as_slice(), &len, &check, &[0; 4]].concat();
        assert_eq!(say(one.address, claim).await.len(), HELLO);
        assert_eq!(one.rejects(Cause::FrameTooLarge), 1);
        let noise = [hello(VERSION).encode().as_slice(), &[4, 0, 0, 0], &[9; 8]].concat();
        assert_eq!(say(one.address, noise).await.len(), HELLO);
        assert_eq!(one.rejects(Cause::Checksum), 1);
        assert_eq!(one.net.receive(), None);
        world.until(&one.counters, |stats| !incoming(stats, 2)).await;
    });
}

#[test]
fn a_silent_stranger_is_closed_at_its_deadline() {
    with_world(async |mut world| {
        let time = VirtualClock::new();
        world.clock = Clock::simulated(time.clone());
        let one = world.start(1, listener().0, &[]);
        let mut silent = Socket::connect(one.address).unwrap();
        silent.write_all(&hello(VERSION).encode()[..20]).unwrap();
        world.until(&one.counters, |stats| stats.accepted == 1).await;
        let limit = world.limits.handshake;
        time.advance_to(time.now() + (limit - Duration::from_nanos(1)));
        Clock::real().sleep(Duration::from_millis(5)).await;
        assert_eq!(one.rejects(Cause::NoHello), 0);
        time.advance_to(time.now() + Duration::from_nanos(1));
        world.until(&one.counters, |stats| stats.rejects.contains_key(&Cause::NoHello)).await;
        assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    });
}

#[test]
fn a_peer_that_stops_in_the_middle_of_a_frame_is_closed_when_patience_is_over() {
    with_world(async |mut world| {
        let time = VirtualClock::new();
        world.clock = Clock::simulated(time.clone());
        let one = world.start(1, listener().0, &[(2, ([127, 0, 0, 1], 1).into())]);
        let mut outlet = Outlet::new(1 << 20);
        assert!(outlet.push(&[7; 1000]) && outlet.push(&[8; 1000]));
        let frames = outlet.bytes();
        let mut peer = Socket::connect(one.address).unwrap();
        peer.write_all(&hello(VERSION).encode()).unwrap();
        peer.write_all(&frames[..frames.len() - 1]).unwrap();
        let arrived = |stats: &Stats| stats.bytes_in as usize == frames.len() - 1;
        world.until(&one.counters, arrived).await;
        assert_eq!(one.net.receive().map(|(_, frame)| frame.len()), Some(1000));
        let limit = world.limits.patience_with(1000);
        time.advance_to(time.now() + (limit - Duration::from_nanos(1)));
        Clock::real().sleep(Duration::from_millis(5)).await;
        assert_eq!(one.rejects(Cause::Stalled), 0);
        time.advance_to(time.now() + Duration::from_nanos(1));
        world.until(&one.counters, |stats| stats.rejects.contains_key(&Cause::Stalled)).await;
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut rest = vec![];
        assert!(peer.read_to_end(&mut rest).is_ok(), "it is closed");
    });
}

/// Each byte is progress, but the whole frame has a time, too.
#[test]
fn a_peer_that_drips_is_closed_when_the_time_of_its_frame_is_over() {
    with_world(async |mut world| {
        let time = VirtualClock::new();
        world.clock = Clock::simulated(time.clone());
        let one = world.start(1, listener().0, &[(2, ([127, 0, 0, 1], 1).into())]);
        let mut outlet = Outlet::new(1 << 20);
        assert!(outlet.push(&[7; 1000]));
        let mut peer = Socket::connect(one.address).unwrap();
        peer.set_nodelay(true).unwrap();
        peer.write_all(&hello(VERSION).encode()).unwrap();
        world.until(&one.counters, |stats| incoming(stats, 2)).await;
        let limit = world.limits.patience_with(1000);
        let began = time.now();
        for dropped in 0..20 {
            assert_eq!(one.rejects(Cause::Stalled), 0, "after {dropped} bytes");
            peer.write_all(&outlet.bytes()[dropped..=dropped]).unwrap();
            world.until(&one.counters, |stats| stats.bytes_in as usize == dropped + 1).await;
            time.advance_to(time.now() + limit / 21);
        }
        time.advance_to(began + limit);
        world.until(&one.counters, |stats| stats.rejects.contains_key(&Cause::Stalled)).await;
    });
}

/// What is between two nodes does to the first connection.
#[derive(Clone, Copy)]
enum Foul {
    /// It flips this bit of what follows the hello.
    Flip(usize),
    /// It passes so many bytes after the hello, and then nothing, and closes nothing.
    Stop(usize),
}

/// Carries connections to `to`, the first one badly; returns where it listens.
fn foul_wire(to: SocketAddr, foul: Foul) -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let fouls = std::iter::once(Some(foul)).chain(std::iter::repeat(None));
        for (dialler, foul) in listener.incoming().zip(fouls) {
            let (Ok(dialler), Ok(acceptor)) = (dialler, Socket::connect(to)) else { continue };
            let back = (acceptor.try_clone().unwrap(), dialler.try_clone().unwrap());
            std::thread::spawn(move || pass(dialler, acceptor, foul));
            std::thread::spawn(move || pass(back.0, back.1, None));
        }
    });
    at
}

/// Passes bytes on until either end closes, which closes the other one.
fn pass(mut from: Socket, mut to: Socket, foul: Option<Foul>) {
    let (mut buffer, mut passed) = ([0; 4096], 0);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let mut bytes = &mut buffer[..read];
        match foul {
            Some(Foul::Flip(bit)) => {
                let byte = (HELLO + bit / 8).checked_sub(passed);
                if let Some(byte) = byte.and_then(|byte| bytes.get_mut(byte)) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Some(Foul::Stop(after)) => {
                let left = (HELLO + after).saturating_sub(passed).min(read);
                bytes = &mut bytes[..left];
            }
            None => {}
        }
        passed += read;
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

/// Node 1 sends a frame over a foul wire; node 2 must close it for `cause`, once, and the next
/// connection carries what is sent then.
async fn heals(world: &World, foul: Foul, cause: Cause) {
    let ((first, at_first), (second, at_second)) = (listener(), listener());
    let two = world.start(2, second, &[(1, at_first)]);
    let one = world.start(1, first, &[(2, foul_wire(at_second, foul))]);
    world.connected(&one).await;
    one.net.send(NodeId(2), frame(1, 100));
    world.until(&two.counters, |stats| stats.rejects.contains_key(&cause)).await;
    world.until(&one.counters, |stats| stats.dialled == 2).await;
    one.net.send(NodeId(2), frame(2, 100));
    assert_eq!(two.receive().await, frame(2, 100), "and nothing else");
    assert_eq!(two.counters.stats().rejects, BTreeMap::from([(cause, 1)]));
}

#[test]
fn a_flipped_bit_costs_one_connection_and_the_next_one_carries() {
    with_world(async |world| {
        let lengths = [0, 6, 12, 19, 20, 27, 31];
        let others = [32, 63, 64, 95, HEADER * 8, (HEADER + 100) * 8 - 1];
        for bit in lengths.into_iter().chain(others) {
            heals(&world, Foul::Flip(bit), Cause::Checksum).await;
        }
    });
}

#[test]
fn a_wire_that_stops_in_a_frame_costs_one_connection_and_the_next_one_carries() {
    with_world(async |mut world| {
        world.limits.frame_patience = Duration::from_millis(20);
        for after in [1, 4, HEADER - 1, HEADER, HEADER + 99] {
            heals(&world, Foul::Stop(after), Cause::Stalled).await;
        }
    });
}

#[test]
fn a_crowd_of_strangers_is_bounded_and_keeps_no_peer_out() {
    with_world(async |mut world| {
        world.limits.handshakes_max = 4;
        let ((first, at_first), (second, at_second)) = (listener(), listener());
        let one = world.start(1, first, &[(2, at_second)]);
        let mut crowd: Vec<_> = (0..10).map(|_| Socket::connect(at_first).unwrap()).collect();
        world.until(&one.counters, |stats| stats.accepted == 10).await;
        assert_eq!(one.rejects(Cause::Crowded), 6);
        for oldest in &mut crowd[..6] {
            // Closed, not kept: a reset or an end, and no more waiting.
            oldest.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let ended = oldest.read(&mut [0; 1]);
            let waited = |e: &std::io::Error| e.kind() == ErrorKind::WouldBlock;
            assert!(!ended.as_ref().is_err_and(waited), "{ended:?}");
        }
        let two = world.start(2, second, &[(1, at_first)]);
        world.connected(&two).await;
        drop(crowd);
    });
}

#[test]
fn a_second_connection_of_a_peer_takes_the_place_of_the_first() {
    with_world(async |world| {
        let one = world.start(1, listener().0, &[(2, ([127, 0, 0, 1], 1).into())]);
        let mut before = Socket::connect(one.address).unwrap();
        before.write_all(&hello(VERSION).encode()).unwrap();
        world.until(&one.counters, |stats| incoming(stats, 2)).await;
        let mut after = Socket::connect(one.address).unwrap();
        after.write_all(&hello(VERSION).encode()).unwrap();
        world.until(&one.counters, |stats| stats.replaced == 1).await;
        let mut all = Vec::new();
        before.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), HELLO);
        assert!(incoming(&one.counters.stats(), 2));
    });
}

#[test]
fn dropping_the_scope_ends_its_connections() {
    with_world(async |world| {
        let (one, two) = world.pair();
        world.connected(&one).await;
        one.running.cancel().await;
        let alone = |stats: &Stats| {
            let link = &stats.links[&NodeId(1)];
            !link.incoming && !link.outgoing
        };
        world.until(&two.counters, alone).await;
        assert!(Socket::connect(one.address).is_err(), "the port is still open");
    });
}
