//! A crowd at the gateway: many more connections than it takes. Those within the limit
//! are served, the surplus is told why and closed, and costs nothing that stays.
//!
//! A file and so a process of its own, because it looks at the memory and the files of the process.

mod api_support;

use std::fs;

use api_support::{Client, Served, with_server};
use quorate::api::ApiLimits;
use serde_json::json;

const PUT: &str = "/v3/kv/put";
const STATUS: &str = "GET /quorate/v1/status HTTP/1.1\r\nhost: x\r\n\r\n";

/// The connections that are served: client and server together have two files open for each.
const SERVED: usize = 200;
/// Connections beyond them, at a time and in all.
const WAVE: usize = 100;
const WAVES: usize = 20;

/// Pages of this process that are in memory, in KiB; `None` where the system does not say.
fn resident_kib() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * 4)
}

fn open_files() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count())
}

/// One wave of connections too many, all open at the same time.
async fn surplus(served: &Served) {
    let mut wave = Vec::new();
    for _ in 0..WAVE {
        wave.push(served.connect().await);
    }
    for client in &mut wave {
        let answer = client.answer().await;
        assert_eq!(answer.status, 503);
        assert!(answer.head.contains("connection: close"));
        let error = answer.json();
        assert_eq!(error["error"], json!("quorate: too many connections"));
        assert!(client.is_closed().await);
    }
}

async fn put(client: &mut Client, number: usize) {
    let body = format!(r#"{{"key":"YQ==","value":"MQ==","lease":0,"n":{number}}}"#);
    assert_eq!(client.post(PUT, &body).await.status, 200);
}

#[test]
fn a_crowd_beyond_the_limit_is_refused_and_the_others_are_served() {
    let limits = ApiLimits { connections_max: SERVED, ..ApiLimits::default() };
    with_server(limits, async |served: &Served| {
        let mut guests = Vec::new();
        for number in 0..SERVED {
            let mut guest = served.connect().await;
            put(&mut guest, number).await;
            guests.push(guest);
        }
        surplus(served).await;
        let (memory, files) = (resident_kib(), open_files());
        for (wave, guest) in guests.iter_mut().enumerate().take(WAVES) {
            surplus(served).await;
            put(guest, wave).await;
        }
        if let (Some(before), Some(after)) = (memory, resident_kib()) {
            let grown = after.saturating_sub(before);
            assert!(grown < 2048, "{} refusals cost {grown} KiB", WAVE * WAVES);
        }
        assert_eq!(files, open_files(), "no socket stays open");
        for (number, guest) in guests.iter_mut().enumerate() {
            put(guest, number).await;
        }
        guests[0].send(STATUS).await;
        let status = guests[0].answer().await.json();
        assert_eq!(status["connections"], json!(SERVED));
        guests[1].send("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let metrics = guests[1].answer().await.body;
        let refused = format!("connections_refused_total {}", WAVE * (WAVES + 1));
        assert!(metrics.contains(&refused), "{refused}: {metrics}");
    });
}
