//! `/v3/watch`: changes of keys as a stream of lines.
//!
//! A session is one future. It holds the watches of one connection, and each of them is a cursor
//! into the store's history; it waits for a request, for a change, or for a sign that the gateway
//! closes. It makes one line at a time and only when the one before has left, so a client that
//! does not read holds up nothing but its own cursors. If history is compacted beyond a cursor,
//! the watch ends by saying so; nothing is ever skipped.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_lite::FutureExt;
use futures_lite::future::{pending, yield_now};
use hyper::Response;
use hyper::body::Incoming;

use crate::api::answer::{streaming, whole};
use crate::api::body::{Answer, Pieces, Stream};
use crate::api::conn::Phase;
use crate::api::decode::{Watch, WatchCreate};
use crate::api::encode::{Object, push_event};
use crate::api::fail::{Failure, code};
use crate::api::gateway::Shared;
use crate::api::limits::{PROGRESS_INTERVAL, WATCH_PIECE_BYTES};
use crate::api::metrics::add;
use crate::api::route::Endpoint;
use crate::api::stream::{Requests, error_line, line};
use crate::env::Time;
use crate::kv::types::WatchRequest;
use crate::kv::{Store, Watcher};
use crate::scope::first::Named;
use crate::scope::notify::Notify;

/// The id in an answer that is about no watch, or about one that never was.
const NO_WATCH: i64 = -1;

/// Waits for the first request, so that one that cannot be read is an ordinary error.
pub(crate) async fn open(
    shared: Rc<Shared>,
    phase: Rc<Cell<Phase>>,
    body: Incoming,
) -> Response<Answer> {
    let mut requests = Requests::<Watch>::new(body);
    match requests.next().await {
        Some(Err(failure)) => {
            let failure = Failure::new(code::UNKNOWN, failure.text);
            whole(&shared, &phase, Endpoint::Watch, Err(failure))
        }
        Some(Ok(request)) => {
            shared.metrics.answered(Endpoint::Watch, 0);
            let stream = Stream::new(|pieces| async move {
                let mut session = Session::new(shared, pieces);
                session.run(request, requests).await;
            });
            streaming(&phase, Answer::Stream(stream))
        }
        None => whole(&shared, &phase, Endpoint::Watch, Ok(Vec::new())),
    }
}

/// One watch of a session.
struct Watching {
    watcher: Watcher,
    progress_notify: bool,
    /// Something was told since progress was last looked at.
    told: bool,
}

/// The watches of one connection.
struct Session {
    shared: Rc<Shared>,
    pieces: Pieces,
    watches: BTreeMap<i64, Watching>,
    next_id: i64,
    /// Notified when any of the watches may have something to tell.
    wake: Notify,
    /// When those that want progress are looked at next.
    progress_at: Time,
}

/// What a session waits for.
enum Happened {
    Asked(Option<Result<Watch, Failure>>),
    Changed,
    Closing,
    Quiet,
}

impl Session {
    fn new(shared: Rc<Shared>, pieces: Pieces) -> Self {
        Self {
            progress_at: shared.clock.now() + PROGRESS_INTERVAL,
            shared,
            pieces,
            watches: BTreeMap::new(),
            next_id: 0,
            wake: Notify::new(),
        }
    }

    async fn run(&mut self, request: Watch, mut requests: Requests<Watch>) {
        self.handle(request).await;
        let mut open = true;
        while open || !self.watches.is_empty() {
            match self.happened(&mut requests, open).await {
                Happened::Asked(Some(Ok(request))) => self.handle(request).await,
                Happened::Asked(Some(Err(failure))) => {
                    self.pieces.put(error_line(&failure)).await;
                    return;
                }
                Happened::Asked(None) => open = false,
                Happened::Changed => {
                    if self.tell_round().await {
                        self.wake.notify();
                    }
                }
                Happened::Closing => return,
                Happened::Quiet => self.tell_progress().await,
            }
        }
    }

    /// The one wait of the loop. Requests come first: they are few.
    async fn happened(&self, requests: &mut Requests<Watch>, open: bool) -> Happened {
        let closing = self.shared.closing.notified().named(|()| Happened::Closing);
        let asked = async { if open { requests.next().await } else { pending().await } };
        let changed = self.wake.notified().named(|()| Happened::Changed);
        let quiet = async {
            if self.watches.values().any(|watching| watching.progress_notify) {
                self.shared.clock.sleep_until(self.progress_at).await;
            } else {
                pending::<()>().await;
            }
        };
        let quiet = quiet.named(|()| Happened::Quiet);
        closing.or(asked.named(Happened::Asked)).or(changed).or(quiet).await
    }

    async fn handle(&mut self, request: Watch) {
        if let Some(create) = request.create_request {
            self.create(create).await;
        } else if let Some(cancel) = request.cancel_request {
            if self.watches.remove(&cancel.watch_id).is_some() {
                add(&self.shared.metrics.watches, -1);
                let answer = self.line(cancel.watch_id, |object| object.flag("canceled", true));
                self.pieces.put(answer).await;
            }
        } else if request.progress_request.is_some() {
            while self.tell_round().await {}
            let answer = self.line(NO_WATCH, |_| ());
            self.pieces.put(answer).await;
        }
    }

    async fn create(&mut self, create: WatchCreate) {
        let progress_notify = create.progress_notify;
        let wanted = create.watch_id;
        let request = WatchRequest::from(create);
        if let Some(why) = self.refusal(wanted, &request) {
            let answer = self.line(NO_WATCH, |object| {
                object.flag("created", true);
                object.flag("canceled", true);
                object.text("cancel_reason", why);
            });
            self.pieces.put(answer).await;
            return;
        }
        let id = if wanted == 0 { self.fresh_id() } else { wanted };
        let answer = self.line(id, |object| object.flag("created", true));
        let wake = &self.wake;
        let watcher = self.shared.node.read_stale(|store| store.watch(&request, wake));
        let watching = Watching { watcher, progress_notify, told: false };
        self.watches.insert(id, watching);
        add(&self.shared.metrics.watches, 1);
        self.pieces.put(answer).await;
    }

    /// Why a watch cannot be; etcd's words.
    fn refusal(&self, id: i64, request: &WatchRequest) -> Option<&'static str> {
        let end = &request.range_end;
        if id != 0 && self.watches.contains_key(&id) {
            Some("mvcc: duplicate watch ID provided on the WatchStream")
        } else if !end.is_empty() && end != &[0] && *end <= request.key {
            Some("mvcc: watcher range is empty")
        } else if self.watches.len() >= self.shared.limits.watches_max {
            Some("quorate: too many watches on one connection")
        } else {
            None
        }
    }

    fn fresh_id(&mut self) -> i64 {
        while self.watches.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }

    /// Tells every watch its next piece: in turns, so that none waits for another's backlog.
    /// Returns whether there may be more.
    async fn tell_round(&mut self) -> bool {
        let ids: Vec<i64> = self.watches.keys().copied().collect();
        let mut more = false;
        for id in ids {
            more |= self.tell(id).await;
        }
        if more {
            // A round may have scanned much and found nothing to say.
            yield_now().await;
        }
        more
    }

    /// Tells one watch its next piece. Returns whether there may be more.
    async fn tell(&mut self, id: i64) -> bool {
        let Some(watching) = self.watches.get_mut(&id) else {
            return false;
        };
        match watching.watcher.next_batch(WATCH_PIECE_BYTES) {
            Ok(batch) => {
                if batch.events.is_empty() {
                    return batch.more;
                }
                watching.told = true;
                let answer = self.line(id, |object| {
                    object.list("events", &batch.events, push_event);
                });
                self.pieces.put(answer).await;
                batch.more
            }
            Err(compacted) => {
                self.watches.remove(&id);
                add(&self.shared.metrics.watches, -1);
                // As in etcd, this header tells no revision.
                let answer = self.line_at(0, id, |object| {
                    object.flag("canceled", true);
                    object.int("compact_revision", compacted.revision);
                });
                self.pieces.put(answer).await;
                false
            }
        }
    }

    /// Tells the watches that asked for it, and have been told nothing lately, how far they are.
    async fn tell_progress(&mut self) {
        self.progress_at = self.shared.clock.now() + PROGRESS_INTERVAL;
        let mut quiet = Vec::new();
        for (&id, watching) in &mut self.watches {
            let told = std::mem::take(&mut watching.told);
            if watching.progress_notify && !told && watching.watcher.progress().is_some() {
                quiet.push(id);
            }
        }
        for id in quiet {
            let answer = self.line(id, |_| ());
            self.pieces.put(answer).await;
        }
    }

    fn line(&self, id: i64, fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
        let revision = self.shared.node.read_stale(Store::revision);
        self.line_at(revision, id, fill)
    }

    fn line_at(&self, revision: i64, id: i64, fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
        line(|out| {
            let mut object = self.shared.begin(out, revision, self.shared.term());
            object.int("watch_id", id);
            fill(&mut object);
            object.end();
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let left = i64::try_from(self.watches.len()).unwrap_or(i64::MAX);
        add(&self.shared.metrics.watches, -left);
    }
}
