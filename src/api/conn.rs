//! One connection's socket, with the two deadlines that a slow or hostile client cannot stretch:
//! a request that has begun must arrive, and an answer must be taken.
//!
//! Both deadlines start only when the client makes the gateway wait, so a request that comes in one
//! piece sets none.
//!
//! While a request is being answered, nothing is read: what a client sends ahead waits in its
//! socket, and a client that goes away takes its request with it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::{AsyncRead as _, AsyncWrite as _};
use hyper::rt::ReadBufCursor;

use crate::env::Clock;
use crate::env::clock::Sleep;
use crate::env::io::TcpStream;

/// What a connection is doing, as far as deadlines care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between two requests: may last for ever.
    Idle,
    /// A request has begun, just now.
    Begun,
    /// A request has begun and is not all there.
    Receiving,
    /// A request has not arrived in time.
    Overdue,
    /// The request is there; the answer is not yet, or is being written.
    Serving,
    /// An answer without an end is being written, and perhaps a request without an end read.
    Streaming,
}

/// Where all connections of a gateway read into first. Each has a buffer of its own, but not one
/// that may be read into without clearing it, and most reads of 8 KiB would find a few hundred
/// bytes or none.
pub(crate) type Landing = Rc<RefCell<Box<[u8]>>>;

/// A socket under its deadlines.
pub(crate) struct Socket {
    stream: Rc<TcpStream>,
    phase: Rc<Cell<Phase>>,
    landing: Landing,
    clock: Clock,
    send_timeout: Duration,
    send: Option<Sleep>,
}

impl Socket {
    /// Puts `stream` under deadlines; `phase` is shared with whoever answers its requests.
    pub(crate) fn new(
        stream: Rc<TcpStream>,
        phase: Rc<Cell<Phase>>,
        landing: Landing,
        clock: Clock,
        send_timeout: Duration,
    ) -> Self {
        Self { stream, phase, landing, clock, send_timeout, send: None }
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

/// Serves a connection until it ends, or (`None`) until its client is gone while it is answered.
/// A request that has begun must be there within `timeout`, or the next read fails.
pub(crate) async fn attend<F: Future>(
    mut served: Pin<&mut F>,
    stream: &TcpStream,
    phase: &Cell<Phase>,
    clock: &Clock,
    timeout: Duration,
) -> Option<F::Output> {
    let mut gone = pin!(stream.ended());
    let mut deadline = None;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = served.as_mut().poll(cx) {
                return Poll::Ready(Some(ended));
            }
            match phase.get() {
                Phase::Begun => {
                    phase.set(Phase::Receiving);
                    deadline = Some(clock.sleep(timeout));
                }
                Phase::Receiving => {}
                Phase::Serving | Phase::Streaming => {
                    deadline = None;
                    match ready!(gone.as_mut().poll(cx)) {
                        // It has sent more ahead: that is looked at after this answer.
                        Ok(false) => gone.set(stream.ended()),
                        Ok(true) | Err(_) => return Poll::Ready(None),
                    }
                }
                Phase::Idle | Phase::Overdue => deadline = None,
            }
            let Some(deadline) = &mut deadline else {
                return Poll::Pending;
            };
            ready!(Pin::new(deadline).poll(cx));
            phase.set(Phase::Overdue);
        }
    })
    .await
}

impl hyper::rt::Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.phase.get() == Phase::Overdue {
            let why = "the request did not arrive in time";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        let mut landing = this.landing.borrow_mut();
        let room = buf.remaining().min(landing.len());
        let len = ready!(Pin::new(&mut &*this.stream).poll_read(cx, &mut landing[..room]))?;
        if len > 0 && this.phase.get() == Phase::Idle {
            this.phase.set(Phase::Begun);
        }
        buf.put_slice(&landing[..len]);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut &*self.stream).poll_write(cx, buf) {
            Poll::Pending => self.wait_to_send(cx),
            ready => {
                self.send = None;
                ready
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.stream).poll_close(cx)
    }
}
