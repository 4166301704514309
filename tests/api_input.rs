//! What clients get wrong, by mistake or on purpose: each gets a clear answer, and the node goes
//! on serving the others.

mod api_support;

use api_support::{Served, post, settle, until, with_server};
use quorate::api::ApiLimits;
use serde_json::json;

const PUT: &str = "/v3/kv/put";
const GOOD: &str = r#"{"key":"YQ==","value":"MQ=="}"#;

/// The node still answers.
async fn is_well(served: &Served) {
    assert_eq!(served.post(PUT, GOOD).await.status, 200);
}

/// Request, status, part of the text.
const REQUESTS: &[(&str, &str, u16, &str)] = &[
    (PUT, "", 400, "key is not provided"),
    (PUT, "{", 400, "EOF while parsing"),
    (PUT, "{\"key\":\"YQ==\",}", 400, "line 1 column 15"),
    (PUT, "[1]", 400, "invalid type"),
    (PUT, "\u{0}\u{1}", 400, "expected value"),
    (PUT, r#"{"key":"Y!=="}"#, 400, "illegal base64 data"),
    (PUT, r#"{"key":"YQ="}"#, 400, "illegal base64 data"),
    (PUT, r#"{"key":7}"#, 400, "base64 string"),
    (PUT, r#"{"key":"YQ==","key":"Yg=="}"#, 400, "duplicate field"),
    (PUT, r#"{"key":"YQ==","lease":"9223372036854775808"}"#, 400, "too large"),
    (PUT, r#"{"key":"YQ==","lease":9223372036854775808}"#, 400, "above 2^63"),
    (PUT, r#"{"key":"YQ==","lease":1.5}"#, 400, "64-bit integer"),
    ("/v3/kv/range", r#"{"key":"YQ==","sort_order":"UP"}"#, 400, "unknown value \"UP\""),
    ("/v3/kv/range", r#"{"key":"YQ==","sort_target":77}"#, 400, "unknown value 77"),
    ("/v3/kv/txn", r#"{"success":[null]}"#, 400, "key not found"),
    (
        "/v3/kv/txn",
        r#"{"success":[{"request_put":{"key":"YQ=="},"request_range":{"key":"YQ=="}}]}"#,
        400,
        "only one thing",
    ),
    ("/v3/kv/nothing", "{}", 404, "Not Found"),
    ("/v3alpha/kv/put", GOOD, 404, "Not Found"),
    ("/livez", "", 405, "Method Not Allowed"),
    ("/v3/watch", "{]", 500, "key must be a string"),
    ("/v3/lease/keepalive", r#"{"ID":"x"}"#, 500, "not an integer"),
];

#[test]
fn a_request_that_makes_no_sense_is_told_what_is_wrong() {
    with_server(ApiLimits::default(), async |served: &Served| {
        for (path, body, status, text) in REQUESTS {
            let answer = served.post(path, body).await;
            assert_eq!(answer.status, *status, "{path} {body}: {answer:?}");
            let json = answer.json();
            assert_eq!(json["error"], json["message"]);
            assert!(json["code"].is_number());
            let said = json["error"].as_str().expect("a text");
            assert!(said.contains(text), "{path} {body}: {said}");
            is_well(served).await;
        }
    });
}

#[test]
fn what_etcd_lets_pass_passes() {
    with_server(ApiLimits::default(), async |served: &Served| {
        for (path, body) in [
            (PUT, r#"{"key":"YQ==","surprise":[{"a":null}]}"#),
            ("/v3/kv/range", r#"{"key":"YQ==","limit":-1}"#),
            ("/v3/kv/range", r#"{"key":"YQ==","limit":"-9223372036854775808"}"#),
            ("/v3/kv/range", r#"{"key":"YQ==","revision":-7}"#),
        ] {
            let answer = served.post(path, body).await;
            assert_eq!(answer.status, 200, "{path} {body}: {answer:?}");
        }
    });
}

#[test]
fn nesting_without_end_is_refused() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let deep = "[".repeat(100_000);
        let answer = served.post(PUT, &format!(r#"{{"x":{deep}"#)).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let txns = r#"{"success":[{"request_txn":"#.repeat(1_000);
        let answer = served.post("/v3/kv/txn", &txns).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        is_well(served).await;
    });
}

#[test]
fn what_is_no_http_is_refused_and_closed() {
    with_server(ApiLimits::default(), async |served: &Served| {
        for bytes in ["\u{1}\u{2}\u{3}\r\n\r\n", "GET\r\n\r\n"] {
            let mut client = served.connect().await;
            client.send(bytes).await;
            assert_eq!(client.head().await.0, 400, "{bytes:?}");
            assert!(client.is_closed().await);
        }
        let mut http2 = served.connect().await;
        http2.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        assert!(http2.is_closed().await);
        let mut client = served.connect().await;
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000));
        client.send(&long).await;
        assert_eq!(client.head().await.0, 431);
        is_well(served).await;
    });
}

#[test]
fn a_body_above_the_limit_is_refused_before_it_is_read() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let mut client = served.connect().await;
        let head = format!("POST {PUT} HTTP/1.1\r\nhost: x\r\ncontent-length: 104857600\r\n\r\n");
        client.send(&head).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 413);
        assert!(answer.json()["error"].as_str().is_some_and(|e| e.contains("too large")));
        assert!(client.is_closed().await);
        is_well(served).await;
    });
}

#[test]
fn a_body_of_unknown_length_is_cut_at_the_limit() {
    let limits = ApiLimits { body_bytes_max: 100_000, ..ApiLimits::default() };
    with_server(limits, async |served: &Served| {
        let mut client = served.connect().await;
        let head = format!("POST {PUT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
        client.send(&head).await;
        let chunk = format!("2710\r\n{}\r\n", " ".repeat(10_000));
        let mut sent = 0;
        while sent < 1000 && client.try_send(&chunk).await.is_ok() {
            sent += 1;
        }
        assert!(sent < 1000, "the server took 10 MB");
        is_well(served).await;
    });
}

#[test]
fn a_command_above_the_limit_is_refused_in_etcds_words() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let value = "AAAA".repeat(540_000);
        let body = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
        let answer = served.post(PUT, &body).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"], json!("etcdserver: request is too large"));
        is_well(served).await;
    });
}

#[test]
fn a_request_that_does_not_arrive_is_given_up_and_an_idle_connection_is_not() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let mut idle = served.connect().await;
        assert_eq!(idle.post(PUT, GOOD).await.status, 200);
        let mut slow_head = served.connect().await;
        slow_head.send("POST /v3/kv/p").await;
        let mut slow_body = served.connect().await;
        slow_body.send(&post(PUT, GOOD)[..60]).await;
        settle().await;
        for _ in 0..8 {
            served.pass(1).await;
            slow_head.send("u").await;
            settle().await;
        }
        assert_eq!(served.status().await["connections"], json!(4));
        served.pass(3).await;
        assert!(slow_head.is_closed().await, "one byte a second is too slow");
        // The body's failure may be told before the end.
        until(async || served.status().await["connections"] == json!(2)).await;
        served.pass(3600).await;
        assert_eq!(idle.post(PUT, GOOD).await.status, 200);
    });
}

#[test]
fn a_client_that_does_not_read_its_answers_is_given_up() {
    with_server(ApiLimits::default(), async |served: &Served| {
        let value = "AAAA".repeat(300_000);
        let big = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
        assert_eq!(served.post(PUT, &big).await.status, 200);
        let mut greedy = served.connect().await;
        for _ in 0..64 {
            greedy.send(&post("/v3/kv/range", r#"{"key":"YQ=="}"#)).await;
        }
        settle().await;
        assert_eq!(served.status().await["connections"], json!(2));
        served.pass(31).await;
        until(async || served.status().await["connections"] == json!(1)).await;
        is_well(served).await;
    });
}

#[test]
fn one_connection_too_many_is_told_so() {
    let limits = ApiLimits { connections_max: 2, ..ApiLimits::default() };
    with_server(limits, async |served: &Served| {
        let mut first = served.connect().await;
        assert_eq!(first.post(PUT, GOOD).await.status, 200);
        let mut second = served.connect().await;
        assert_eq!(second.post(PUT, GOOD).await.status, 200);
        let mut third = served.connect().await;
        let answer = third.answer().await;
        assert_eq!(answer.status, 503);
        assert!(answer.json()["error"].as_str().is_some_and(|e| e.contains("connections")));
        drop(second);
        let free = async || served.connect().await.post(PUT, GOOD).await.status == 200;
        settle().await;
        until(free).await;
        assert_eq!(first.post(PUT, GOOD).await.status, 200);
    });
}

#[test]
fn memory_for_large_bodies_is_limited() {
    let limits = ApiLimits { memory_bytes_max: 1 << 20, ..ApiLimits::default() };
    with_server(limits, async |served: &Served| {
        let value = "AAAA".repeat(400_000);
        let body = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
        let mut client = served.connect().await;
        // The server may close before it has taken everything.
        let _sent = client.try_send(&post(PUT, &body)).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.json()["code"], json!(8));
        is_well(served).await;
    });
}
