//! Calls whose request is a stream of JSON objects and whose answer is one, too: each object of
//! the answer on a line of its own, as `{"result":...}`.

use std::marker::PhantomData;

use hyper::body::Incoming;
use serde::Deserialize;

use crate::api::body::next_piece;
use crate::api::decode;
use crate::api::encode::Object;
use crate::api::fail::{Failure, code};
use crate::api::limits::STREAM_REQUEST_BYTES_MAX;

/// The requests of a stream, as they arrive.
pub(crate) struct Requests<T> {
    body: Option<Incoming>,
    buffer: Vec<u8>,
    kind: PhantomData<T>,
}

impl<T: for<'a> Deserialize<'a> + Default> Requests<T> {
    /// The requests in `body`.
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body: Some(body), buffer: Vec::new(), kind: PhantomData }
    }

    /// Whether no more can come.
    pub(crate) fn ended(&self) -> bool {
        self.body.is_none() && self.buffer.is_empty()
    }

    /// The next request, or `None` when the client has closed its side.
    ///
    /// Cancel safe: what has arrived is kept here.
    pub(crate) async fn next(&mut self) -> Option<Result<T, Failure>> {
        loop {
            if let Some(request) = decode::next_request(&mut self.buffer) {
                if request.is_err() {
                    self.close();
                }
                return Some(request);
            }
            let piece = match &mut self.body {
                Some(body) => next_piece(body).await,
                None => Ok(None),
            };
            match piece {
                Ok(Some(piece)) if self.buffer.len() + piece.len() > STREAM_REQUEST_BYTES_MAX => {
                    self.close();
                    let text = "etcdserver: request is too large";
                    return Some(Err(Failure::new(code::INVALID_ARGUMENT, text)));
                }
                Ok(Some(piece)) => self.buffer.extend_from_slice(&piece),
                Ok(None) => return self.end(),
                Err(failure) => {
                    self.close();
                    return Some(Err(failure));
                }
            }
        }
    }

    fn close(&mut self) {
        self.body = None;
        self.buffer.clear();
    }

    /// The client has closed its side: a rest that is no request is an error.
    fn end(&mut self) -> Option<Result<T, Failure>> {
        let cut = !self.buffer.trim_ascii().is_empty();
        self.close();
        cut.then(|| Err(Failure::malformed("the last request is cut off")))
    }
}

/// A line of an answer: `{"result":{...}}`.
pub(crate) fn line(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut object = Object::new(&mut out);
    fill(object.field("result"));
    object.end();
    out.push(b'\n');
    out
}

/// The line with which a stream ends in failure.
pub(crate) fn error_line(failure: &Failure) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut object = Object::new(&mut out);
    let mut error = object.object("error");
    error.number("grpc_code", failure.code.into());
    error.number("http_code", failure.status.as_u16().into());
    error.text("message", &failure.text);
    error.text("http_status", failure.status.canonical_reason().unwrap_or_default());
    error.end();
    object.end();
    out.push(b'\n');
    out
}
