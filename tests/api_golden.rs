//! The gateway against etcd itself: requests whose answers were recorded from etcd 3.4.23, a fresh
//! single member, in this order. Each is sent to a fresh node; status and JSON must be the same,
//! except for the ids and the term in headers, which the record leaves out.
//!
//! Where etcd's answer is the text of a Go library about malformed JSON, the record has the code
//! only, and where it is no JSON at all, nothing: there our words are our own.

mod api_support;

use api_support::{Served, post, with_helix, with_server};
use quorate::api::ApiLimits;
use serde_json::{Value, json};

/// Takes out what differs from one cluster to another.
fn clean(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in ["cluster_id", "member_id", "raft_term"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(clean);
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        _ => {}
    }
}

/// Takes out what depends on when or in which order: the seconds left, the order of leases.
fn settle(path: &str, value: &mut Value) {
    clean(value);
    if path.ends_with("/timetolive") && value["grantedTTL"] != Value::Null {
        let ttl = value["TTL"].as_str().and_then(|ttl| ttl.parse::<i64>().ok());
        assert!(ttl.is_some_and(|ttl| ttl > 0), "{value}");
        value["TTL"] = json!("some");
    }
    for name in ["keys", "leases"] {
        if let Some(items) = value.get_mut(name).and_then(Value::as_array_mut) {
            items.sort_by_key(Value::to_string);
        }
    }
}

/// Sends one recorded request. Returns what we answer and what etcd answered.
async fn replay(served: &Served, record: &Value) -> (Value, Value) {
    let path = record["path"].as_str().expect("a path");
    let body = record["body"].as_str().expect("a body");
    if let Some(expected) = record["lines"].as_array() {
        let mut client = served.connect().await;
        client.send(&post(path, body)).await;
        let mut ours = Vec::new();
        assert_eq!(client.head().await.0, 200);
        while ours.len() < expected.len()
            && let Some(mut line) = client.line().await
        {
            clean(&mut line);
            ours.push(line);
        }
        return (ours.into(), record["lines"].clone());
    }
    let answer = served.post(path, body).await;
    if let Some(code) = record.get("code") {
        let ours = answer.json();
        assert!(ours["error"].as_str().is_some_and(|text| !text.is_empty()));
        let code_of_ours = if code.is_null() { code } else { &ours["code"] };
        let expected = json!({"status": record["status"], "code": code});
        return (json!({"status": answer.status, "code": code_of_ours}), expected);
    }
    let mut ours = if answer.body.is_empty() {
        Value::Null
    } else if path.ends_with("/keepalive") {
        let lines = answer.body.lines();
        lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect()
    } else {
        answer.json()
    };
    let mut expected = record["answer"].clone();
    settle(path, &mut ours);
    settle(path, &mut expected);
    let status = &record["status"];
    (json!([answer.status, ours]), json!([status, expected]))
}

#[test]
fn every_recorded_request_is_answered_as_etcd_answered_it() {
    let golden = include_str!("golden/etcd34.jsonl");
    let compare = async |served: &Served| {
        let mut differences = Vec::new();
        for line in golden.lines() {
            let record: Value = serde_json::from_str(line).expect("a record is JSON");
            let (ours, expected) = replay(served, &record).await;
            if ours != expected {
                let (path, body) = (&record["path"], &record["body"]);
                differences.push(format!("{path} {body}\n  ours {ours}\n  etcd {expected}"));
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
        assert!(golden.lines().count() > 300);
    };
    with_server(ApiLimits::default(), compare);
    with_helix(ApiLimits::default(), 3, compare);
}
