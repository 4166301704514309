//! The gateway without its sockets, for the fuzz targets alone: the text of a request goes in, and
//! what the store is asked comes out; what the store answers goes in, and its text comes out.

use bytes::Bytes;

use crate::api::body::Collected;
use crate::api::decode;
use crate::api::encode::{self, Object};
use crate::api::fail::Failure;
use crate::kv::types::{Command, RangeRequest, RangeResponse, Response, WatchRequest};

/// What a text asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// A read.
    Range(RangeRequest),
    /// A command to be proposed.
    Command(Command),
    /// A watch; `None` if another message of the stream, which asks the store nothing.
    Watch(Option<WatchRequest>),
}

/// Reads the body of a call by its name in the path, as `put`.
///
/// # Errors
/// The body that tells the client why not.
pub fn request(call: &str, body: &[u8]) -> Result<Request, Vec<u8>> {
    read(call, body).map_err(|failure| failure.body())
}

fn read(call: &str, body: &[u8]) -> Result<Request, Failure> {
    let collected = Collected::of(Bytes::copy_from_slice(body));
    let command = match call {
        "range" => return Ok(Request::Range(decode::request::<decode::Range>(collected)?.into())),
        "watch" => {
            let watch = decode::request::<decode::Watch>(collected)?;
            return Ok(Request::Watch(watch.create_request.map(Into::into)));
        }
        "put" => Command::Put(decode::request::<decode::Put>(collected)?.into()),
        "deleterange" => {
            Command::DeleteRange(decode::request::<decode::DeleteRange>(collected)?.into())
        }
        "txn" => Command::Txn(decode::request::<decode::Txn>(collected)?.try_into()?),
        "compaction" => {
            let decode::Compaction { revision } = decode::request(collected)?;
            Command::Compact { revision }
        }
        _ => {
            let decode::Lease { id, ttl: ttl_s, .. } = decode::request(collected)?;
            Command::LeaseGrant { id, ttl_s }
        }
    };
    Ok(Request::Command(command))
}

/// Takes the watches off the front of a stream; returns how many bytes are left, unless the stream
/// is broken.
#[must_use]
pub fn watches(stream: &[u8]) -> (Vec<WatchRequest>, Option<usize>) {
    let (mut input, mut found) = (stream.to_vec(), Vec::new());
    loop {
        match decode::next_request::<decode::Watch>(&mut input) {
            Some(Ok(watch)) => found.extend(watch.create_request.map(WatchRequest::from)),
            Some(Err(_)) => return (found, None),
            None => return (found, Some(input.len())),
        }
    }
}

/// The text of the answer to a read.
#[must_use]
pub fn range(answer: &RangeResponse) -> Vec<u8> {
    object(|object| encode::range(object, answer))
}

/// The text of the answer to a command.
#[must_use]
pub fn response(answer: &Response) -> Vec<u8> {
    object(|object| match answer {
        Response::Put(put) => encode::put(object, put),
        Response::DeleteRange(deleted) => encode::delete_range(object, deleted),
        Response::Txn(txn) => encode::txn(object, txn),
        _ => {}
    })
}

fn object(fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    fill(&mut object);
    object.end();
    out
}
