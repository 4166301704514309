//! Clients of real processes that note what they ask and what they are answered, for the judge of
//! histories: threads, one connection for each request, and a watch. `json` has the words of HTTP.

mod json;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use quorate::env::Rng;
use quorate::kv::{
    Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, Event, KvError, PutRequest,
    RangeRequest, RequestOp, TxnRequest,
};
use quorate::sim::linear::{Answer, Log, Operation, Promise, Request, Verdict, Watched, check};
use serde_json::Value;

use super::{Cluster, until};

/// The keys: few, so that clients meet.
const KEYS: [&str; 4] = ["a", "b", "c", "d"];
/// Keys on leases, which are written so seldom that leases end.
const LEASED: [&str; 4] = ["p", "q", "r", "s"];
/// How many clients work.
const WORKERS: u32 = 6;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a watch is read before one looks whether all is over.
const LOOK: Duration = Duration::from_millis(200);

/// What came over a connection.
enum Told {
    /// An answer, whatever its status; the body.
    Answered(u16, Value),
    /// Nobody heard the question.
    NotHeard,
    /// No answer, or half of one.
    Silence,
}

/// A call as it is noted by the client's own thread.
struct Noted {
    client: u32,
    called: u64,
    ended: Option<u64>,
    request: Request,
    told: Told,
}

/// A watch as it is noted: each line with its time.
struct Heard {
    client: u32,
    start_revision: i64,
    lines: Vec<(u64, Value)>,
}

/// What all clients share.
struct Crowd {
    ports: Vec<u16>,
    start: Instant,
    last: AtomicU64,
    over: AtomicBool,
}

/// One client, and what it has noted.
struct Client<'a> {
    crowd: &'a Crowd,
    id: u32,
    noted: Vec<Noted>,
}

impl Crowd {
    /// A time that nobody else has; one that was asked for before is smaller.
    fn moment(&self) -> u64 {
        let now = u64::try_from(self.start.elapsed().as_nanos()).expect("some centuries");
        let later = |last: u64| Some(now.max(last + 1));
        let last = self.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
        now.max(last.expect("never refused") + 1)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

impl Client<'_> {
    /// Asks a node; notes question and answer. Returns the body of an answer that is no refusal.
    fn ask(&mut self, port: u16, request: Request) -> Option<Value> {
        let (path, body) = json::question(&request);
        let called = self.crowd.moment();
        let told = exchange(port, path, &body).unwrap_or(Told::Silence);
        let ended = (!matches!(told, Told::Silence)).then(|| self.crowd.moment());
        let body = match &told {
            Told::Answered(200, body) => Some(body.clone()),
            _ => None,
        };
        self.noted.push(Noted { client: self.id, called, ended, request, told });
        body
    }
}

/// Opens a connection and sends a request; `None` if nobody is there.
fn open(port: u16, path: &str, body: &str, patience: Duration) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.set_read_timeout(Some(patience)).ok()?;
    // If this fails half of it may have come.
    let _sent = stream.write_all(format!("{head}{body}").as_bytes());
    Some(stream)
}

/// One request; `None` if the answer did not come, or not whole.
fn exchange(port: u16, path: &str, body: &str) -> Option<Told> {
    let Some(mut stream) = open(port, path, body, PATIENCE) else {
        return Some(Told::NotHeard);
    };
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    // An answer that is a stream has the lengths of its pieces on lines of their own.
    let line = body.lines().find(|line| line.starts_with('{'))?;
    Some(Told::Answered(status, serde_json::from_str(line).ok()?))
}

fn put(key: &str, value: &str, lease: i64, prev_kv: bool) -> PutRequest {
    let (key, value) = (key.into(), value.into());
    PutRequest { key, value, lease, prev_kv, ..PutRequest::default() }
}

fn delete(key: &str) -> DeleteRangeRequest {
    let (key, range_end) = (key.into(), vec![]);
    DeleteRangeRequest { key, range_end, prev_kv: true }
}

fn key(key: &str) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

fn everything() -> RangeRequest {
    RangeRequest { key: vec![0], range_end: vec![0], ..RangeRequest::default() }
}

/// One client's calls, until all is over.
fn work(crowd: &Crowd, id: u32) -> Vec<Noted> {
    let rng = Rng::seeded(id.into());
    let mut client = Client { crowd, id, noted: Vec::new() };
    let mut seen = String::new();
    for seq in 0i64.. {
        if crowd.is_over() {
            break;
        }
        let (one, other) = (KEYS[rng.below(KEYS.len())], KEYS[rng.below(KEYS.len())]);
        let value = format!("c{id}#{seq}");
        let lease = i64::from(id) * 1_000_000 + seq;
        let requests = match rng.within(0..=999) {
            0..=349 => vec![Command::Put(put(one, &value, 0, rng.chance(300)))],
            350..=399 => vec![Command::DeleteRange(delete(one))],
            400..=599 if one != other => vec![Command::Txn(swap(one, other, &seen, &value))],
            600..=604 => vec![
                Command::LeaseGrant { id: lease, ttl_s: 2 },
                Command::Put(put(LEASED[rng.below(LEASED.len())], &value, lease, false)),
            ],
            _ => vec![],
        };
        let port = crowd.ports[rng.below(crowd.ports.len())];
        let reads = requests.is_empty();
        let leases = requests.len() > 1;
        for request in requests {
            let _answer = client.ask(port, Request::Command(request));
        }
        if reads {
            let request = if rng.chance(500) { key(one) } else { everything() };
            let stale = rng.chance(100);
            let _answer = client.ask(port, Request::Range { request, stale });
        } else if leases {
            let _answer = client.ask(port, Request::KeepAlive(lease));
        }
        seen = if rng.chance(500) { value } else { seen };
        sleep(Duration::from_millis(rng.within(0..=10)));
    }
    client.noted
}

/// If the one key has a value that this client may have given it, both get a new one.
fn swap(one: &str, other: &str, seen: &str, value: &str) -> TxnRequest {
    let (range_end, result) = (vec![], CompareResult::Equal);
    let target = match seen.len() % 2 {
        0 => CompareTarget::Create(0),
        _ => CompareTarget::Value(seen.into()),
    };
    TxnRequest {
        compare: vec![Compare { key: one.into(), range_end, result, target }],
        success: [one, other].map(|key| RequestOp::Put(put(key, value, 0, true))).into(),
        failure: vec![RequestOp::Range(key(one)), RequestOp::Put(put(other, value, 0, false))],
    }
}

/// Watches every key from the first revision on, on one node after the other.
fn watch(crowd: &Crowd, client: u32) -> Vec<Heard> {
    let rng = Rng::seeded(client.into());
    let (mut next, mut all) = (1, Vec::new());
    while !crowd.is_over() {
        let port = crowd.ports[rng.below(crowd.ports.len())];
        let mut heard = Heard { client, start_revision: next, lines: Vec::new() };
        let stay = Instant::now() + Duration::from_millis(rng.within(500..=3_000));
        let _ended = listen(port, next, |line| {
            heard.lines.extend(line.map(|line| (crowd.moment(), line)));
            Instant::now() < stay && !crowd.is_over()
        });
        let told = heard.lines.iter().flat_map(|(_, line)| json::events(&line["result"]));
        next = told.map(|event| event.kv.mod_revision + 1).max().unwrap_or(next);
        all.push(heard);
        sleep(Duration::from_millis(20));
    }
    all
}

/// Reads the lines of a watch while `more` wants; it is asked now and then without a line.
fn listen(
    port: u16,
    from: i64,
    mut more: impl FnMut(Option<Value>) -> bool,
) -> std::io::Result<()> {
    let body = json::watch(from);
    let Some(stream) = open(port, "/v3/watch", &body, LOOK) else { return Ok(()) };
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        match reader.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) if line.ends_with('\n') => {
                // Between the lines of the answer are the head and the lengths of chunks.
                let value = line.starts_with('{').then(|| serde_json::from_str(&line));
                line.clear();
                if !more(value.transpose()?) {
                    return Ok(());
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if !more(None) {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Every change from the first revision to `last`, or further.
fn changes(port: u16, last: i64) -> Vec<Event> {
    let mut events = Vec::new();
    let read = listen(port, 1, |line| {
        let line = line.unwrap_or_default();
        events.extend(json::events(&line["result"]));
        events.last().is_none_or(|event: &Event| event.kv.mod_revision < last)
    });
    read.expect("the node lives");
    events
}

fn answer_of(request: &Request, told: &Told) -> Answer {
    match told {
        Told::NotHeard => Answer::Nothing,
        Told::Silence => Answer::Unknown,
        Told::Answered(200, body) => json::answer(request, body),
        Told::Answered(_, body) => match body["error"].as_str() {
            Some(text) if text == KvError::LeaseNotFound.to_string() => {
                Answer::Refused(KvError::LeaseNotFound)
            }
            _ => Answer::Unknown,
        },
    }
}

/// What the threads noted, as a log.
fn log_of(noted: Vec<Noted>, heard: Vec<Heard>) -> Log {
    let mut log = Log::default();
    for Noted { client, called, ended, request, told } in noted {
        let answer = answer_of(&request, &told);
        log.operations.push(Operation { client, called, ended, request, answer });
    }
    for Heard { client, start_revision, lines } in heard {
        let Some(((created, first), lines)) = lines.split_first() else { continue };
        log.watches.push(Watched {
            client,
            created: *created,
            revision: json::revision(&first["result"]),
            request: json::watch_request(start_revision),
            told: lines.iter().map(|(at, line)| json::told(*at, &line["result"])).collect(),
            compacted: None,
        });
    }
    log
}

/// When nothing else happens a lease ends, and its key is gone.
fn a_last_lease(client: &mut Client<'_>) {
    let port = client.crowd.ports[0];
    let mut id = 0;
    until("a lease", || {
        id += 1;
        client.ask(port, Request::Command(Command::LeaseGrant { id, ttl_s: 2 }))?;
        client.ask(port, Request::Command(Command::Put(put("last", "value", id, false))))
    });
    until("the end of the lease", || {
        let read = Request::Range { request: key("last"), stale: false };
        client.ask(port, read)?["kvs"].is_null().then_some(())
    });
}

/// Lets clients work on a cluster while `trouble` troubles it, and judges what they saw.
pub(super) fn judged(cluster: &mut Cluster<'_>, trouble: impl FnOnce(&mut Cluster<'_>)) -> Verdict {
    let crowd = &Crowd {
        ports: cluster.clients.clone(),
        start: Instant::now(),
        last: AtomicU64::new(0),
        over: AtomicBool::new(false),
    };
    let (mut noted, heard) = scope(|threads| {
        let work = (1..=WORKERS).map(|id| threads.spawn(move || work(crowd, id)));
        let watch = (1..=2).map(|n| threads.spawn(move || watch(crowd, WORKERS + n)));
        let (work, watch): (Vec<_>, Vec<_>) = (work.collect(), watch.collect());
        trouble(cluster);
        crowd.over.store(true, Ordering::SeqCst);
        let noted = work.into_iter().flat_map(|thread| thread.join().expect("it does not panic"));
        let heard = watch.into_iter().flat_map(|thread| thread.join().expect("it does not panic"));
        (noted.collect::<Vec<_>>(), heard.collect())
    });
    let mut client = Client { crowd, id: 0, noted: Vec::new() };
    a_last_lease(&mut client);
    for &port in &cluster.clients {
        let everything = Request::Range { request: everything(), stale: false };
        until("a last read", || client.ask(port, everything.clone()));
    }
    noted.extend(client.noted);
    let log = log_of(noted, heard);
    let last = log.operations.iter().filter_map(Operation::revision).max().unwrap_or(1);
    let changes = changes(cluster.clients[0], last);
    let verdict = check(&log, &changes, &Promise::default());
    verdict.unwrap_or_else(|what| panic!("{what}"))
}
