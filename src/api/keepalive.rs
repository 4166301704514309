//! `/v3/lease/keepalive`: each request renews a lease and is answered by a line.
//!
//! The leader keeps a lease alive without an entry where that is enough (see
//! [`Lessor`](crate::kv::Lessor)); elsewhere, and on other nodes, a renewal is an entry of
//! the log. Either way a quorum has confirmed it before it is answered.

use std::cell::Cell;
use std::rc::Rc;

use hyper::Response as HttpResponse;
use hyper::body::Incoming;

use crate::api::answer::{streaming, whole};
use crate::api::body::{Answer, Pieces, Stream};
use crate::api::calls::{propose, read};
use crate::api::conn::Phase;
use crate::api::decode::Lease;
use crate::api::fail::{Failure, code};
use crate::api::gateway::Shared;
use crate::api::route::Endpoint;
use crate::api::stream::{Requests, error_line, line};
use crate::kv::Store;
use crate::kv::types::{Command, KvError, Response};
use crate::scope::first::{First, first};

/// Answers the first request, and goes on with a stream.
pub(crate) async fn open(
    shared: Rc<Shared>,
    phase: Rc<Cell<Phase>>,
    body: Incoming,
) -> HttpResponse<Answer> {
    let mut requests = Requests::<Lease>::new(body);
    let first_line = match requests.next().await {
        Some(Ok(lease)) => renew(&shared, lease.id).await,
        // What cannot be read fails with this code on a stream.
        Some(Err(failure)) => Err(Failure::new(code::UNKNOWN, failure.text)),
        None => Ok(Vec::new()),
    };
    match first_line {
        Ok(bytes) if requests.ended() => {
            whole(&shared, &phase, Endpoint::LeaseKeepAlive, Ok(bytes))
        }
        Ok(bytes) => {
            shared.metrics.answered(Endpoint::LeaseKeepAlive, 0);
            let stream = Stream::new(|pieces| session(shared, requests, bytes, pieces));
            streaming(&phase, Answer::Stream(stream))
        }
        Err(failure) => whole(&shared, &phase, Endpoint::LeaseKeepAlive, Err(failure)),
    }
}

async fn session(
    shared: Rc<Shared>,
    mut requests: Requests<Lease>,
    first_line: Vec<u8>,
    mut pieces: Pieces,
) {
    pieces.put(first_line).await;
    loop {
        let request = match first(requests.next(), shared.closing.notified()).await {
            First::A(Some(request)) => request,
            First::A(None) | First::B(()) => return,
        };
        let renewed = match request {
            Ok(lease) => renew(&shared, lease.id).await,
            Err(failure) => Err(failure),
        };
        match renewed {
            Ok(bytes) => pieces.put(bytes).await,
            Err(failure) => {
                pieces.put(error_line(&failure)).await;
                return;
            }
        }
    }
}

/// Renews a lease. One that is gone has no time to live: that is the answer, not an error.
async fn renew(shared: &Rc<Shared>, id: i64) -> Result<Vec<u8>, Failure> {
    if let Some(ttl_s) = shared.leases.keep_alive(id).await {
        let revision = shared.node.read_stale(Store::revision);
        return Ok(renewed(shared, revision, shared.term(), id, ttl_s));
    }
    let (revision, term, ttl_s) = match propose(shared, &Command::LeaseRenew { id }).await {
        Ok((Response::LeaseRenew { revision, ttl_s, .. }, term)) => (revision, term, ttl_s),
        Err(failure) if failure == KvError::LeaseNotFound.into() => {
            let revision = read(shared, Store::revision).await?;
            (revision, shared.term(), 0)
        }
        Ok((other, _)) => {
            let text = format!("quorate: unexpected response {other:?}");
            return Err(Failure::new(code::INTERNAL, text));
        }
        Err(failure) => return Err(failure),
    };
    Ok(renewed(shared, revision, term, id, ttl_s))
}

fn renewed(shared: &Shared, revision: i64, term: u64, id: i64, ttl_s: i64) -> Vec<u8> {
    line(|out| {
        let mut object = shared.begin(out, revision, term);
        object.int("ID", id);
        object.int("TTL", ttl_s);
        object.end();
    })
}
