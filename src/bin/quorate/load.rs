//! The work of `bench`: requests rendered once and patched in place, and the clients that send
//! them, one connection and one request in flight each.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quorate::env::{Clock, Rng, Time};
use quorate::scope::first::{First, first};
use quorate::scope::notify::Notify;

use crate::client::refusal;
use crate::endpoint::Endpoint;
use crate::exit::{Exit, Failure};
use crate::histogram::Histogram;
use crate::http::{Connection, request};

/// A key is a letter and eight digits: nine bytes, which base64 turns into twelve without padding.
const KEY_BASE64: usize = 12;
/// The greatest number of keys, so that eight digits suffice.
pub(crate) const KEYS_MAX: u64 = 99_999_999;
/// How long a client waits before it tries the next endpoint.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);
/// A request without an answer for this long has failed; its connection is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How much of an unexpected answer is shown.
const SAMPLE_CHARS_MAX: usize = 300;

/// What is done to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Op {
    Put,
    Get,
    Mixed,
}

/// One kind of request, whole, with the places that change.
#[derive(Debug, Clone)]
struct Template {
    bytes: Vec<u8>,
    key_at: usize,
    /// Where eight characters of the value may be changed, if it is that long.
    value_at: Option<usize>,
}

impl Template {
    fn new(host: &str, path: &str, value: Option<&[u8]>) -> Self {
        let key = STANDARD.encode(key_text(0));
        let value = value.map(|bytes| STANDARD.encode(bytes));
        let body = match &value {
            Some(value) => format!(r#"{{"key":"{key}","value":"{value}"}}"#),
            None => format!(r#"{{"key":"{key}"}}"#),
        };
        let bytes = request(host, path, Some(body.as_bytes()));
        let body_at = bytes.len() - body.len();
        let changes = value.is_some_and(|value| value.trim_end_matches('=').len() >= 8);
        Self {
            bytes,
            key_at: body_at + r#"{"key":""#.len(),
            value_at: changes.then_some(body_at + r#"{"key":"","value":""#.len() + KEY_BASE64),
        }
    }

    /// The request for key number `key`, with a value that `salt` makes different from the last.
    fn render(&mut self, key: u64, salt: u64) -> &[u8] {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let place = &mut self.bytes[self.key_at..self.key_at + KEY_BASE64];
        let written = STANDARD.encode_slice(key_text(key), place);
        debug_assert!(matches!(written, Ok(KEY_BASE64)));
        if let Some(at) = self.value_at {
            for (place, byte) in self.bytes[at..at + 8].iter_mut().enumerate() {
                *byte = DIGITS[(salt >> (6 * place)) as usize % 64];
            }
        }
        &self.bytes
    }
}

fn key_text(key: u64) -> [u8; 9] {
    let mut text = *b"k00000000";
    let mut rest = key;
    for digit in text[1..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text
}

/// What all clients do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) op: Op,
    pub(crate) value_size: usize,
    pub(crate) keys: u64,
    /// Percent of gets, if mixed.
    pub(crate) read_percent: u64,
    pub(crate) clients: u64,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// What the clients have seen so far.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) puts: Histogram,
    pub(crate) gets: Histogram,
    /// How often each kind of error occurred, and the first text of it.
    pub(crate) errors: BTreeMap<String, (u64, String)>,
    last_success: Time,
    /// The longest time in which no client had a success.
    pub(crate) longest_stall: Duration,
}

/// One run: the plan and what came of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) clock: Clock,
    rng: Rng,
    measuring: Cell<bool>,
    tally: RefCell<Tally>,
}

impl Run {
    pub(crate) fn new(plan: Plan, clock: Clock) -> Self {
        Self {
            plan,
            clock,
            rng: Rng::real(),
            measuring: Cell::new(false),
            tally: RefCell::new(Tally {
                puts: Histogram::new(),
                gets: Histogram::new(),
                errors: BTreeMap::new(),
                last_success: Time::ZERO,
                longest_stall: Duration::ZERO,
            }),
        }
    }

    /// From now on everything counts.
    pub(crate) fn begin(&self) {
        self.tally.borrow_mut().last_success = self.clock.now();
        self.measuring.set(true);
    }

    /// From now on nothing counts any more.
    pub(crate) fn end(&self) {
        let mut tally = self.tally.borrow_mut();
        let silence = self.clock.now().since(tally.last_success);
        tally.longest_stall = tally.longest_stall.max(silence);
        self.measuring.set(false);
    }

    /// What came of it.
    pub(crate) fn into_tally(self) -> Tally {
        self.tally.into_inner()
    }

    fn succeeded(&self, is_get: bool, begun: Time, now: Time) {
        if !self.measuring.get() {
            return;
        }
        let tally = &mut *self.tally.borrow_mut();
        tally.longest_stall = tally.longest_stall.max(now.since(tally.last_success));
        tally.last_success = now;
        let spans = if is_get { &mut tally.gets } else { &mut tally.puts };
        spans.record(now.since(begun));
    }

    fn failed(&self, kind: String, sample: &[u8]) {
        if !self.measuring.get() {
            return;
        }
        let mut tally = self.tally.borrow_mut();
        let (count, _) = tally.errors.entry(kind).or_insert_with(|| (0, shown(sample)));
        *count += 1;
    }
}

/// The beginning of an answer, for a person.
pub(crate) fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(SAMPLE_CHARS_MAX).collect()
}

/// One client: its requests, and the way to interrupt it when it waits too long.
#[derive(Debug)]
pub(crate) struct Client {
    run: Rc<Run>,
    number: u64,
    /// When its present request was sent; `NEVER` while it has none.
    begun: Cell<Time>,
    overdue: Notify,
}

/// The two kinds of requests to one endpoint.
struct Requests {
    put: Template,
    get: Template,
}

impl Requests {
    fn new(run: &Run, endpoint: &Endpoint) -> Self {
        let value: Vec<u8> = (0..run.plan.value_size).map(|_| run.rng.below(256) as u8).collect();
        Self {
            put: Template::new(&endpoint.host, "/v3/kv/put", Some(&value)),
            get: Template::new(&endpoint.host, "/v3/kv/range", None),
        }
    }
}

impl Client {
    pub(crate) fn new(run: Rc<Run>, number: u64) -> Rc<Self> {
        Rc::new(Self { run, number, begun: Cell::new(Time::NEVER), overdue: Notify::new() })
    }

    /// Puts this client's share of the keys, so that gets find something.
    pub(crate) async fn fill(self: Rc<Self>) -> Result<(), Failure> {
        let plan = &self.run.plan;
        let endpoint = self.endpoint(0);
        let failed = |error: io::Error| {
            let message = format!("no key can be put for the gets: {endpoint}: {error}");
            Failure::new(Exit::Unreachable, message)
        };
        let mut connection = Connection::open(endpoint.address).await.map_err(failed)?;
        let mut put = Requests::new(&self.run, endpoint).put;
        for key in (self.number..plan.keys).step_by(plan.clients as usize) {
            let response = connection.exchange(put.render(key, key)).await.map_err(failed)?;
            if response.status != 200 {
                return Err(refusal(endpoint, response.status, response.body));
            }
        }
        Ok(())
    }

    /// Sends requests for ever, to the next endpoint whenever a connection fails.
    pub(crate) async fn work(self: Rc<Self>) {
        for attempt in 0.. {
            let endpoint = self.endpoint(attempt);
            if let Err(error) = self.session(endpoint).await {
                self.begun.set(Time::NEVER);
                self.run.failed(kind(&error), error.to_string().as_bytes());
                self.run.clock.sleep(RECONNECT_AFTER).await;
            }
        }
    }

    /// Makes the client look whether it has waited for too long.
    pub(crate) fn check(&self) {
        if self.is_overdue() {
            self.overdue.notify();
        }
    }

    fn is_overdue(&self) -> bool {
        self.run.clock.now().since(self.begun.get()) > ANSWER_WITHIN
    }

    /// Waits until the present request has had no answer for too long. A notification that was meant for
    /// an earlier request changes nothing.
    async fn given_up(&self) {
        loop {
            self.overdue.notified().await;
            if self.is_overdue() {
                return;
            }
        }
    }

    fn endpoint(&self, attempt: u64) -> &Endpoint {
        let endpoints = &self.run.plan.endpoints;
        &endpoints[((self.number + attempt) % endpoints.len() as u64) as usize]
    }

    /// Sends requests over one connection until it fails or the server closes it.
    async fn session(&self, endpoint: &Endpoint) -> io::Result<()> {
        let Run { plan, clock, rng, .. } = &*self.run;
        let mut requests = Requests::new(&self.run, endpoint);
        let mut connection = Connection::open(endpoint.address).await?;
        let mut begun = clock.now();
        while !connection.closes() {
            let salt = rng.u64();
            let is_get = match plan.op {
                Op::Put => false,
                Op::Get => true,
                Op::Mixed => salt % 100 < plan.read_percent,
            };
            let template = if is_get { &mut requests.get } else { &mut requests.put };
            let request = template.render((salt >> 8) % plan.keys, salt);
            self.begun.set(begun);
            let exchange = connection.exchange(request);
            let response = match first(exchange, self.given_up()).await {
                First::A(response) => response?,
                First::B(()) => return Err(ErrorKind::TimedOut.into()),
            };
            let now = clock.now();
            if response.status != 200 {
                self.run.failed(format!("HTTP {}", response.status), response.body);
            } else if is_get && !response.body.windows(6).any(|bytes| bytes == b"\"kvs\":") {
                self.run.failed("key not found".into(), response.body);
            } else {
                self.run.succeeded(is_get, begun, now);
            }
            begun = now;
        }
        Ok(())
    }
}

/// A short name for what became of a connection.
fn kind(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".into(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
            "connection lost".into()
        }
        ErrorKind::TimedOut => "no answer in time".into(),
        ErrorKind::InvalidData => "not HTTP".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Template, key_text};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn fields(request: &[u8]) -> serde_json::Value {
        let at = request.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        serde_json::from_slice(&request[at.expect("a head") + 4..]).expect("JSON")
    }

    #[test]
    fn a_rendered_put_is_what_a_careful_client_would_send() {
        for size in [0, 1, 5, 6, 7, 256] {
            let mut put = Template::new("h", "/p", Some(&vec![7; size]));
            for (key, salt) in [(0, 0), (99_999_999, u64::MAX), (1234, 77)] {
                let body = fields(put.render(key, salt));
                let text = |name: &str| {
                    let encoded = body[name].as_str().expect("a string");
                    STANDARD.decode(encoded).expect("canonical base64")
                };
                assert_eq!(text("key"), key_text(key));
                assert_eq!(text("value").len(), size);
            }
        }
        assert_eq!(&key_text(1234), b"k00001234");
    }

    #[test]
    fn two_salts_make_two_values() {
        let mut put = Template::new("h", "/p", Some(&[0; 6]));
        let first = fields(put.render(1, 1));
        assert_ne!(first, fields(put.render(1, 2)));
    }
}
