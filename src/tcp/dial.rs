//! One peer that we dial: connect, say hello, send what is queued, and again when it breaks.
//!
//! Frames that were queued before an attempt to connect are cleared: they were meant for a peer
//! that has since been away. What is queued during the attempt is sent.

use std::rc::Rc;
use std::time::Duration;

use crate::env::Rng;
use crate::env::io::{self, TcpStream};
use crate::id::NodeId;
use crate::scope::budget::Budget;
use crate::scope::first::{First, first};
use crate::tcp::frame::{Broken, Outlet};
use crate::tcp::link::{self, Link, NoLink};
use crate::tcp::stats::Cause;
use crate::tcp::transport::{Shared, TcpLimits};

/// Writes of one connection in a row before the other tasks run.
const WRITES_PER_TURN: u32 = 4;

/// The pause before the next attempt.
#[derive(Debug)]
struct Backoff {
    next: Duration,
}

impl Backoff {
    fn new(limits: &TcpLimits) -> Self {
        let next = limits.retry_min;
        Self { next }
    }

    /// A pause between the half and the whole of the present one, which then doubles.
    fn pause(&mut self, limits: &TcpLimits, rng: &Rng) -> Duration {
        let most = self.next;
        self.next = (most * 2).min(limits.retry_max);
        rng.between(most / 2, most)
    }
}

/// Keeps a connection to `peer` for as long as it is polled.
pub(super) async fn run(shared: Rc<Shared>, peer: NodeId, endpoint: String) {
    let limits = shared.limits;
    let mut backoff = Backoff::new(&limits);
    // What was logged last about this peer: the same trouble is said once.
    let mut said = String::new();
    loop {
        shared.wire.clear(peer);
        let trouble = match connect(&shared, peer, &endpoint).await {
            Ok(link) => {
                let since = shared.clock.now();
                let broken = carry(&shared, link).await.to_string();
                tracing::info!(%peer, endpoint, "lost the connection to node {peer}: {broken}");
                said.clear();
                if shared.clock.now().since(since) > limits.retry_max {
                    backoff = Backoff::new(&limits);
                }
                broken
            }
            Err(no_link) => {
                let trouble = no_link.to_string();
                if trouble == said {
                    tracing::debug!(%peer, endpoint, "still no connection: {trouble}");
                } else {
                    tracing::warn!(%peer, endpoint, "no way to node {peer}: {trouble}; retrying");
                    said.clone_from(&trouble);
                }
                trouble
            }
        };
        shared.counters.link(peer, |link| {
            link.outgoing = false;
            link.trouble = Some(trouble);
        });
        let pause = shared.clock.sleep(backoff.pause(&limits, &shared.rng));
        match shared.nudges.get(&peer) {
            Some(nudge) => drop(first(pause, nudge.notified()).await),
            None => pause.await,
        }
    }
}

/// Connects and says hello, within the limit of time for each.
async fn connect(shared: &Shared, peer: NodeId, endpoint: &str) -> Result<Link<TcpStream>, NoLink> {
    let limits = &shared.limits;
    let address = io::resolve(endpoint).await?;
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.send_at_once()?;
        stream.end_when_silent_for(limits.dead_after)?;
        link::dialled(stream, shared.identity, peer).await
    };
    match first(connecting, shared.clock.sleep(limits.handshake)).await {
        First::A(outcome) => outcome,
        First::B(()) => Err(NoLink::TimedOut),
    }
}

/// Sends until the connection breaks; says why it did.
async fn carry(shared: &Shared, link: Link<TcpStream>) -> Broken {
    let Link { stream, peer } = link;
    tracing::info!(%peer, "connected to node {peer}");
    shared.counters.count(|stats| stats.dialled += 1);
    shared.counters.link(peer, |link| {
        link.outgoing = true;
        link.trouble = None;
    });
    // Watching for the end first: a closed connection must not swallow another batch.
    match first(stream.ended(), send(shared, peer, &stream)).await {
        First::A(Ok(true)) => Broken::Closed,
        First::A(Ok(false)) => Broken::Rejected(Cause::NotANode),
        First::A(Err(error)) => Broken::Io(error),
        First::B(broken) => broken,
    }
}

async fn send(shared: &Shared, peer: NodeId, mut stream: &TcpStream) -> Broken {
    let mut outlet = Outlet::new(shared.limits.frame_bytes_max);
    let mut budget = Budget::new(WRITES_PER_TURN);
    loop {
        let frames = gather(shared, peer, &mut outlet);
        if outlet.is_empty() {
            shared.wire.queued(peer).await;
            continue;
        }
        let bytes = outlet.len();
        match outlet.flush(&mut stream).await {
            Err(error) => return Broken::Io(error),
            Ok(writes) => shared.counters.count(|stats| {
                stats.frames_out += frames;
                stats.bytes_out += bytes as u64;
                stats.writes += writes;
            }),
        }
        budget.spend(1).await;
    }
}

/// Moves what is queued into the next write, as far as it fits; returns how many frames.
fn gather(shared: &Shared, peer: NodeId, outlet: &mut Outlet) -> u64 {
    let mut frames = 0;
    while !outlet.is_full()
        && let Some(frame) = shared.wire.take(peer)
    {
        if outlet.push(&frame) {
            frames += 1;
        } else {
            let len = frame.len();
            tracing::warn!(%peer, len, "dropped a frame beyond the limit of the transport");
            shared.counters.count(|stats| stats.oversized += 1);
        }
    }
    frames
}
