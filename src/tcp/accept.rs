//! The connections that others open to us: hear the hello, then receive frames until the end.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use crate::env::Time;
use crate::env::io::{TcpListener, TcpStream};
use crate::env::spawn::Task;
use crate::id::NodeId;
use crate::scope::budget::Budget;
use crate::scope::first::{First, first};
use crate::scope::notify::Notify;
use crate::tcp::frame::{Broken, Inlet};
use crate::tcp::link::{self, Link};
use crate::tcp::stats::Cause;
use crate::tcp::transport::Shared;

/// Connections accepted in a row before the other tasks run.
const ACCEPTS_PER_TURN: u32 = 16;

/// Reads of one connection in a row before the other tasks run: up to 256 KiB.
const READS_PER_TURN: u32 = 4;

/// The pause after the operating system failed to accept, for example for want of descriptors:
/// long enough not to spin, short enough for a peer's patience.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An accepted connection.
#[derive(Debug)]
struct Guest {
    task: Task,
    /// It has not yet said hello.
    stranger: Rc<Cell<bool>>,
}

/// Accepts for as long as it is polled; the connections end with it.
pub(super) async fn run(shared: &Rc<Shared>, listener: TcpListener) -> Infallible {
    let mut guests: BTreeMap<u64, Guest> = BTreeMap::new();
    let mut budget = Budget::new(ACCEPTS_PER_TURN);
    for serial in 0.. {
        match listener.accept().await {
            Ok((stream, from)) => {
                shared.counters.count(|stats| stats.accepted += 1);
                guests.retain(|_, guest| !guest.task.is_finished());
                close_oldest_stranger(shared, &mut guests);
                let stranger = Rc::new(Cell::new(true));
                let serving = serve(shared.clone(), serial, stream, from, stranger.clone());
                let task = shared.spawner.spawn(serving);
                guests.insert(serial, Guest { task, stranger });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}; trying again");
                shared.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
        budget.spend(1).await;
    }
    unreachable!("2^64 connections take longer than any machine lives")
}

/// Makes room for one more stranger.
fn close_oldest_stranger(shared: &Shared, guests: &mut BTreeMap<u64, Guest>) {
    let mut strangers = guests.iter().filter(|(_, guest)| guest.stranger.get());
    let oldest = strangers.next().map(|(&serial, _)| serial);
    if let Some(oldest) = oldest
        && strangers.count() + 1 >= shared.limits.handshakes_max
    {
        guests.remove(&oldest);
        reject(shared, Cause::Crowded, "a stranger");
    }
}

/// Counts a connection that is closed for a cause, and says so if that was not said lately.
fn reject(shared: &Shared, cause: Cause, whose: impl Display) {
    if shared.counters.reject(cause, shared.clock.now()) {
        let label = cause.label();
        tracing::warn!(label, "closed a connection of {whose}: {cause} (said once a minute)");
    }
}

/// The life of one accepted connection.
async fn serve(
    shared: Rc<Shared>,
    serial: u64,
    stream: TcpStream,
    from: impl Display,
    stranger: Rc<Cell<bool>>,
) {
    let limits = &shared.limits;
    // Options that cannot be set are a connection that is already gone: the hello will tell.
    let _ = stream.send_at_once();
    let _ = stream.end_when_silent_for(limits.dead_after);
    let is_peer = |node: NodeId| shared.nudges.contains_key(&node);
    let greeting = link::accepted(stream, shared.identity, is_peer);
    let link = match first(greeting, shared.clock.sleep(limits.handshake)).await {
        First::A(Ok(link)) => link,
        First::A(Err(cause)) => return reject(&shared, cause, from),
        First::B(()) => return reject(&shared, Cause::NoHello, from),
    };
    stranger.set(false);
    let peer = link.peer;
    let replaced = take_place(&shared, serial, peer);
    match first(replaced.notified(), receive(&shared, link)).await {
        First::A(()) => shared.counters.count(|stats| stats.replaced += 1),
        First::B(Broken::Rejected(cause)) => reject(&shared, cause, format!("node {peer}")),
        First::B(broken) => tracing::info!(%peer, "node {peer} is gone: {broken}"),
    }
    leave_place(&shared, serial, peer);
}

/// Becomes the incoming connection of `peer`, in place of the one before; returns the notify that
/// will say when it is replaced itself. A peer that dials can be dialled: that is passed on.
fn take_place(shared: &Shared, serial: u64, peer: NodeId) -> Notify {
    let replaced = Notify::new();
    let mut incoming = shared.incoming.borrow_mut();
    let before = incoming.insert(peer, (serial, replaced.clone()));
    drop(incoming);
    if let Some((_, wake)) = before {
        wake.notify();
    }
    shared.counters.link(peer, |link| link.incoming = true);
    if let Some(nudge) = shared.nudges.get(&peer)
        && !shared.counters.can_send_to(peer)
    {
        nudge.notify();
    }
    replaced
}

fn leave_place(shared: &Shared, serial: u64, peer: NodeId) {
    let mut incoming = shared.incoming.borrow_mut();
    if incoming.get(&peer).is_some_and(|&(present, _)| present == serial) {
        incoming.remove(&peer);
        shared.counters.link(peer, |link| link.incoming = false);
    }
}

/// Hands frames to the engine until the connection breaks; says why it did.
async fn receive(shared: &Shared, link: Link<TcpStream>) -> Broken {
    let Link { mut stream, peer } = link;
    let mut inlet = Inlet::new(shared.limits.frame_bytes_max);
    let mut budget = Budget::new(READS_PER_TURN);
    // Since when a part of a frame has been there.
    let mut since = None;
    loop {
        match inlet.take() {
            Err(broken) => return broken,
            Ok(Some(frame)) => {
                since = None;
                shared.counters.count(|stats| stats.frames_in += 1);
                shared.wire.deliver(peer, frame);
            }
            Ok(None) => match arrive(shared, &mut inlet, &mut stream, &mut since).await {
                Err(broken) => return broken,
                Ok(read) => {
                    shared.counters.count(|stats| {
                        stats.bytes_in += read as u64;
                        stats.reads += 1;
                    });
                    budget.spend(1).await;
                }
            },
        }
    }
}

/// Waits for more bytes; if a part of a frame is there, only as long as the rest may take.
async fn arrive(
    shared: &Shared,
    inlet: &mut Inlet,
    stream: &mut TcpStream,
    since: &mut Option<Time>,
) -> Result<usize, Broken> {
    let Some(bytes) = inlet.partial() else {
        *since = None;
        return inlet.fill(stream).await;
    };
    let began = *since.get_or_insert_with(|| shared.clock.now());
    let due = began + shared.limits.patience_with(bytes);
    match first(inlet.fill(stream), shared.clock.sleep_until(due)).await {
        First::A(filled) => filled,
        First::B(()) => Err(Broken::Rejected(Cause::Stalled)),
    }
}
