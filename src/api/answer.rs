//! From a request to its answer: which endpoint, is it allowed, what does it say, what is
//! answered.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};

use crate::api::body::{Answer, collect};
use crate::api::calls;
use crate::api::conn::Phase;
use crate::api::fail::{Failure, code};
use crate::api::gateway::Shared;
use crate::api::keepalive;
use crate::api::probes;
use crate::api::route::Endpoint;
use crate::api::watch;

/// What a handler came to.
pub(crate) type Reply = Result<Vec<u8>, Failure>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Room for headers that a connection keeps from one message to the next; a map of more is dropped.
const HEADERS_KEPT: usize = 32;

/// Answers one request; what goes wrong is an answer, too.
///
/// The answer takes over the emptied map of the request's headers, and hyper uses it again for the
/// next request.
pub(crate) async fn answer(
    shared: Rc<Shared>,
    phase: Rc<Cell<Phase>>,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let mut headers = std::mem::take(request.headers_mut());
    headers.clear();
    if headers.capacity() > HEADERS_KEPT {
        headers = HeaderMap::new();
    }
    let mut response = respond(shared, phase, request).await;
    if !response.headers().contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, JSON);
        *response.headers_mut() = headers;
    }
    Ok(response)
}

async fn respond(
    shared: Rc<Shared>,
    phase: Rc<Cell<Phase>>,
    request: Request<Incoming>,
) -> Response<Answer> {
    let endpoint = Endpoint::of(request.uri().path());
    if !endpoint.allows(request.method()) {
        let failure = Failure::new(code::UNIMPLEMENTED, "Method Not Allowed")
            .with_status(StatusCode::METHOD_NOT_ALLOWED);
        return whole(&shared, &phase, endpoint, Err(failure));
    }
    match endpoint {
        Endpoint::Watch => watch::open(shared, phase, request.into_body()).await,
        Endpoint::LeaseKeepAlive => keepalive::open(shared, phase, request.into_body()).await,
        Endpoint::Metrics | Endpoint::Health | Endpoint::Readyz | Endpoint::Livez => {
            probes::probe(&shared, &phase, endpoint).await
        }
        _ => {
            let reply = unary(&shared, &phase, endpoint, request.into_body()).await;
            whole(&shared, &phase, endpoint, reply)
        }
    }
}

/// A call with one request and one answer.
async fn unary(
    shared: &Rc<Shared>,
    phase: &Cell<Phase>,
    endpoint: Endpoint,
    body: Incoming,
) -> Reply {
    let body = collect(body, shared.limits.body_bytes_max, &shared.memory).await?;
    phase.set(Phase::Serving);
    match endpoint {
        Endpoint::Put => calls::put(shared, body).await,
        Endpoint::Range => calls::range(shared, body).await,
        Endpoint::DeleteRange => calls::delete_range(shared, body).await,
        Endpoint::Txn => calls::txn(shared, body).await,
        Endpoint::Compaction => calls::compaction(shared, body).await,
        Endpoint::LeaseGrant => calls::lease_grant(shared, body).await,
        Endpoint::LeaseRevoke => calls::lease_revoke(shared, body).await,
        Endpoint::LeaseTimeToLive => calls::lease_time_to_live(shared, body).await,
        Endpoint::LeaseLeases => calls::lease_leases(shared).await,
        Endpoint::MemberList => Ok(calls::member_list(shared)),
        Endpoint::MaintenanceStatus => Ok(calls::maintenance_status(shared)),
        Endpoint::Authenticate => Err(Failure::new(
            code::FAILED_PRECONDITION,
            "etcdserver: authentication is not enabled",
        )),
        Endpoint::Version => Ok(probes::version()),
        Endpoint::Status => Ok(probes::status(shared)),
        _ => Err(Failure::new(code::NOT_FOUND, "Not Found")),
    }
}

/// An answer that is all there, counted.
pub(crate) fn whole(
    shared: &Rc<Shared>,
    phase: &Cell<Phase>,
    endpoint: Endpoint,
    reply: Reply,
) -> Response<Answer> {
    phase.set(Phase::Idle);
    let lent = reply.and_then(|bytes| {
        let loan = shared.memory.lend(bytes.len())?;
        Ok(Answer::whole(bytes, loan))
    });
    match lent {
        Ok(answer) => {
            shared.metrics.answered(endpoint, 0);
            Response::new(answer)
        }
        Err(failure) => {
            shared.metrics.answered(endpoint, failure.code);
            let mut response = Response::new(Answer::whole(failure.body(), None));
            *response.status_mut() = failure.status;
            response
        }
    }
}

/// An answer without an end.
pub(crate) fn streaming(phase: &Cell<Phase>, answer: Answer) -> Response<Answer> {
    phase.set(Phase::Streaming);
    Response::new(answer)
}
