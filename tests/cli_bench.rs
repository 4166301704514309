//! `quorate bench` against a server that counts, so that what it reports can be checked exactly.

#![allow(clippy::disallowed_methods)] // the server that counts has a thread for each connection

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

/// What the server does with its `n`th request.
type Answer = fn(u64, &str) -> Option<(u16, String)>;

/// A server with a thread for each connection; returns its URL and the count of its requests.
fn server(answer: Answer) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    // They end with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let count = counted.clone();
            std::thread::spawn(move || connection(stream, &count, answer));
        }
    });
    (url, count)
}

fn connection(stream: TcpStream, count: &AtomicU64, answer: Answer) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut path = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if path.is_empty() {
                path = line.split(' ').nth(1)?.to_owned();
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let request: Value = serde_json::from_slice(&body).expect("a request is JSON");
        assert!(request["key"].is_string());
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let Some((status, text)) = answer(number, &path) else {
            // Silence; the client waits until it gives up.
            std::thread::park();
            return None;
        };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", text.len());
        writer.write_all(format!("{head}{text}").as_bytes()).ok()?;
    }
}

fn bench(url: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["bench", "--endpoints", url, "--warmup", "0"])
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_answer_is_counted_once() {
    let (url, count) = server(|number, path| {
        assert_eq!(path, "/v3/kv/put");
        (number <= 1000).then(|| (200, "{}".into()))
    });
    let output = bench(&url, &["--clients", "8", "--seconds", "2", "--json"]);
    assert!(output.status.success());
    let report = report(&output);
    assert_eq!(report["operations"], 1000);
    assert_eq!(report["latency_us"]["put"]["count"], 1000);
    assert_eq!(report["errors"], 0);
    assert_eq!(count.load(Ordering::SeqCst), 1008, "and each client waits for one more");
    assert_eq!(report["generator"]["pid"], Value::Null);
}

#[test]
fn errors_are_counted_by_kind_and_shown_once() {
    let (url, _) = server(|number, _| match number {
        901.. => None,
        n if n % 3 == 0 => Some((503, format!("{{\"error\":\"no quorum {n}\"}}"))),
        _ => Some((200, "{}".into())),
    });
    let output = bench(&url, &["--clients", "1", "--seconds", "2", "--json"]);
    assert!(output.status.success());
    let report = report(&output);
    assert_eq!(report["operations"], 600);
    assert_eq!(report["errors"], 300);
    let kind = &report["errors_by_kind"]["HTTP 503"];
    assert_eq!(kind["count"], 300);
    assert_eq!(kind["first"], "{\"error\":\"no quorum 3\"}");
}

#[test]
fn gets_are_filled_first_and_an_absent_key_is_an_error() {
    let (url, count) = server(|number, path| match path {
        "/v3/kv/put" if number <= 50 => Some((200, "{}".into())),
        "/v3/kv/range" if number <= 80 => Some((200, r#"{"kvs":[{}],"count":"1"}"#.into())),
        "/v3/kv/range" if number <= 90 => Some((200, "{}".into())),
        _ => None,
    });
    let args = ["--op", "get", "--keys", "50", "--clients", "4", "--seconds", "1", "--json"];
    let output = bench(&url, &args);
    assert!(output.status.success());
    let report = report(&output);
    assert_eq!(report["latency_us"]["get"]["count"], 30);
    assert_eq!(report["errors_by_kind"]["key not found"]["count"], 10);
    assert_eq!(count.load(Ordering::SeqCst), 94);
}

#[test]
fn a_process_is_measured_beside_the_generator() {
    let (url, _) = server(|_, _| Some((200, "{}".into())));
    let own = std::process::id().to_string();
    let args = ["--clients", "2", "--seconds", "0.5", "--pids", &own, "--json"];
    let output = report(&bench(&url, &args));
    let server = &output["servers"][0];
    assert_eq!(server["pid"].as_u64(), Some(u64::from(std::process::id())));
    assert!(server["context_switches_per_operation"].as_f64().expect("a number") > 0.0);
    assert!(server["peak_bytes"].as_u64() >= server["resident_bytes"].as_u64());
    let table = bench(&url, &args[..args.len() - 1]);
    let table = String::from_utf8(table.stdout).expect("text");
    assert!(table.contains("cpu s/100k") && table.contains(&format!("pid {own}")), "{table}");
    let nobody = bench(&url, &["--pids", "4294967295"]);
    assert_eq!(nobody.status.code(), Some(1));
}

#[test]
fn a_run_without_any_success_fails() {
    let (url, _) = server(|_, _| Some((500, "broken".into())));
    let output = bench(&url, &["--clients", "1", "--seconds", "0.1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("HTTP 500; the first: broken"));
}
