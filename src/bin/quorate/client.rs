//! Asking the servers: one request to the first endpoint that can be reached, and what to say to a
//! person when none can.

use std::io::{self, ErrorKind};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quorate::env::{Clock, io::block_on, output};
use quorate::scope::first::{First, first};
use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::exit::{Exit, Failure};
use crate::http::{Connection, request};

/// How long one endpoint has to answer before it counts as unreachable.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Runs a command that only talks to servers.
pub(crate) fn run<T>(command: impl Future<Output = T>) -> T {
    block_on(command)
}

/// An answer with its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Whether asking twice is the same as asking once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Harmless,
    /// Once it was sent, nobody else is asked: it may have been done.
    Never,
}

/// Asks the endpoints one after the other until one answers.
///
/// # Errors
/// `Refused` if the server says no, `Unreachable` if no endpoint answers.
pub(crate) async fn ask(
    endpoints: &[Endpoint],
    path: &str,
    body: &Value,
    repeat: Repeat,
) -> Result<Vec<u8>, Failure> {
    let body = body.to_string();
    let mut tried = String::new();
    for endpoint in endpoints {
        match ask_one(endpoint, path, Some(body.as_bytes())).await {
            Ok(answer) if answer.status == 200 => return Ok(answer.body),
            Ok(answer) => return Err(refusal(endpoint, answer.status, &answer.body)),
            Err(Unanswered { error, sent: true }) if repeat == Repeat::Never => {
                return Err(Failure::new(
                    Exit::Unreachable,
                    format!(
                        "{endpoint} did not answer ({}): the request may or may not have been \
                         applied; look with `quorate get` before you repeat it",
                        words(&error)
                    ),
                ));
            }
            Err(unanswered) => {
                tried += &format!("\n  {endpoint}: {}", words(&unanswered.error));
            }
        }
    }
    Err(unreachable_failure(&tried))
}

/// Why an endpoint gave no answer, and whether it may have received the request.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) error: io::Error,
    pub(crate) sent: bool,
}

/// Asks one endpoint; a `GET` if there is no body.
pub(crate) async fn ask_one(
    endpoint: &Endpoint,
    path: &str,
    body: Option<&[u8]>,
) -> Result<Answer, Unanswered> {
    let mut connection = open(endpoint).await.map_err(|error| Unanswered { error, sent: false })?;
    let request = request(&endpoint.host, path, body);
    let exchange = async {
        let response = connection.exchange(&request).await?;
        Ok(Answer { status: response.status, body: response.body.to_vec() })
    };
    in_time(exchange).await.map_err(|error| Unanswered { error, sent: true })
}

/// Connects, but does not wait for ever.
pub(crate) async fn open(endpoint: &Endpoint) -> io::Result<Connection> {
    in_time(Connection::open(endpoint.address)).await
}

/// The result of `future`, or `TimedOut` if it takes too long.
pub(crate) async fn in_time<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match first(future, Clock::real().sleep(ANSWER_WITHIN)).await {
        First::A(result) => result,
        First::B(()) => Err(ErrorKind::TimedOut.into()),
    }
}

/// What went wrong with a connection, for a person.
pub(crate) fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused, nothing listens there".into(),
        ErrorKind::TimedOut => format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
        ErrorKind::ConnectionReset => "the connection was reset".into(),
        _ => error.to_string(),
    }
}

/// No endpoint answered; `tried` has one line for each.
pub(crate) fn unreachable_failure(tried: &str) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format!(
            "no endpoint answers:{tried}\nStart a node on this machine with `quorate`, or name \
             those that run with --endpoints or QUORATE_ENDPOINTS."
        ),
    )
}

/// The server's reason, out of its JSON if it is any.
pub(crate) fn refusal(endpoint: &Endpoint, status: u16, body: &[u8]) -> Failure {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let text = json.as_ref().and_then(|json| {
        let text = json.get("message").or_else(|| json.get("error"))?;
        Some(text.as_str()?.to_owned())
    });
    let text = text.unwrap_or_else(|| crate::load::shown(body));
    Failure::refused(format!("{endpoint} refuses (HTTP {status}): {text}"))
}

/// The answer as JSON.
pub(crate) fn parsed(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let text = crate::load::shown(body);
        Failure::refused(format!("the server's answer is not JSON ({error}): {text}"))
    })
}

/// Bytes as the JSON mapping writes them.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A field of bytes; an absent one is empty.
pub(crate) fn bytes_of(object: &Value, name: &str) -> Result<Vec<u8>, Failure> {
    let text = object.get(name).and_then(Value::as_str).unwrap_or("");
    STANDARD
        .decode(text)
        .map_err(|error| Failure::refused(format!("the server's `{name}` is not base64: {error}")))
}

/// A field with a 64-bit number, which the mapping writes as a string; an absent one is zero.
pub(crate) fn number_of(object: &Value, name: &str) -> i64 {
    let field = object.get(name);
    let text = field.and_then(Value::as_str).and_then(|text| text.parse().ok());
    text.or_else(|| field?.as_i64()).unwrap_or(0)
}

/// The exit code of shells for a program that wrote to a pipe which nobody reads (SIGPIPE).
const UNREAD: i32 = 141;

/// Writes to standard output; that nobody reads it any more ends the command quietly.
///
/// # Errors
/// If it cannot be written for another reason.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    match output::write(bytes) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(UNREAD),
        Err(error) => Err(Failure::refused(format!("standard output: {error}"))),
    }
}

/// The end of the range of all keys that begin with `prefix`, as etcd writes it.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::{number_of, prefix_end};
    use serde_json::json;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(prefix_end(b"a"), b"b");
        assert_eq!(prefix_end(b"a\xff"), b"b");
        assert_eq!(prefix_end(b"\xff\xff"), b"\0", "no end at all");
        assert_eq!(prefix_end(b""), b"\0");
    }

    #[test]
    fn numbers_come_as_strings_or_as_numbers_or_not_at_all() {
        let object = json!({"a": "12", "b": 7, "c": "x"});
        let numbers = ["a", "b", "c", "d"].map(|name| number_of(&object, name));
        assert_eq!(numbers, [12, 7, 0, 0]);
    }
}
