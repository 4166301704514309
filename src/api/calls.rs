//! The calls with one request and one answer: keys and leases.
//!
//! A write is proposed and answered when it has been applied here; a read waits until this node
//! knows that it shows everything answered before, unless the client is content with less.

use std::rc::Rc;

use crate::api::answer::Reply;
use crate::api::body::Collected;
use crate::api::decode;
use crate::api::encode::{self, Object};
use crate::api::fail::{Failure, code};
use crate::api::gateway::Shared;
use crate::kv::Store;
use crate::kv::types::{Command, LeaseStatus, RangeRequest, Response, TxnRequest};

/// Bytes that nearly every answer fits in.
const ANSWER_BYTES: usize = 192;

/// Proposes a command; the term is the epoch that decided it.
pub(crate) async fn propose(
    shared: &Shared,
    command: &Command,
) -> Result<(Response, u64), Failure> {
    let began = shared.clock.now();
    let applied = shared.node.propose(command.encode().into()).await?;
    shared.metrics.propose.observe(shared.clock.now().since(began));
    Ok((applied.response?, applied.epoch))
}

/// Looks at the state linearizably.
pub(crate) async fn read<T>(shared: &Shared, look: impl FnOnce(&Store) -> T) -> Result<T, Failure> {
    Ok(shared.node.read(look).await?)
}

/// An answer with its header and the fields that `fill` adds.
fn answer(
    shared: &Shared,
    revision: i64,
    term: u64,
    fill: impl FnOnce(&mut Object<'_>),
) -> Vec<u8> {
    let mut out = Vec::with_capacity(ANSWER_BYTES);
    let mut object = shared.begin(&mut out, revision, term);
    fill(&mut object);
    object.end();
    out
}

/// A response of another kind than the command's: the state machine breaks its word.
fn mismatch(response: &Response) -> Failure {
    Failure::new(code::INTERNAL, format!("quorate: unexpected response {response:?}"))
}

/// `/v3/kv/put`.
pub(crate) async fn put(shared: &Rc<Shared>, body: Collected) -> Reply {
    let command = Command::Put(decode::request::<decode::Put>(body)?.into());
    match propose(shared, &command).await? {
        (Response::Put(put), term) => Ok(answer(shared, put.revision, term, |object| {
            encode::put(object, &put);
        })),
        (other, _) => Err(mismatch(&other)),
    }
}

/// `/v3/kv/range`.
pub(crate) async fn range(shared: &Rc<Shared>, body: Collected) -> Reply {
    let request: decode::Range = decode::request(body)?;
    let serializable = request.serializable;
    let request = RangeRequest::from(request);
    let look = |store: &Store| store.range(&request);
    let range =
        if serializable { shared.node.read_stale(look) } else { read(shared, look).await? }?;
    Ok(answer(shared, range.revision, shared.term(), |object| encode::range(object, &range)))
}

/// `/v3/kv/deleterange`.
pub(crate) async fn delete_range(shared: &Rc<Shared>, body: Collected) -> Reply {
    let command = Command::DeleteRange(decode::request::<decode::DeleteRange>(body)?.into());
    match propose(shared, &command).await? {
        (Response::DeleteRange(deleted), term) => {
            Ok(answer(shared, deleted.revision, term, |object| {
                encode::delete_range(object, &deleted);
            }))
        }
        (other, _) => Err(mismatch(&other)),
    }
}

/// `/v3/kv/txn`. One that only reads is a read: it leaves no trace in the log.
pub(crate) async fn txn(shared: &Rc<Shared>, body: Collected) -> Reply {
    let request: TxnRequest = decode::request::<decode::Txn>(body)?.try_into()?;
    if request.is_read_only()
        && let Some(txn) = read(shared, |store| store.txn(&request)).await??
    {
        let term = shared.term();
        return Ok(answer(shared, txn.revision, term, |object| encode::txn(object, &txn)));
    }
    match propose(shared, &Command::Txn(request)).await? {
        (Response::Txn(txn), term) => Ok(answer(shared, txn.revision, term, |object| {
            encode::txn(object, &txn);
        })),
        (other, _) => Err(mismatch(&other)),
    }
}

/// `/v3/kv/compaction`.
pub(crate) async fn compaction(shared: &Rc<Shared>, body: Collected) -> Reply {
    let decode::Compaction { revision } = decode::request(body)?;
    match propose(shared, &Command::Compact { revision }).await? {
        (Response::Compact { revision }, term) => Ok(answer(shared, revision, term, |_| ())),
        (other, _) => Err(mismatch(&other)),
    }
}

/// `/v3/lease/grant`.
pub(crate) async fn lease_grant(shared: &Rc<Shared>, body: Collected) -> Reply {
    let decode::Lease { id, ttl: ttl_s, .. } = decode::request(body)?;
    match propose(shared, &Command::LeaseGrant { id, ttl_s }).await? {
        (Response::LeaseGrant { revision, id, ttl_s }, term) => {
            Ok(answer(shared, revision, term, |object| {
                object.int("ID", id);
                object.int("TTL", ttl_s);
            }))
        }
        (other, _) => Err(mismatch(&other)),
    }
}

/// `/v3/lease/revoke`.
pub(crate) async fn lease_revoke(shared: &Rc<Shared>, body: Collected) -> Reply {
    let decode::Lease { id, .. } = decode::request(body)?;
    match propose(shared, &Command::LeaseRevoke { id }).await? {
        (Response::LeaseRevoke { revision }, term) => Ok(answer(shared, revision, term, |_| ())),
        (other, _) => Err(mismatch(&other)),
    }
}

/// `/v3/lease/timetolive`. The time left is the last one agreed on, or what this node counted if
/// it leads.
pub(crate) async fn lease_time_to_live(shared: &Rc<Shared>, body: Collected) -> Reply {
    let decode::Lease { id, keys, .. } = decode::request(body)?;
    let look = |store: &Store| (store.revision(), store.lease(id, keys));
    let (revision, mut lease) = read(shared, look).await?;
    if let Some(lease) = &mut lease
        && let Some(remaining_s) = shared.leases.remaining_s(id)
    {
        lease.remaining_s = remaining_s;
    }
    Ok(answer(shared, revision, shared.term(), |object| {
        object.int("ID", id);
        match lease {
            Some(lease) => lease_fields(object, &lease),
            None => object.int("TTL", -1),
        }
    }))
}

fn lease_fields(object: &mut Object<'_>, lease: &LeaseStatus) {
    object.int("TTL", lease.remaining_s);
    object.int("grantedTTL", lease.granted_ttl_s);
    object.list("keys", &lease.keys, |out, key| encode::push_base64(out, key));
}

/// `/v3/lease/leases`.
pub(crate) async fn lease_leases(shared: &Rc<Shared>) -> Reply {
    let (revision, leases) = read(shared, |store| (store.revision(), store.leases())).await?;
    Ok(answer(shared, revision, shared.term(), |object| {
        object.list("leases", &leases, |out, &id| {
            let mut lease = Object::new(out);
            lease.int("ID", id);
            lease.end();
        });
    }))
}

/// `/v3/cluster/member/list`.
pub(crate) fn member_list(shared: &Shared) -> Vec<u8> {
    // etcd's header has no revision here.
    answer(shared, 0, shared.term(), |object| {
        object.list("members", &shared.members, |out, member| {
            let mut fields = Object::new(out);
            fields.uint("ID", member.id.0);
            fields.text("name", &member.name);
            let peer_urls = std::slice::from_ref(&member.peer_url);
            if !member.peer_url.is_empty() {
                fields.list("peerURLs", peer_urls, |out, url| {
                    encode::push_text(out, url);
                });
            }
            fields.list("clientURLs", &member.client_urls, |out, url| {
                encode::push_text(out, url);
            });
            fields.end();
        });
    })
}

/// `/v3/maintenance/status`.
pub(crate) fn maintenance_status(shared: &Shared) -> Vec<u8> {
    let status = shared.node.status();
    let (revision, bytes) = shared.node.read_stale(|store| (store.revision(), store.data_bytes()));
    answer(shared, revision, status.epoch, |object| {
        object.text("version", super::ETCD_VERSION);
        object.uint("dbSize", bytes);
        object.uint("leader", status.leader.map_or(0, |id| id.0));
        object.uint("raftIndex", status.commit_index.0);
        object.uint("raftTerm", status.epoch);
        object.uint("raftAppliedIndex", status.applied_index.0);
        object.uint("dbSizeInUse", bytes);
    })
}
