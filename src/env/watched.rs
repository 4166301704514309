//! A descriptor that the reactor watches: edge-triggered, registered once, tried first.
//!
//! What the kernel said last is remembered for each direction. An event says "may succeed", an
//! operation that would block says "will not"; in between, operations are simply tried. That is the
//! whole contract of an edge-triggered `epoll`, and it costs no system call to wait.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net;

use crate::env::reactor::Reactor;

/// One direction of a source.
#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    Read,
    Write,
}

/// What the kernel last said about one direction, and who waits for better news.
struct Side {
    /// An operation may succeed: try it.
    ready: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Side {
    fn new() -> Self {
        Self { ready: Cell::new(true), waiter: RefCell::new(None) }
    }

    fn set_ready(&self) {
        self.ready.set(true);
        let waiter = self.waiter.borrow_mut().take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    fn wait(&self, cx: &Context<'_>) {
        let mut waiter = self.waiter.borrow_mut();
        match &mut *waiter {
            Some(waiter) => waiter.clone_from(cx.waker()),
            None => *waiter = Some(cx.waker().clone()),
        }
    }
}

/// A registered descriptor, as the reactor sees it.
pub(super) struct Source {
    read: Side,
    write: Side,
    /// The other side has said that it sends no more: from now on every read is tried, because the
    /// end is announced by one event only.
    hangup: Cell<bool>,
}

impl Source {
    fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    /// Remembers an event and wakes whom it concerns.
    pub(super) fn tell(&self, flags: epoll::EventFlags) {
        use epoll::EventFlags as Flags;
        let broken = Flags::ERR | Flags::HUP;
        if flags.intersects(broken | Flags::RDHUP) {
            self.hangup.set(true);
        }
        if flags.intersects(Flags::IN | Flags::RDHUP | broken) {
            self.read.set_ready();
        }
        if flags.intersects(Flags::OUT | broken) {
            self.write.set_ready();
        }
    }
}

/// A non-blocking descriptor that the reactor of its thread watches.
///
/// One task may wait for each direction; a second one takes the first one's place.
pub(super) struct Watched<T> {
    io: T,
    token: u64,
    source: Rc<Source>,
    reactor: Rc<Reactor>,
}

impl<T: AsFd> Watched<T> {
    /// Watches `io`, which must be non-blocking.
    pub(super) fn new(reactor: &Rc<Reactor>, io: T) -> io::Result<Self> {
        use epoll::EventFlags as Flags;
        let flags = Flags::IN | Flags::OUT | Flags::RDHUP | Flags::ET;
        let source =
            Rc::new(Source { read: Side::new(), write: Side::new(), hangup: Cell::new(false) });
        let token = reactor.register(&io, flags, source.clone())?;
        Ok(Self { io, token, source, reactor: reactor.clone() })
    }

    pub(super) fn get_ref(&self) -> &T {
        &self.io
    }

    /// Tries `operation` unless it is known to fail; waits when it would block.
    pub(super) fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let side = self.source.side(direction);
        while side.ready.get() {
            match operation(&self.io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => side.ready.set(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return Poll::Ready(outcome),
            }
        }
        side.wait(cx);
        Poll::Pending
    }

    /// [`poll`](Self::poll) as a future. Cancel safe if `operation` is one system call.
    pub(super) async fn when<R>(
        &self,
        direction: Direction,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        poll_fn(|cx| self.poll(cx, direction, &mut operation)).await
    }

    /// Reads a stream. A read that did not fill `buf` has emptied the socket, so the next one waits
    /// for an event without asking first, unless the end has been announced.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>
    where
        for<'a> &'a T: io::Read,
    {
        let room = buf.len();
        let outcome = self.poll(cx, Direction::Read, |mut io| io::Read::read(&mut io, buf));
        if let Poll::Ready(Ok(read)) = outcome
            && read > 0
            && read < room
            && !self.source.hangup.get()
        {
            self.source.read.ready.set(false);
        }
        outcome
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        self.reactor.forget(self.token);
    }
}

impl<T: fmt::Debug> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.io.fmt(f)
    }
}

/// Opens a connection without blocking the loop. Cancel safe: dropping it closes the socket.
pub(super) async fn connect(
    reactor: &Rc<Reactor>,
    address: SocketAddr,
) -> io::Result<Watched<TcpStream>> {
    let family =
        if address.is_ipv4() { net::AddressFamily::INET } else { net::AddressFamily::INET6 };
    let flags = net::SocketFlags::CLOEXEC | net::SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, net::SocketType::STREAM, flags, None)?;
    match net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let watched = Watched::new(reactor, TcpStream::from(socket))?;
    // A socket that is still connecting has neither an error nor a peer.
    let connected = |stream: &TcpStream| match stream.take_error()? {
        Some(error) => Err(error),
        None => match stream.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            outcome => outcome,
        },
    };
    watched.when(Direction::Write, connected).await?;
    Ok(watched)
}
