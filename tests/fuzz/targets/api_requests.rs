//! The body of a request to the gateway: it is refused in a text that is JSON, or it asks what a
//! careful client would ask in other words; and whatever a store answers is JSON, too.
//!
//! The first byte names the call.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::api::unwired::{self, Request};
use quorate::kv::{PutRequest, Store, WatchRequest};
use quorate::{Committed, StateMachine};
use quorate_fuzz::{CALLS, bounded, json};
use serde_json::Value;

fn is_json(text: &[u8]) {
    let read = serde_json::from_slice::<Value>(text);
    assert!(read.is_ok(), "{read:?}: {}", String::from_utf8_lossy(text));
}

/// The same request as a careful client would write it.
fn careful(request: &Request) -> (&'static str, Value) {
    match request {
        Request::Range(request) => ("range", json::range(request)),
        Request::Command(command) => json::command(command),
        Request::Watch(Some(request)) => ("watch", json::watch(request)),
        Request::Watch(None) => ("watch", Value::Null),
    }
}

/// A store with something in it.
fn store() -> Store {
    let mut store = Store::new();
    for (index, key) in (1..).zip([b"a", b"b", b"a"]) {
        let (key, value) = (key.to_vec(), vec![index as u8; 3]);
        let command = quorate::kv::Command::Put(PutRequest { key, value, ..Default::default() });
        let outcome = store.apply(Committed { index, epoch: 1, payload: &command.encode() });
        assert!(outcome.is_ok());
    }
    store
}

fn answer(request: &Request) {
    let mut store = store();
    match request {
        Request::Range(request) => {
            if let Ok(answer) = store.range(request) {
                is_json(&unwired::range(&answer));
            }
        }
        Request::Command(command) => {
            let payload = command.encode();
            let again = quorate::kv::Command::decode(&payload);
            assert_eq!(again.as_ref(), Ok(command), "what is proposed is what was asked");
            let entry = Committed { index: 9, epoch: 1, payload: &payload };
            if let Ok(response) = store.apply(entry) {
                is_json(&unwired::response(&response));
            }
        }
        Request::Watch(_) => {}
    }
}

/// A stream of watches says the same however often it is looked at on the way.
fn stream(text: &[u8]) {
    let (found, left): (Vec<WatchRequest>, _) = unwired::watches(text);
    let Some(left) = left else { return };
    let (used, rest) = text.split_at(text.len() - left);
    assert_eq!(unwired::watches(used).0, found);
    assert_eq!(unwired::watches(rest).0, [], "what is not yet whole is no request");
}

fuzz_target!(|input: &[u8]| {
    let Some((call, body)) = input.split_first() else {
        return;
    };
    let call = CALLS[usize::from(*call) % CALLS.len()];
    if call == "watch" {
        stream(body);
    }
    let request = match bounded(body.len(), || unwired::request(call, body)) {
        Ok(request) => request,
        Err(failure) => return is_json(&failure),
    };
    let (name, text) = careful(&request);
    let again = unwired::request(name, text.to_string().as_bytes());
    assert_eq!(again.as_ref(), Ok(&request), "{text}");
    answer(&request);
});
