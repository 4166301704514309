//! One future per peer, owned by the leader's scope: it makes the peer's log equal to the leader's.
//!
//! It only reads the log. Its three modes are functions, each returning the next one:
//!
//! - [`probe`]: where do our logs part? One question at a time.
//! - [`stream`]: append after append, without waiting for answers, within limits.
//! - [`send_snapshot`]: what the peer needs is no longer in the log; piece after piece.
//!
//! The leader hears the peer's answers and writes them into [`Peer`]; its `wake` makes this future look.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::env::Time;
use crate::error::Fatal;
use crate::id::{Index, NodeId};
use crate::journal::Snapshot;
use crate::raft::entries::Entries;
use crate::raft::forwarded::Forwarded;
use crate::raft::leader::Lead;
use crate::raft::message::{AppendOutcome, INSTALLED, Message, Position};
use crate::raft::snapshot::Meta;
use crate::scope::notify::Notify;

/// What the leader knows of a peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    /// Rung when there may be something to send.
    pub(crate) wake: Notify,
    progress: RefCell<Progress>,
    heard: Cell<Time>,
    /// The latest round of the leader's reads that it has answered.
    round: Cell<u64>,
    /// The last entry that a client of this peer waits for.
    awaited: Cell<Index>,
    /// The requests of its clients that it has forwarded in this term.
    forwarded: RefCell<Forwarded>,
    /// Tell it of the decision now, even if there is nothing else to say.
    tell: Cell<bool>,
    told: Cell<Index>,
}

#[derive(Debug)]
struct Progress {
    /// What it has durably, as far as is known.
    matched: Index,
    next: Index,
    /// Appends sent and not answered: their last entries and bytes.
    in_flight: VecDeque<(Index, usize)>,
    in_flight_bytes: usize,
    /// It refused an append: look next after this.
    refused: Option<Index>,
    /// How much it has of the snapshot that covers this.
    installed: Option<(Position, u64)>,
    /// The round, and the beat, of the last message sent.
    sent_round: u64,
    sent_beat: u64,
}

/// What to do next.
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

    /// Takes in an answer to an append.
    pub(crate) fn hear(&self, lead: &Lead<'_>, round: u64, outcome: AppendOutcome) {
        self.heard_round(lead.core.now(), round);
        let last = lead.core.log().last().index;
        let mut progress = self.progress.borrow_mut();
        match outcome {
            AppendOutcome::Matched(index) if index <= last => progress.matched_to(index),
            // An old refusal, of what has matched since, says nothing.
            AppendOutcome::Conflict { refused, hint } if refused > progress.matched => {
                progress.refused = Some(hint.min(refused.prev()));
            }
            _ => {}
        }
        drop(progress);
        self.wake.notify();
    }

    /// Takes in an answer to a piece of a snapshot.
    pub(crate) fn hear_install(&self, now: Time, round: u64, covers: Position, have: u64) {
        self.heard_round(now, round);
        self.progress.borrow_mut().installed = Some((covers, have));
        self.wake.notify();
    }

    fn heard_round(&self, now: Time, round: u64) {
        self.heard.set(now);
        self.round.set(self.round.get().max(round));
    }

    /// Whether it forwards this request for the first time in this term; it has then.
    pub(crate) fn is_new(&self, request: u64) -> bool {
        self.forwarded.borrow_mut().is_new(request)
    }

    /// A client of this peer waits for the entry at `index`.
    pub(crate) fn waits_for(&self, index: Index) {
        self.awaited.set(index);
    }

    /// Everything up to `commit` is decided: tells it at once if a client waits there.
    pub(crate) fn decided(&self, commit: Index) {
        if self.awaited.get() > self.told.get() {
            self.tell(commit);
        }
    }

    /// Tells it of the decision, unless it has been told.
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

    /// Goes back to just after `index`; what was in flight is given up.
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

/// Asks, with an empty append, whether the peer has the entry before `next`; once a heartbeat,
/// until it answers.
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

/// Sends what there is, without waiting for answers, as far as the limits allow.
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

/// Whether the peer must be sent something although there are no entries for it: a round of reads,
/// a sign of life, a decision that somebody waits for.
fn must_speak(lead: &Lead<'_>, peer: &Peer) -> bool {
    let progress = peer.progress.borrow();
    progress.sent_round < lead.round() || progress.sent_beat < lead.beat() || peer.tell.get()
}

/// Sends an append; false if the entry before it is no longer known.
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

/// Notes that something is sent now, and returns the round to send with it.
fn speak(lead: &Lead<'_>, peer: &Peer) -> u64 {
    let round = lead.round();
    let mut progress = peer.progress.borrow_mut();
    progress.sent_round = round;
    progress.sent_beat = lead.beat();
    round
}

/// Sends the latest snapshot, one piece in flight, again at every heartbeat without an answer.
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
    let len = snapshot.len();
    lead.core.send(peer.id, Message::InstallSnapshot { covers, len, offset, round, piece });
    Ok(())
}
