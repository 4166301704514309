//! Two engines behind one name, each of which speaks with a part of the peers.
//!
//! With raft that is the mistake of an operator who starts a node twice; with helix it is a liar, and
//! the cheapest one: both engines are honest, and together they say two things about nearly everything
//! (Bano and others, "Twins: BFT Systems Made Robust", 2020).

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use futures_lite::FutureExt;

use crate::env::Env;
use crate::env::net::{Net, NetLimits, Wire, net};
use crate::error::Fatal;
use crate::id::NodeId;
use crate::scope::first::{First, first};
use crate::scope::notify::Notify;
use crate::sim::cluster::{SYNC_MAX, SYNC_MIN};
use crate::sim::disk::SimDisk;

/// The future of one life.
pub(crate) type Boxed = Pin<Box<dyn Future<Output = Result<(), Fatal>>>>;

/// Where the twin of a node lives: on an empty disk, and behind a wire of its own.
pub(crate) fn beside(env: &Env, wire: &Wire) -> (Env, Wire) {
    let disk = SimDisk::new(env.clock.clone(), env.rng.fork());
    disk.set_sync_latency(SYNC_MIN, SYNC_MAX);
    let (net, wire) = net(wire.id(), wire.peers(), NetLimits::default());
    let (clock, spawner) = (env.clock.clone(), env.spawner.clone());
    (Env { clock, rng: env.rng.fork(), net, disk: disk.disk(), spawner }, wire)
}

/// Two lives as one, with one wire: with each peer speaks the second one if `second` says so, at
/// that moment. If one ends, both do.
pub(crate) fn pair(
    one: (Boxed, Wire),
    other: (Boxed, Wire),
    second: impl Fn(NodeId) -> bool + 'static,
) -> (Boxed, Wire) {
    let (outer, wire) = net(one.1.id(), one.1.peers(), NetLimits::default());
    let lives = one.0.or(other.0);
    let sharing = share(outer, [one.1, other.1], second);
    let both = async move {
        match first(lives, sharing).await {
            First::A(ended) => ended,
            First::B(never) => match never {},
        }
    };
    (Box::pin(both), wire)
}

async fn share(outer: Net, twins: [Wire; 2], second: impl Fn(NodeId) -> bool) -> Infallible {
    let wake = Notify::new();
    outer.notify_on_arrival(wake.clone());
    for twin in &twins {
        twin.peers().into_iter().for_each(|peer| twin.notify_on_send(peer, wake.clone()));
    }
    loop {
        wake.notified().await;
        while let Some((from, frame)) = outer.receive() {
            twins[usize::from(second(from))].deliver(from, frame);
        }
        for (twin, is_second) in twins.iter().zip([false, true]) {
            for to in twin.peers() {
                while let Some(frame) = twin.take(to) {
                    if second(to) == is_second {
                        outer.send(to, frame);
                    }
                }
            }
        }
    }
}
