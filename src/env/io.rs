//! The real world's sockets and timers, and the loop that drives them.
//!
//! # Two loops
//!
//! - [`Backend::Epoll`]: our own (`reactor.rs`), on Linux. One thread and no other. The program
//!   `quorate` runs on it, and so does whoever calls [`block_on`].
//! - [`Backend::AsyncIo`]: the crate `async-io`, everywhere. It works below *any* executor, which is
//!   what a program needs that polls a node on a loop of its own; the price is a helper thread
//!   named `async-io`, which wakes up several times for each idle wait.
//!
//! A socket or timer belongs to our loop if it is first waited for inside [`block_on`] (on Linux),
//! else to `async-io`. Nobody has to choose, and both kinds work side by side in one process. It
//! stays with that loop: do not carry one out of `block_on` into another executor.

use std::cell::OnceCell;
use std::future::Future;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_io::Async;
use futures_lite::{AsyncRead, AsyncWrite};
use rustix::net::sockopt;

#[cfg(target_os = "linux")]
use crate::env::reactor::{self, Reactor};
#[cfg(target_os = "linux")]
use crate::env::watched::{self, Direction, Watched};

/// Which loop drives sockets and timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Our own, on Linux; elsewhere it is the same as the other one.
    Epoll,
    /// The crate `async-io`.
    AsyncIo,
}

/// A descriptor that one of the two loops watches.
#[derive(Debug)]
pub(super) enum Watch<T> {
    #[cfg(target_os = "linux")]
    Own(Watched<T>),
    Portable(Async<T>),
}

impl<T: AsFd> Watch<T> {
    /// Gives `io`, which must be non-blocking, to the loop that we are in.
    pub(super) fn new(io: T) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(reactor) = Reactor::running() {
            return Ok(Self::Own(Watched::new(&reactor, io)?));
        }
        Ok(Self::Portable(Async::new_nonblocking(io)?))
    }

    pub(super) fn get_ref(&self) -> &T {
        match self {
            #[cfg(target_os = "linux")]
            Self::Own(watched) => watched.get_ref(),
            Self::Portable(io) => io.get_ref(),
        }
    }

    /// Does `operation`, one system call that reads, when it does not block. Cancel safe.
    pub(super) async fn read_with<R>(
        &self,
        operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Own(watched) => watched.when(Direction::Read, operation).await,
            Self::Portable(io) => io.read_with(operation).await,
        }
    }
}

/// A running timer of the loop that we are in.
#[derive(Debug)]
pub(super) enum Timer {
    #[cfg(target_os = "linux")]
    Own(reactor::Timer),
    Portable(async_io::Timer),
}

impl Timer {
    pub(super) fn at(deadline: Instant) -> Self {
        #[cfg(target_os = "linux")]
        if let Some(reactor) = Reactor::running() {
            return Self::Own(reactor::Timer::at(&reactor, deadline));
        }
        Self::Portable(async_io::Timer::at(deadline))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Own(timer) => timer.poll(cx),
            Self::Portable(timer) => Pin::new(timer).poll(cx).map(|_| ()),
        }
    }
}

/// A connection: `AsyncRead` and `AsyncWrite`, also through a shared reference, so that one task
/// can read while it writes. One task at a time may wait for each direction.
#[derive(Debug)]
pub struct TcpStream(Watch<StdStream>);

/// A listening socket. One task at a time may wait for a connection.
#[derive(Debug)]
pub struct TcpListener {
    socket: Rc<StdListener>,
    /// Made at the first wait, because a listener is often bound before any loop runs.
    watch: OnceCell<Watch<Rc<StdListener>>>,
}

impl TcpStream {
    /// Opens a connection to `address`.
    ///
    /// # Errors
    /// What the operating system says. There is no time limit besides its own.
    ///
    /// Cancel safe: dropping it abandons the attempt.
    pub async fn connect(address: impl Into<SocketAddr>) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(reactor) = Reactor::running() {
            let stream = watched::connect(&reactor, address.into()).await?;
            return Ok(Self(Watch::Own(stream)));
        }
        let stream = Async::<StdStream>::connect(address).await?;
        Ok(Self(Watch::Portable(stream)))
    }

    /// Waits until the other side has ended the connection (true), or has sent something although
    /// nothing was asked of it (false; the bytes are not read). It asks the operating system once
    /// per event of the socket, not once per poll.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn ended(&self) -> io::Result<bool> {
        let peek = |socket: &StdStream| socket.peek(&mut [0]);
        Ok(self.0.read_with(peek).await? == 0)
    }

    /// The socket below, for options and addresses; reading or writing it directly is a mistake.
    #[must_use]
    pub fn get_ref(&self) -> &StdStream {
        self.0.get_ref()
    }

    /// Sends small writes at once: whoever coalesces by itself wants no second delay below.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn send_at_once(&self) -> io::Result<()> {
        self.get_ref().set_nodelay(true)
    }

    /// Lets the operating system end the connection when the other side has acknowledged nothing
    /// for about `span` (whole seconds, at least one), whether we were sending or silent. It wakes
    /// nobody while the connection lives.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn end_when_silent_for(&self, span: Duration) -> io::Result<()> {
        let socket = self.get_ref();
        let second = Duration::from_secs(1);
        sockopt::set_socket_keepalive(socket, true)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let millis = u32::try_from(span.max(second).as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(socket, millis)?;
        }
        sockopt::set_tcp_keepidle(socket, (span / 2).max(second))?;
        sockopt::set_tcp_keepintvl(socket, (span / 6).max(second))?;
        Ok(sockopt::set_tcp_keepcnt(socket, 3)?)
    }
}

impl AsyncRead for &TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Watch::Own(watched) => watched.poll_read(cx, buf),
            Watch::Portable(stream) => Pin::new(&mut &*stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for &TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Watch::Own(watched) => {
                watched.poll(cx, Direction::Write, |mut socket| socket.write(buf))
            }
            Watch::Portable(stream) => Pin::new(&mut &*stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Watch::Own(watched) => {
                watched.poll(cx, Direction::Write, |mut socket| socket.write_vectored(bufs))
            }
            Watch::Portable(stream) => Pin::new(&mut &*stream).poll_write_vectored(cx, bufs),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // a socket holds nothing back
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_ref().shutdown(std::net::Shutdown::Write))
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read(cx, buf)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_close(cx)
    }
}

impl TcpListener {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// What the operating system says, for example that the port is in use.
    pub fn bind(address: impl Into<SocketAddr>) -> io::Result<Self> {
        let socket = StdListener::bind(address.into())?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Rc::new(socket), watch: OnceCell::new() })
    }

    /// Waits for the next connection. Cancel safe.
    ///
    /// # Errors
    /// What the operating system says, for example that there are too many open files.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let watch = match self.watch.get() {
            Some(watch) => watch,
            None => {
                let watch = Watch::new(self.socket.clone())?;
                self.watch.get_or_init(|| watch)
            }
        };
        let (stream, from) = watch.read_with(|socket| socket.accept()).await?;
        stream.set_nonblocking(true)?;
        Ok((TcpStream(Watch::new(stream)?), from))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.get_ref().local_addr()
    }

    /// The socket below, for options and addresses.
    #[must_use]
    pub fn get_ref(&self) -> &StdListener {
        &self.socket
    }
}

/// The first address of `host:port`.
///
/// Numeric addresses and `localhost` are answered at once. Any other name is looked up by the
/// operating system, which blocks: that happens on a thread named `quorate-resolve`, which ends
/// with the answer. Dropping the future abandons the answer, not the thread.
///
/// # Errors
/// If the text is no `host:port`, or the name has no address.
pub async fn resolve(endpoint: &str) -> io::Result<SocketAddr> {
    if let Ok(address) = endpoint.parse() {
        return Ok(address);
    }
    if let Some(("localhost", port)) = endpoint.rsplit_once(':')
        && let Ok(port) = port.parse::<u16>()
    {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let (sender, receiver) = async_channel::bounded(1);
    let name = endpoint.to_owned();
    std::thread::Builder::new().name("quorate-resolve".into()).spawn(move || {
        let found = name.to_socket_addrs().and_then(|mut found| {
            found
                .next()
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
        });
        // Nobody waits any more if this fails.
        let _ = sender.try_send(found);
    })?;
    receiver.recv().await.map_err(io::Error::other)?
}

/// Runs `future` to its end on this thread, and meanwhile sockets and timers, on the loop that suits
/// the system best: [`Backend::Epoll`]. The future of a whole program is its executor's:
/// `block_on(executor.run(program))`.
///
/// # Panics
/// Inside another `block_on` of this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    block_on_with(Backend::Epoll, future)
}

/// [`block_on`] on a loop of the caller's choice.
///
/// # Panics
/// With [`Backend::Epoll`], inside another `block_on` of this thread.
pub fn block_on_with<T>(backend: Backend, future: impl Future<Output = T>) -> T {
    match backend {
        #[cfg(target_os = "linux")]
        Backend::Epoll => reactor::block_on(future),
        _ => async_io::block_on(future),
    }
}
