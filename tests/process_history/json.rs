//! The words of the HTTP interface: questions as it wants them, answers as the judge wants them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use quorate::kv::{
    Blob, Command, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, Event, EventKind,
    KeyValue, KvError, PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, Response,
    ResponseOp, TxnRequest, TxnResponse, WatchRequest,
};
use quorate::sim::linear::{Answer, Request, Told};
use serde_json::{Value, json};

/// Path and body of a question.
pub(super) fn question(request: &Request) -> (&'static str, String) {
    let (path, body) = match request {
        Request::Range { request, stale } => {
            let mut body = range(request);
            body["serializable"] = json!(stale);
            ("/v3/kv/range", body)
        }
        Request::Command(Command::Put(request)) => ("/v3/kv/put", put(request)),
        Request::Command(Command::DeleteRange(request)) => ("/v3/kv/deleterange", delete(request)),
        Request::Command(Command::Txn(request)) => ("/v3/kv/txn", txn(request)),
        Request::Command(Command::LeaseGrant { id, ttl_s }) => {
            ("/v3/lease/grant", json!({"ID": id.to_string(), "TTL": ttl_s.to_string()}))
        }
        Request::Command(Command::LeaseRevoke { id }) => {
            ("/v3/lease/revoke", json!({"ID": id.to_string()}))
        }
        Request::KeepAlive(id) => ("/v3/lease/keepalive", json!({"ID": id.to_string()})),
        other => unreachable!("no client here asks for {other:?}"),
    };
    (path, body.to_string())
}

fn range(request: &RangeRequest) -> Value {
    json!({"key": BASE64.encode(&request.key), "range_end": BASE64.encode(&request.range_end)})
}

fn put(request: &PutRequest) -> Value {
    json!({
        "key": BASE64.encode(&request.key),
        "value": BASE64.encode(&request.value),
        "lease": request.lease.to_string(),
        "prev_kv": request.prev_kv,
    })
}

fn delete(request: &DeleteRangeRequest) -> Value {
    json!({
        "key": BASE64.encode(&request.key),
        "range_end": BASE64.encode(&request.range_end),
        "prev_kv": request.prev_kv,
    })
}

fn txn(request: &TxnRequest) -> Value {
    let ops = |ops: &[RequestOp]| {
        let op = |op: &RequestOp| match op {
            RequestOp::Range(request) => json!({"request_range": range(request)}),
            RequestOp::Put(request) => json!({"request_put": put(request)}),
            RequestOp::DeleteRange(request) => json!({"request_delete_range": delete(request)}),
            RequestOp::Txn(request) => json!({"request_txn": txn(request)}),
        };
        ops.iter().map(op).collect::<Vec<_>>()
    };
    let compare = |(key, target): (&Vec<u8>, &CompareTarget)| {
        let key = BASE64.encode(key);
        match target {
            CompareTarget::Value(value) => json!({
                "key": key, "target": "VALUE", "result": "EQUAL", "value": BASE64.encode(value),
            }),
            CompareTarget::Create(revision) => json!({
                "key": key, "target": "CREATE", "result": "EQUAL",
                "create_revision": revision.to_string(),
            }),
            other => unreachable!("no client here compares {other:?}"),
        }
    };
    let compares = request.compare.iter().map(|c| compare((&c.key, &c.target)));
    json!({
        "compare": compares.collect::<Vec<_>>(),
        "success": ops(&request.success),
        "failure": ops(&request.failure),
    })
}

/// The request for a watch of every key from a revision on.
pub(super) fn watch(from: i64) -> String {
    let every = BASE64.encode([0]);
    let (key, range_end, start_revision) = (&every, &every, from.to_string());
    let create = json!({"key": key, "range_end": range_end, "start_revision": start_revision});
    json!({"create_request": create}).to_string()
}

/// The same, for the judge.
pub(super) fn watch_request(start_revision: i64) -> WatchRequest {
    WatchRequest { key: vec![0], range_end: vec![0], start_revision, ..WatchRequest::default() }
}

fn int(value: &Value) -> i64 {
    value.as_str().map_or(0, |text| text.parse().expect("a number"))
}

fn blob(value: &Value) -> Blob {
    let text = value.as_str().unwrap_or_default();
    Blob::from(BASE64.decode(text).expect("base64"))
}

fn list<T>(value: &Value, of: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().into_iter().flatten().map(of).collect()
}

/// The revision in the header of an answer.
pub(super) fn revision(answer: &Value) -> i64 {
    int(&answer["header"]["revision"])
}

fn kv(value: &Value) -> KeyValue {
    KeyValue {
        key: blob(&value["key"]),
        value: blob(&value["value"]),
        create_revision: int(&value["create_revision"]),
        mod_revision: int(&value["mod_revision"]),
        version: int(&value["version"]),
        lease: int(&value["lease"]),
    }
}

fn some_kv(value: &Value) -> Option<KeyValue> {
    value.is_object().then(|| kv(value))
}

/// The changes that a watch was told at once.
pub(super) fn events(result: &Value) -> Vec<Event> {
    list(&result["events"], |event| Event {
        kind: if event["type"] == "DELETE" { EventKind::Delete } else { EventKind::Put },
        kv: kv(&event["kv"]),
        prev_kv: some_kv(&event["prev_kv"]),
    })
}

/// What a watch was told at once.
pub(super) fn told(at: u64, result: &Value) -> Told {
    Told { at, events: events(result), up_to: None }
}

/// What an answer says.
pub(super) fn answer(request: &Request, body: &Value) -> Answer {
    let revision = revision(body);
    let response = match request {
        Request::Range { .. } => return Answer::Range(range_response(body)),
        Request::Command(Command::Put(_)) => Response::Put(put_response(body)),
        Request::Command(Command::DeleteRange(_)) => Response::DeleteRange(delete_response(body)),
        Request::Command(Command::Txn(_)) => Response::Txn(txn_response(body)),
        Request::Command(Command::LeaseGrant { .. }) => {
            let (id, ttl_s) = (int(&body["ID"]), int(&body["TTL"]));
            Response::LeaseGrant { revision, id, ttl_s }
        }
        Request::Command(Command::LeaseRevoke { .. }) => Response::LeaseRevoke { revision },
        Request::KeepAlive(_) => {
            return match int(&body["result"]["TTL"]) {
                0 => Answer::Refused(KvError::LeaseNotFound),
                ttl_s => Answer::Kept(ttl_s),
            };
        }
        other => unreachable!("no client here asks for {other:?}"),
    };
    Answer::Done(response)
}

fn range_response(body: &Value) -> RangeResponse {
    RangeResponse {
        revision: revision(body),
        kvs: list(&body["kvs"], kv),
        more: body["more"] == true,
        count: int(&body["count"]),
    }
}

fn put_response(body: &Value) -> PutResponse {
    PutResponse { revision: revision(body), prev_kv: some_kv(&body["prev_kv"]) }
}

fn delete_response(body: &Value) -> DeleteRangeResponse {
    DeleteRangeResponse {
        revision: revision(body),
        deleted: int(&body["deleted"]),
        prev_kvs: list(&body["prev_kvs"], kv),
    }
}

fn txn_response(body: &Value) -> TxnResponse {
    let op = |op: &Value| {
        if op["response_range"].is_object() {
            ResponseOp::Range(range_response(&op["response_range"]))
        } else if op["response_put"].is_object() {
            ResponseOp::Put(put_response(&op["response_put"]))
        } else {
            ResponseOp::DeleteRange(delete_response(&op["response_delete_range"]))
        }
    };
    TxnResponse {
        revision: revision(body),
        succeeded: body["succeeded"] == true,
        responses: list(&body["responses"], op),
    }
}
