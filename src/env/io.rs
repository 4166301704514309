//! The real reactor: sockets, timers and the loop that drives them. The only file that decides
//! which reactor that is.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream, ToSocketAddrs};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::Async;
use futures_lite::{AsyncRead, AsyncWrite};
use rustix::net::sockopt;

/// A connection: `AsyncRead` and `AsyncWrite`, also through a shared reference, so that one task
/// can read while it writes.
#[derive(Debug)]
pub struct TcpStream(Async<StdStream>);

/// A listening socket.
#[derive(Debug)]
pub struct TcpListener(Async<StdListener>);

impl TcpStream {
    /// Opens a connection to `address`.
    ///
    /// # Errors
    /// What the operating system says. There is no time limit besides its own.
    ///
    /// Cancel safe: dropping it abandons the attempt.
    pub async fn connect(address: impl Into<SocketAddr>) -> io::Result<Self> {
        Ok(Self(Async::<StdStream>::connect(address).await?))
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
        loop {
            self.0.readable().await?;
            match self.get_ref().peek(&mut [0]) {
                Ok(bytes) => return Ok(bytes == 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
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
        Pin::new(&mut &self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for &TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &self.0).poll_write_vectored(cx, bufs)
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
        Ok(Self(Async::<StdListener>::bind(address)?))
    }

    /// Waits for the next connection. Cancel safe.
    ///
    /// # Errors
    /// What the operating system says, for example that there are too many open files.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        Ok((TcpStream(stream), from))
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
        self.0.get_ref()
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
    std::thread::Builder::new()
        .name("quorate-resolve".into())
        .spawn(move || {
            let found = name.to_socket_addrs().and_then(|mut found| {
                found.next().ok_or_else(|| {
                    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
                })
            });
            // Nobody waits any more if this fails.
            let _ = sender.try_send(found);
        })?;
    receiver.recv().await.map_err(io::Error::other)?
}

/// Runs `future` to its end on this thread, and everything that it spawned on `executor`.
pub fn block_on<T>(executor: &smol::LocalExecutor<'_>, future: impl Future<Output = T>) -> T {
    async_io::block_on(executor.run(future))
}
