//! The replication of a leader's log to one peer (sections 5.3 and 7).
//!
//! The leader's scope owns one such future per peer. The future reads the log and never writes it.
//! It has three modes; each is a function that returns the next mode:
//!
//! - [`probe`] finds the last entry that both logs share. It sends one empty append at a time.
//! - [`stream`] sends the entries after it, without waiting for replies, within limits.
//! - [`send_snapshot`] sends the snapshot, one piece at a time, when the log no longer has the
//!   entries that the peer needs.
//!
//! The leader receives the peer's replies, writes them into [`Peer`] and notifies the peer's
//! `wake`, on which the future waits.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use crate::env::Time;
use crate::error::Fatal;
use crate::id::{Index, NodeId};
use crate::journal::Snapshot;
use crate::raft::entries::Entries;
use crate::raft::forwarded::Forwarded;
use crate::raft::leader::Lead;
use crate::raft::message::{AppendOutcome, Declined, INSTALLED, Message, Position};
use crate::raft::snapshot::Meta;
use crate::scope::notify::Notify;

/// The leader's state for one peer: the paper's `nextIndex` and `matchIndex`, and more.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    /// Notified when there may be something to send.
    pub(crate) wake: Notify,
    progress: RefCell<Progress>,
    heard: Cell<Time>,
    /// The latest round of reads that the peer has confirmed.
    round: Cell<u64>,
    /// The last index that a client of the peer waits for.
    awaited: Cell<Index>,
    /// The requests that the peer has forwarded in this term.
    forwarded: RefCell<Forwarded>,
    /// Whether the peer must be told the commit index now, even without new entries.
    tell: Cell<bool>,
    told: Cell<Index>,
}

#[derive(Debug)]
struct Progress {
    /// The peer is known to hold the leader's log durably up to this index (`matchIndex`).
    matched: Index,
    next: Index,
    /// The appends without a reply: for each, its last index and its size in bytes.
    in_flight: VecDeque<(Index, usize)>,
    in_flight_bytes: usize,
    /// The peer has refused an append; the next append is tried just after this index.
    refused: Option<Index>,
    /// The snapshot that the peer receives, and how many bytes of it the peer has.
    installed: Option<(Position, u64)>,
    /// The round of reads and the heartbeat at which the last message was sent.
    sent_round: u64,
    sent_beat: u64,
}

/// The mode that follows.
enum Mode {
    Probe,
    Stream,
    Snapshot,
}

impl Peer {
    pub(crate) fn new(id: NodeId, next: Index, now: Time) -> Self {
        Self {
            id,
            wake: Notify::new(),
            progress: RefCell::new(Progress {
                matched: Index::ZERO,
                next,
                in_flight: VecDeque::new(),
                in_flight_bytes: 0,
                refused: None,
                installed: None,
                sent_round: 0,
                sent_beat: 0,
            }),
            heard: Cell::new(now),
            round: Cell::new(0),
            awaited: Cell::new(Index::ZERO),
            forwarded: RefCell::default(),
            tell: Cell::new(false),
            told: Cell::new(Index::ZERO),
        }
    }

    pub(crate) fn matched(&self) -> Index {
        self.progress.borrow().matched
    }

    pub(crate) fn next(&self) -> Index {
        self.progress.borrow().next
    }

    pub(crate) fn heard(&self) -> Time {
        self.heard.get()
    }

    pub(crate) fn round(&self) -> u64 {
        self.round.get()
    }

    /// Takes in a reply to an append.
    pub(crate) fn hear(&self, lead: &Lead<'_>, round: u64, outcome: AppendOutcome) {
        self.heard_round(lead.core.now(), round);
        let last = lead.core.log().last().index;
        let mut progress = self.progress.borrow_mut();
        match outcome {
            AppendOutcome::Matched(index) if index <= last => progress.matched_to(index),
            // A refusal at or before the matched index is old and is ignored.
            AppendOutcome::Conflict { refused, hint } if refused > progress.matched => {
                progress.refused = Some(hint.min(refused.prev()));
            }
            _ => {}
        }
        drop(progress);
        self.wake.notify();
    }

    /// Takes in a reply to a piece of a snapshot.
    pub(crate) fn hear_install(&self, now: Time, round: u64, covers: Position, have: u64) {
        self.heard_round(now, round);
        self.progress.borrow_mut().installed = Some((covers, have));
        self.wake.notify();
    }

    fn heard_round(&self, now: Time, round: u64) {
        self.heard.set(now);
        self.round.set(self.round.get().max(round));
    }

    /// Marks a request as forwarded by the peer in this term; false if it was marked before.
    pub(crate) fn is_new(&self, request: u64) -> bool {
        self.forwarded.borrow_mut().is_new(request)
    }

    /// Notes that requests of the peer are declined.
    pub(crate) fn decline(&self, requests: &[u64], why: Declined) {
        let mut forwarded = self.forwarded.borrow_mut();
        requests.iter().for_each(|&request| forwarded.decline(request, why));
    }

    /// Those of the peer's requests that were declined, by the reason.
    pub(crate) fn declined(
        &self,
        requests: impl Iterator<Item = u64>,
    ) -> BTreeMap<Declined, Vec<u64>> {
        let forwarded = self.forwarded.borrow();
        let mut declined = BTreeMap::<_, Vec<_>>::new();
        for request in requests {
            if let Some(why) = forwarded.why_declined(request) {
                declined.entry(why).or_default().push(request);
            }
        }
        declined
    }

    /// Notes that a client of the peer waits for the entry at `index`.
    pub(crate) fn waits_for(&self, index: Index) {
        self.awaited.set(index);
    }

    /// Takes in a new commit index; the peer is told it at once if a client waits there.
    pub(crate) fn decided(&self, commit: Index) {
        if self.awaited.get() > self.told.get() {
            self.tell(commit);
        }
    }

    /// Tells the peer the commit index, unless the peer has been told it.
    pub(crate) fn tell(&self, commit: Index) {
        if self.told.get() < commit {
            self.tell.set(true);
            self.wake.notify();
        }
    }
}

impl Progress {
    fn matched_to(&mut self, index: Index) {
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched.next());
        while let Some((_, bytes)) = self.in_flight.pop_front_if(|(last, _)| *last <= self.matched)
        {
            self.in_flight_bytes -= bytes;
        }
    }

    /// Goes back to just after `index` and forgets the appends in flight.
    fn back_to(&mut self, index: Index) {
        self.next = index.max(self.matched).next();
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }
}

/// Replicates to one peer until the leader's scope is dropped; returns only if this node's own
/// journal cannot be read.
pub(crate) async fn run(lead: &Lead<'_>, peer: &Peer) -> Fatal {
    let mut mode = Mode::Probe;
    loop {
        let next = match mode {
            Mode::Probe => probe(lead, peer).await,
            Mode::Stream => stream(lead, peer).await,
            Mode::Snapshot => send_snapshot(lead, peer).await,
        };
        mode = match next {
            Ok(mode) => mode,
            Err(fatal) => return fatal,
        };
    }
}

/// Asks the peer, with an empty append, whether its log has the entry before `next`. Repeats the
/// append at each heartbeat until the peer replies.
async fn probe(lead: &Lead<'_>, peer: &Peer) -> Result<Mode, Fatal> {
    loop {
        let next = peer.next();
        let asked = lead.beat();
        if !send_append(lead, peer, Entries::none(next)) {
            return Ok(Mode::Snapshot);
        }
        loop {
            peer.wake.notified().await;
            let mut progress = peer.progress.borrow_mut();
            if let Some(hint) = progress.refused.take() {
                progress.back_to(hint);
                break;
            }
            if progress.matched.next() >= next {
                return Ok(Mode::Stream);
            }
            drop(progress);
            if lead.beat() > asked || must_speak(lead, peer) {
                break;
            }
        }
    }
}

/// Sends new entries without waiting for replies, as far as the limits allow.
async fn stream(lead: &Lead<'_>, peer: &Peer) -> Result<Mode, Fatal> {
    let limits = &lead.core.config.limits;
    loop {
        let refused = peer.progress.borrow_mut().refused.take();
        if let Some(hint) = refused {
            peer.progress.borrow_mut().back_to(hint);
            return Ok(Mode::Probe);
        }
        while has_room(peer, limits.appends_in_flight_max, limits.in_flight_bytes_max) {
            let next = peer.next();
            let read = lead.core.log().read(&lead.core.journal, next, limits.append_bytes_max)?;
            let Some(entries) = read else {
                return Ok(Mode::Snapshot);
            };
            if entries.is_empty() {
                break;
            }
            let (last, bytes) = (entries.last(), entries.bytes().len());
            if !send_append(lead, peer, entries) {
                return Ok(Mode::Snapshot);
            }
            let mut progress = peer.progress.borrow_mut();
            progress.next = last.next();
            progress.in_flight.push_back((last, bytes));
            progress.in_flight_bytes += bytes;
        }
        if must_speak(lead, peer) && !send_append(lead, peer, Entries::none(peer.next())) {
            return Ok(Mode::Snapshot);
        }
        peer.wake.notified().await;
    }
}

fn has_room(peer: &Peer, appends_max: usize, bytes_max: usize) -> bool {
    let progress = peer.progress.borrow();
    progress.in_flight.len() < appends_max && progress.in_flight_bytes < bytes_max
}

/// Whether the peer must be sent an append without entries: for a round of reads, as a heartbeat,
/// or for a commit index that a client waits for.
fn must_speak(lead: &Lead<'_>, peer: &Peer) -> bool {
    let progress = peer.progress.borrow();
    progress.sent_round < lead.round() || progress.sent_beat < lead.beat() || peer.tell.get()
}

/// Sends an append. Returns false if the log no longer has the term of the entry before it.
fn send_append(lead: &Lead<'_>, peer: &Peer, entries: Entries) -> bool {
    let index = entries.first().prev();
    let term = match index {
        Index::ZERO => Some(crate::id::Term::ZERO),
        _ => lead.core.log().term_at(index),
    };
    let Some(term) = term else { return false };
    let commit = lead.core.decided.commit();
    let round = speak(lead, peer);
    peer.tell.set(false);
    peer.told.set(commit);
    let prev = Position { term, index };
    lead.core.send(peer.id, Message::AppendEntries { prev, commit, round, entries });
    true
}

/// Notes that a message is sent now, and returns the round of reads to send with it.
fn speak(lead: &Lead<'_>, peer: &Peer) -> u64 {
    let round = lead.round();
    let mut progress = peer.progress.borrow_mut();
    progress.sent_round = round;
    progress.sent_beat = lead.beat();
    round
}

/// Sends the latest snapshot with one piece in flight. Repeats the piece at each heartbeat until
/// the peer replies.
async fn send_snapshot(lead: &Lead<'_>, peer: &Peer) -> Result<Mode, Fatal> {
    let snapshot = lead.core.journal.snapshot();
    let snapshot = snapshot.expect("entries are forgotten only when a snapshot covers them");
    let covers = Meta::of(&snapshot)?.covers;
    peer.progress.borrow_mut().installed = None;
    let mut offset = 0;
    loop {
        send_piece(lead, peer, &snapshot, covers, offset)?;
        let sent = lead.beat();
        loop {
            peer.wake.notified().await;
            let installed = peer.progress.borrow().installed;
            match installed {
                Some((position, have)) if position == covers && have == INSTALLED => {
                    let mut progress = peer.progress.borrow_mut();
                    progress.matched_to(covers.index);
                    progress.back_to(covers.index);
                    progress.refused = None;
                    return Ok(Mode::Probe);
                }
                Some((position, have)) if position == covers && have != offset => {
                    offset = have;
                    break;
                }
                _ if lead.beat() > sent || must_speak(lead, peer) => break,
                _ => {}
            }
        }
    }
}

fn send_piece(
    lead: &Lead<'_>,
    peer: &Peer,
    snapshot: &Snapshot,
    covers: Position,
    offset: u64,
) -> Result<(), Fatal> {
    let piece = snapshot.read_at(offset, lead.core.config.limits.snapshot_chunk_bytes)?;
    let round = speak(lead, peer);
    peer.tell.set(false);
    let (len, digest) = (snapshot.len(), snapshot.digest());
    let message = Message::InstallSnapshot { covers, len, digest, offset, round, piece };
    lead.core.send(peer.id, message);
    Ok(())
}
