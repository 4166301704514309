//! Requests as JSON, as a careful client writes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quorate::kv::{
    Command, Compare, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest, WatchRequest,
};
use serde_json::{Value, json};

/// A command that a client can give, with the name of its call.
///
/// # Panics
/// If clients cannot give such a command.
#[must_use]
pub fn command(command: &Command) -> (&'static str, Value) {
    match command {
        Command::Put(request) => ("put", put(request)),
        Command::DeleteRange(request) => ("deleterange", delete_range(request)),
        Command::Txn(request) => ("txn", txn(request)),
        Command::Compact { revision } => ("compaction", json!({ "revision": number(*revision) })),
        Command::LeaseGrant { id, ttl_s } => {
            ("grant", json!({ "ID": number(*id), "TTL": number(*ttl_s) }))
        }
        other => panic!("no client says {other:?}"),
    }
}

/// A read.
#[must_use]
pub fn range(request: &RangeRequest) -> Value {
    json!({
        "key": bytes(&request.key),
        "range_end": bytes(&request.range_end),
        "limit": number(request.limit),
        "revision": number(request.revision),
        "sort_order": request.sort_order as u8,
        "sort_target": request.sort_target as u8,
        "keys_only": request.keys_only,
        "count_only": request.count_only,
        "min_mod_revision": number(request.min_mod_revision),
        "max_mod_revision": number(request.max_mod_revision),
        "min_create_revision": number(request.min_create_revision),
        "max_create_revision": number(request.max_create_revision),
    })
}

/// The beginning of a watch.
#[must_use]
pub fn watch(request: &WatchRequest) -> Value {
    let filters = [(request.no_put, "NOPUT"), (request.no_delete, "NODELETE")];
    let filters = filters.iter().filter(|(on, _)| *on).map(|(_, name)| *name);
    json!({ "create_request": {
        "key": bytes(&request.key),
        "range_end": bytes(&request.range_end),
        "start_revision": number(request.start_revision),
        "prev_kv": request.prev_kv,
        "filters": filters.collect::<Vec<_>>(),
    } })
}

fn bytes(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn number(number: i64) -> String {
    number.to_string()
}

fn put(request: &PutRequest) -> Value {
    json!({
        "key": bytes(&request.key),
        "value": bytes(&request.value),
        "lease": number(request.lease),
        "prev_kv": request.prev_kv,
        "ignore_value": request.ignore_value,
        "ignore_lease": request.ignore_lease,
    })
}

fn delete_range(request: &DeleteRangeRequest) -> Value {
    json!({
        "key": bytes(&request.key),
        "range_end": bytes(&request.range_end),
        "prev_kv": request.prev_kv,
    })
}

fn compare(compare: &Compare) -> Value {
    let (target, name, operand) = match &compare.target {
        CompareTarget::Version(version) => ("VERSION", "version", number(*version)),
        CompareTarget::Create(revision) => ("CREATE", "create_revision", number(*revision)),
        CompareTarget::Mod(revision) => ("MOD", "mod_revision", number(*revision)),
        CompareTarget::Value(value) => ("VALUE", "value", bytes(value)),
        CompareTarget::Lease(lease) => ("LEASE", "lease", number(*lease)),
    };
    json!({
        "key": bytes(&compare.key),
        "range_end": bytes(&compare.range_end),
        "result": compare.result as u8,
        "target": target,
        name: operand,
    })
}

fn txn(request: &TxnRequest) -> Value {
    let op = |op: &RequestOp| match op {
        RequestOp::Range(request) => json!({ "request_range": range(request) }),
        RequestOp::Put(request) => json!({ "request_put": put(request) }),
        RequestOp::DeleteRange(request) => json!({ "request_delete_range": delete_range(request) }),
        RequestOp::Txn(request) => json!({ "request_txn": txn(request) }),
    };
    let ops = |ops: &[RequestOp]| ops.iter().map(op).collect::<Vec<_>>();
    json!({
        "compare": request.compare.iter().map(compare).collect::<Vec<_>>(),
        "success": ops(&request.success),
        "failure": ops(&request.failure),
    })
}
