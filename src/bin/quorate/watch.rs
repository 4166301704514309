//! `watch`: prints changes as they happen, until it is stopped. A connection that ends is replaced
//! by one to the next endpoint, which goes on after the last change that was printed: nothing is
//! left out and nothing comes twice.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use quorate::env::Clock;
use serde_json::{Value, json};

use crate::client::{
    bytes_of, in_time, number_of, open, print, refusal, run, unreachable_failure, words,
};
use crate::endpoint::{Endpoint, Endpoints};
use crate::exit::Failure;
use crate::http::request;
use crate::kv::range;

/// How long to wait before all endpoints are tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How often all endpoints are tried in vain before the command gives up.
const ROUNDS_MAX: u32 = 20;
/// One message of the server; the largest has the events of one transaction.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Print every change of a key, or of all keys with a prefix, until stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    key: OsString,
    /// All keys that begin with KEY
    #[arg(long)]
    prefix: bool,
    /// Begin with the changes of this revision; 0 is from now on
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    rev: i64,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// How a connection to one endpoint ended.
enum Ended {
    /// It broke; another endpoint may go on.
    Broken { worked: bool, error: io::Error },
    /// The watch is over.
    Over(Failure),
}

impl Watch {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let endpoints = self.endpoints.resolve()?;
        Err(run(self.follow(&endpoints)))
    }

    /// Follows the changes over one connection after the other; returns why it had to give up.
    async fn follow(&self, endpoints: &[Endpoint]) -> Failure {
        let mut next = self.rev;
        let mut rounds = 0;
        loop {
            let mut tried = String::new();
            for endpoint in endpoints {
                match self.session(endpoint, &mut next).await {
                    Ended::Over(failure) => return failure,
                    Ended::Broken { worked, error } => {
                        tried += &format!("\n  {endpoint}: {}", words(&error));
                        rounds = if worked { 0 } else { rounds };
                    }
                }
            }
            rounds += 1;
            // Who never saw a server wants to know at once; who did waits for it to come back.
            if next == self.rev || rounds > ROUNDS_MAX {
                return unreachable_failure(&tried);
            }
            Clock::real().sleep(RETRY_AFTER).await;
        }
    }

    async fn session(&self, endpoint: &Endpoint, next: &mut i64) -> Ended {
        let mut worked = false;
        match self.stream(endpoint, next, &mut worked).await {
            Ok(error) => Ended::Broken { worked, error },
            Err(failure) => Ended::Over(failure),
        }
    }

    /// Prints what one connection brings; `next` is the first revision that was not printed.
    async fn stream(
        &self,
        endpoint: &Endpoint,
        next: &mut i64,
        worked: &mut bool,
    ) -> Result<io::Error, Failure> {
        let mut create = range(self.key.clone(), self.prefix);
        if *next > 0 {
            create.insert("start_revision".into(), json!(next.to_string()));
        }
        let body = json!({ "create_request": create }).to_string();
        let request = request(&endpoint.host, "/v3/watch", Some(body.as_bytes()));
        let mut connection = match open(endpoint).await {
            Ok(connection) => connection,
            Err(error) => return Ok(error),
        };
        let status = match in_time(connection.begin(&request)).await {
            Ok(status) => status,
            Err(error) => return Ok(error),
        };
        let mut received = Vec::new();
        loop {
            match connection.piece(&mut received).await {
                Ok(true) => {}
                Ok(false) if status != 200 => return Err(refusal(endpoint, status, &received)),
                Ok(false) => return Ok(io::Error::other("the server ended the watch")),
                Err(error) => return Ok(error),
            }
            if received.len() > MESSAGE_BYTES_MAX {
                return Err(Failure::refused(format!(
                    "{endpoint} sent a message of more than 64 MiB"
                )));
            }
            if status == 200 {
                let taken = messages(&received, next)?;
                *worked |= taken > 0;
                received.drain(..taken);
            }
        }
    }
}

/// Prints the whole messages at the beginning of `received`; returns how many bytes they take.
fn messages(received: &[u8], next: &mut i64) -> Result<usize, Failure> {
    let mut stream = serde_json::Deserializer::from_slice(received).into_iter::<Value>();
    let mut taken = 0;
    loop {
        match stream.next() {
            Some(Ok(message)) => {
                let text = message_text(&message, next)?;
                print(&text)?;
                taken = stream.byte_offset();
            }
            Some(Err(error)) if !error.is_eof() => {
                return Err(Failure::refused(format!("the server's message is not JSON: {error}")));
            }
            Some(Err(_)) | None => return Ok(taken),
        }
    }
}

/// What one message says, as text to print.
fn message_text(message: &Value, next: &mut i64) -> Result<Vec<u8>, Failure> {
    if let Some(error) = message.get("error") {
        let text = error.get("message").and_then(Value::as_str).unwrap_or("no reason given");
        return Err(Failure::refused(format!("the watch failed: {text}")));
    }
    let result = message.get("result").unwrap_or(&Value::Null);
    let compacted = number_of(result, "compact_revision");
    if compacted > 0 {
        return Err(Failure::refused(format!(
            "the changes before revision {compacted} are not kept any more; begin with \
             --rev {compacted} and read the state with `quorate get`"
        )));
    }
    if result.get("canceled").and_then(Value::as_bool) == Some(true) {
        let reason = result.get("cancel_reason").and_then(Value::as_str);
        let reason = reason.unwrap_or("no reason given");
        return Err(Failure::refused(format!("the server ended the watch: {reason}")));
    }
    if *next == 0 {
        // From now on: what the store had when the watch began is not part of it.
        *next = result.get("header").map_or(0, |header| number_of(header, "revision")) + 1;
    }
    let mut text = Vec::new();
    let events = result.get("events").and_then(Value::as_array);
    for event in events.map_or(&[][..], Vec::as_slice) {
        let entry = event.get("kv").unwrap_or(&Value::Null);
        let deleted = event.get("type").and_then(Value::as_str) == Some("DELETE");
        text.extend_from_slice(if deleted { b"DELETE\n" } else { b"PUT\n" });
        text.extend(bytes_of(entry, "key")?);
        text.push(b'\n');
        text.extend(bytes_of(entry, "value")?);
        text.push(b'\n');
        // All changes of one revision come in one message.
        *next = (*next).max(number_of(entry, "mod_revision") + 1);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{message_text, messages};
    use serde_json::json;

    #[test]
    fn changes_are_printed_and_the_next_revision_is_remembered() {
        let mut next = 3;
        // The head tells how far the store is, not how far the watch is.
        let message = json!({"result": {"header": {"revision": "99"}, "events": [
            {"kv": {"key": "YQ==", "value": "Yg==", "mod_revision": "6"}},
            {"type": "DELETE", "kv": {"key": "YQ==", "mod_revision": "7"}},
        ]}});
        let text = message_text(&message, &mut next).expect("no error");
        assert_eq!(text, b"PUT\na\nb\nDELETE\na\n\n");
        assert_eq!(next, 8);
    }

    #[test]
    fn a_message_in_two_pieces_is_left_until_it_is_whole() {
        let wire = br#"{"result":{"created":true,"header":{"revision":"3"}}}"#;
        let mut next = 0;
        assert_eq!(messages(&wire[..20], &mut next).expect("no error"), 0);
        assert_eq!(messages(wire, &mut next).expect("no error"), wire.len());
        assert_eq!(next, 4);
        messages(b"{]", &mut next).expect_err("not JSON");
    }

    #[test]
    fn a_compacted_watch_says_where_to_begin_again() {
        let message = json!({"result": {"canceled": true, "compact_revision": "42"}});
        let failure = message_text(&message, &mut 0).expect_err("over");
        assert!(failure.message.contains("--rev 42"));
    }
}
