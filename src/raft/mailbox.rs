//! The mailbox of a node: it receives messages, timeouts and syncs, and gives the current role one
//! event at a time.
//!
//! The mailbox compares a message's term with the node's (section 5.1); no role does it again:
//!
//! - A message of an earlier term is dropped. If it is a request, the reply has the current term.
//! - A message of a later term makes the node adopt that term. The current role ends, and the next
//!   role receives the message.
//! - A message of the current term is given to the role.
//!
//! The mailbox answers pre-votes itself, because every role answers them alike (thesis, section
//! 9.6).

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_lite::future::yield_now;

use crate::env::Time;
use crate::env::clock::Sleep;
use crate::host::shutdown::Stop;
use crate::id::{NodeId, Term};
use crate::raft::core::Core;
use crate::raft::message::{Envelope, Message, Position, Received};
use crate::raft::rules;
use crate::raft::status::Role;
use crate::scope::budget::Longest;

/// The next event of a node, for its current role.
#[derive(Debug)]
pub(crate) enum Event {
    /// A member's message in the current term.
    Received(Received),
    /// The node has adopted a higher term. The message with that term is the next event.
    Overtaken,
    /// The current hard state has become durable.
    HardStateDurable,
    /// The durable index of the log has grown.
    Synced,
    /// A piece of the incoming snapshot has been written.
    PieceWritten,
    /// A snapshot has been installed.
    Installed,
    /// Clients of this node have requests.
    Requests,
    /// The deadline has passed.
    Elapsed,
}

/// The mailbox's state between two events.
pub(crate) struct Mailbox {
    /// The time of the current event.
    now: Cell<Time>,
    /// The next message: a role has put it back, or it has a later term and waits for the next
    /// role.
    held: Cell<Option<Received>>,
    /// The number of events since the executor's other tasks ran.
    turn: Cell<u32>,
    /// The longest delay of a timer: the event loop was busy for as long.
    lag: RefCell<Longest>,
    /// The timer, with its time.
    alarm: RefCell<Option<(Time, Pin<Box<Sleep>>)>>,
    malformed: Cell<u64>,
    hard_state_durable: Cell<bool>,
    synced: Cell<bool>,
    piece_written: Cell<bool>,
    requests: Cell<bool>,
    next_question: Cell<u64>,
}

impl Mailbox {
    /// `question` is the number of the first `ReadIndex` request. It is random, so that replies to
    /// an earlier life of the node match no request of this one.
    pub(crate) fn new(now: Time, question: u64) -> Self {
        Self {
            now: Cell::new(now),
            held: Cell::new(None),
            turn: Cell::new(0),
            lag: RefCell::default(),
            alarm: RefCell::default(),
            malformed: Cell::new(0),
            hard_state_durable: Cell::new(false),
            synced: Cell::new(false),
            piece_written: Cell::new(false),
            requests: Cell::new(false),
            next_question: Cell::new(question),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.now.get()
    }

    /// The longest recent delay of a timer.
    pub(crate) fn lag(&self) -> Duration {
        self.lag.borrow().get()
    }

    /// The number of malformed messages so far.
    pub(crate) fn malformed(&self) -> u64 {
        self.malformed.get()
    }

    pub(crate) fn hard_state_is_durable(&self) {
        self.hard_state_durable.set(true);
    }

    pub(crate) fn log_is_synced(&self) {
        self.synced.set(true);
    }

    pub(crate) fn piece_is_written(&self) {
        self.piece_written.set(true);
    }

    /// Notes that clients of this node have requests.
    pub(crate) fn request(&self) {
        self.requests.set(true);
    }

    /// A new number for a `ReadIndex` request.
    pub(crate) fn next_question(&self) -> u64 {
        self.next_question.replace(self.next_question.get() + 1)
    }

    /// Puts a message back: the next role receives it first.
    pub(crate) fn put_back(&self, received: Received) {
        self.held.set(Some(received));
    }

    /// An event for state that has become durable since the last event.
    fn growth(&self) -> Option<Event> {
        if self.hard_state_durable.take() {
            return Some(Event::HardStateDurable);
        }
        if self.synced.take() {
            return Some(Event::Synced);
        }
        self.piece_written.take().then_some(Event::PieceWritten)
    }
}

impl Core {
    /// The next event; [`Event::Elapsed`] if there is none until `deadline`.
    ///
    /// Cancel safe: an event that was not returned is returned by the next call.
    pub(crate) async fn next(&self, deadline: Time) -> Result<Event, Stop> {
        let mailbox = &self.mailbox;
        loop {
            if mailbox.turn.get() >= self.config.limits.slices.events {
                mailbox.turn.set(0);
                yield_now().await;
            }
            mailbox.turn.set(mailbox.turn.get() + 1);
            mailbox.now.set(self.env.clock.now());
            if let Some(event) = self.take(deadline)? {
                return Ok(event);
            }
            if !self.decided.is_behind() {
                self.wait(deadline).await;
                mailbox.turn.set(0);
            }
        }
    }

    fn take(&self, deadline: Time) -> Result<Option<Event>, Stop> {
        self.shutdown.check()?;
        if let Some(installed) = self.snapshots.take_installed() {
            self.install(installed)?;
            return Ok(Some(Event::Installed));
        }
        self.take_synced();
        self.apply_slice()?;
        if let Some(event) = self.mailbox.growth() {
            return Ok(Some(event));
        }
        if let Some(event) = self.receive() {
            return Ok(Some(event));
        }
        if self.mailbox.requests.take() {
            return Ok(Some(Event::Requests));
        }
        self.expire_clients();
        Ok((self.now() >= deadline).then_some(Event::Elapsed))
    }

    async fn wait(&self, deadline: Time) {
        let deadline = deadline.min(self.clients_due());
        poll_fn(|cx| {
            let mut alarm = self.mailbox.alarm.borrow_mut();
            if alarm.as_ref().is_none_or(|(at, _)| *at > deadline) {
                *alarm = Some((deadline, Box::pin(self.env.clock.sleep_until(deadline))));
            }
            if let Some((_, sleep)) = alarm.as_mut()
                && sleep.as_mut().poll(cx).is_ready()
            {
                // The timer may be set for an earlier deadline: the loop then checks again.
                if let Some((at, _)) = alarm.take() {
                    let late = self.env.clock.now().since(at);
                    self.mailbox.lag.borrow_mut().see(late);
                }
                return Poll::Ready(());
            }
            self.wake.poll_notified(cx)
        })
        .await;
    }

    /// The next message of the current term, or [`Event::Overtaken`] for one of a higher term.
    fn receive(&self) -> Option<Event> {
        if let Some(received) = self.mailbox.held.take() {
            return Some(Event::Received(received));
        }
        while let Some((from, frame)) = self.env.net.receive() {
            let envelope = match Envelope::decode(&frame) {
                Ok(envelope) if self.is_welcome(from, &envelope.message) => envelope,
                refused => {
                    self.mailbox.malformed.set(self.mailbox.malformed.get() + 1);
                    tracing::debug!(%from, ?refused, "dropped a frame");
                    continue;
                }
            };
            let received = Received { from, term: envelope.term, message: envelope.message };
            if let Some(event) = self.judge(received) {
                return Some(event);
            }
        }
        None
    }

    /// Whether a message comes from a member and keeps the limits of size that every node obeys.
    fn is_welcome(&self, from: NodeId, message: &Message) -> bool {
        self.config.members.contains(&from)
            && message.entries_bytes() <= self.config.limits.entries_bytes_max()
    }

    /// Compares a message's term with the node's, and answers pre-votes.
    fn judge(&self, received: Received) -> Option<Event> {
        let present = self.term();
        match &received.message {
            Message::PreVote(ballot) => {
                self.answer_pre_vote(received.from, received.term, ballot.last);
                return None;
            }
            Message::PreVoteReply { granted: true } => {
                return (received.term == present.next()).then_some(Event::Received(received));
            }
            Message::RequestVote(ballot)
                if received.term > present && !ballot.transfer && self.leader_is_alive() =>
            {
                return None;
            }
            _ => {}
        }
        if received.term < present {
            self.answer_the_past(&received);
            return None;
        }
        if received.term > present {
            self.adopt(received.term);
            self.mailbox.held.set(Some(received));
            return Some(Event::Overtaken);
        }
        Some(Event::Received(received))
    }

    /// Whether this node leads, or has heard a leader of the current term within the shortest
    /// election timeout. The node then refuses pre-votes, and ignores vote requests of a later term
    /// unless the leader transfers its leadership (thesis, section 4.2.3).
    fn leader_is_alive(&self) -> bool {
        let patience = self.config.timing.election_min;
        self.published.role() == Role::Leader
            || self.published.heard().is_some_and(|at| self.now().since(at) < patience)
    }

    fn answer_pre_vote(&self, from: NodeId, asked: Term, last: Position) {
        let present = self.term();
        let mine = self.log().last();
        let granted = rules::may_pre_vote(asked, present, last, mine, self.leader_is_alive());
        let term = if granted { asked } else { present };
        self.send_as(term, from, Message::PreVoteReply { granted });
    }

    /// Answers a message of an earlier term with the current term.
    fn answer_the_past(&self, received: &Received) {
        let reply = match &received.message {
            Message::RequestVote(_) => Message::RequestVoteReply { granted: false },
            // A message in the current term makes the old leader step down.
            Message::AppendEntries { .. } | Message::InstallSnapshot { .. } => {
                Message::PreVoteReply { granted: false }
            }
            Message::ReadIndex { id } => Message::ReadIndexReply { id: *id, index: None },
            _ => return,
        };
        self.send(received.from, reply);
    }
}
