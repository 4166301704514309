//! Bodies: a request's, collected within limits, and an answer's, whole or as a stream that is
//! made while it is read.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::api::fail::{Failure, code};
use crate::api::limits::SMALL_BYTES;

/// How many bytes of large bodies and answers are in memory.
#[derive(Debug)]
pub(crate) struct Memory {
    used: Cell<usize>,
    max: usize,
}

impl Memory {
    /// None yet, and at most `max`.
    pub(crate) fn new(max: usize) -> Rc<Self> {
        let used = Cell::new(0);
        Rc::new(Self { used, max })
    }

    /// Counts `bytes` until the loan is dropped; small ones are free.
    pub(crate) fn lend(self: &Rc<Self>, bytes: usize) -> Result<Option<Loan>, Failure> {
        if bytes <= SMALL_BYTES {
            return Ok(None);
        }
        let used = self.used.get() + bytes;
        if used > self.max {
            return Err(Failure::too_many_requests());
        }
        self.used.set(used);
        let memory = self.clone();
        Ok(Some(Loan { memory, bytes }))
    }
}

/// Bytes that are counted as in memory until this is dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    memory: Rc<Memory>,
    bytes: usize,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.memory.used.set(self.memory.used.get() - self.bytes);
    }
}

/// A request's whole body.
#[derive(Debug)]
pub(crate) struct Collected {
    /// Its bytes.
    pub(crate) bytes: Bytes,
    _loan: Option<Loan>,
}

#[cfg(fuzzing)]
impl Collected {
    /// A body that is there without having come through a socket.
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self { bytes, _loan: None }
    }
}

/// Collects a body of at most `max` bytes. One that came in one piece is not copied.
pub(crate) async fn collect(
    mut body: Incoming,
    max: usize,
    memory: &Rc<Memory>,
) -> Result<Collected, Failure> {
    let announced = body.size_hint().lower();
    if announced > max as u64 {
        return Err(too_large(max));
    }
    let Some(first) = next_piece(&mut body).await? else {
        return Ok(Collected { bytes: Bytes::new(), _loan: None });
    };
    if body.is_end_stream() {
        return Ok(Collected { bytes: first, _loan: None });
    }
    let mut loan = None;
    let mut whole = first.to_vec();
    while let Some(piece) = next_piece(&mut body).await? {
        if whole.len() + piece.len() > max {
            return Err(too_large(max));
        }
        whole.extend_from_slice(&piece);
        if loan.is_none() && whole.len() > SMALL_BYTES {
            // A body of unknown length is counted as the longest allowed.
            loan = memory.lend(if announced > 0 { announced as usize } else { max })?;
        }
    }
    Ok(Collected { bytes: whole.into(), _loan: loan })
}

/// The next piece of a body, or `None` at its end.
///
/// Cancel safe: a piece is taken only when it is returned.
pub(crate) async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Some(Err(error)) => {
                let text = format!("the body could not be read: {error}");
                return Err(Failure::malformed(text));
            }
        }
    }
}

fn too_large(max: usize) -> Failure {
    let text = format!("etcdserver: request is too large: a body may have {max} bytes");
    Failure::new(code::INVALID_ARGUMENT, text).with_status(StatusCode::PAYLOAD_TOO_LARGE)
}

/// An answer's body.
pub(crate) enum Answer {
    /// All of it, until it is taken; counted as in memory until the body is dropped.
    Whole { bytes: Option<Bytes>, _loan: Option<Loan> },
    /// Pieces made one at a time, each when the one before has been taken.
    Stream(Stream),
}

impl Answer {
    /// A body that is all there.
    pub(crate) fn whole(bytes: Vec<u8>, loan: Option<Loan>) -> Self {
        Self::Whole { bytes: Some(bytes.into()), _loan: loan }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole { bytes, .. } => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Stream(stream) => {
                stream.poll_next(cx).map(|piece| piece.map(|b| Ok(Frame::data(b))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole { bytes: None, .. })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { bytes, .. } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// A body that a future makes piece by piece, while it is polled for the next one: the scope of
/// the stream. Dropping the body, as happens when the client goes away, drops the future.
pub(crate) struct Stream {
    work: Option<Pin<Box<dyn Future<Output = ()>>>>,
    slot: Rc<Slot>,
}

#[derive(Default)]
struct Slot {
    piece: RefCell<Option<Bytes>>,
    taken: RefCell<Option<Waker>>,
}

/// Where the future puts its pieces. Holds one: a client that does not read holds up its stream.
pub(crate) struct Pieces(Rc<Slot>);

impl Pieces {
    /// Puts a piece, when the one before has been taken.
    ///
    /// Cancel safe: dropped while waiting, the piece is lost and none of it was sent.
    pub(crate) async fn put(&mut self, piece: Vec<u8>) {
        poll_fn(|cx| self.poll_empty(cx)).await;
        self.0.piece.replace(Some(piece.into()));
    }

    /// Ready when a piece can be put without waiting.
    pub(crate) fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.piece.borrow().is_none() {
            return Poll::Ready(());
        }
        self.0.taken.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Stream {
    /// A stream made by the future that `make` returns.
    pub(crate) fn new<F: Future<Output = ()> + 'static>(make: impl FnOnce(Pieces) -> F) -> Self {
        let slot = Rc::<Slot>::default();
        let work = make(Pieces(slot.clone()));
        Self { work: Some(Box::pin(work)), slot }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(work) = &mut self.work
            && work.as_mut().poll(cx).is_ready()
        {
            self.work = None;
        }
        let piece = self.slot.piece.take();
        match (piece, &self.work) {
            (Some(piece), _) => {
                if let Some(waker) = self.slot.taken.take() {
                    waker.wake();
                }
                Poll::Ready(Some(piece))
            }
            (None, Some(_)) => Poll::Pending,
            (None, None) => Poll::Ready(None),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole { .. } => "Answer::Whole",
            Self::Stream(_) => "Answer::Stream",
        })
    }
}
