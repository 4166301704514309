//! What is asked about the node rather than about its keys: is it alive, is it ready, which
//! version, how does it do.

use std::cell::Cell;
use std::rc::Rc;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::api::ETCD_VERSION;
use crate::api::body::Answer;
use crate::api::conn::Phase;
use crate::api::encode::{Object, push_text};
use crate::api::gateway::Shared;
use crate::api::route::Endpoint;
use crate::env::process::{resident_bytes, thread_names};
use crate::error::Refused;
use crate::node::{Engine, Role};
use crate::scope::first::{First, first};

/// `/version`: etcd's fields, because clients choose their dialect by them, and our own.
pub(crate) fn version() -> Vec<u8> {
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.text("etcdserver", ETCD_VERSION);
    object.text("etcdcluster", "3.4.0");
    object.text("quorate", env!("CARGO_PKG_VERSION"));
    object.end();
    out
}

/// Whether a quorum answers in time; if not, why not.
async fn ready(shared: &Shared) -> Result<(), Refused> {
    let read = shared.node.read(|_| ());
    match first(read, shared.clock.sleep(shared.limits.ready_timeout)).await {
        First::A(answered) => answered,
        First::B(()) => Err(Refused::TimedOut),
    }
}

/// `/livez`, `/readyz`, `/health` and `/metrics`.
pub(crate) async fn probe(
    shared: &Rc<Shared>,
    phase: &Cell<Phase>,
    endpoint: Endpoint,
) -> Response<Answer> {
    phase.set(Phase::Serving);
    let (status, kind, body) = match endpoint {
        // Whoever reads this has an answer from the one loop that does everything.
        Endpoint::Livez => (StatusCode::OK, "text/plain; charset=utf-8", b"ok\n".to_vec()),
        Endpoint::Metrics => (
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            super::metrics::render(shared).into_bytes(),
        ),
        Endpoint::Health => match ready(shared).await {
            Ok(()) => (StatusCode::OK, "application/json", health(true)),
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "application/json", health(false)),
        },
        _ => match ready(shared).await {
            Ok(()) => (StatusCode::OK, "text/plain; charset=utf-8", b"ok\n".to_vec()),
            Err(why) => {
                let body = format!("not ready: {why}\n").into_bytes();
                (StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", body)
            }
        },
    };
    phase.set(Phase::Idle);
    // The codes of OK and of UNAVAILABLE.
    shared.metrics.answered(endpoint, if status == StatusCode::OK { 0 } else { 14 });
    let mut response = Response::new(Answer::whole(body, None));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn health(well: bool) -> Vec<u8> {
    format!("{{\"health\":\"{well}\"}}").into_bytes()
}

/// `/quorate/v1/status`: all that this node knows of itself.
pub(crate) fn status(shared: &Shared) -> Vec<u8> {
    let status = shared.node.status();
    let mut out = Vec::with_capacity(1024);
    let mut object = Object::new(&mut out);
    object.text("version", env!("CARGO_PKG_VERSION"));
    object.number("uptime_ms", millis(shared));
    object.number("node", status.node.0);
    object.text("cluster", &status.cluster.to_string());
    object.text("engine", status.engine.name());
    push_text(object.field("role"), role_name(status.role));
    object.number("term", status.epoch);
    object.number("leader", status.leader.map_or(0, |id| id.0));
    object.number("last_index", status.last_index.0);
    object.number("commit_index", status.commit_index.0);
    object.number("applied_index", status.applied_index.0);
    object.number("journal_bytes", status.vitals.journal_bytes);
    object.number("sync_us", status.vitals.sync_us);
    object.number("loop_lag_us", status.vitals.loop_lag_us);
    object.number("waiting", status.vitals.waiting as u64);
    object.number("frames_dropped", status.vitals.dropped);
    object.number("frames_malformed", status.vitals.malformed);
    object.flag("disk_full", status.vitals.disk_full);
    object.list("members", &shared.members, |out, member| {
        let mut fields = Object::new(out);
        fields.number("id", member.id.0);
        fields.text("name", &member.name);
        fields.text("peer_url", &member.peer_url);
        fields.list("client_urls", &member.client_urls, |out, url| push_text(out, url));
        fields.end();
    });
    engine_fields(&status.engine, &mut object);
    store_fields(shared, &mut object);
    object.number("connections", shared.metrics.connections.get());
    object.number("watches", shared.metrics.watches.get());
    object.number("resident_bytes", resident_bytes());
    object.list("threads", &thread_names(), |out, name| push_text(out, name));
    object.end();
    out
}

/// What only one engine can say.
fn engine_fields(engine: &Engine, object: &mut Object<'_>) {
    match engine {
        Engine::Raft { snapshot_index, first_index, peers } => {
            object.number("snapshot_index", snapshot_index.0);
            object.number("first_index", first_index.0);
            object.list("peers", peers, |out, peer| {
                let mut fields = Object::new(out);
                fields.number("node", peer.node.0);
                fields.number("match_index", peer.match_index.0);
                fields.number("next_index", peer.next_index.0);
                if let Some(heard_ms) = peer.heard_ms {
                    fields.number("heard_ms", heard_ms);
                }
                fields.end();
            });
        }
        Engine::Helix { height, view, evidence, trouble, signed, verified, peers } => {
            object.number("height", height.0);
            object.number("view", view.0);
            if let Some(trouble) = trouble {
                object.text("trouble", trouble);
            }
            object.number("signed", *signed);
            object.number("verified", *verified);
            object.list("evidence", evidence, |out, (node, pieces)| {
                let mut fields = Object::new(out);
                fields.number("node", node.0);
                fields.number("pieces", *pieces);
                fields.end();
            });
            object.list("peers", peers, |out, (node, height, heard_ms)| {
                let mut fields = Object::new(out);
                fields.number("node", node.0);
                fields.number("height", height.0);
                fields.number("heard_ms", *heard_ms);
                fields.end();
            });
        }
    }
}

fn store_fields(shared: &Shared, object: &mut Object<'_>) {
    shared.node.read_stale(|store| {
        object.number("revision", store.revision().unsigned_abs());
        object.number("keys", store.key_count());
        object.number("data_bytes", store.data_bytes());
        object.number("history_bytes", store.history_bytes());
        object.number("leases", store.lease_count() as u64);
    });
}

fn millis(shared: &Shared) -> u64 {
    let uptime = shared.clock.now().since(shared.started);
    u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)
}

/// A role in lower case.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}
