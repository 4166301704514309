//! One connection's socket, with the two deadlines that a slow or hostile client cannot stretch:
//! a request that has begun must arrive, and an answer must be taken.
//!
//! Both deadlines start only when the socket first makes the gateway wait, so a request that comes
//! in one piece sets none.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};

use crate::env::Clock;
use crate::env::clock::Sleep;
use crate::env::io::TcpStream;

/// What a connection is doing, as far as deadlines care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between two requests: may last for ever.
    Idle,
    /// A request has begun and is not all there.
    Receiving,
    /// The request is there; the answer is not yet, or is being written.
    Serving,
    /// An answer without an end is being written, and perhaps a request without an end read.
    Streaming,
}

/// A socket under its deadlines.
pub(crate) struct Socket {
    stream: TcpStream,
    phase: Rc<Cell<Phase>>,
    clock: Clock,
    receive_timeout: Duration,
    send_timeout: Duration,
    receive: Option<Sleep>,
    send: Option<Sleep>,
}

impl Socket {
    /// Puts `stream` under deadlines; `phase` is shared with whoever answers its requests.
    pub(crate) fn new(
        stream: TcpStream,
        phase: Rc<Cell<Phase>>,
        clock: Clock,
        receive_timeout: Duration,
        send_timeout: Duration,
    ) -> Self {
        Self { stream, phase, clock, receive_timeout, send_timeout, receive: None, send: None }
    }

    /// The socket has nothing to read: how long may it stay so?
    fn wait_to_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.phase.get() != Phase::Receiving {
            self.receive = None;
            return Poll::Pending;
        }
        let Self { clock, receive, .. } = self;
        let timeout = self.receive_timeout;
        let deadline = receive.get_or_insert_with(|| clock.sleep(timeout));
        Pin::new(deadline).poll(cx).map(|()| {
            let why = "the request did not arrive in time";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }

    /// The socket takes nothing: how long may it stay so?
    fn wait_to_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.phase.get() == Phase::Streaming {
            self.send = None;
            return Poll::Pending;
        }
        let Self { clock, send, .. } = self;
        let timeout = self.send_timeout;
        let deadline = send.get_or_insert_with(|| clock.sleep(timeout));
        Pin::new(deadline).poll(cx).map(|()| {
            let why = "the client does not read its answer";
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(len)) => {
                if len > 0 && self.phase.get() == Phase::Idle {
                    self.phase.set(Phase::Receiving);
                    self.receive = None;
                }
                Poll::Ready(Ok(len))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait_to_receive(cx),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Pending => self.wait_to_send(cx),
            ready => {
                self.send = None;
                ready
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
