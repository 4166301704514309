//! The gateway at work: calls, streams, leases and probes over real sockets.

mod api_support;

use api_support::{Client, Served, post, settle, until, with_server};
use quorate::api::ApiLimits;
use serde_json::{Value, json};

const PUT: &str = "/v3/kv/put";
const RANGE: &str = "/v3/kv/range";
const WATCH: &str = "/v3/watch";

/// Puts `value` (base64) under the key `a`.
async fn put(served: &Served, value: &str) {
    let body = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
    assert_eq!(served.post(PUT, &body).await.status, 200);
}

/// Opens a watch whose request side stays open.
async fn open(served: &Served, path: &str, first: &str) -> Client {
    let mut client = served.connect().await;
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(&head).await;
    say(&mut client, first).await;
    assert_eq!(client.head().await.0, 200);
    client
}

/// Sends one more request on a stream.
async fn say(client: &mut Client, text: &str) {
    client.send(&format!("{:x}\r\n{text}\r\n", text.len())).await;
}

/// Ends the request side of a stream.
async fn fall_silent(client: &mut Client) {
    client.send("0\r\n\r\n").await;
}

fn revisions(line: &Value) -> Vec<String> {
    let events = line["result"]["events"].as_array().expect("events");
    let revision = |event: &Value| event["kv"]["mod_revision"].as_str().map(str::to_owned);
    events.iter().map(|event| revision(event).expect("a revision")).collect()
}

#[test]
fn what_was_put_is_read_on_the_same_connection() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let mut client = served.connect().await;
        let answer = client.post(PUT, r#"{"key":"Zm9v","value":"YmFy"}"#).await;
        assert_eq!(answer.json()["header"]["revision"], json!("2"));
        assert_eq!(answer.json()["header"]["cluster_id"], json!("7"));
        assert_eq!(answer.json()["header"]["member_id"], json!("1"));
        assert!(answer.head.contains("content-type: application/json"));
        for extra in ["", r#","serializable":true"#] {
            let answer = client.post(RANGE, &format!(r#"{{"key":"Zm9v"{extra}}}"#)).await;
            assert_eq!(answer.json()["kvs"][0]["value"], json!("YmFy"));
        }
    });
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let mut client = served.connect().await;
        let one = post(PUT, r#"{"key":"YQ==","prev_kv":true}"#);
        client.send(&one.repeat(50)).await;
        for revision in 2..52 {
            let answer = client.answer().await.json();
            assert_eq!(answer["header"]["revision"], json!(revision.to_string()));
        }
    });
}

#[test]
fn a_watch_tells_what_happens_to_others_and_can_be_cancelled() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let mut watch = open(served, WATCH, r#"{"create_request":{"key":"YQ=="}}"#).await;
        let created = watch.line().await.expect("a line");
        assert_eq!(created["result"]["created"], json!(true));
        put(served, "MQ==").await;
        let told = watch.line().await.expect("a line");
        assert_eq!(told["result"]["events"][0]["kv"]["value"], json!("MQ=="));
        say(&mut watch, r#"{"progress_request":{}}"#).await;
        let progress = watch.line().await.expect("a line");
        assert_eq!(progress["result"]["header"]["revision"], json!("2"));
        say(&mut watch, r#"{"cancel_request":{"watch_id":"0"}}"#).await;
        let cancelled = watch.line().await.expect("a line");
        assert_eq!(cancelled["result"]["canceled"], json!(true));
        fall_silent(&mut watch).await;
        assert_eq!(watch.line().await, None, "nothing is left to tell");
    });
}

#[test]
fn a_request_in_pieces_is_one_request() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let mut watch = open(served, WATCH, r#"{"create_request":{"key":"YQ=="}} {"pro"#).await;
        assert!(watch.line().await.is_some());
        say(&mut watch, r#"gress_request"#).await;
        settle().await;
        say(&mut watch, r#"":{}}"#).await;
        let progress = watch.line().await.expect("a line");
        assert_eq!(progress["result"]["watch_id"], json!("-1"));
        say(&mut watch, "nonsense").await;
        let error = watch.line().await.expect("a line");
        assert_eq!(error["error"]["grpc_code"], json!(3));
        assert_eq!(watch.line().await, None);
    });
}

#[test]
fn a_client_that_goes_away_takes_its_watches_with_it() {
    with_server(ApiLimits::default(), async |served: &Served| {
        for may_ask_more in [true, false] {
            let mut watch = open(served, WATCH, r#"{"create_request":{"key":"YQ=="}}"#).await;
            until(async || served.status().await["watches"] == json!(1)).await;
            if !may_ask_more {
                fall_silent(&mut watch).await;
                settle().await;
            }
            drop(watch);
            until(async || served.status().await["watches"] == json!(0)).await;
        }
    });
}

#[test]
fn a_slow_reader_is_told_everything_in_order() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let create = r#"{"create_request":{"key":"YQ==","prev_kv":true}}"#;
        let mut watch = open(served, WATCH, create).await;
        let value = "AAAA".repeat(4_000);
        for _ in 0..200 {
            put(served, &value).await;
        }
        assert!(watch.line().await.is_some());
        let mut told = Vec::new();
        while told.len() < 200 {
            told.extend(revisions(&watch.line().await.expect("a line")));
        }
        let expected: Vec<_> = (2..202).map(|revision: i32| revision.to_string()).collect();
        assert_eq!(told, expected);
    });
}

#[test]
fn a_reader_beyond_history_is_told_where_history_begins() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let mut watch = open(served, WATCH, r#"{"create_request":{"key":"YQ=="}}"#).await;
        fall_silent(&mut watch).await;
        let value = "AAAA".repeat(80_000);
        for _ in 0..200 {
            put(served, &value).await;
        }
        let held = served.status().await["history_bytes"].as_u64();
        assert!(held < Some(5 << 20), "48 MB were put, {held:?} bytes are held");
        assert!(watch.line().await.is_some());
        let mut told = Vec::new();
        let end = loop {
            let line = watch.line().await.expect("a line");
            if line["result"]["canceled"] == json!(true) {
                break line;
            }
            told.extend(revisions(&line));
        };
        let expected: Vec<_> = (2..2 + told.len()).map(|revision| revision.to_string()).collect();
        assert_eq!(told, expected, "nothing is skipped");
        assert!(told.len() < 200);
        let compacted = end["result"]["compact_revision"].as_str().and_then(|r| r.parse().ok());
        assert!(compacted > Some(told.len() + 2), "{end}");
        assert_eq!(watch.line().await, None, "the stream ends with its last watch");
    });
}

#[test]
fn too_many_watches_on_a_connection_are_refused_on_the_stream() {
    let limits = ApiLimits { watches_max: 2, ..ApiLimits::default() };
    with_server(limits, async |served: &Served| {
        let create = r#"{"create_request":{"key":"YQ=="}}"#;
        let mut watch = open(served, WATCH, &create.repeat(3)).await;
        for _ in 0..2 {
            let line = watch.line().await.expect("a line");
            assert_eq!(line["result"]["canceled"], Value::Null);
        }
        let refused = watch.line().await.expect("a line");
        assert_eq!(refused["result"]["canceled"], json!(true));
    });
}

#[test]
fn a_quiet_watch_is_told_of_progress_if_it_asks() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let create = r#"{"create_request":{"key":"YQ==","progress_notify":true}}"#;
        let mut watch = open(served, WATCH, create).await;
        assert!(watch.line().await.is_some());
        served.post(PUT, r#"{"key":"Yg=="}"#).await;
        served.pass(601).await;
        let progress = watch.line().await.expect("a line");
        assert_eq!(progress["result"]["header"]["revision"], json!("2"));
        assert_eq!(progress["result"]["events"], Value::Null);
    });
}

#[test]
fn a_lease_ends_with_its_keys_unless_it_is_kept_alive() {
    with_server(ApiLimits::default(), async |served: &Served| {
        for id in [5, 6] {
            let grant = format!(r#"{{"TTL":10,"ID":{id}}}"#);
            assert_eq!(served.post("/v3/lease/grant", &grant).await.status, 200);
            let put = format!(r#"{{"key":"{}","lease":{id}}}"#, ["YQ==", "Yg=="][id - 5]);
            assert_eq!(served.post(PUT, &put).await.status, 200);
        }
        let before = served.node.status().last_index;
        let mut alive = open(served, "/v3/lease/keepalive", r#"{"ID":6}"#).await;
        let after = served.node.status().last_index;
        assert_eq!(before, after, "a lease with its full time needs no entry to stay alive");
        for _ in 0..4 {
            let line = alive.line().await.expect("a line");
            assert_eq!(line["result"]["TTL"], json!("10"));
            served.pass(4).await;
            say(&mut alive, r#"{"ID":6}"#).await;
        }
        assert!(alive.line().await.is_some());
        let gone = served.post("/v3/lease/timetolive", r#"{"ID":5}"#).await.json();
        assert_eq!(gone["TTL"], json!("-1"));
        assert_eq!(served.post(RANGE, r#"{"key":"YQ=="}"#).await.json()["count"], Value::Null);
        assert_eq!(served.post(RANGE, r#"{"key":"Yg=="}"#).await.json()["count"], json!("1"));
        served.pass(4).await;
        let left = served.post("/v3/lease/timetolive", r#"{"ID":6}"#).await.json();
        assert_eq!(left["TTL"], json!("6"));
        served.pass(7).await;
        assert_eq!(served.post(RANGE, r#"{"key":"Yg=="}"#).await.json()["count"], Value::Null);
        say(&mut alive, r#"{"ID":6}"#).await;
        let late = alive.line().await.expect("a line");
        assert_eq!(late["result"]["TTL"], Value::Null);
    });
}

#[test]
fn without_leases_and_clients_nothing_waits_for_time() {
    with_server(ApiLimits::default(), async |served: &Served| {
        // A node of helix has other timers before its first block than after it.
        put(served, "MQ==").await;
        settle().await;
        let before = served.time.pending();
        let mut client = served.connect().await;
        for _ in 0..100 {
            client.post(PUT, r#"{"key":"YQ=="}"#).await;
        }
        drop(client);
        // What a decision may wait for before it is written down, in helix.
        served.pass(1).await;
        // A request leaves no timer behind.
        until(async || served.time.pending() <= before).await;
    });
}

#[test]
fn shutting_down_ends_streams_and_idle_connections() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let mut idle = served.connect().await;
        assert_eq!(idle.post(PUT, r#"{"key":"YQ=="}"#).await.status, 200);
        let mut watch = open(served, WATCH, r#"{"create_request":{"key":"YQ=="}}"#).await;
        assert!(watch.line().await.is_some());
        served.stop();
        assert_eq!(watch.line().await, None);
        assert!(idle.is_closed().await);
    });
}

#[test]
fn probes_tell_how_the_node_is() {
    with_server(ApiLimits::default(), async |served: &Served| {
        assert_eq!(served.get("/livez").await.body, "ok\n");
        assert_eq!(served.get("/readyz").await.body, "ok\n");
        assert_eq!(served.get("/health").await.body, r#"{"health":"true"}"#);
        let version = served.get("/version").await.json();
        assert_eq!(version["etcdcluster"], json!("3.4.0"));
        let status = served.post("/v3/maintenance/status", "{}").await.json();
        assert_eq!(status["leader"], json!("1"));
        let members = served.post("/v3beta/cluster/member/list", "{}").await.json();
        assert_eq!(
            members["members"][0]["clientURLs"][0],
            json!(format!("http://{}", served.address))
        );
        put(served, "MQ==").await;
        let own = served.status().await;
        assert_eq!((&own["role"], &own["keys"]), (&json!("leader"), &json!(1)));
        assert!(own["threads"].as_array().is_some_and(|threads| !threads.is_empty()));
        let metrics = served.get("/metrics").await.body;
        for line in [
            "quorate_answers_total{endpoint=\"put\",code=\"0\"} 1",
            "quorate_propose_seconds_count 1",
            "quorate_is_leader 1",
            "quorate_revision 2",
        ] {
            assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
        }
        assert!(metrics.ends_with("# EOF\n"));
    });
}

#[test]
fn a_node_that_has_ended_is_alive_and_not_ready() {
    with_server(ApiLimits::default(), async |served: &Served| {
        served.node.shutdown();
        until(async || served.get("/readyz").await.status == 503).await;
        assert_eq!(served.get("/livez").await.status, 200);
        assert_eq!(served.get("/health").await.status, 503);
        let refused = served.post(PUT, r#"{"key":"YQ=="}"#).await;
        assert_eq!(refused.status, 503);
        assert_eq!(refused.json()["code"], json!(14));
    });
}
